# SPDX-License-Identifier: MIT
"""The kit on PostgreSQL as Patroni keeps it: three servers, etcd, and every way in which a primary goes.

Two servers of the kit with two workers each serve visitors who read pages, renew in two tabs at once, sign
out and in again, and keep sockets open. A thief presents the tokens of sessions that were signed out. All
of it becomes a history, and history.py compares the history with what lasting sessions could have answered.

Each story runs twice. With asynchronous replication the replicas lag by LAG_S, so a failover loses
acknowledged writes: a session may be lost whose sign-in was acknowledged within the lag. Its user signs in
again. With synchronous replication no session is lost.

A sign-out that one process acknowledged in the very last moment cannot reach the others before there is a new
primary: pages may be served until then. Refreshes may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from stormcellar.sessions import StoreUnavailableError
from stormcellar.store.postgres import PostgresDatabase
from stormcellar.tests.faults.browsers import PAUSE_S, SECRET, Browser, Route, Site, at, http_client
from stormcellar.tests.faults.history import Operation
from stormcellar.tests.faults.world import World
from stormcellar.tests.figures import Figures
from stormcellar.tests.patroni import Node, PatroniCluster
from stormcellar.tests.serving import ServerProcess

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

VISITORS, LEAVING = 6, 4
LAG_S = 0.4
BUSY_S = 1.0  # how much longer a busy machine lets the replicas lag
RUN_UP_S, RUN_OUT_S = 1.5, 1.0
HEARD_WITHIN_S = 1.0
DEADLINE_S = 300.0
REVOKED = 4001
MIGRATION = (
    "CREATE TABLE trial (name TEXT); INSERT INTO trial VALUES ('from step 1')",
    "INSERT INTO trial VALUES ('from step 2'); SELECT pg_sleep(1); ALTER TABLE trial ADD COLUMN size INTEGER",
)
MODES = ["asynchronous", "synchronous"]

Fault = Callable[["Story"], Awaitable[None]]


@pytest.fixture(scope="module")
def patroni() -> Iterator[PatroniCluster]:
    cluster = PatroniCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest, patroni: PatroniCluster) -> str:
    name: str = request.param
    patroni.set_synchronous(name == "synchronous")
    return name


class Story:
    """What happens around one fault.

    Attributes:
        old: the primary at the beginning.
        began_at, promoted_at: when the fault began, and when its successor took writes.
        writing_again_s: how long after that each server of the kit answered a refresh.
        lost: how many sessions the failover lost, whose users signed in again.
    """

    def __init__(self, patroni: PatroniCluster, site: Site, world: World, is_synchronous: bool) -> None:
        self.patroni = patroni
        self.site = site
        self.world = world
        self.is_synchronous = is_synchronous
        self.old: Node = patroni.primary
        self.began_at = self.promoted_at = self.ready_at = 0.0
        self.writing_again_s: list[float] = []
        self.lost = 0
        self.is_over = False
        self.signed_out: list[Browser] = []
        self.everybody: list[Browser] = []
        self.page_s: list[float] = []

    # -- people -------------------------------------------------------------------------------------

    async def visit(self, browser: Browser) -> None:
        """Read, renew in one tab or two, sign out and in again, until it is over."""
        while not self.is_over:
            await asyncio.sleep(random.uniform(0, 0.1))
            choice = random.random()
            if choice < 0.55:
                began = time.monotonic()
                goes_on = await browser.read()
                self.page_s.append(time.monotonic() - began)
            elif choice < 0.75:
                goes_on = await browser.refresh()
            elif choice < 0.85:
                other = browser.copy()
                self.everybody.append(other)
                goes_on, _ = await asyncio.gather(
                    browser.refresh(at(self.site.urls[0])), other.refresh(at(self.site.urls[1]))
                )
            else:
                await self.leave(browser)
                await browser.sign_in()
                continue
            if not goes_on:  # the history tells whether that was right
                self.lost += 1
                browser.cookies.clear()
                await browser.sign_in()

    async def leave(self, browser: Browser, route: Route | None = None) -> None:
        """Sign out; a replica that lags hears of it too late."""
        kept = browser.copy()
        await browser.sign_out(route)
        self.signed_out.append(kept)

    async def steal(self) -> None:
        """Present tokens of sessions that were signed out, on every server, until it is over."""
        while not self.is_over:
            await asyncio.sleep(random.uniform(0, 0.05))
            if self.signed_out:
                await self.present(random.choice(self.signed_out[-8:]), random.choice(self.site.urls))

    async def present(self, kept: Browser, url: str) -> None:
        thief = kept.copy()
        self.everybody.append(thief)
        if random.random() < 0.5:
            await thief.read(at(url))
        else:
            await thief.refresh(at(url))

    # -- the fault ----------------------------------------------------------------------------------

    async def failed_over(self) -> None:
        """Wait for the successor, then until every server of the kit writes to it."""
        await asyncio.to_thread(self.patroni.until_promoted, self.old)
        self.promoted_at = time.monotonic()
        await asyncio.gather(*map(self._until_written, self.probes, self.site.urls))
        await self.world.until_ready()
        self.ready_at = time.monotonic()

    async def _until_written(self, probe: Browser, url: str) -> None:
        await probe.refresh(at(url))
        self.writing_again_s.append(time.monotonic() - self.promoted_at)

    async def play(self, fault: Fault) -> None:
        world = self.world
        visitors, leaving = await world.newcomers(VISITORS), await world.newcomers(LEAVING)
        self.probes = await world.newcomers(len(self.site.urls))
        self.everybody += [*visitors, *self.probes]
        sockets = [
            await open_socket(probe, url) for probe, url in zip(self.probes, self.site.urls, strict=True)
        ]
        await asyncio.to_thread(self.patroni.until_whole)
        with self.patroni.lag(0.0 if self.is_synchronous else LAG_S):
            tasks = [asyncio.create_task(self.visit(browser)) for browser in visitors]
            tasks += [asyncio.create_task(self.steal()) for _ in range(2)]
            await asyncio.sleep(RUN_UP_S)
            await asyncio.gather(*map(self.leave, leaving))
            self.began_at = time.monotonic()
            await fault(self)
        await asyncio.sleep(RUN_OUT_S)
        self.is_over = True
        await asyncio.gather(*tasks)
        await world.go_on([*visitors, *self.probes])
        # A socket of a session that goes on stays open; a sign-out on the other server ends it.
        assert not any(socket.close_code for socket in sockets)
        for probe, url in zip(self.probes, reversed(self.site.urls), strict=True):
            await self.leave(probe, at(url))
        await asyncio.wait_for(asyncio.gather(*map(until_closed, sockets)), DEADLINE_S)
        assert [socket.close_code for socket in sockets] == [REVOKED] * len(sockets)

    # -- judgement ----------------------------------------------------------------------------------

    def violations(self) -> list[str]:
        lost = {
            operation.session for operation in self.world.history.operations if self._may_be_lost(operation)
        }
        history = self.world.history
        unheard = {operation.session for operation in history.operations if self._may_be_unheard(operation)}
        history.operations = [
            operation
            for operation in history.operations
            if not (operation.session in lost and operation.answer == "refused")
            and not (operation.session in unheard and operation.kind == "read" and self._is_outage(operation))
        ]
        return history.violations(heard_within_s=HEARD_WITHIN_S)

    def _may_be_lost(self, operation: Operation) -> bool:
        return (
            not self.is_synchronous
            and operation.kind == "sign_in"
            and self.began_at - LAG_S - BUSY_S < operation.answered_at < self.promoted_at
        )

    def _may_be_unheard(self, operation: Operation) -> bool:
        """Tell of a sign-out whose notification may have died with the primary."""
        is_last = operation.asked_at < self.ready_at and self.began_at - BUSY_S < operation.answered_at
        return operation.kind == "sign_out" and is_last

    def _is_outage(self, operation: Operation) -> bool:
        return self.began_at < operation.asked_at < self.ready_at + HEARD_WITHIN_S


async def open_socket(browser: Browser, url: str) -> WebSocketClientConnection:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = {"Cookie": cookies, "Origin": url}
    return await websocket_connect(HTTPRequest(url.replace("http", "ws", 1) + "/ws/session", headers=headers))


async def until_closed(socket: WebSocketClientConnection) -> None:
    while await socket.read_message() is not None:
        pass


# -- faults -----------------------------------------------------------------------------------------


async def kill_the_primary(story: Story) -> None:
    """The machine of the primary loses its power, and comes back."""
    await asyncio.to_thread(story.old.kill)
    story.patroni.end_lease()
    await story.failed_over()
    story.old.start()


async def switch_over(story: Story) -> None:
    """An administrator hands the primary's role over."""
    await asyncio.to_thread(story.patroni.switch_over)
    await story.failed_over()


