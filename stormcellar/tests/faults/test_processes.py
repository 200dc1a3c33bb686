# SPDX-License-Identifier: MIT
"""Several server processes on one database behave like one.

They share an SQLite file or, each with a folder of its own as machines have, a database in PostgreSQL: once
with notifications, once without, where servers ask for news instead.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from stormcellar.tests.faults.browsers import Browser, Site, at, http_client
from stormcellar.tests.faults.history import History
from stormcellar.tests.figures import Figures

pytestmark = pytest.mark.faults

PROCESSES = 4
WATCHERS = 3  # on each process after a sign-out
TABS = 50
ROUNDS = 10
SESSIONS = 24
RACES = 40  # with 2 * PROCESSES refreshes in each
HEARD_WITHIN_S = 1.0  # what is asked for later than this after a sign-out must be refused everywhere
HEARD: dict[str, Any] = {  # targets, in seconds, for the last request that another process still serves
    "SQLite": {"p50_s": 0.05, "p99_s": 0.25},
    "PostgreSQL": {"p50_s": 0.05, "p99_s": 0.25},
    "PostgreSQL, polling": {"p50_s": 0.25, "most_s": 1.0},
}
DEADLINE_S = 300.0  # a story that takes so long hangs


POSTGRES = {
    "PostgreSQL": "",
    "PostgreSQL, polling": "stormcellar_feed=poll",
}


@pytest.fixture(
    scope="module", params=["SQLite", *(pytest.param(name, marks=pytest.mark.postgres) for name in POSTGRES)]
)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def site(
    store: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The processes start together, where there is nothing yet."""
    data_dir = tmp_path_factory.mktemp("processes") / "data"
    site = (
        Site(data_dir, PROCESSES)
        if store == "SQLite"
        else Site(
            data_dir,
            PROCESSES,
            cluster=request.getfixturevalue("_cluster"),
            parameters=POSTGRES[store],
        )
    )
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


class Stage:
    """Where a test tells its story."""

    def __init__(self, site: Site, store: str, figures: Figures) -> None:
        self.site, self.store, self.figures = site, store, figures

    def run(self, promise: str, story: Callable[[World], Awaitable[None]]) -> None:
        """Tell a story, then hold what happened against what may happen."""

        async def tell() -> World:
            world = World(self.site)
            await asyncio.wait_for(story(world), DEADLINE_S)
            world.client.close()
            return world

        history = asyncio.run(tell()).history
        violations = history.violations(heard_within_s=HEARD_WITHIN_S)
        tried = f"{PROCESSES} processes, {len(history.operations)} requests"
        self.figures.none(promise, self.store, violations, tried)


@pytest.fixture
def stage(site: Site, store: str, figures: Figures) -> Stage:
    return Stage(site, store, figures)


def test_tabs_that_refresh_at_once_on_all_processes_get_one_next_token(stage: Stage) -> None:
    """Every answer is 200, whichever is kept goes on, and each access token opens the page everywhere."""

    async def story(world: World) -> None:
        browser = await world.newcomer()
        routes = [at(url) for url in world.site.urls]
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

    stage.run("tabs: 50 at once get one next token", story)


def test_a_fresh_session_opens_the_page_on_every_process_at_once(stage: Stage) -> None:
    async def story(world: World) -> None:
        await world.newcomer()
        for _ in range(SESSIONS):
            browser = await world.another_device()
            assert all(await asyncio.gather(*(browser.read(at(url)) for url in world.site.urls)))
            await browser.refresh()
            assert all(await asyncio.gather(*(browser.read(at(url)) for url in world.site.urls)))
            assert browser.generation == 1, "a process asked for another refresh"

    stage.run("sign-in: known everywhere at once", story)


def test_a_sign_out_holds_on_every_process_at_once_for_refreshes_and_soon_for_pages(stage: Stage) -> None:
    """No page is served that was asked for later than HEARD_WITHIN_S after the sign-out."""
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
            await asyncio.gather(*(browser.read(at(url)) for url in world.site.urls))
            kept = browser.copy()
            await browser.sign_out()
            since = world.history.now()
            await asyncio.gather(
                *(watch(world, kept, url, since) for url in world.site.urls * WATCHERS),
                *(kept.copy().refresh(at(url)) for url in world.site.urls),
            )

    stage.run("sign-out: refused everywhere after 1 s", story)
    stage.figures.times(
        "sign-out: last request served elsewhere", stage.store, delays_s, **HEARD[stage.store]
    )


def test_a_sign_out_wins_every_race_with_refreshes(stage: Stage) -> None:
    """Whatever a refresh that ran beside it returned is dead."""

    async def race(world: World, browser: Browser) -> list[Browser]:
        tabs = [browser.copy() for _ in range(2 * PROCESSES)]

        async def after_a_moment(act: Awaitable[object]) -> None:
            await asyncio.sleep(random.uniform(0, 0.01))
            await act

        urls = itertools.cycle(world.site.urls)
        await asyncio.gather(
            after_a_moment(browser.sign_out()),
            *(after_a_moment(tab.refresh(at(url))) for tab, url in zip(tabs, urls, strict=False)),
        )
        return tabs

    async def story(world: World) -> None:
        await world.newcomer()
        tabs: list[Browser] = []
        for _ in range(RACES):
            tabs += await race(world, await world.another_device())
        faster = [tab for tab in tabs if tab.generation]
        assert faster, "no refresh ever came before the sign-out"
        for tab, url in zip(faster, itertools.cycle(world.site.urls)):
            await tab.copy().read(at(url))
            assert not await tab.refresh(at(url))

    stage.run("sign-out: wins every race with refreshes", story)
