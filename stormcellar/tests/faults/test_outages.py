# SPDX-License-Identifier: MIT
"""Two servers on one PostgreSQL, and what happens to that, to its wires and to one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError
from stormcellar.settings import Settings
from stormcellar.tests.faults.browsers import PAUSE_S, SECRET, Browser, Site, at
from stormcellar.tests.faults.world import World, run, world_of
from stormcellar.tests.figures import Figures
from stormcellar.tests.postgres import DATABASE, Cluster, Wire
from stormcellar.tests.site import make_app

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

VISITORS = 8
RESTARTS: tuple[Literal["fast", "immediate"], ...] = ("fast", "immediate") * 5
REVOCATIONS, CUTS = 1000, 4
STAYING = 20
KILLED_IN_MID_REFRESH = 5
CAUGHT_WITHIN_S = 5.0  # else the server's connection was in use, and the round begins again
RESTORED = 3
HEARD_WITHIN_S = 1.0
LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'kit'"
GENERATION = "SELECT generation FROM sessions WHERE handle = %s"


@asynccontextmanager
async def a_third_server(data_dir: Path, cluster: Cluster) -> AsyncIterator[Sessions]:
    """The engine of one in this process, of which nothing is asked over HTTP."""
    application = make_app(Settings(port=0, data_dir=data_dir, database=cluster.url(DATABASE), secret=SECRET))
    try:
        await application.start()
        yield application.sessions
    finally:
        await application.stop()


async def stop_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """End visits; raises what went wrong in one."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(outcome, asyncio.CancelledError):
            raise AssertionError("a visit ended by itself") from outcome


def test_restarts_of_the_database_under_load_sign_nobody_out(
    tmp_path: Path, cluster: Cluster, figures: Figures
) -> None:
    """Pages go on being served; renewals are put off, in time and without clearing a cookie."""
    served_again_s: list[float] = []

    async def restart(world: World, probes: list[Browser], how: Literal["fast", "immediate"]) -> None:
        await asyncio.to_thread(cluster.stop, how)
        seen = [len(probe.put_off_s) for probe in probes]
        renewals = [
            asyncio.ensure_future(probe.refresh(at(url)))
            for probe, url in zip(probes, world.site.urls, strict=True)
        ]
        while any(len(probe.put_off_s) < before + 3 for probe, before in zip(probes, seen, strict=True)):
            await asyncio.sleep(PAUSE_S)
        await asyncio.to_thread(cluster.start)
        back_at = time.monotonic()
        await asyncio.gather(*renewals, world.until_ready())
        served_again_s.append(time.monotonic() - back_at)

    async def story() -> None:
        async with world_of(Site(tmp_path, 2, cluster=cluster)) as world:
            browsers = await world.newcomers(VISITORS)
            probes = await world.newcomers(2)
            visits = [asyncio.create_task(world.visit(browser)) for browser in browsers]
            for how in RESTARTS:
                await restart(world, probes, how)
            await stop_all(visits)
            everybody = [*browsers, *probes]
            await world.go_on(everybody)
            tried = f"{len(RESTARTS)} restarts, {len(world.history.operations)} requests"
            violations = world.history.violations(heard_within_s=0)
            figures.none("database restarts: nobody is signed out", "PostgreSQL", violations, tried)
            put_off_pages = [browser.email for browser in everybody if browser.pages_put_off]
            pages = f"{len(world.page_s)} pages"
            figures.none("database restarts: every page is served", "PostgreSQL", put_off_pages, pages)
            put_off_s = [s for browser in everybody for s in browser.put_off_s]
            figures.times("database away: until the answer 503", "PostgreSQL", put_off_s, most_s=2.0)
            figures.times("database back: until full service", "PostgreSQL", served_again_s, most_s=3.0)

    run(story)


