# SPDX-License-Identifier: MIT
"""What every database here must do for the engine, and what SQLite does beyond that."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError
from stormcellar.sessions.session_store import Renewal, SessionRow, SessionStore, StoredKey, Use
from stormcellar.store import Connection, Database
from stormcellar.store import sqlite as sqlite_module
from stormcellar.store.migrations import NOT_FOR_OLDER
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.testing.waiting import DEADLINE_S
from stormcellar.tests.sessions.helpers import refresh, sign_in
from stormcellar.tests.support import database_at, session_config

NOW = 1_800_000_000.0
DAY = 86400.0
NOTES = ("CREATE TABLE notes (id {serial_key}, body TEXT UNIQUE)",)
REPOSITORY = Path(__file__).parents[3]

Connect = Callable[[], Database]
"""Makes one more `Database` on the same store, as one more process would; not opened yet."""


@pytest.fixture
def database(place: Path | str) -> Connect:
    return lambda: database_at(place)


def with_databases(connect: Connect, story: Callable[..., Awaitable[None]], count: int = 1) -> None:
    """Tell a story about `count` databases on one store, opened and closed around it."""

    async def tell() -> None:
        databases = [connect() for _ in range(count)]
        for database in databases:
            await database.open()
        try:
            await story(*databases)
        finally:
            for database in databases:
                await database.close()

    asyncio.run(tell())


def insert(body: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO notes (body) VALUES (:body)", {"body": body})

    return work


async def notes(database: Database) -> list[str]:
    rows = await database.read(
        lambda connection: connection.execute("SELECT body FROM notes ORDER BY id", {}).fetchall()
    )
    return [row[0] for row in rows]


class TestDatabase:
    """The contract of `Database`."""

    def test_a_write_is_there_in_full_or_not_at_all(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)

            def fails_late(connection: Connection) -> None:
                insert("half")(connection)
                raise LookupError("the work's own trouble")

            with pytest.raises(LookupError, match="own trouble"):
                await one.write(fails_late)
            assert await notes(one) == []

        with_databases(database, story)

    def test_a_write_that_fails_does_not_undo_its_neighbours(self, database: Connect) -> None:
        """Writes that come together may share a commit; a failure stays its own."""

        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)

            def work(number: int) -> Callable[[Connection], None]:
                def run(connection: Connection) -> None:
                    insert(f"note {number:02}")(connection)
                    if number % 3 == 0:
                        raise LookupError(number)

                return run

            outcomes = await asyncio.gather(*(one.write(work(n)) for n in range(60)), return_exceptions=True)
            failed = [number for number, outcome in enumerate(outcomes) if outcome is not None]
            assert failed == list(range(0, 60, 3))
            assert sorted(await notes(one)) == [f"note {number:02}" for number in range(60) if number % 3]

        with_databases(database, story)

    def test_a_violated_constraint_raises_the_databases_integrity_error(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            outcomes = await asyncio.gather(
                *(one.write(insert(body)) for body in ("a", "b", "a", "c")), return_exceptions=True
            )
            refused = [outcome for outcome in outcomes if outcome is not None]
            assert [type(outcome) for outcome in refused] == [type(outcomes[0] or outcomes[2])]
            assert isinstance(refused[0], one.IntegrityError)
            assert sorted(await notes(one)) == ["a", "b", "c"]

        with_databases(database, story)

    def test_what_a_write_returned_is_there_for_everyone(self, database: Connect) -> None:
        async def story(one: Database, two: Database) -> None:
            await one.migrate("notes", NOTES)
            for number in range(20):
                await one.write(insert(f"{number}"))
                assert len(await notes(two)) == number + 1

        with_databases(database, story, count=2)

    def test_two_writers_take_turns(self, database: Connect) -> None:
        async def story(one: Database, two: Database) -> None:
            await one.migrate("notes", NOTES)
            bodies = [f"{number}" for number in range(100)]
            await asyncio.gather(
                *((one, two)[number % 2].write(insert(body)) for number, body in enumerate(bodies))
            )
            assert sorted(await notes(one), key=int) == bodies

        with_databases(database, story, count=2)

    def test_a_write_goes_on_although_its_caller_went_away(self, database: Connect) -> None:
        async def story(one: Database, two: Database) -> None:
            await one.migrate("notes", NOTES)
            started, goes_on = threading.Event(), threading.Event()

            def slow(connection: Connection) -> None:
                started.set()
                goes_on.wait(DEADLINE_S)
                insert("slow")(connection)

            caller = asyncio.create_task(one.write(slow))
            await asyncio.to_thread(started.wait, DEADLINE_S)
            caller.cancel()
            goes_on.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
            await one.close()  # which waits for it
            assert await notes(two) == ["slow"]

        with_databases(database, story, count=2)

    def test_reading_changes_nothing(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            with pytest.raises(StoreUnavailableError):
                await one.read(insert("by a reader"))
            assert await notes(one) == []

        with_databases(database, story)

    def test_closing_finishes_the_writes_that_wait_and_refuses_later_ones(self, database: Connect) -> None:
        async def story(one: Database, two: Database) -> None:
            await one.migrate("notes", NOTES)
            waiting = [asyncio.ensure_future(one.write(insert(f"{number}"))) for number in range(50)]
            await asyncio.sleep(0)  # they are on their way
            await one.close()
            await asyncio.gather(*waiting)
            assert len(await notes(two)) == 50
            for refused in (one.write(insert("late")), one.read(lambda connection: None)):
                with pytest.raises(StoreUnavailableError):
                    await refused

        with_databases(database, story, count=2)

    def test_opening_again_after_a_start_that_failed_later_does_no_harm(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            threads = threading.active_count()
            await one.open()
            assert threading.active_count() == threads
            await one.migrate("notes", NOTES)

        with_databases(database, story)

    def test_values_come_back_as_they_were_stored(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            steps = ("CREATE TABLE things (id {serial_key}, b {blob} NOT NULL, d {double} NOT NULL, t TEXT)",)
            await one.migrate("things", steps)
            thing = {"b": bytes(range(256)), "d": 1_800_000_000.123456, "t": "Zoë\n{'; 日本"}
            await one.write(
                lambda connection: connection.execute(
                    "INSERT INTO things (b, d, t) VALUES (:b, :d, :t)", thing
                )
            )
            b, d, t = await one.read(
                lambda connection: connection.execute("SELECT b, d, t FROM things", {}).fetchone()
            )
            assert (bytes(b), d, t) == tuple(thing.values())

        with_databases(database, story)

    def test_a_watcher_hears_at_the_beginning_and_of_each_others_news(self, database: Connect) -> None:
        async def story(one: SessionStore, two: SessionStore) -> None:
            changed = asyncio.Event()
            two.database.watch(changed.set, lambda: None)
            for number in range(3):
                await asyncio.wait_for(changed.wait(), DEADLINE_S)
                changed.clear()
                await one.publish("topic", f"{number}", keep_until=NOW)
            await asyncio.wait_for(changed.wait(), DEADLINE_S)

        with_stores(database, story, count=2)

    # -- migrations ---------------------------------------------------------------------------------

    def test_each_migration_step_runs_once_and_in_order(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            steps = [
                *NOTES,
                "INSERT INTO notes (body) VALUES ('second'); INSERT INTO notes (body) VALUES ('x')",
            ]
            await one.migrate("notes", steps[:1])
            await one.migrate("notes", steps)
            await one.migrate("notes", steps)
            steps.append("UPDATE notes SET body = 'third' WHERE body = 'second'")
            await one.migrate("notes", steps)
            assert await notes(one) == ["third", "x"]

        with_databases(database, story)

    def test_components_have_versions_of_their_own(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", [*NOTES, "INSERT INTO notes (body) VALUES ('n')"])
            await one.migrate("things", ["CREATE TABLE things (a INTEGER)"])
            await one.write(lambda connection: connection.execute("INSERT INTO things VALUES (1)", {}))
            assert await notes(one) == ["n"]

        with_databases(database, story)

    def test_an_older_program_starts_on_newer_tables_and_leaves_them_as_they_are(
        self, database: Connect
    ) -> None:
        """Servers are replaced one after the other, and one of the old ones may be started again."""

        async def story(one: Database) -> None:
            newer = [*NOTES, "ALTER TABLE notes ADD COLUMN color TEXT NOT NULL DEFAULT 'white'"]
            await one.migrate("notes", newer)
            await one.migrate("notes", NOTES)
            await one.write(
                lambda connection: connection.execute("INSERT INTO notes (body) VALUES ('old')", {})
            )
            await one.migrate("notes", newer)  # or it would add the column twice
            assert await notes(one) == ["old"]

        with_databases(database, story)

    def test_a_program_too_old_for_the_tables_does_not_start(self, database: Connect) -> None:
        async def story(one: Database) -> None:
            step = f"{NOT_FOR_OLDER}\nALTER TABLE notes RENAME COLUMN body TO words"
            newest = [*NOTES, step, "ALTER TABLE notes ADD COLUMN color TEXT NOT NULL DEFAULT 'white'"]
            await one.migrate("notes", newest)
            await one.migrate("notes", newest[:-1])
            with pytest.raises(StoreUnavailableError, match=r"newer version .* update the program"):
                await one.migrate("notes", NOTES)
            await one.migrate("notes", newest)  # nothing was done, or undone

        with_databases(database, story)

    def test_processes_that_migrate_at_once_wait_for_each_other(self, database: Connect) -> None:
        async def story(*databases: Database) -> None:
            steps = [*NOTES, *(f"INSERT INTO notes (body) VALUES ('{n}')" for n in range(5))]
            await asyncio.gather(*(one.migrate("notes", steps) for one in databases))
            assert await notes(databases[0]) == ["0", "1", "2", "3", "4"]

        with_databases(database, story, count=4)

    def test_a_step_that_fails_leaves_nothing_and_is_repeated_by_the_next_start(
        self, database: Connect
    ) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            broken = "INSERT INTO notes (body) VALUES ('early'); INSERT INTO no_such_table VALUES (1)"
            with pytest.raises(StoreUnavailableError):
                await one.migrate("notes", [*NOTES, broken])
            assert await notes(one) == []
            await one.migrate("notes", [*NOTES, "INSERT INTO notes (body) VALUES ('mended')"])
            assert await notes(one) == ["mended"]

        with_databases(database, story)


def a_row(handle: str = "h", **changes: Any) -> SessionRow:
    row = SessionRow(
        handle=handle,
        user_id="ann",
        tenant_id="public",
        secret=b"s" * 32,
        generation=0,
        branch=0,
        parent_branch=0,
        used_generation=0,
        rotated_at=NOW,
        created_at=NOW,
        expires_at=NOW + 1000,
        payload={"role": "editor", "名": [1, None, {"x": 0.5}]},
        payload_version=0,
    )
    return replace(row, **changes)


def chain_of(row: SessionRow, nonce: bytes = b"n") -> bytes:
    return sqlite_module._sha256_of_both(row.secret, nonce)


async def rotate(store: SessionStore, row: SessionRow, generation: int, now: float = NOW, **more: Any) -> Any:
    arguments = {"nonce": b"n", "chain": chain_of(row), **more}
    nonce, chain = arguments.pop("nonce"), arguments.pop("chain")
    branch = arguments.pop("branch", 0)
    return await store.rotate(
        row.handle, generation, branch, nonce=nonce, chain=chain, renewal=renewal(now=now, **arguments)
    )


def renewal(now: float = NOW, session_lifetime_s: float = 5000.0, refreshed_from: str = "") -> Renewal:
    return Renewal(now, now + 1000, session_lifetime_s, refreshed_from)


def with_stores(connect: Connect, story: Callable[..., Awaitable[None]], count: int = 1) -> None:
    async def tell(*databases: Database) -> None:
        stores = [SessionStore(database) for database in databases]
        await stores[0].migrate()
        await story(*stores)

    with_databases(connect, tell, count)


class TestSessionStore:
    """The engine's statements, on every database."""

    def test_a_session_comes_back_as_it_was_stored(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row()
            await store.create(row, {"cart": [1, 2]})
            assert await store.load("h") == row
            stored = await store.load_all_of("h")
            assert stored == (row, {"cart": [1, 2]}, "", "")
            assert await store.load("another") is None

        with_stores(database, story)

    def test_a_handle_is_given_once(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(), {})
            with pytest.raises(store.database.IntegrityError):
                await store.create(a_row(), {})

        with_stores(database, story)

    def test_a_rotation_steps_on_by_one_and_renews_the_session(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row()
            await store.create(row, {})
            rotated = await rotate(store, row, 0, now=NOW + 10)
            assert rotated == replace(row, generation=1, rotated_at=NOW + 10, expires_at=NOW + 1010)
            assert await store.load("h") == rotated

        with_stores(database, story)

    def test_a_session_is_not_renewed_beyond_its_whole_lifetime(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row()
            await store.create(row, {})
            rotated = await rotate(store, row, 0, now=NOW + 500, session_lifetime_s=1200.0)
            assert rotated.expires_at == NOW + 1200

        with_stores(database, story)

    @pytest.mark.parametrize(
        ("generation", "changes"),
        [
            (1, {}),
            (-1, {}),
            (0, {"chain": b"c" * 32}),
            (0, {"nonce": b"another"}),
            (0, {"now": NOW + 1000}),
            (0, {"session_lifetime_s": 0.0}),
        ],
        ids=["ahead", "behind", "other secret", "other nonce", "expired", "lived its whole life"],
    )
    def test_a_rotation_that_does_not_fit_writes_nothing(
        self, database: Connect, generation: int, changes: dict[str, Any]
    ) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row()
            await store.create(row, {})
            assert await rotate(store, row, generation, **changes) is None
            assert await store.load("h") == row

        with_stores(database, story)

    def test_of_many_rotations_from_one_generation_one_succeeds(self, database: Connect) -> None:
        async def story(*stores: SessionStore) -> None:
            row = a_row()
            await stores[0].create(row, {})
            for generation in range(5):
                outcomes = await asyncio.gather(*(rotate(store, row, generation) for store in stores * 10))
                assert sum(outcome is not None for outcome in outcomes) == 1

        with_stores(database, story, count=2)

    def test_first_use_is_noted_up_to_the_present_generation_and_never_taken_back(
        self, database: Connect
    ) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(generation=3), {})
            for noted, expected in ((2, 2), (1, 2), (4, 2), (3, 3), (2, 3)):
                assert await store.mark_used([Use("h", noted, 0), Use("unknown", 1, 0)]) == []
                row = await store.load("h")
                assert row
                assert row.used_generation == expected

        with_stores(database, story)

    @pytest.mark.parametrize(
        ("branch", "used_generation"), [(1, 2), (1, 1), (0, 1)], ids=["used", "branch 1", "branch 0"]
    )
    def test_a_branch_is_added_only_while_the_current_one_is_unused(
        self, database: Connect, branch: int, used_generation: int
    ) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row(generation=2, branch=branch, used_generation=used_generation)
            await store.create(row, {})
            added = await store.add_branch(row, renewal(NOW + 40))
            if used_generation == 2:
                assert added is None
                assert await store.load("h") == row
                return
            assert added == replace(row, branch=branch + 1, rotated_at=NOW + 40, expires_at=NOW + 1040)
            assert await store.add_branch(row, renewal(NOW + 41)) is None  # it has changed since it was read

        with_stores(database, story)

    def test_the_use_of_an_older_branch_counts_before_the_current_one_is_used(
        self, database: Connect
    ) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(generation=2, branch=3, used_generation=1), {})
            assert await store.mark_used([Use("h", 2, 1)]) == []
            row = await store.load("h")
            assert row
            assert (row.branch, row.used_generation) == (1, 2)

        with_stores(database, story)

    @pytest.mark.parametrize(
        "use", [Use("h", 2, 0), Use("h", 1, 1)], ids=["same generation", "the one before"]
    )
    def test_the_use_of_two_branches_is_reported_as_a_fork(self, database: Connect, use: Use) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row(generation=2, branch=1, parent_branch=0, used_generation=2)
            await store.create(row, {})
            assert await store.mark_used([Use("h", 2, 1), Use("h", 1, 0), use]) == [("h", "ann")]
            assert await store.load("h") == row

        with_stores(database, story)

    def test_a_rotation_takes_an_older_branch_while_the_current_one_is_unused(
        self, database: Connect
    ) -> None:
        async def story(store: SessionStore) -> None:
            for handle, used_generation, taken in (("a", 1, True), ("b", 2, False)):
                row = a_row(handle, generation=2, branch=1, used_generation=used_generation)
                await store.create(row, {})
                rotated = await rotate(store, row, 2, branch=0)
                assert (rotated is not None) == taken
                if rotated:
                    assert (rotated.generation, rotated.branch, rotated.parent_branch) == (3, 0, 0)

        with_stores(database, story)

    def test_a_repeated_answer_moves_the_time_of_the_last_one_forward_only(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            row = a_row(generation=1)
            await store.create(row, {})
            for now, expected in ((NOW + 5, NOW + 5), (NOW + 3, NOW + 5)):
                await store.note_answer(row, now)
                found = await store.load("h")
                assert found
                assert found.rotated_at == expected
            await store.note_answer(replace(row, branch=1), NOW + 9)  # the branch has changed meanwhile
            assert await store.load("h") == replace(row, rotated_at=NOW + 5)

        with_stores(database, story)

    def test_a_revocation_and_its_news_come_together_and_once(self, database: Connect) -> None:
        async def story(one: SessionStore, two: SessionStore) -> None:
            for handle in "abc":
                await one.create(a_row(handle), {})
            outcomes = await asyncio.gather(
                *(store.revoke(["a", "x", "b"], reason="why", keep_until=NOW) for store in (one, two) * 5)
            )
            assert sorted(gone for revoked in outcomes for gone in revoked) == [("a", "ann"), ("b", "ann")]
            news = await two.feed_after(0)
            assert sorted((entry.kind, entry.handle, entry.reason) for entry in news) == [
                ("revoked", "a", "why"),
                ("revoked", "b", "why"),
            ]
            assert await two.load("a") is None
            assert await two.load("c") is not None

        with_stores(database, story, count=2)

    def test_a_session_is_revoked_only_for_its_owner_where_one_is_named(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            for handle in "ab":
                await store.create(a_row(handle), {})
            for owner in ("bob", "", "ann' OR '1'='1"):
                assert await store.revoke(["a"], owner=owner, reason="", keep_until=NOW) == []
            assert await store.feed_after(0) == []
            assert await store.revoke(["a", "x"], owner="ann", reason="", keep_until=NOW) == [("a", "ann")]
            assert await store.handles_of_user("ann", None, NOW, DAY) == ["b"]

        with_stores(database, story)

    def test_a_users_sessions_are_listed_with_where_they_began_and_were_refreshed_last(
        self, database: Connect
    ) -> None:
        """In one query, and the last rotation writes that with its own statement."""

        async def story(store: SessionStore) -> None:
            await store.create(a_row("1"), {"cart": [1]}, "here")
            await store.create(a_row("2", tenant_id="t2", rotated_at=NOW + 1), {}, "there")
            await store.create(a_row("3", user_id="bob"), {})
            assert await rotate(store, a_row("1"), 0, now=NOW + 5, refreshed_from="elsewhere")
            listed = await store.sessions_of_user("ann", None, NOW + 6, DAY, 10)
            assert [(one.row.handle, *one[1:]) for one in listed] == [
                ("1", {"cart": [1]}, "here", "elsewhere"),
                ("2", {}, "there", ""),
            ]
            assert [one.row.rotated_at for one in listed] == [NOW + 5, NOW + 1]
            assert [one.row.handle for one in await store.sessions_of_user("ann", "t2", NOW, DAY, 10)] == [
                "2"
            ]
            assert [one.row.handle for one in await store.sessions_of_user("ann", None, NOW, DAY, 1)] == ["1"]

        with_stores(database, story)

    def test_a_users_sessions_are_listed_by_tenant_and_revoked(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row("1"), {})
            await store.create(a_row("2", tenant_id="t2", created_at=NOW + 1), {})
            await store.create(a_row("3", created_at=NOW + 2), {})
            await store.create(a_row("4", user_id="bob"), {})
            await store.create(a_row("5", created_at=NOW - 2 * DAY), {})
            revoke = functools.partial(store.revoke, owner="ann", reason="", keep_until=NOW)
            assert await store.handles_of_user("ann", None, NOW, DAY) == ["1", "2", "3"]
            assert await store.all_handles_of_user("ann", "t2") == ["2"]
            assert await store.all_handles_of_user("ann", None) == ["5", "1", "2", "3"]
            assert await revoke(["2", "4", "none"]) == [("2", "ann")]
            assert await revoke(["3", "1"]) == [("1", "ann"), ("3", "ann")]
            assert await store.handles_of_user("bob", "public", NOW, DAY) == ["4"]
            assert [entry.handle for entry in await store.feed_after(0)] == ["2", "1", "3"]

        with_stores(database, story)

    def test_a_payload_that_changes_gets_a_version_and_news_of_it(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(payload={"n": 0}), {})
            change = functools.partial(
                store.update_payload, "h", now=NOW, session_lifetime_s=DAY, keep_until=NOW + 5
            )
            unchanged = await change(lambda payload: dict(payload))
            assert unchanged
            assert unchanged.payload_version == 0
            await asyncio.gather(*(change(lambda payload: {"n": payload["n"] + 1}) for _ in range(20)))
            row = await store.load("h")
            assert row
            assert (row.payload, row.payload_version) == ({"n": 20}, 20)
            news = await store.feed_after(0)
            assert [(entry.kind, entry.payload_version) for entry in news] == [
                ("payload", version) for version in range(1, 21)
            ]

        with_stores(database, story)

    def test_a_change_that_raises_leaves_payload_and_feed_alone(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(), {})

            def refuse(payload: dict[str, Any]) -> dict[str, Any]:
                raise ValueError("too large")

            with pytest.raises(ValueError, match="too large"):
                await store.update_payload("h", refuse, now=NOW, session_lifetime_s=DAY, keep_until=NOW)
            assert await store.load("h") == a_row()
            assert await store.feed_after(0) == []

        with_stores(database, story)

    def test_an_expired_session_is_treated_as_absent(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            await store.create(a_row(), {})
            for end, lifetime_s in ((NOW + 1000, DAY), (NOW + 600, 600)):  # the second is a setting of now
                change = functools.partial(store.update_payload, "h", now=end, session_lifetime_s=lifetime_s)
                assert await store.handles_of_user("ann", None, end, lifetime_s) == []
                assert await store.sessions_of_user("ann", None, end, lifetime_s, 10) == []
                assert await store.replace_data("h", {}, end, lifetime_s) is False
                assert await change(lambda payload: {}, keep_until=end) is None
                assert await rotate(store, a_row(), 0, now=end, session_lifetime_s=lifetime_s) is None
                assert await store.replace_data("h", {"a": 1}, end - 1, lifetime_s) is True

        with_stores(database, story)

    def test_news_come_in_order_from_where_one_stopped(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            handles = [f"{number}" for number in range(10)]
            for handle in handles:
                await store.create(a_row(handle), {})
                await store.revoke([handle], reason="", keep_until=NOW)
            first = await store.feed_after(0, limit=4)
            rest = await store.feed_after(first[-1].id)
            assert [entry.handle for entry in first + rest] == handles
            assert await store.feed_after(rest[-1].id) == []

        with_stores(database, story)

    def test_of_processes_that_add_a_key_at_once_one_succeeds(self, database: Connect) -> None:
        async def story(*stores: SessionStore) -> None:
            async def race(prefix: str, newest: str | None, first: int) -> str:
                kids = [f"{prefix}{first + number}" for number in range(len(stores))]
                added = await asyncio.gather(
                    *(
                        store.add_key(
                            StoredKey(kid, b"key", NOW, NOW + first),
                            if_newest_is=newest,
                            prefix=prefix,
                            keep_until=NOW + 1,
                        )
                        for store, kid in zip(stores, kids, strict=True)
                    )
                )
                assert sum(added) == 1
                return kids[added.index(True)]

            first = await race("d-", None, 1)
            second = await race("d-", first, 11)
            permanent = await race("s-", None, 1)
            kids = {first, second, permanent}
            assert {key.kid for key in await stores[0].load_keys()} == kids
            assert [(entry.kind, entry.handle) for entry in await stores[0].feed_after(0)] == [
                ("keys", first),
                ("keys", second),
                ("keys", permanent),
            ]

        with_stores(database, story, count=3)

    def test_expired_rows_go_in_batches_and_the_living_stay(self, database: Connect) -> None:
        async def story(store: SessionStore) -> None:
            def fill(connection: Connection) -> None:
                for number in range(250):
                    connection.execute(
                        "INSERT INTO sessions SELECT :handle, user_id, tenant_id, secret, generation,"
                        " used_generation, rotated_at, created_at, :end, payload, payload_version, data,"
                        " created_from, refreshed_from, branch, parent_branch, temporary"
                        " FROM sessions WHERE handle = 'h'",
                        {"handle": f"old {number}", "end": NOW - number},
                    )
                for number in range(150):
                    connection.execute(
                        "INSERT INTO feed (kind, handle, payload_version, reason, keep_until)"
                        " VALUES ('revoked', :handle, 0, '', :end)",
                        {"handle": f"{number}", "end": NOW - 1 if number < 130 else NOW + 1},
                    )

            await store.create(a_row(), {})
            await store.database.write(fill)
            assert [await store.purge(NOW, 100) for _ in range(4)] == [200, 130, 50, 0]
            assert await store.handles_of_user("ann", None, 0.0, DAY) == ["h"]
            assert len(await store.feed_after(0)) == 20

        with_stores(database, story)


class SpyConnection(sqlite3.Connection):
    """A connection that records each call: the thread, and the statement or step."""

    calls: list[tuple[int, str]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.record("connect")
        super().__init__(*args, **kwargs)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self.record(sql)
        return super().execute(sql, parameters)

    def close(self) -> None:
        self.record("close")
        super().close()

    def record(self, what: str) -> None:
        type(self).calls.append((threading.get_ident(), what))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Every call on an SQLite connection that is opened during the test."""
    recorded: list[tuple[int, str]] = []
    spy = type("Spy", (SpyConnection,), {"calls": recorded})
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=spy))
    return recorded


class TestSqlite:
    """What is SQLite's own."""

    def test_writes_that_wait_share_commits(self, tmp_path: Path, calls: list[tuple[int, str]]) -> None:
        """A commit costs a flush to disk: 300 writes that came during one need two more, not 300."""

        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            held, released = threading.Event(), threading.Event()

            def hold(connection: Connection) -> None:
                held.set()
                released.wait(DEADLINE_S)

            first = asyncio.create_task(one.write(hold))
            await asyncio.to_thread(held.wait, DEADLINE_S)
            calls.clear()
            waiting = [asyncio.create_task(one.write(insert(f"{number}"))) for number in range(300)]
            await asyncio.sleep(0)  # they are in the queue
            released.set()
            await asyncio.gather(first, *waiting)
            assert len(await notes(one)) == 300
            commits = [sql for _, sql in calls if sql == "COMMIT"]
            assert len(commits) == 3

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    def test_the_event_loops_thread_never_touches_the_database(
        self, tmp_path: Path, calls: list[tuple[int, str]]
    ) -> None:
        async def story() -> None:
            database, clock = SqliteDatabase(tmp_path / "db"), FakeClock()
            await database.open()
            engine = Sessions(database, session_config(), clock=clock, generate_key=cheap_keys())
            await engine.start()
            tokens = await sign_in(engine)
            session = await engine.get_session(tokens.access_token, check_database=True)
            assert session
            await session.merge_into_access_token_payload({"a": 1})
            await session.update_session_data_in_database({"b": 2})
            await engine.get_session((await refresh(engine, tokens)).access_token)
            await engine.keys.rotate_now(forget_old=True)
            await engine.maintain()
            await session.revoke()
            await engine.stop()
            await database.close()

        asyncio.run(story())
        assert len(calls) > 50
        assert {"connect", "close"} <= {what for _, what in calls}
        assert threading.get_ident() not in {thread for thread, _ in calls}

    def test_a_locked_database_is_unavailable_and_serves_again_when_it_is_free(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.05)

        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            other = sqlite3.connect(tmp_path / "db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                await one.write(insert("a"))
            assert await notes(one) == []  # reading goes on all the while
            other.execute("ROLLBACK")
            other.close()
            await one.write(insert("b"))
            assert await notes(one) == ["b"]

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    def test_a_lock_that_is_released_in_time_is_waited_for(self, tmp_path: Path) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            other = sqlite3.connect(tmp_path / "db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(one.write(insert("a")))
            await notes(one)
            assert not write.done()
            other.execute("ROLLBACK")
            other.close()
            await asyncio.wait_for(write, DEADLINE_S)

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    def test_a_full_disk_refuses_writes_keeps_what_was_acknowledged_and_recovers(
        self, tmp_path: Path
    ) -> None:
        """max_page_count makes SQLite report a full disk (SQLITE_FULL)."""

        async def story(one: Database, two: Database) -> None:
            await one.migrate("notes", NOTES)

            async def limit_pages(pages: int) -> None:
                await one.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}", {}))

            await limit_pages(30)
            acknowledged: list[str] = []

            async def fill() -> None:
                while True:
                    body = f"{len(acknowledged)} " + "x" * 1000
                    await one.write(insert(body))
                    acknowledged.append(body)

            with pytest.raises(StoreUnavailableError, match="full"):
                await fill()
            assert acknowledged
            with pytest.raises(StoreUnavailableError):
                await one.write(insert("y" * 20_000))
            assert await notes(one) == acknowledged
            await limit_pages(1000)
            await one.write(insert("space again"))
            assert await notes(two) == [*acknowledged, "space again"]

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story, count=2)

    def test_a_full_disk_fails_a_whole_group_and_leaves_none_of_it(self, tmp_path: Path) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            await one.write(lambda connection: connection.execute("PRAGMA max_page_count = 20", {}))
            held, released = threading.Event(), threading.Event()

            def hold(connection: Connection) -> None:
                held.set()
                released.wait(DEADLINE_S)

            first = asyncio.create_task(one.write(hold))
            await asyncio.to_thread(held.wait, DEADLINE_S)
            bodies = ["small", "x" * 200_000, "small too"]
            group = [asyncio.create_task(one.write(insert(body))) for body in bodies]
            await asyncio.sleep(0)
            released.set()
            await first
            outcomes = await asyncio.gather(*group, return_exceptions=True)
            assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes)
            assert await notes(one) == []
            await one.write(insert("small"))

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    def test_a_statement_that_cannot_run_fails_its_own_write_and_no_other(self, tmp_path: Path) -> None:
        """SQLite reports a missing table by the same kind of error as a full disk."""

        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            held, released = threading.Event(), threading.Event()

            def hold(connection: Connection) -> None:
                held.set()
                released.wait(DEADLINE_S)

            def half(connection: Connection) -> None:
                insert("half")(connection)
                connection.execute("INSERT INTO nowhere VALUES (1)", {})

            first = asyncio.create_task(one.write(hold))
            await asyncio.to_thread(held.wait, DEADLINE_S)
            group = [asyncio.create_task(one.write(work)) for work in (insert("a"), half, insert("b"))]
            await asyncio.sleep(0)
            released.set()
            await first
            outcomes = await asyncio.gather(*group, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [type(None), StoreUnavailableError, type(None)]
            assert await notes(one) == ["a", "b"]

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    @pytest.mark.parametrize(
        ("message", "everybody"),
        [
            ("database is locked", True),
            ("database or disk is full", True),
            ("disk I/O error", True),
            ("no such column: x", False),
            ('near "x": syntax error', False),
        ],
    )
    def test_errors_without_a_code_are_known_by_their_message(self, message: str, everybody: bool) -> None:
        """Python 3.10 gives them none."""
        assert sqlite_module._concerns_everybody(sqlite3.OperationalError(message)) is everybody

    def test_the_watcher_survives_whatever_goes_wrong(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It says that it is lost, and goes on; else the feed would stay "live" and hear nothing."""
        monkeypatch.setattr(sqlite_module, "WATCH_AGAIN_S", 0.01)

        async def story(one: SqliteDatabase) -> None:
            connect, told, changed = one._connect, [], asyncio.Event()

            def fails_once(**_: Any) -> sqlite3.Connection:
                one._connect = connect  # type: ignore[method-assign]
                raise RuntimeError("not an error that anybody expected")

            one._connect = fails_once  # type: ignore[method-assign]
            one.watch(changed.set, lambda: told.append("lost"))
            await asyncio.wait_for(changed.wait(), DEADLINE_S)
            assert told == ["lost"]

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)
        assert "not an error that anybody expected" in caplog.text

    def test_only_its_owner_can_read_the_files(self, tmp_path: Path) -> None:
        async def story(one: Database) -> None:
            await one.migrate("notes", NOTES)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
            assert modes == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600}

        with_databases(lambda: SqliteDatabase(tmp_path / "db"), story)

    def test_what_cannot_be_opened_is_unavailable_until_it_can(self, tmp_path: Path) -> None:
        async def story() -> None:
            database = SqliteDatabase(tmp_path / "folder" / "db")
            with pytest.raises(StoreUnavailableError):
                await database.open()
            (tmp_path / "folder").mkdir()
            (tmp_path / "folder" / "db").write_bytes(b"no database at all " * 100)
            with pytest.raises(StoreUnavailableError, match="not a database"):
                await database.open()
            (tmp_path / "folder" / "db").unlink()
            await database.open()
            await database.migrate("notes", NOTES)
            await database.close()

        asyncio.run(story())

    @pytest.mark.slow
    def test_processes_that_start_at_once_on_a_new_file_agree_on_tables_and_key(self, tmp_path: Path) -> None:
        """Three real processes, each with its own connection, wait for a line and then start together."""
        program = (
            "import asyncio, json, sys\n"
            "from pathlib import Path\n"
            "from stormcellar.tests.support import FakeClock, running_engine\n"
            "async def main():\n"
            "    print('ready', flush=True); sys.stdin.readline()\n"
            "    async with running_engine(Path(sys.argv[1]), FakeClock()) as engine:\n"
            "        session = await engine.create_new_session('ann')\n"
            "        print(json.dumps([session.handle, engine.keys.jwks()]), flush=True)\n"
            "        sys.stdin.readline()\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "db")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
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
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert len({handle for handle, _ in answers}) == 3
        assert answers[0][1] == answers[1][1] == answers[2][1]
        assert len(answers[0][1]["keys"]) == 1
