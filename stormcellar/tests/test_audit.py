# SPDX-License-Identifier: MIT
"""The audit log: nothing waits for it, nothing is lost in silence, nothing is kept longer than it may.

Source: OWASP ASVS 5.0, 16.3 and 16.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stormcellar.events import audit
from stormcellar.events.audit import AuditEvent, AuditLog
from stormcellar.events.journal import Event, EventName
from stormcellar.sessions import StoreUnavailableError
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.sessions.helpers import DAY, FaultyDatabase
from stormcellar.tests.support import database_at

RETENTION_S = 90 * DAY
NOW = FakeClock().now()


@asynccontextmanager
async def opened(
    place: Path | str, clock: FakeClock, retention_s: int = RETENTION_S
) -> AsyncIterator[AuditLog]:
    database = database_at(place)
    await database.open()
    log = AuditLog(database, clock, retention_s=retention_s)
    try:
        await log.open()
        yield log
    finally:
        await log.close()
        await database.close()


def run(place: Path | str, story: Callable[[AuditLog, FakeClock], Awaitable[None]]) -> None:
    async def tell() -> None:
        clock = FakeClock()
        async with opened(place, clock) as log:
            await story(log, clock)

    asyncio.run(tell())


def event(name: EventName = "signed in", user_id: str = "ann", **more: Any) -> Event:
    return Event(name, **{"time": NOW, "user_id": user_id, **more})


def details(events: list[AuditEvent]) -> list[str]:
    return [found.detail for found in events]


async def found(log: AuditLog, **how: Any) -> list[str]:
    return details(list(await log.events(**how)))


def test_an_event_comes_back_as_it_was_even_before_it_was_written(place: Path | str) -> None:
    async def story(log: AuditLog, _: FakeClock) -> None:
        told = event("theft", "ann", session_handle="h", client_address="::1", request_id="7", detail="d ü")
        log.add(told)
        (kept,) = await log.events()
        assert Event(**{name: value for name, value in vars(kept).items() if name in vars(told)}) == told
        assert kept.occurrences == 1

    run(place, story)


def test_the_newest_come_first_in_the_order_in_which_they_happened(place: Path | str) -> None:
    """Also those of one moment."""

    async def story(log: AuditLog, clock: FakeClock) -> None:
        for number in range(250):
            log.add(event(detail=str(number), time=clock.now()))
            clock.advance(number % 2)
        assert await found(log, limit=1000) == [str(number) for number in reversed(range(250))]
        assert await found(log, limit=2) == ["249", "248"]

    run(place, story)


def test_events_are_found_by_user_session_name_and_time_and_page_by_page(place: Path | str) -> None:
    async def story(log: AuditLog, _: FakeClock) -> None:
        log.add(event(detail="1", session_handle="a", time=NOW))
        log.add(event(detail="2", session_handle="b", time=NOW + 10))
        log.add(event("theft", "bob", detail="3", session_handle="b", time=NOW + 20.5))
        log.add(event("signed out", detail="4", session_handle="a", time=NOW + 30))
        assert await found(log, user_id="ann") == ["4", "2", "1"]
        assert await found(log, session_handle="b") == ["3", "2"]
        assert await found(log, name="theft") == ["3"]
        assert await found(log, user_id="ann", session_handle="b") == ["2"]
        assert await found(log, since=NOW + 10) == ["4", "3", "2"]
        assert await found(log, since=NOW + 10, until=NOW + 30) == ["3", "2"]
        assert await found(log, since=NOW + 20.6) == ["4"]
        first = list(await log.events(limit=2))
        assert await found(log, before=first[-1], limit=2) == ["2", "1"]
        assert await found(log, before=first[-1], until=NOW + 10) == ["1"]
        assert await found(log, user_id="' OR ''='") == []
        assert await found(log, user_id="a\0b") == []

    run(place, story)


def test_what_anybody_can_cause_at_will_is_one_row_with_a_number(place: Path | str) -> None:
    """Per account and client address, in what is written together."""

    async def story(log: AuditLog, _: FakeClock) -> None:
        for user_id, address in [("ann", "1.1.1.1")] * 40 + [("", "1.1.1.1"), ("ann", "2.2.2.2")]:
            log.add(event("sign-in failed", user_id, client_address=address))
        log.add(event("signed in", client_address="1.1.1.1"))
        log.add(event("signed in", client_address="1.1.1.1"))
        kept = [(one.name, one.user_id, one.client_address, one.occurrences) for one in await log.events()]
        assert sorted(kept) == [
            ("sign-in failed", "", "1.1.1.1", 1),
            ("sign-in failed", "ann", "1.1.1.1", 40),
            ("sign-in failed", "ann", "2.2.2.2", 1),
            ("signed in", "ann", "1.1.1.1", 1),
            ("signed in", "ann", "1.1.1.1", 1),
        ]

    run(place, story)


def test_what_is_older_than_the_retention_time_is_deleted_in_small_batches(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PURGE_BATCH", 3)

    async def story(log: AuditLog, clock: FakeClock) -> None:
        for number in range(8):
            log.add(event(detail=str(number)))
        clock.advance(1)
        log.add(event(detail="a second later", time=clock.now()))
        clock.advance(RETENTION_S - 1)
        await log.maintain()
        assert len(await log.events()) == 9, "nothing is as old as that yet"
        clock.advance(0.001)
        await log.maintain()
        assert await found(log) == ["a second later"]

    run(place, story)


def test_stopping_in_order_loses_nothing_and_two_servers_share_one_log(place: Path | str) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with opened(place, clock) as one, opened(place, clock) as two:
            one.add(event(detail="one"))
            two.add(event(detail="two"))
        async with opened(place, clock) as later:
            assert sorted(await found(later)) == ["one", "two"]

    asyncio.run(story())


def test_switched_off_it_writes_nothing_and_leaves_what_there_is(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with opened(tmp_path / "db", clock) as log:
            log.add(event(detail="before"))
        clock.advance(10 * RETENTION_S)
        async with opened(tmp_path / "db", clock, retention_s=0) as log:
            log.add(event(detail="after"))
            await log.maintain()
            assert await found(log) == ["before"]

    asyncio.run(story())


# -- writing in the background ------------------------------------------------------------------------


def on_faulty(tmp_path: Path, story: Callable[[AuditLog, FaultyDatabase], Awaitable[None]]) -> None:
    """Tell a story about a log whose database the test can break, and whose half seconds are short."""

    async def tell() -> None:
        database = FaultyDatabase(tmp_path / "db", deaf=True)
        await database.open()
        log = AuditLog(database, FakeClock(), retention_s=RETENTION_S)
        await log.open()
        try:
            await story(log, database)
        finally:
            await log.close()
            await database.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "GATHER_S", 0.005)
        patch.setattr(audit, "RETRY_S", 0.005)
        asyncio.run(tell())


def test_events_are_written_by_themselves_and_together(tmp_path: Path) -> None:
    async def story(log: AuditLog, database: FaultyDatabase) -> None:
        before = database.writes
        for number in range(50):
            log.add(event(detail=str(number)))
        assert database.writes == before, "nobody waits for a write"
        await until(lambda: database.writes > before)
        await log.flush()
        assert database.writes == before + 1

    on_faulty(tmp_path, story)


def test_while_the_store_is_out_of_reach_events_wait_and_are_then_written_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(log: AuditLog, database: FaultyDatabase) -> None:
        database.broken = True
        attempts = database.writes
        log.add(event(detail="1"))
        log.add(event("sign-in failed"))
        await until(lambda: database.writes > attempts + 2)
        log.add(event("sign-in failed"))
        with pytest.raises(StoreUnavailableError):
            await log.events()
        database.broken = False
        assert len(await log.events()) == 3
        assert log.lost == 0
        assert "events are written later" in caplog.text

    on_faulty(tmp_path, story)


def test_a_write_whose_answer_was_lost_is_repeated_without_doubling_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(log: AuditLog, database: FaultyDatabase) -> None:
        write = database.write

        async def write_and_lose_the_answer(work: Any) -> Any:
            await write(work)
            raise StoreUnavailableError("the connection broke")

        with monkeypatch.context() as patch:
            patch.setattr(database, "write", write_and_lose_the_answer)
            log.add(event(detail="once"))
            with pytest.raises(StoreUnavailableError):
                await log.flush()
        assert await found(log) == ["once"]

    on_faulty(tmp_path, story)


def test_what_has_no_place_to_wait_any_more_is_counted_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "MOST_WAITING", 5)

    async def story(log: AuditLog, database: FaultyDatabase) -> None:
        database.broken = True
        for number in range(8):
            log.add(event(detail=str(number)))
        assert log.lost == 3
        await until(lambda: "3 events are not in the audit log" in caplog.text)
        database.broken = False
        assert await found(log) == ["4", "3", "2", "1", "0"]

    on_faulty(tmp_path, story)


def test_what_cannot_be_written_at_the_end_is_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(log: AuditLog, database: FaultyDatabase) -> None:
        database.broken = True
        log.add(event())
        log.add(event())
        await log.close()
        assert log.lost == 2

    with caplog.at_level(logging.ERROR):
        on_faulty(tmp_path, story)
    assert "2 events are not in the audit log" in caplog.text


def test_what_can_never_be_written_stops_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "WRITE_BATCH", 1)

    async def story(log: AuditLog, _: FaultyDatabase) -> None:
        log.add(event(detail=object()))
        log.add(event(detail="good"))
        await log.flush()
        assert await found(log) == ["good"]
        assert log.lost == 1

    on_faulty(tmp_path, story)
    assert "events cannot be written" in caplog.text