@pytest.mark.parametrize("mode", ["listen", "poll"])
def test_wires_cut_in_a_burst_of_a_thousand_revocations_cost_no_server_one_of_them(
    tmp_path: Path, cluster: Cluster, figures: Figures, mode: str
) -> None:
    """The health check says who polls; every token is refused HEARD_WITHIN_S after the last revocation."""
    where = "PostgreSQL" if mode == "listen" else "PostgreSQL, polling"
    heard_again_s: list[float] = []

    async def is_served(world: World, url: str, token: str) -> bool:
        headers = {"Cookie": f"sAccessToken={token}"}
        response = await world.client.fetch(f"{url}/dashboard", headers=headers, raise_error=False)
        assert response.code in (200, 401), response
        return response.code == 200

    async def cut(world: World, left: list[str]) -> None:
        for number in range(1, CUTS + 1):
            while len(left) > REVOCATIONS - number * REVOCATIONS // (CUTS + 1):
                await asyncio.sleep(PAUSE_S)
            cut_at = time.monotonic()
            if mode == "poll":
                cluster.execute(OTHERS)
                continue
            cluster.execute(LISTENERS)
            await world.until_ready(feed_mode="poll")
            heard_again_s.append(time.monotonic() - cut_at)
            await world.until_ready(feed_mode="listen")

    async def story() -> None:
        parameters = "stormcellar_feed=poll" if mode == "poll" else ""
        site = Site(tmp_path, 2, cluster=cluster, parameters=parameters)
        async with world_of(site) as world:
            await world.until_ready(feed_mode=mode)
            user_id = (await world.newcomer()).user_id
            async with a_third_server(tmp_path / "third", cluster) as engine:
                made = [await engine.create_new_session(user_id) for _ in range(REVOCATIONS + STAYING)]
                tokens = {s.handle: s.new_tokens.access_token for s in made if s.new_tokens}
                staying = [made.pop() for _ in range(STAYING)]
                for url in site.urls:
                    assert await is_served(world, url, tokens[made[0].handle])
                left = [session.handle for session in made]

                async def revoke() -> None:
                    while left:
                        handle = left.pop()
                        while True:
                            try:
                                await engine.revoke_session(handle, owner=None)
                                break
                            except StoreUnavailableError:
                                await asyncio.sleep(PAUSE_S)

                await asyncio.gather(cut(world, left), *(revoke() for _ in range(2)))
            await asyncio.sleep(HEARD_WITHIN_S)
            served = []
            for url in site.urls:
                answers = await asyncio.gather(*(is_served(world, url, tokens[s.handle]) for s in made))
                served += [session.handle for session, was in zip(made, answers, strict=True) if was]
                for session in staying:
                    assert await is_served(world, url, tokens[session.handle])
            tried = f"{REVOCATIONS} on 2 servers, {CUTS} cuts"
            figures.none("revocations in a burst, wires cut: missed", where, served, tried)
            if mode == "listen":
                assert site.complaints.count("broke off") >= CUTS
                figures.times("LISTEN cut: until all servers poll", where, heard_again_s, most_s=5.0)

    run(story)


def test_a_server_killed_in_mid_refresh_is_replaced_by_another(
    tmp_path: Path, cluster: Cluster, figures: Figures
) -> None:
    """The database has done it, nobody was told; asked again, another server gives the same next token."""

    async def killed(world: World, wire: Wire, browser: Browser) -> bool:
        victim, other = world.site.servers
        asked: list[str] = []

        async def route() -> str:
            asked.append(victim.url if victim in world.site.up else other.url)
            return asked[-1]

        await browser.refresh(at(victim.url))  # so that it has a connection
        before = browser.generation
        wire.mute = True
        renewal = asyncio.ensure_future(browser.refresh(route))
        given_up_at = time.monotonic() + CAUGHT_WITHIN_S
        while cluster.execute(GENERATION, DATABASE, [browser.session]) == [(before,)]:
            if time.monotonic() > given_up_at:  # the connection waited for the answer to another statement
                wire.mute = False
                await renewal
                return await killed(world, wire, browser)
            await asyncio.sleep(PAUSE_S)
        assert not renewal.done()
        await world.site.kill(victim)
        wire.mute = False
        went_on = await renewal
        assert asked[0] != asked[-1]
        return went_on and cluster.execute(GENERATION, DATABASE, [browser.session]) == [(before + 1,)]

    async def story() -> None:
        wire = Wire(cluster)
        async with wire.between(cluster.url(DATABASE)):
            site = Site(tmp_path, 2, cluster=cluster, wire=wire)
            site.servers[1].environment["STORMCELLAR_DATABASE"] = cluster.url(DATABASE)
            async with world_of(site) as world:
                browser = await world.newcomer(site.urls[1])
                stuck = []
                for number in range(KILLED_IN_MID_REFRESH):
                    if number:
                        await site.start(site.servers[0])
                    if not await killed(world, wire, browser):
                        stuck.append(number)
                await site.start(site.servers[0])
                await world.go_on([browser])
                violations = [*stuck, *world.history.violations(heard_within_s=0)]
                tried = f"{KILLED_IN_MID_REFRESH} servers killed"
                figures.none("server killed in mid-refresh: client stuck", "PostgreSQL", violations, tried)

    run(story)


def test_a_replica_that_lacks_the_latest_refreshes_signs_nobody_out(
    tmp_path: Path, cluster: Cluster, figures: Figures
) -> None:
    """Sessions are as they were some refreshes ago; clients present newer tokens than the store has."""

    async def story() -> None:
        async with world_of(Site(tmp_path, 2, cluster=cluster)) as world:
            browsers = await world.newcomers(VISITORS)
            for number in range(1, RESTORED + 1):
                cluster.execute("CREATE TABLE earlier AS SELECT * FROM sessions", DATABASE)
                for _ in range(number):
                    await world.go_on(browsers)
                cluster.execute("TRUNCATE sessions; INSERT INTO sessions SELECT * FROM earlier", DATABASE)
                cluster.execute("DROP TABLE earlier", DATABASE)
                cluster.execute(OTHERS)
                await world.go_on(browsers)
            assert world.site.complaints.count("session continued: ") >= VISITORS * RESTORED
            violations = world.history.violations(heard_within_s=0)
            tried = f"{RESTORED} times, {VISITORS} browsers"
            figures.none("replica restored: nobody is signed out", "PostgreSQL", violations, tried)

    run(story)