async def freeze_the_primary(story: Story) -> None:
    """All processes of the primary stand still until its successor has been at work for a while."""
    with story.old.frozen():
        story.patroni.end_lease()
        await story.failed_over()
        await asyncio.sleep(RUN_OUT_S)


async def cut_off_the_primary(story: Story) -> None:
    """Nothing reaches the primary, or comes from it: the clients, the other servers, etcd."""
    with story.old.without():
        await until_given_up(story)
        await story.failed_over()
        await asyncio.sleep(RUN_OUT_S)


async def leave_the_primary_only_its_clients(story: Story) -> None:
    """The primary loses the other servers and etcd, while the kit still reaches it."""
    with story.old.without(story.old.for_servers, story.old.to_etcd):
        await until_given_up(story)
        await story.failed_over()
        await asyncio.sleep(RUN_OUT_S)


async def until_given_up(story: Story) -> None:
    """Wait until a primary without etcd takes no writes, then let the lease expire that it did not renew."""
    while await asyncio.to_thread(story.old.takes_writes):
        await asyncio.sleep(PAUSE_S)
    story.patroni.end_lease()


async def kill_the_primary_in_a_migration(story: Story) -> None:
    """The primary dies while a server of a new version changes the tables."""

    async def migrate() -> None:
        database = PostgresDatabase(story.patroni.url)
        while True:
            try:
                await database.open()
                await database.migrate("trial", MIGRATION)
                await database.close()
                return
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE_S)

    migration = asyncio.create_task(migrate())
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1)%' AND pid <> pg_backend_pid()"
    )
    while await asyncio.to_thread(story.old.execute, sleeping) == [(0,)]:
        await asyncio.sleep(PAUSE_S)
    await kill_the_primary(story)
    await migration
    rows = story.patroni.primary.execute("SELECT name, size FROM trial ORDER BY name", "stormcellar")
    assert rows == [("from step 1", None), ("from step 2", None)]


