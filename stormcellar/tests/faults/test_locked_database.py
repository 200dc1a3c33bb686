# SPDX-License-Identifier: MIT
"""Another process holds SQLite's write lock: a backup, a migration, somebody's shell."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stormcellar.tests.faults.browsers import PAUSE_S, Browser, Site, http_client
from stormcellar.tests.faults.history import History
from stormcellar.tests.figures import Figures

pytestmark = pytest.mark.faults

BROWSERS = 8
SHORT_S = 0.5
LONGEST_WAIT_S = 5.5
DEADLINE_S = 300.0  # a story that takes so long hangs


class World:
    """One site and the people who are signed in there."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.history = History()
        self.browsers: list[Browser] = []

    async def open(self) -> None:
        self.client = http_client()
        for number in range(BROWSERS):
            browser = Browser(self.client, self.history, self.site.any_url, f"visitor{number}@example.com")
            await browser.sign_up()
            self.browsers.append(browser)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.site.sqlite_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def begin_writes(self) -> asyncio.Future[list[object]]:
        """All but one renew, and one signs out; each repeats until it is done."""
        leaving, *staying = self.browsers
        return asyncio.gather(leaving.copy().sign_out(), *(browser.refresh() for browser in staying))


def run(tmp_path: Path, figures: Figures, story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story; afterwards all but the one who left go on, and nobody was accused."""
    site = Site(tmp_path / "data", 1)
    world = World(site)

    async def tell() -> None:
        await site.start()
        await world.open()
        await story(world)
        leaving, *staying = world.browsers
        for browser in staying:
            assert await browser.read()
            assert await browser.refresh()
        assert not await leaving.refresh()
        world.client.close()

    try:
        asyncio.run(asyncio.wait_for(tell(), DEADLINE_S))
    finally:
        site.stop()
        print(site.complaints)  # pytest shows it if the test fails
    figures.none("locked: nobody loses a session or is accused", "SQLite",
                 world.history.violations(heard_within_s=0), f"{BROWSERS} browsers")  # fmt: skip
    assert "theft" not in site.complaints


def test_writes_wait_for_a_lock_that_is_held_for_a_moment(tmp_path: Path, figures: Figures) -> None:
    async def story(world: World) -> None:
        with world.locked():
            writes = world.begin_writes()
            await asyncio.sleep(SHORT_S)
            assert not writes.done()
        await writes

    run(tmp_path, figures, story)


def test_a_lock_that_stays_puts_writes_off_and_ends_no_session(tmp_path: Path, figures: Figures) -> None:
    """503 with Retry-After, and pages go on being served."""

    async def story(world: World) -> None:
        with world.locked():
            writes = world.begin_writes()
            while not all(browser.put_off_s for browser in world.browsers[1:]):
                assert await world.browsers[0].read()
                await asyncio.sleep(PAUSE_S)
            assert not writes.done()
        await writes
        waited_s = [s for browser in world.browsers for s in browser.put_off_s]
        figures.times("locked for long: until the answer 503", "SQLite", waited_s, most_s=LONGEST_WAIT_S)

    run(tmp_path, figures, story)
