# SPDX-License-Identifier: MIT
"""What PostgreSQL does beyond the contract of test_store.py: many servers, outages, news at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from stormcellar.sessions import (  # noqa: E402
    Sessions,
    StoreUnavailableError,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.sessions import feed as feed_module  # noqa: E402
from stormcellar.sessions.session_store import FeedEntry, SessionStore  # noqa: E402
from stormcellar.store import Connection, Database, one_statement  # noqa: E402
from stormcellar.store import postgres as postgres_module  # noqa: E402
from stormcellar.store.postgres import PostgresDatabase  # noqa: E402
from stormcellar.testing.clock import FakeClock  # noqa: E402
from stormcellar.testing.waiting import DEADLINE_S, until  # noqa: E402
from stormcellar.tests.figures import Figures  # noqa: E402
from stormcellar.tests.postgres import (  # noqa: E402
    DATABASE,
    PASSWORD,
    PASSWORD_IN_ADDRESS,
    Cluster,
    Wire,
    set_limits,
)
from stormcellar.tests.sessions.helpers import refresh, sign_in, use  # noqa: E402
from stormcellar.tests.sessions.test_store import NOTES, a_row, insert, notes, rotate  # noqa: E402
from stormcellar.tests.support import running_engine  # noqa: E402

REPOSITORY = Path(__file__).parents[3]
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


def tell(url: str, story: Callable[..., Awaitable[None]], count: int = 1) -> None:
    """Tell a story about `count` open databases at one address."""

    async def begin() -> None:
        databases = [PostgresDatabase(url) for _ in range(count)]
        for database in databases:
            await database.open()
        try:
            await story(*databases)
        finally:
            for database in databases:
                await database.close()

    asyncio.run(begin())


def tell_of_two(url: str, story: Callable[[Sessions, Sessions, FakeClock], Awaitable[None]]) -> None:
    """Tell a story about two engines, as two servers would have them."""

    async def begin() -> None:
        clock = FakeClock()
        async with running_engine(url, clock) as one, running_engine(url, clock) as two:
            await until(lambda: all(database_of(engine).feed_mode == "listen" for engine in (one, two)))
            await story(one, two, clock)

    asyncio.run(begin())


def database_of(engine: Sessions) -> PostgresDatabase:
    database = engine._store.database
    assert isinstance(database, PostgresDatabase)
    return database


class TestStatements:
    """`:name` as SQLite has it becomes `$1` as PostgreSQL has it."""

    @pytest.mark.parametrize(
        ("sql", "translated", "names"),
        [
            ("SELECT 1", "SELECT 1", []),
            ("a = :a AND b = :b", "a = $1 AND b = $2", ["a", "b"]),
            (":b, :a, :b", "$1, $2, $1", ["b", "a"]),
            ("(:a,:ab)", "($1,$2)", ["a", "ab"]),
            (":a::int, x::text", "$1::int, x::text", ["a"]),
            ("':a' || ':it''s :b' || :c", "':a' || ':it''s :b' || $1", ["c"]),
            ('":a" = :a', '":a" = $1', ["a"]),
            (":a -- :b\n + :c", "$1 -- :b\n + $2", ["a", "c"]),
            ("LIKE '%:a' || :a || '%'", "LIKE '%:a' || $1 || '%'", ["a"]),
            ("5 % :a", "5 % $1", ["a"]),
            ("x[1:2]", "x[1:2]", []),
        ],
    )
    def test_names_become_numbers_and_all_else_stays(
        self, sql: str, translated: str, names: list[str]
    ) -> None:
        assert postgres_module._translated(sql) == (translated.encode(), names)


class TestAddress:
    """What is wrong with an address is said without showing it."""

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://kit:SHOWN@db/kit?no_such_parameter=1",
            "postgresql://kit:SH%OWN@db/kit",
            "postgresql://kit:SHOWN@[db/kit",
            "postgresql://db/kit?stormcellar_feed=shout",
            "",
        ],
    )
    def test_what_cannot_be_read_is_refused(self, url: str) -> None:
        with pytest.raises(
            StoreUnavailableError, match=r"postgresql://user:password@host:5432/name"
        ) as caught:
            PostgresDatabase(url)
        assert "SHOWN" not in str(caught.value)

    def test_our_own_parameter_is_not_passed_on(self) -> None:
        database = PostgresDatabase("postgresql://db/kit?stormcellar_feed=poll&connect_timeout=7")
        assert database._never_listens
        assert database._parameters["connect_timeout"] == "7"
        assert "stormcellar_feed" not in database._parameters


@pytest.mark.postgres
class TestWork:
    def test_a_refresh_is_one_round_trip(self, cluster: Cluster, postgres_url: str) -> None:
        async def story() -> None:
            wire, row = Wire(cluster), a_row()
            async with wire.between(postgres_url) as url:
                store = SessionStore(PostgresDatabase(url))
                await store.database.open()
                await store.migrate()
                await store.create(row, {})
                for generation in range(30):
                    if generation == 10:  # connected, and the statement prepared
                        before = wire.answers
                    assert await rotate(store, row, generation)
                assert wire.answers == before + 20
                await store.database.close()

        asyncio.run(story())

    def test_behind_a_pooler_no_statement_is_prepared(self, cluster: Cluster, postgres_url: str) -> None:
        """It may lead to another connection each time, where the name means nothing, or something else."""

        async def prepared(wire: Wire) -> int:
            async with wire.between(postgres_url) as url:
                database = PostgresDatabase(url)
                await database.open()
                for _ in range(10):
                    found = await database.read(
                        lambda connection: connection.execute(
                            "SELECT count(*) FROM pg_prepared_statements WHERE name <> :name", {"name": ""}
                        ).fetchone()
                    )
                await database.close()
                return int(found[0])

        pooler = Wire(cluster)
        pooler.pools = True
        assert asyncio.run(prepared(Wire(cluster))) == 1
        assert asyncio.run(prepared(pooler)) == 0

    def test_parameters_of_every_kind_arrive(self, postgres_url: str) -> None:
        async def story(database: Database) -> None:
            sql = (
                "SELECT :text || '%', :no OR :yes, :bytes::bytea, :real::float8, :large::bigint, :none::text"
            )
            values = {
                "text": "a'\"\\",
                "no": False,
                "yes": True,
                "bytes": b"\0\xff",
                "real": 1.8e9 + 0.123456,
            }
            found = await database.read(
                lambda connection: connection.execute(
                    sql, {**values, "large": 2**62, "none": None}
                ).fetchone()
            )
            assert found == ("a'\"\\%", True, b"\0\xff", 1.8e9 + 0.123456, 2**62, None)

        tell(postgres_url, story)

    def test_who_got_into_a_deadlock_does_it_again(self, postgres_url: str) -> None:
        async def story(database: Database) -> None:
            await database.migrate("notes", [*NOTES, "INSERT INTO notes (body) VALUES ('a'), ('b')"])
            both_hold_one = threading.Barrier(2)

            def update(first: str, second: str) -> Callable[[Connection], None]:
                attempts = [1]

                def work(connection: Connection) -> None:
                    sql = "UPDATE notes SET body = body || '+' WHERE body LIKE :start"
                    connection.execute(sql, {"start": first + "%"})
                    if attempts:
                        attempts.pop()
                        both_hold_one.wait(DEADLINE_S)
                    connection.execute(sql, {"start": second + "%"})

                return work

            await asyncio.gather(database.write(update("a", "b")), database.write(update("b", "a")))
            assert sorted(await notes(database)) == ["a++", "b++"]

        tell(postgres_url, story)

    def test_servers_that_revoke_the_same_sessions_do_not_stand_in_each_others_way(
        self, postgres_url: str, caplog: pytest.LogCaptureFixture, cluster: Cluster
    ) -> None:
        """In whatever order they name them: no deadlock, and each session is told of once."""

        async def story(one: Database, two: Database) -> None:
            stores = [SessionStore(one), SessionStore(two)]
            await stores[0].migrate()
            handles = [f"{number}" for number in range(30)]
            for handle in handles:
                await stores[0].create(a_row(handle), {})
            orders = [handles, handles[::-1], handles[15:] + handles[:15], handles[::2]]
            revoked = await asyncio.gather(
                *(store.revoke(order, reason="", keep_until=1.0) for order in orders for store in stores)
            )
            assert sorted(handle for some in revoked for handle, _ in some) == sorted(handles)
            assert sorted(entry.handle for entry in await stores[1].feed_after(0)) == sorted(handles)

        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
        before = cluster.execute(deadlocks, parameters=[DATABASE])
        tell(postgres_url, story, count=2)
        assert cluster.execute(deadlocks, parameters=[DATABASE]) == before

    def test_a_transaction_whose_statement_failed_is_not_taken_for_written(self, postgres_url: str) -> None:
        """PostgreSQL answers COMMIT with a rollback then, and no error."""

        async def story(database: Database) -> None:
            await database.migrate("notes", NOTES)

            def goes_on_regardless(connection: Connection) -> None:
                insert("a")(connection)
                with contextlib.suppress(psycopg.Error):
                    connection.execute("SELECT no_such_column")

            with pytest.raises(StoreUnavailableError):
                await database.write(goes_on_regardless)
            assert await notes(database) == []

        tell(postgres_url, story)

    def test_fewer_connections_than_threads_are_shared(self, cluster: Cluster, postgres_url: str) -> None:
        async def story(database: Database) -> None:
            await database.migrate("notes", NOTES)
            cluster.execute("ALTER ROLE kit CONNECTION LIMIT 3")
            try:
                await asyncio.gather(*(database.write(insert(f"{number}")) for number in range(60)))
            finally:
                cluster.execute("ALTER ROLE kit CONNECTION LIMIT -1")
            assert len(await notes(database)) == 60

        tell(postgres_url, story)


@pytest.mark.postgres
class TestMigrations:
    def test_four_servers_that_start_at_once_agree_on_tables_and_key(self, postgres_url: str) -> None:
        """Four real processes wait for a line and then start together on an empty database."""
        program = (
            "import asyncio, json, sys\n"
            "from stormcellar.tests.support import FakeClock, running_engine\n"
            "async def main():\n"
            "    print('ready', flush=True); sys.stdin.readline()\n"
            "    async with running_engine(sys.argv[1], FakeClock()) as engine:\n"
            "        session = await engine.create_new_session('ann')\n"
            "        print(json.dumps([session.handle, engine.keys.jwks()]), flush=True)\n"
            "        sys.stdin.readline()\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", program, postgres_url]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, cwd=REPOSITORY, **pipes) for _ in range(4)]
        try:
            for process in processes:
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                process.stdin.write("\n")
                process.stdin.flush()
            answers = [json.loads(process.stdout.readline()) for process in processes]
        finally:
            for process in processes:
                process.communicate("\n", timeout=DEADLINE_S)
        assert [process.returncode for process in processes] == [0] * 4
        assert len({handle for handle, _ in answers}) == 4
        assert len(answers[0][1]["keys"]) == 1
        assert all(jwks == answers[0][1] for _, jwks in answers)


def revocation(entry: FeedEntry) -> str:
    assert entry.kind == "revoked"
    return entry.handle


@pytest.mark.postgres
class TestFeed:
    def test_what_one_server_does_the_other_is_notified_of(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_module, "LOOK_AGAIN_S", 10 * DEADLINE_S)  # it looks for no other reason

        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            gone, changed = [await one.create_new_session("ann") for _ in range(2)]
            assert gone.new_tokens
            assert changed.new_tokens
            await use(two, gone.new_tokens)
            await one.revoke_session(gone.handle, owner=None)
            await one.merge_into_access_token_payload(changed.handle, {"role": "admin"}, owner=None)
            await until(lambda: changed.handle in two.feed.payload_versions)
            with pytest.raises(UnauthorisedError):
                await two.get_session(gone.new_tokens.access_token)
            with pytest.raises(TryRefreshTokenError):
                await two.get_session(changed.new_tokens.access_token)
            await use(two, await refresh(two, changed.new_tokens))

        tell_of_two(postgres_url, story)

    def test_connections_cut_in_a_burst_of_a_thousand_revocations_cost_none_of_them(
        self, cluster: Cluster, postgres_url: str
    ) -> None:
        """PostgreSQL keeps no notification for who is away: what was missed is read from the table."""

        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            sessions = await asyncio.gather(*(one.create_new_session("ann") for _ in range(1000)))
            stays = await sign_in(one, "bob")
            heard: list[str] = []
            two.feed.listen(lambda entry: heard.append(revocation(entry)))
            database = database_of(two)
            revoked = 0

            async def revoke(handle: str) -> None:
                nonlocal revoked
                await one.revoke_session(handle, owner=None)
                revoked += 1

            async def cut() -> None:
                for part in range(1, 5):
                    await until(lambda part=part: revoked >= 200 * part)  # type: ignore[misc]
                    await until(lambda: database.feed_mode == "listen")
                    cluster.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS listeners")
                    await until(lambda: database.feed_mode == "poll")

            queue = [session.handle for session in sessions]

            async def work() -> None:
                while queue:
                    await revoke(queue.pop())

            await asyncio.gather(cut(), *(work() for _ in range(4)))
            await until(lambda: len(two.feed.revoked) == 1000)
            await until(lambda: two.feed.state == "live" and database.feed_mode == "listen")
            assert sorted(heard) == sorted(session.handle for session in sessions)
            await use(two, stays)

        tell_of_two(postgres_url, story)

    def test_a_cut_connection_is_said_at_once_and_heard_again(
        self, cluster: Cluster, postgres_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            cluster.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS listeners")
            await until(lambda: "the revocation feed is lost" in caplog.text)
            await until(lambda: "the revocation feed has caught up" in caplog.text)
            await until(lambda: database_of(two).feed_mode == "listen")

        with caplog.at_level(logging.INFO, "stormcellar"):
            tell_of_two(postgres_url, story)

    def test_the_watcher_survives_whatever_goes_wrong(
        self,
        cluster: Cluster,
        postgres_url: str,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It says that it is lost, and goes on; else the feed would stay "live" and hear nothing."""
        monkeypatch.setattr(postgres_module, "LISTEN_AGAIN_S", 0.05)

        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            database = database_of(two)
            real = database._hears_itself

            def fails_once(*_: Any) -> bool:
                database._hears_itself = real  # type: ignore[method-assign]
                raise RuntimeError("not an error that anybody expected")

            database._hears_itself = fails_once  # type: ignore[method-assign]
            cluster.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS listeners")
            await until(lambda: "not an error that anybody expected" in caplog.text)
            await until(lambda: database.feed_mode == "listen")
            session = await one.create_new_session("ann")
            await one.revoke_session(session.handle, owner=None)
            await until(lambda: session.handle in two.feed.revoked)

        with caplog.at_level(logging.INFO, "stormcellar"):
            tell_of_two(postgres_url, story)

    def test_an_entry_of_a_slow_transaction_is_not_passed_over(
        self, cluster: Cluster, postgres_url: str
    ) -> None:
        """Whoever writes to the feed later waits, so that no higher id is read before a lower one."""
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            session = await one.create_new_session("ann")
            heard: list[str] = []
            two.feed.listen(lambda entry: heard.append(entry.handle))
            with psycopg.connect(postgres_url) as slow:
                slow.execute(
                    "INSERT INTO feed (kind, handle, payload_version, reason, keep_until)"
                    " VALUES ('revoked', 'slow', 0, '', 1e12)"
                )
                quick = asyncio.ensure_future(one.revoke_session(session.handle, owner=None))
                await until(lambda: bool(cluster.execute(waiting, DATABASE)))
                await two.feed._catch_up()  # reading does not wait
                assert not quick.done()
                assert heard == []
                slow.commit()
            assert await quick
            await until(lambda: len(heard) == 2)
            assert heard == ["slow", session.handle]

        tell_of_two(postgres_url, story)

    def test_a_transaction_that_stands_still_does_not_hold_up_revocations_for_ever(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PostgreSQL cuts that server off, for its connection has a limit; till then others get a 503."""
        set_limits(monkeypatch, answer_s=DEADLINE_S, lock_timeout=50, idle_in_transaction_session_timeout=500)

        async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
            session = await one.create_new_session("ann")
            goes_on = threading.Event()
            stands = asyncio.Event()
            loop = asyncio.get_running_loop()

            def stand_still(connection: Connection) -> None:
                connection.execute(
                    "INSERT INTO feed (kind, handle, payload_version, reason, keep_until)"
                    " VALUES ('revoked', 'slow', 0, '', 1e12)"
                )
                loop.call_soon_threadsafe(stands.set)
                goes_on.wait(DEADLINE_S)
                connection.execute("SELECT 1")

            stuck = asyncio.ensure_future(database_of(two).write(stand_still))
            await stands.wait()
            refused = 0
            while True:
                try:
                    assert await one.revoke_session(session.handle, owner=None)
                    break
                except StoreUnavailableError:
                    refused += 1
            assert refused
            goes_on.set()
            with pytest.raises(StoreUnavailableError):
                await stuck
            await until(lambda: session.handle in two.feed.revoked)
            assert "slow" not in two.feed.revoked

        tell_of_two(postgres_url, story)

    @pytest.mark.parametrize("reason", ["notifications do not arrive", "the address says so"])
    def test_without_notifications_it_asks(
        self, cluster: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch, reason: str
    ) -> None:
        monkeypatch.setattr(postgres_module, "HEAR_ITSELF_S", 0.1)
        monkeypatch.setattr(postgres_module, "POLL_INTERVAL_S", 0.01)

        async def story() -> None:
            clock, wire = FakeClock(), Wire(cluster)
            wire.deaf = True
            async with wire.between(postgres_url) as url:
                if reason == "the address says so":
                    url += "&stormcellar_feed=poll"
                async with running_engine(url, clock) as one, running_engine(url, clock) as two:
                    for _ in range(20):
                        session = await one.create_new_session("ann")
                        await one.revoke_session(session.handle, owner=None)
                        await until(lambda handle=session.handle: handle in two.feed.revoked)  # type: ignore[misc]
                    assert {database_of(engine).feed_mode for engine in (one, two)} == {"poll"}
                    assert two.feed.state == "live"
            listeners = len(cluster.execute(LISTENERS))
            assert listeners == 0

        asyncio.run(story())


async def refresh_for_ever(engine: Sessions, failures: list[StoreUnavailableError], done: list[int]) -> None:
    """What a client does: it keeps its tokens through a 503 and comes again. Anything else is an error."""
    tokens = await sign_in(engine)
    number = len(done)
    done.append(0)
    while True:
        try:
            tokens = await refresh(engine, tokens)
            done[number] += 1
        except StoreUnavailableError as error:
            failures.append(error)
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def clients(engine: Sessions, failures: list[StoreUnavailableError], done: list[int]) -> Any:
    """Eight of them, while the block runs; raises what should not have happened to one of them."""
    tasks = [asyncio.ensure_future(refresh_for_ever(engine, failures, done)) for _ in range(8)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if not isinstance(outcome, asyncio.CancelledError):
            raise AssertionError("a client was refused") from outcome


@pytest.mark.postgres
class TestOutages:
    @pytest.mark.parametrize("how", ["fast", "immediate"])
    def test_a_restart_under_load_signs_nobody_out(
        self, cluster: Cluster, postgres_url: str, how: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(feed_module, "RETRY_S", 0.01)

        async def story() -> None:
            failures: list[StoreUnavailableError] = []
            done: list[int] = []

            async def everybody_comes_through() -> None:
                target = [number + 10 for number in done]
                await until(lambda: all(now >= then for now, then in zip(done, target, strict=True)))

            async with (
                running_engine(postgres_url, FakeClock()) as engine,
                clients(engine, failures, done),
            ):
                page = await sign_in(engine)
                await until(lambda: len(done) == 8)
                for _ in range(3):
                    await everybody_comes_through()
                    await asyncio.to_thread(cluster.stop, how)
                    await until(lambda: engine.feed.state == "lost")
                    seen = len(failures)
                    await until(lambda seen=seen: len(failures) >= seen + 50)  # type: ignore[misc]
                    assert await engine.get_session(page.access_token)
                    await asyncio.to_thread(cluster.start)
                    await everybody_comes_through()
                    await until(lambda: engine.feed.state == "live")
                    await until(lambda: database_of(engine).feed_mode == "listen")

        asyncio.run(story())

    def test_while_the_database_is_away_few_attempts_to_connect_are_made(
        self, cluster: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All who come meanwhile have their answer at once, without a connection attempt each."""
        attempts: list[int] = []
        connect = psycopg.connect

        def counting(**parameters: Any) -> Any:
            attempts.append(1)
            return connect(**parameters)

        async def story(database: Database) -> None:
            await asyncio.to_thread(cluster.stop)
            monkeypatch.setattr(psycopg, "connect", counting)
            for _ in range(500):
                with pytest.raises(StoreUnavailableError):
                    await database.read(lambda connection: connection.execute("SELECT 1"))
            assert 1 <= len(attempts) <= 50
            await asyncio.to_thread(cluster.start)

        tell(postgres_url, story)

    def test_a_connection_that_the_server_has_ended_is_not_used(
        self, cluster: Cluster, postgres_url: str
    ) -> None:
        async def story(database: Database) -> None:
            await database.migrate("notes", NOTES)
            await asyncio.gather(*(database.write(insert(f"{number}")) for number in range(40)))
            cluster.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'kit'"
            )
            await asyncio.gather(*(database.write(insert(f"{number}")) for number in range(40, 80)))
            assert len(await notes(database)) == 80

        tell(postgres_url, story)

    def test_a_database_that_says_nothing_any_more_is_unavailable_and_serves_again_later(
        self, cluster: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story() -> None:
            wire = Wire(cluster)
            async with wire.between(postgres_url) as url:
                database = PostgresDatabase(url)
                await database.open()
                await database.migrate("notes", NOTES)
                await database.write(insert("before"))
                set_limits(monkeypatch, answer_s=0.1)
                wire.flows.clear()
                for attempt in (
                    database.write(insert("lost")),
                    database.read(lambda c: c.execute("SELECT 1")),
                ):
                    with pytest.raises(StoreUnavailableError, match="answer"):
                        await attempt
                wire.flows.set()
                set_limits(monkeypatch, answer_s=DEADLINE_S)
                await until_it_answers(database)
                await database.write(insert("after"))
                assert {"before", "after"} <= set(await notes(database))
                await database.close()

        asyncio.run(story())

    def test_a_statement_or_a_lock_that_takes_too_long_is_given_up(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story(database: Database) -> None:
            await database.migrate("notes", NOTES)
            with psycopg.connect(postgres_url) as other:
                other.execute("LOCK TABLE notes")
                with pytest.raises(StoreUnavailableError, match="lock timeout"):
                    await database.write(insert("a"))
            with pytest.raises(StoreUnavailableError, match="statement timeout"):
                await database.read(lambda connection: connection.execute("SELECT pg_sleep(60)"))
            await database.write(insert("b"))
            assert await notes(database) == ["b"]

        set_limits(monkeypatch, answer_s=DEADLINE_S, lock_timeout=100, statement_timeout=2000)
        tell(postgres_url, story)

    def test_a_database_that_is_away_at_the_start_can_be_opened_later(
        self, cluster: Cluster, postgres_url: str
    ) -> None:
        async def story() -> None:
            database = PostgresDatabase(postgres_url)
            await asyncio.to_thread(cluster.stop)
            with pytest.raises(StoreUnavailableError):
                await database.open()
            with pytest.raises(StoreUnavailableError, match="closed"):
                await database.read(lambda connection: None)
            await asyncio.to_thread(cluster.start)
            while True:
                with contextlib.suppress(StoreUnavailableError):
                    await database.open()
                    break
            await database.migrate("notes", NOTES)
            await database.close()

        asyncio.run(story())

    def test_the_password_stands_in_no_error_and_no_log(
        self, cluster: Cluster, postgres_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story() -> None:
            for url in (
                postgres_url.replace("//kit:", "//nobody:"),
                postgres_url.replace(f"/{DATABASE}", "/no_such_database"),
                postgres_url.replace(f":{cluster.port}/", ":1/"),
            ):
                with pytest.raises(StoreUnavailableError) as caught:
                    await PostgresDatabase(url).open()
                error: BaseException | None = caught.value
                while error is not None:
                    assert PASSWORD not in str(error)
                    assert PASSWORD_IN_ADDRESS not in str(error)
                    error = error.__cause__ or error.__context__

        with caplog.at_level(logging.DEBUG):
            asyncio.run(story())
        assert PASSWORD not in caplog.text
        assert PASSWORD_IN_ADDRESS not in caplog.text

    @pytest.mark.faults
    def test_after_an_unknown_outcome_the_repeated_refresh_succeeds(
        self, cluster: Cluster, postgres_url: str, figures: Figures
    ) -> None:
        """The connection breaks before a statement arrives or after it was executed: 1,000 times."""

        async def story() -> None:
            wire, clock = Wire(cluster), FakeClock()
            async with wire.between(postgres_url) as url, running_engine(url, clock) as engine:
                tokens = await sign_in(engine)
                lost = 0
                for number in range(1000):
                    wire.cut = "after" if number % 2 else "before"
                    while True:
                        try:
                            tokens = await refresh(engine, tokens)
                            break
                        except StoreUnavailableError:
                            lost += 1
                    clock.advance(61)
                    if number % 10 == 0:
                        await use(engine, tokens)
                assert lost > 500
            tried = f"1000 wires cut, {lost} answers lost"
            figures.none("wire cut in a refresh: repeated refresh fails", "PostgreSQL", (), tried)

        asyncio.run(story())

    @pytest.mark.faults
    def test_after_an_unknown_outcome_at_commit_what_is_done_again_succeeds(
        self, cluster: Cluster, postgres_url: str, figures: Figures
    ) -> None:
        """The wire is cut when COMMIT is sent, or its answer is lost: done or not, it can be done again."""

        async def story() -> None:
            wire, clock = Wire(cluster), FakeClock()
            wire.cut_at = b"COMMIT"
            async with wire.between(postgres_url) as url, running_engine(url, clock) as engine:
                lost = applied = 0
                for number in range(200):
                    session = await engine.create_new_session("ann")
                    assert session.new_tokens
                    wire.cut = "after" if number % 2 else "before"
                    try:
                        await engine.revoke_session(session.handle, owner=None)
                    except StoreUnavailableError:
                        lost += 1
                        applied += not await engine.revoke_session(session.handle, owner=None)
                    with pytest.raises(UnauthorisedError):
                        await refresh(engine, session.new_tokens)
                    await until(lambda handle=session.handle: handle in engine.feed.revoked)  # type: ignore[misc]
                assert (lost, applied) == (200, 100)
            figures.none("wire cut at COMMIT: a revocation is lost", "PostgreSQL", (), "200 wires cut")

        asyncio.run(story())


async def until_it_answers(database: Database) -> None:
    while True:
        with contextlib.suppress(StoreUnavailableError):
            await database.write(one_statement(lambda connection: connection.execute("SELECT 1")))
            return
        await asyncio.sleep(0.002)
