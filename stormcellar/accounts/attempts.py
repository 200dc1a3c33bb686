# SPDX-License-Identifier: MIT
"""Attempts that are under way at the same time in this process.

An attempt takes its part of a budget before the password is hashed, because otherwise an attacker could make
more guesses in parallel than the limit allows. Two rules keep that from refusing people whose password is
right: equal attempts are one attempt, and an attempt waits for those under way before it is refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from stormcellar.accounts.errors import ThrottledError

T = TypeVar("T")


class EqualAttempts:
    """Runs attempts with the same key once, if they come while the first one is still under way.

    It is the same guess, so an attacker learns no more, and nobody waits for a hash that is being made.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}

    async def run(self, key: Hashable, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the attempt returns, or raise what it raises."""
        first = self._under_way.get(key)
        if first is None:
            first = asyncio.ensure_future(attempt())
            self._under_way[key] = first
            first.add_done_callback(lambda _: self._under_way.pop(key))
            result: T = await asyncio.shield(first)
            return result
        try:
            result = await asyncio.shield(first)
        except ThrottledError:  # that was the budget of the first one's client
            return await attempt()
        return result


class Reservations:
    """Lets attempts at the same budgets wait until one that is under way ends, and may have given back."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._ended = asyncio.Condition()

    @asynccontextmanager
    async def holding(
        self, buckets: Sequence[str], take: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Around an attempt, `take` being what reserves its budgets.

        Raises:
            ThrottledError: from `take`, while no other attempt at these budgets is under way.
        """
        await self._take(buckets, take)
        self._under_way.update(buckets)
        try:
            yield
        finally:
            self._under_way.subtract(buckets)
            for bucket in buckets:
                if not self._under_way[bucket]:
                    del self._under_way[bucket]
            await self._wake_next()

    async def _take(self, buckets: Sequence[str], take: Callable[[], Awaitable[None]]) -> None:
        while True:
            may_be_given_back = self._is_any_under_way(buckets)
            try:
                return await take()
            except ThrottledError:
                if not may_be_given_back:
                    await self._wake_next()
                    raise
            async with self._ended:
                if self._is_any_under_way(buckets):
                    await self._ended.wait()

    def _is_any_under_way(self, buckets: Sequence[str]) -> bool:
        return any(self._under_way[bucket] for bucket in buckets)

    async def _wake_next(self) -> None:
        async with self._ended:
            self._ended.notify()
