# SPDX-License-Identifier: MIT
"""A server that has been used for long is as it was, and nothing in it holds up everybody else."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from stormcellar.testing.serving import LAST_LINE
from stormcellar.tests.faults.browsers import Browser, Site
from stormcellar.tests.faults.world import run, world_of
from stormcellar.tests.figures import Figures

pytestmark = pytest.mark.faults

VISITORS, WARM_UP, ROUNDS = 6, 40, 120
MOST_DESCRIPTORS = 4  # some threads open the database when they are first needed; a leak would show hundreds
MOST_GROWTH_PERCENT = 10  # the tokens that are remembered meanwhile among it; their number is limited
HELD = re.compile(r"Executing .* took ([0-9.]+) seconds")


async def use(browser: Browser, rounds: int) -> None:
    """Look at pages, renew, and now and then sign out and in again."""
    for number in range(rounds):
        await browser.read()
        await browser.refresh()
        await browser.read()
        if number % 10 == 0:
            await browser.sign_out()
            await browser.sign_in()


def resident_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_use_leaves_memory_and_descriptors_as_they_were(tmp_path: Path, figures: Figures) -> None:
    async def story() -> None:
        async with world_of(Site(tmp_path, 1)) as world:
            (server,) = world.site.servers
            browsers = await world.newcomers(VISITORS)
            await asyncio.gather(*(use(browser, WARM_UP) for browser in browsers))
            kb, open_files, asked = (
                resident_kb(server.pid),
                descriptors(server.pid),
                len(world.history.operations),
            )
            await asyncio.gather(*(use(browser, ROUNDS) for browser in browsers))
            growth = 100 * (resident_kb(server.pid) - kb) / kb
            more = descriptors(server.pid) - open_files
            requests = f"{len(world.history.operations) - asked} requests"
            figures.keep(
                "steady state: memory grown", "SQLite", f"most {MOST_GROWTH_PERCENT} %",
                f"{growth:.1f} % in {requests}", met=growth <= MOST_GROWTH_PERCENT,
            )  # fmt: skip
            figures.keep(
                "steady state: descriptors more", "SQLite", f"most {MOST_DESCRIPTORS}",
                f"{more} in {requests}", met=more <= MOST_DESCRIPTORS,
            )  # fmt: skip

    run(story)


def test_nothing_holds_the_event_loop_for_long(tmp_path: Path, figures: Figures) -> None:
    """In asyncio's debug mode the loop itself says what held it for more than a tenth of a second."""

    async def story() -> None:
        site = Site(tmp_path, 1)
        (server,) = site.servers
        server.environment["PYTHONASYNCIODEBUG"] = "1"
        async with world_of(site) as world:
            browsers = await world.newcomers(VISITORS)
            await asyncio.gather(*(use(browser, WARM_UP) for browser in browsers))
        in_use = server.log.partition(LAST_LINE)[2]
        held_s = [float(seconds) for seconds in HELD.findall(in_use)] or [0.0]
        held = "one callback holds the event loop"  # or a machine with too few processors holds it
        figures.times(held, "SQLite", held_s, most_s=0.1, asserted=False)

    run(story)
