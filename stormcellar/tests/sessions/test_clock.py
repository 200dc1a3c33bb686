# SPDX-License-Identifier: MIT
"""Servers on one database share its clock: a machine's own may be wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from stormcellar.sessions import SharedClock, StoreUnavailableError, TryRefreshTokenError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import refresh, sign_in, use
from stormcellar.tests.support import database_at, running_engine


class WrongMachine(FakeClock):
    """A machine whose clock is wrong, and that has asked the shared one."""

    def __init__(self, shared: FakeClock, monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
        super().__init__()

        async def ask() -> float:
            return shared.now()

        self._shared_clock = SharedClock(ask)
        monkeypatch.setattr("stormcellar.clock.time.time", lambda: shared.now() + ahead_s)
        asyncio.run(self._shared_clock.set())
        self._ahead_s = self._shared_clock.ahead_s
        self._machine = lambda: shared.now() + ahead_s

    def now(self) -> float:
        return self._machine() + self._ahead_s


@pytest.mark.parametrize("ahead_s", [-600.0, -60.0, 0.0, 60.0, 600.0])
def test_a_wrong_clock_shows_what_the_shared_one_shows(
    ahead_s: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = FakeClock()
    clock = WrongMachine(shared, monkeypatch, ahead_s)
    assert clock.now() == pytest.approx(shared.now())
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (1 if ahead_s else 0)


@pytest.mark.parametrize("ahead_s", [-60.0, 60.0])
def test_two_tabs_at_two_machines_whose_clocks_differ_by_a_minute_are_no_theft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    shared = FakeClock()
    wrong = WrongMachine(shared, monkeypatch, ahead_s)

    async def story() -> None:
        async with (
            running_engine(tmp_path / "db", wrong) as one,
            running_engine(tmp_path / "db", shared) as two,
        ):
            first = await sign_in(one)
            second = await refresh(one, first)
            await use(one, second)
            shared.advance(29)
            assert (await refresh(two, first)).refresh_token == second.refresh_token
            shared.advance(two.config.access_token_lifetime_s)
            for engine in (one, two):
                with pytest.raises(TryRefreshTokenError):
                    await engine.get_session(second.access_token)

    asyncio.run(story())


def test_a_database_that_does_not_answer_leaves_the_clock_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[float | Exception] = [time.time() + 500, StoreUnavailableError("stopped")]

    async def ask() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def story() -> None:
        clock = SharedClock(ask)
        await clock.set()
        ahead_s = clock.ahead_s
        with pytest.raises(StoreUnavailableError):
            await clock.set()
        assert clock.ahead_s == ahead_s == pytest.approx(500, abs=5)

    asyncio.run(story())


def test_each_database_shows_its_clock(place: Path | str) -> None:
    async def story() -> None:
        database = database_at(place)
        await database.open()
        try:
            assert await database.now() == pytest.approx(time.time(), abs=30)
        finally:
            await database.close()

    asyncio.run(story())


def test_an_answer_that_took_long_does_not_move_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is off by up to half of that time: more than the grace period of a refresh, with a slow database."""
    machine = FakeClock()
    monkeypatch.setattr("stormcellar.clock.time.time", machine.now)

    async def story() -> None:
        waits: list[float] = []

        async def ask() -> float:
            machine.advance(waits.pop())  # all of it on the way here
            return machine.now() + 100

        async def ahead_after(clock: SharedClock, took_s: float) -> float:
            waits.append(took_s)
            await clock.set()
            return clock.ahead_s

        clock, slow = SharedClock(ask), SharedClock(ask)
        assert await ahead_after(clock, 0.0) == pytest.approx(100)
        assert await ahead_after(clock, 80.0) == pytest.approx(100)
        assert await ahead_after(clock, 0.5) == pytest.approx(100.25)
        assert await ahead_after(slow, 80.0) == pytest.approx(140)  # the first is better than none
        assert await ahead_after(slow, 0.0) == pytest.approx(100)

    asyncio.run(story())


def test_no_failure_ends_the_asking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stormcellar.clock.SET_INTERVAL_S", 0)

    async def story() -> None:
        answers: list[float | Exception] = [ValueError("no number"), StoreUnavailableError("stopped")]
        asked_enough = asyncio.Event()

        async def ask() -> float:
            if answers:
                answer = answers.pop(0)
                assert isinstance(answer, Exception)
                raise answer
            asked_enough.set()
            return time.time()

        task = asyncio.ensure_future(SharedClock(ask).keep_set())
        await asyncio.wait_for(asked_enough.wait(), 10)
        task.cancel()

    asyncio.run(story())
    assert [record.getMessage() for record in caplog.records] == [
        "the clock goes on as it was: no number",
        "the clock goes on as it was: stopped",
    ]
