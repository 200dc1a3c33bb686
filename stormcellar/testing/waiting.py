# SPDX-License-Identifier: MIT
"""Wait in a test for what another thread is about to bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DEADLINE_S = 20  # how long a test waits for what must come soon; a test that passes never waits so long


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true.

    Raises:
        TimeoutError: it is not true after DEADLINE_S.
    """

    async def look() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), DEADLINE_S)
