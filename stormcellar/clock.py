# SPDX-License-Identifier: MIT
"""The one source of time: everything that asks "now?" asks a clock it was given."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

log = logging.getLogger("stormcellar.sessions")

SET_INTERVAL_S = 60.0
WORTH_A_WARNING_S = 1.0
LONGEST_ASKING_S = 2.0


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, UTC."""
        raise NotImplementedError


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()


class SharedClock:
    """This machine's clock, set by the one that all servers of a site share: their database's.

    Lifetimes and the grace period of a refresh are measured from what another server wrote down; where two
    machines disagree by more than that period, a second tab would be taken for a thief.

    Args:
        ask: what the shared clock shows, Unix seconds; raises StoreUnavailableError.
    """

    def __init__(self, ask: Callable[[], Awaitable[float]]) -> None:
        self._ask = ask
        self.ahead_s = 0.0
        """How far the shared clock is ahead of this machine's."""
        self._is_set_well = False

    def now(self) -> float:
        return time.time() + self.ahead_s

    async def set(self) -> None:
        """Ask once. It is off by half of the time that asking takes at most, so an answer that took long
        counts only as long as there was no better one.

        Raises:
            StoreUnavailableError: the database does not answer; the clock goes on as it was.
        """
        before = time.time()
        shared = await self._ask()
        after = time.time()
        took_long = abs(after - before) > LONGEST_ASKING_S
        if took_long and self._is_set_well:
            log.warning("the clock goes on as it was: the database took %.1f s to answer", after - before)
            return
        self._is_set_well = not took_long
        ahead_s = shared - (before + after) / 2
        if abs(ahead_s) > WORTH_A_WARNING_S and abs(ahead_s - self.ahead_s) > WORTH_A_WARNING_S:
            log.warning("this machine's clock is %.1f s away from the database's, which counts", -ahead_s)
        self.ahead_s = ahead_s

    async def keep_set(self) -> None:
        """Ask again and again: clocks drift, and are put right."""
        while True:
            await asyncio.sleep(SET_INTERVAL_S)
            try:
                await self.set()
            except Exception as error:  # whatever it is: without this task the clock would drift for good
                log.warning("the clock goes on as it was: %s", error)
