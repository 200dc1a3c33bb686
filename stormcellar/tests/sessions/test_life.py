# SPDX-License-Identifier: MIT
"""The engine's life: it starts once, and keeps house until it stops."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from stormcellar.sessions import Sessions, engine
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.sessions.helpers import run


def test_an_engine_that_is_started_again_keeps_house_once(tmp_path: Path) -> None:
    """Whoever starts more than the engine repeats all of it when a later part failed."""

    async def story(one: Sessions, clock: FakeClock) -> None:
        before = set(one._tasks)
        await one.start()
        assert set(one._tasks) == before

    run(tmp_path, story)


def test_housekeeping_survives_whatever_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise no key would rotate and no expired row go until the next restart."""
    monkeypatch.setattr(engine, "MAINTENANCE_INTERVAL_S", 0.01)
    rounds = []

    async def fails_at_first(one: Sessions) -> None:
        rounds.append(one)
        if len(rounds) == 1:
            raise RuntimeError("not an error that anybody expected")

    async def story(one: Sessions, clock: FakeClock) -> None:
        await until(lambda: len(rounds) > 1)

    monkeypatch.setattr(Sessions, "maintain", fails_at_first)
    with caplog.at_level(logging.ERROR):
        run(tmp_path, story)
    assert "not an error that anybody expected" in caplog.text
