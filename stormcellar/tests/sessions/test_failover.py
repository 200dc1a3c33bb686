# SPDX-License-Identifier: MIT
"""The store on a PostgreSQL primary with a replica: which server is written to, and what a failover loses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError, UnauthorisedError
from stormcellar.store import Connection, presence
from stormcellar.store.postgres import PostgresDatabase, read_address
from stormcellar.store.postgres_connect import first_of, split_hosts, timeline_of
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.failover import Pair
from stormcellar.tests.parts import require
from stormcellar.tests.postgres import DATABASE, DEADLINE_S, PASSWORD_IN_ADDRESS, Cluster, Wire, set_limits
from stormcellar.tests.sessions.helpers import refresh, sign_in, use
from stormcellar.tests.support import running_engine

NOTES = ("CREATE TABLE notes (body TEXT)",)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair(require("postgres"))
    try:
        pair.start()
        yield pair
    finally:
        pair.remove()


def insert(body: str) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute("INSERT INTO notes VALUES (:body)", {"body": body})


def notes_of(server: Cluster) -> list[str]:
    return [body for (body,) in server.execute("SELECT body FROM notes ORDER BY body", DATABASE)]


def tell(url: str, story: Callable[[PostgresDatabase], Awaitable[None]]) -> None:
    async def told() -> None:
        database = PostgresDatabase(url)
        await database.open()
        try:
            await story(database)
        finally:
            await database.close()

    asyncio.run(told())


async def write_when_possible(database: PostgresDatabase, body: str) -> None:
    async def attempts() -> None:
        while True:
            with contextlib.suppress(StoreUnavailableError):
                await database.write(insert(body))
                return
            await asyncio.sleep(0.05)

    await asyncio.wait_for(attempts(), DEADLINE_S)


@pytest.mark.postgres
class TestHosts:
    def test_the_server_that_takes_writes_is_found_in_any_place(self, pair: Pair) -> None:
        """Also with `target_session_attrs`, which refuses connections whose default is to read only."""

        async def story(database: PostgresDatabase) -> None:
            await database.migrate("notes", NOTES)
            await database.write(insert("a"))
            assert await database.read(lambda c: c.execute("SELECT body FROM notes").fetchall()) == [("a",)]
            with pytest.raises(StoreUnavailableError, match="read-only"):
                await database.read(insert("by a reader"))

        tell(pair.url, story)

    def test_a_frozen_primary_delays_no_write_after_the_promotion(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And when it thaws, nothing is written to it: its timeline is the older one."""

        async def story(database: PostgresDatabase) -> None:
            await database.migrate("notes", NOTES)
            await asyncio.gather(*(database.write(insert(f"before {number}")) for number in range(8)))
            pair.wait_until_replayed()
            set_limits(monkeypatch, answer_s=1.0)
            with pair.frozen_primary():
                with pytest.raises(StoreUnavailableError):
                    await database.write(insert("lost"))
                await asyncio.to_thread(pair.promote)
                await write_when_possible(database, "while it is frozen")
            assert pair.replica
            await asyncio.gather(*(database.write(insert(f"after {number}")) for number in range(20)))
            assert [body for body in notes_of(pair.replica) if body.startswith(("while", "after"))] == [
                *sorted(f"after {number}" for number in range(20)),
                "while it is frozen",
            ]
            assert not [body for body in notes_of(pair.primary) if body.startswith(("while", "after"))]
            pair.replica.stop("immediate")
            with pytest.raises(StoreUnavailableError):
                await database.write(insert("to an old primary"))
            assert "to an old primary" not in notes_of(pair.primary)

        set_limits(monkeypatch, answer_s=DEADLINE_S)
        tell(pair.url, story)

    def test_a_proxy_that_refuses_options_gets_the_limits_as_statements(
        self, cluster: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story() -> None:
            proxy = Wire(cluster)
            proxy.refuses_options = True
            async with proxy.between(postgres_url) as url:
                database = PostgresDatabase(url)
                await database.open()
                found = await database.read(lambda c: c.execute("SHOW statement_timeout").fetchone())
                assert found == ("4321ms",)
                await database.close()

        set_limits(monkeypatch, answer_s=DEADLINE_S, statement_timeout=4321)
        asyncio.run(story())

    @pytest.mark.parametrize("limit", [2, 3, 5])
    def test_a_role_with_few_connections_starts_and_serves(
        self, cluster: Cluster, postgres_url: str, limit: int
    ) -> None:
        async def story() -> None:
            database = PostgresDatabase(postgres_url)
            await database.open()
            await database.migrate("notes", NOTES)
            database.watch(lambda: None, lambda: None)
            await asyncio.gather(
                *(database.write(insert(f"{number}")) for number in range(40)),
                *(database.read(lambda c: c.execute("SELECT count(*) FROM notes")) for _ in range(40)),
            )
            await database.close()

        cluster.execute(f"ALTER ROLE kit CONNECTION LIMIT {limit}")
        try:
            asyncio.run(story())
            assert len(notes_of(cluster)) == 40
        finally:
            cluster.execute("ALTER ROLE kit CONNECTION LIMIT -1")


@pytest.mark.postgres
class TestAddresses:
    def test_each_host_gets_its_own_port(self) -> None:
        address = f"postgresql://kit:{PASSWORD_IN_ADDRESS}@a:1,b:2/{DATABASE}"
        parameters, _ = read_address(address)
        hosts = split_hosts(parameters)
        assert [(one["host"], one["port"]) for one in hosts] == [("a", "1"), ("b", "2")]
        assert {one["target_session_attrs"] for one in hosts} == {"any"}

    def test_one_port_holds_for_all_hosts(self) -> None:
        parameters, _ = read_address("host=a,b,c port=7 dbname=x")
        assert [one["port"] for one in split_hosts(parameters)] == ["7"] * 3

    @pytest.mark.parametrize("target", ["read-only", "standby", "prefer-standby", "nonsense"])
    def test_a_server_that_cannot_be_written_to_is_refused_as_target(
        self, target: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(StoreUnavailableError, match="target_session_attrs"):
            read_address(f"postgresql://a,b/x?target_session_attrs={target}")
        monkeypatch.setenv("PGTARGETSESSIONATTRS", target)
        with pytest.raises(StoreUnavailableError, match="target_session_attrs"):
            read_address("postgresql://a,b/x")

    def test_the_timeline_is_the_beginning_of_a_file_name(self) -> None:
        assert timeline_of("0000001A0000000100000002") == 26
        assert timeline_of(None) == 0

    def test_if_every_host_refuses_the_last_error_is_raised_at_once(self) -> None:
        asked: list[int] = []

        def refuse(number: int) -> Any:
            asked.append(number)
            raise psycopg.OperationalError(f"refused {number}")

        with pytest.raises(psycopg.OperationalError, match="refused"):
            first_of(refuse, [1, 0, 2])
        assert sorted(asked) == [0, 1, 2]


@pytest.mark.postgres
class TestLostRevocations:
    @pytest.mark.parametrize("feed", ["", "&stormcellar_feed=poll"], ids=["listen", "poll"])
    def test_no_revoked_session_comes_back_while_one_server_remembers_it(self, pair: Pair, feed: str) -> None:
        """The replica lags, so the failover loses acknowledged sign-outs, and a server starts later."""

        async def story() -> None:
            clock = FakeClock()
            async with running_engine(pair.url + feed, clock) as one:
                ended = [await sign_in(one) for _ in range(4)]
                kept, changed = await sign_in(one), await sign_in(one)
                await asyncio.to_thread(pair.wait_until_replayed)
                await asyncio.to_thread(pair.cut_replication)
                for tokens in ended:
                    session = await one.get_session(tokens.access_token)
                    assert session
                    await session.revoke()
                session = await one.get_session(changed.access_token)
                assert session
                await session.merge_into_access_token_payload({"role": "editor"})
                await asyncio.to_thread(pair.fail_over)
                async with serving_again(pair.url, clock) as two:
                    await until(lambda: one.feed.state == "live" and knows_all_of(two, one))
                    for engine in (one, two):
                        for tokens in ended:
                            with pytest.raises(UnauthorisedError):
                                await refresh(engine, tokens)
                            with pytest.raises(UnauthorisedError):
                                await engine.get_session(tokens.access_token)
                        await use(engine, await refresh(engine, kept))
                        await use(engine, await refresh(engine, changed))

        asyncio.run(story())

    def test_no_process_renews_a_session_that_another_process_knows_as_revoked(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The primary dies before the second process has heard, and the first one is slow to come back."""

        async def story() -> None:
            clock = FakeClock()
            async with running_engine(pair.url, clock) as one, running_engine(pair.url, clock) as two:
                for engine in (one, two):
                    await meet_others(engine, clock)
                tokens = await sign_in(one)
                await until(lambda: one.feed.state == two.feed.state == "live")
                await asyncio.to_thread(pair.wait_until_replayed)
                await asyncio.to_thread(pair.cut_replication)
                resume_one, resume_two = await pause(one), await pause(two)
                session = await one.get_session(tokens.access_token)
                assert session
                await session.revoke()
                await asyncio.to_thread(pair.fail_over)
                resume_two()
                with pytest.raises(StoreUnavailableError):
                    await refresh(two, tokens)
                assert session.handle not in two.feed.revoked
                resume_one()
                await until(lambda: two.feed.state == "live")
                for engine in (one, two):
                    with pytest.raises(UnauthorisedError):
                        await refresh(engine, tokens)

        monkeypatch.setattr(presence, "SETTLE_S", DEADLINE_S)
        asyncio.run(story())

    def test_a_session_that_the_failover_lost_is_refused_and_a_new_one_begins(self, pair: Pair) -> None:
        async def story() -> None:
            clock = FakeClock()
            async with running_engine(pair.url, clock) as engine:
                await asyncio.to_thread(pair.wait_until_replayed)
                await asyncio.to_thread(pair.cut_replication)
                lost = await sign_in(engine)
                await asyncio.to_thread(pair.fail_over)
                async with serving_again(pair.url, clock):
                    pass
                await until(lambda: engine.feed.state == "live")
                with pytest.raises(UnauthorisedError) as refused:
                    await refresh(engine, lost)
                assert refused.value.clear_tokens
                await use(engine, await sign_in(engine))

        asyncio.run(story())


@contextlib.asynccontextmanager
async def serving_again(url: str, clock: FakeClock) -> AsyncIterator[Sessions]:
    """Start an engine as soon as the store answers again."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            async with running_engine(url, clock) as engine:
                yield engine
                return
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def meet_others(engine: Sessions, clock: FakeClock) -> None:
    """Announce an engine to the other processes, as a server does."""
    announced = presence.Presence(engine._store.database, clock, issuer="https://example.com", is_public=True)
    await announced.open()
    await announced.join()
    engine.feed.settle_with(announced.settle)


async def pause(engine: Sessions) -> Callable[[], None]:
    """Let an engine read no news; returns what lets it go on."""
    feed = engine.feed
    assert feed._reader
    feed._reader.cancel()
    await asyncio.wait({feed._reader})

    def resume() -> None:
        feed._reader = asyncio.get_running_loop().create_task(feed._follow())
        feed._news.set()

    return resume


def knows_all_of(engine: Sessions, other: Sessions) -> bool:
    return engine.feed.revoked.keys() >= other.feed.revoked.keys()