@pytest.mark.parametrize(
    "fault",
    [
        kill_the_primary,
        switch_over,
        freeze_the_primary,
        cut_off_the_primary,
        leave_the_primary_only_its_clients,
        kill_the_primary_in_a_migration,
    ],
    ids=["killed", "switched", "frozen", "cut", "without-etcd", "migrating"],
)
def test_a_failover_signs_nobody_out_and_brings_no_session_back(
    tmp_path: Path,
    patroni: PatroniCluster,
    mode: str,
    fault: Fault,
    figures: Figures,
    request: pytest.FixtureRequest,
) -> None:
    async def story() -> None:
        async with site_on(patroni, tmp_path, mode) as told:
            await told.play(fault)
            await present_to_a_new_server(told, tmp_path)
            judge(told)

    def judge(told: Story) -> None:
        where = f"Patroni, {mode}"
        name = request.node.callspec.id.removeprefix(f"{mode}-")
        requests = f"{len(told.world.history.operations)} requests"
        figures.none(
            f"failover ({name}): wrong answers",
            where,
            told.violations(),
            f"{requests}, {len(told.signed_out)} sign-outs",
        )
        put_off = [browser.email for browser in told.everybody if browser.pages_put_off]
        figures.none(f"failover ({name}): pages that failed", where, put_off, f"{len(told.page_s)} pages")
        figures.times("failover: new primary to first write", where, told.writing_again_s, most_s=2.0)
        waited = [told.promoted_at - told.began_at]
        figures.times(f"failover ({name}): until the new primary", where, waited, asserted=False)

    asyncio.run(asyncio.wait_for(story(), DEADLINE_S))


@contextlib.asynccontextmanager
async def site_on(patroni: PatroniCluster, folder: Path, mode: str) -> AsyncIterator[Story]:
    await asyncio.to_thread(patroni.until_whole)
    patroni.empty_database()
    site = Site(folder, 2, "--processes=2", address=patroni.url)
    client = http_client()
    try:
        await site.start()
        world = World(site, client)
        await world.until_ready(feed_mode="listen")
        yield Story(patroni, site, world, mode == "synchronous")
        assert "Traceback" not in site.complaints, site.complaints
        assert "theft" not in site.complaints, site.complaints
    finally:
        client.close()
        await asyncio.to_thread(site.stop)
        print(site.complaints)  # pytest shows it if the test fails


async def present_to_a_new_server(story: Story, folder: Path) -> None:
    """Present the tokens of sessions that were signed out to a server that remembers nothing.

    It refuses them with asynchronous replication too: the servers that remember have written it down again.
    """
    environment = {"STORMCELLAR_DATABASE": story.patroni.url, "STORMCELLAR_SECRET": SECRET}
    with_no_memory = ServerProcess(folder / "new", environment=environment)
    await asyncio.to_thread(story.site.stop)
    try:
        await story.site.start(with_no_memory)
        for kept in story.signed_out:
            thief = kept.copy()
            story.everybody.append(thief)
            await thief.refresh(at(with_no_memory.url))
    finally:
        await asyncio.to_thread(with_no_memory.stop)
