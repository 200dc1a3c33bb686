# SPDX-License-Identifier: MIT
"""The benchmarks run, and the simulation obeys what can be told beforehand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from benchmarks import refresh_load, store
from benchmarks.refresh_load import DAY_S, OUTAGE_S, World, crowd, simulate

WORLD = World(users=600, scale=1000.0, visits_a_day=3.0, lifetime_s=3600.0, jitter=0.05)


def test_without_jitter_a_crowd_comes_back_as_close_together_as_it_came() -> None:
    still = World(users=600, scale=1000.0, visits_a_day=3.0, lifetime_s=3600.0, jitter=0.0)
    together, apart = crowd(still, 6), crowd(WORLD, 6)
    assert together[0] == together[5]
    assert apart[5] < apart[0] < together[0]


def test_a_day_has_a_refresh_for_about_each_visit() -> None:
    """A visit is half as long as a token lives: most begin with an old token, some see one end."""
    day = simulate(WORLD)
    refreshes = sum(day.answered[second] for second in range(DAY_S))
    assert 0.8 < refreshes / (WORLD.users * WORLD.visits_a_day) < 1.3


def test_a_herd_is_served_after_the_outage_and_the_later_the_less_the_servers_manage() -> None:
    enough = simulate(WORLD, outage=True).served_after_s
    scarce = simulate(WORLD, outage=True, capacity=150.0).served_after_s
    assert enough
    assert min(enough) >= 0
    assert max(enough) <= refresh_load.LONGEST_RETRY_S
    assert sum(scarce) / len(scarce) > sum(enough) / len(enough)


def test_nobody_is_answered_during_the_outage() -> None:
    day = simulate(WORLD, outage=True)
    seconds = range(refresh_load.PEAK_AT_S, refresh_load.PEAK_AT_S + OUTAGE_S)
    assert sum(day.answered[second] for second in seconds) == 0
    assert sum(day.attempts[second] for second in seconds) > 0


def test_the_same_seed_gives_the_same_day() -> None:
    assert simulate(WORLD).answered == simulate(WORLD).answered


def test_the_store_is_measured_on_sqlite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All operations, disk and purge, on a few rows."""
    place = store.Sqlite(tmp_path)
    text = asyncio.run(store.measure_place(place, [50, 200], 1, 0.05, 0, 1.0))
    for what in ("refresh", "sign-in", "revoke", "get_session"):
        assert len(re.findall(rf"^\| {what}", text, re.MULTILINE)) == 2
    assert "bytes a session on disk" in text
    assert list(tmp_path.iterdir()) == [], "the databases are removed"


def test_rows_that_the_benchmark_loads_take_at_most_400_bytes_on_sqlite(tmp_path: Path) -> None:
    place = store.Sqlite(tmp_path)
    table = store.Table(place, 20_000)
    asyncio.run(table.fill())
    whole = place.sizes(table.name)["all"]
    assert whole / table.size <= 400
