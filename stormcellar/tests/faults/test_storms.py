# SPDX-License-Identifier: MIT
"""Many at once: people who sign in, clients that send a byte now and then, sockets that wait.

The figures are those of stormcellar/benchmarks/storms.py and stormcellar/benchmarks/sockets.py.
"""

from __future__ import annotations

import asyncio

import pytest

from stormcellar.benchmarks import sockets, storms
from stormcellar.tests.figures import Figures

pytestmark = pytest.mark.faults

SOCKETS = 5000


def test_pages_stay_quick_in_a_storm_of_sign_ins_and_beside_slow_clients(figures: Figures) -> None:
    """Who comes too much is told when to come again; nobody waits for ever."""

    async def story() -> None:
        async for felt in storms.measure():
            refused = [answer for answer in felt.answers if answer.endswith("without Retry-After")]
            pages = f"{len(felt.times_s)} pages"
            figures.none(f"{felt.what}: pages that failed", "SQLite", felt.failed, pages)
            figures.none(f"{felt.what}: refused without Retry-After", "SQLite", refused, "every answer")
            figures.times(
                f"{felt.what}: pages meanwhile", "SQLite", felt.times_s,
                p95_s=felt.p95_target_s, most_s=felt.worst_target_s,
            )  # fmt: skip

    asyncio.run(story())


def test_thousands_of_idle_sockets_cost_little_and_close_at_once_when_revoked(figures: Figures) -> None:
    count = sockets.allow_descriptors(SOCKETS)
    idle = asyncio.run(sockets.measure(count))
    promise = f"{count:,} idle sockets"
    each = f"{idle.kb_each:.1f} KB"
    figures.keep(
        f"{promise}: memory each", "SQLite", f"most {sockets.TARGET_KB} KB", each,
        met=idle.kb_each <= sockets.TARGET_KB,
    )  # fmt: skip
    figures.times(f"{promise}: pages meanwhile", "SQLite", idle.pages_s, p95_s=sockets.TARGET_PAGE_S)
    closed = f"{promise}: all closed after a mass revocation"
    figures.times(closed, "SQLite", [idle.closed_s], most_s=sockets.TARGET_CLOSED_S)
