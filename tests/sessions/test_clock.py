# SPDX-License-Identifier: MIT
"""Servers on one database share its clock: a machine's own may be wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from sessions import SharedClock, StoreUnavailableError, TryRefreshTokenError
from tests.sessions.helpers import refresh, sign_in, use
from tests.support import FakeClock, database_at, running_engine


class WrongMachine(FakeClock):
    """A machine whose clock is wrong, and that has asked the shared one."""

    def __init__(self, shared: FakeClock, monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
        super().__init__()

        async def ask() -> float:
            return shared.now()

        self._shared_clock = SharedClock(ask)
        monkeypatch.setattr("sessions.clock.time.time", lambda: shared.now() + ahead_s)
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
