# SPDX-License-Identifier: MIT
"""Several server processes on one SQLite file behave like one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.faults.browsers import Browser, Site, at, http_client
from tests.faults.history import History

pytestmark = pytest.mark.faults

PROCESSES = 4
TABS = 50
ROUNDS = 10
SESSIONS = 24
RACES = 64  # with 2 * PROCESSES refreshes in each
HEARD_WITHIN_S = 1.0  # what is asked for later than this after a sign-out must be refused everywhere
DEADLINE_S = 300.0  # a story that takes so long hangs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The processes start together, on a folder that is empty."""
    site = Site(tmp_path_factory.mktemp("processes") / "data", PROCESSES)
    try:
        asyncio.run(site.start())
        yield site
    finally:
        site.stop()
    assert "Traceback" not in site.complaints
    assert "theft" not in site.complaints


class World:
    """One test's people."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.history = History()
        self.client = http_client()
        self.email = f"{random.getrandbits(40):x}@example.com"

    async def newcomer(self) -> Browser:
        browser = Browser(self.client, self.history, self.site.any_url, self.email)
        await browser.sign_up()
        return browser

    async def another_device(self) -> Browser:
        """The same person, signed in with a browser of its own."""
        browser = Browser(self.client, self.history, self.site.any_url, self.email)
        await browser.sign_in()
        return browser


def run(site: Site, story: Callable[[World], Awaitable[None]]) -> None:
    """Tell a story, then hold what happened against what may happen."""

    async def tell() -> None:
        world = World(site)
        await asyncio.wait_for(story(world), DEADLINE_S)
        world.client.close()
        assert world.history.violations(heard_within_s=HEARD_WITHIN_S) == []

    asyncio.run(tell())


def test_tabs_that_refresh_at_once_on_all_processes_get_one_next_token(site: Site) -> None:
    """Every answer is 200, whichever is kept goes on, and each access token opens the page everywhere."""

    async def story(world: World) -> None:
        browser = await world.newcomer()
        routes = [at(url) for url in site.urls]
        for _ in range(ROUNDS):
            tabs = [browser.copy() for _ in range(TABS)]
            served = await asyncio.gather(
                *(tab.refresh(route) for tab, route in zip(tabs, itertools.cycle(routes)))
            )
            assert all(served)
            assert len({tab.cookies["sRefreshToken"] for tab in tabs}) == 1
            assert all(tab.cookies.keys() == browser.cookies.keys() for tab in tabs), "a cookie was cleared"
            shown = await asyncio.gather(*(tab.read(route) for tab in tabs for route in routes))
            assert all(shown)
            browser = random.choice(tabs)

    run(site, story)


def test_a_fresh_session_opens_the_page_on_every_process_at_once(site: Site) -> None:
    async def story(world: World) -> None:
        await world.newcomer()
        for _ in range(SESSIONS):
            browser = await world.another_device()
            assert all(await asyncio.gather(*(browser.read(at(url)) for url in site.urls)))
            await browser.refresh()
            assert all(await asyncio.gather(*(browser.read(at(url)) for url in site.urls)))
            assert browser.generation == 1, "a process asked for another refresh"

    run(site, story)


def test_a_sign_out_holds_on_every_process_at_once_for_refreshes_and_soon_for_pages(
    site: Site, report: Callable[..., None]
) -> None:
    delays_s: list[float] = []

    async def watch(world: World, browser: Browser, url: str, since: float) -> None:
        """Ask for the page until it is refused, and note for how long it was not."""
        asked_at = since
        while await browser.read(at(url)):
            asked_at = world.history.now()
        delays_s.append(asked_at - since)

    async def story(world: World) -> None:
        await world.newcomer()
        for _ in range(SESSIONS):
            browser = await world.another_device()
            await asyncio.gather(*(browser.read(at(url)) for url in site.urls))
            kept = browser.copy()
            await browser.sign_out()
            since = world.history.now()
            await asyncio.gather(
                *(watch(world, kept, url, since) for url in site.urls),
                *(kept.copy().refresh(at(url)) for url in site.urls),
            )

    run(site, story)
    report("sign-out, until every process refuses the page", delays_s)


def test_a_sign_out_wins_every_race_with_refreshes(site: Site) -> None:
    """Whatever a refresh that ran beside it returned is dead."""

    async def race(browser: Browser) -> list[Browser]:
        tabs = [browser.copy() for _ in range(2 * PROCESSES)]

        async def after_a_moment(act: Awaitable[object]) -> None:
            await asyncio.sleep(random.uniform(0, 0.01))
            await act

        await asyncio.gather(
            after_a_moment(browser.sign_out()),
            *(after_a_moment(tab.refresh(at(url))) for tab, url in zip(tabs, itertools.cycle(site.urls))),
        )
        return tabs

    async def story(world: World) -> None:
        await world.newcomer()
        tabs: list[Browser] = []
        for _ in range(RACES):
            tabs += await race(await world.another_device())
        faster = [tab for tab in tabs if tab.generation]
        assert faster, "no refresh ever came before the sign-out"
        for tab, url in zip(faster, itertools.cycle(site.urls)):
            await tab.copy().read(at(url))
            assert not await tab.refresh(at(url))

    run(site, story)
