# SPDX-License-Identifier: MIT
"""The benchmarks run, and the simulation obeys what can be told beforehand."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from stormcellar.benchmarks import instructions, micro, refresh_load, run, scaling, start, store, variants
from stormcellar.benchmarks.refresh_load import DAY_S, OUTAGE_S, World, crowd, simulate
from stormcellar.benchmarks.run import Measured, Served, answer_to, request_for
from stormcellar.benchmarks.scaling import Scaling
from stormcellar.tests.parts import require
from stormcellar.tests.serving import ROOT

pytestmark = pytest.mark.kit

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


# -- pages ---------------------------------------------------------------------------------------------

IN_THIS_PROCESS = ["bare", "decode_each_time", "remember", "signed_cookie", "row_per_request_sqlite"]
"""The kit settles the process that it is in, so it gets one of its own."""


async def answer_of(name: str) -> bytes:
    application, cookie = variants.VARIANTS[name]("")
    listening, port = bind_unused_port()
    http_server = HTTPServer(application)
    http_server.add_socket(listening)

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            return answer_to(connection, request_for("/page", port, cookie))

    try:
        return await asyncio.to_thread(ask)
    finally:
        http_server.stop()
        await http_server.close_all_connections()


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_a_variant_shows_the_page_to_the_user_that_its_cookie_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = asyncio.run(answer_of(name))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(variants.USER_ID.encode()) == 2


def served(name: str, folder: Path, database: str = "") -> Measured:
    """Look at the page, and measure it for a moment."""
    one = Served(name, database, str(folder))
    try:
        run.look(one)
        measured = Measured()
        measured.note(one, 0.1)
    finally:
        one.stop()
    return measured


@pytest.mark.slow
def test_the_kit_shows_the_page_and_can_be_measured(tmp_path: Path) -> None:
    measured = served("kit", tmp_path)
    assert measured.per_second[0] > 0
    assert 0 < measured.p50_ms[0] <= measured.p99_ms[0]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["bare_uvloop", "kit_uvloop"])
def test_a_variant_on_uvloop_shows_the_page(name: str, tmp_path: Path) -> None:
    served(name, tmp_path)


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["row_per_request_postgres", "kit_postgres"])
def test_a_variant_on_postgres_shows_the_page(name: str, tmp_path: Path, postgres_url: str) -> None:
    served(name, tmp_path, postgres_url)


@pytest.mark.npm
@pytest.mark.parametrize("name", [name for name, one in run.VARIANTS.items() if one.is_peer])
def test_a_peer_shows_the_same_page(name: str, tmp_path: Path) -> None:
    """Where it is installed: `make bench ARGS=--peers`."""
    require("npm")
    if reason := run.VARIANTS[name].missing():
        pytest.skip(reason)
    served(name, tmp_path)


def test_what_is_not_installed_is_left_out_with_a_line_that_says_so() -> None:
    missing = run.Variant("a peer from nowhere", ("peers/nowhere.py",), "a_package_that_nobody_has")
    assert missing.missing() == f"a_package_that_nobody_has is not installed; {run.PEERS_HINT}"
    results = {"bare": Measured([300.0], [3000.0], [2.0], [4.0], [1.0])}
    text = run.table(results, {"django": "django is not installed"})
    assert text.endswith(f"Left out: {run.VARIANTS['django'].label}: django is not installed.")
    assert text.count("\n| ") == 2


def test_a_variant_is_compared_with_bare_tornado_just_before_and_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that gets slower all the while does so for both."""
    cpu_us = iter([100.0, 75.0, 200.0, 150.0, 400.0])  # bare, kit, bare, remember, bare
    monkeypatch.setattr(run, "measure", lambda _served, _seconds: (next(cpu_us), 1000.0, 2.0, 4.0))
    results = {name: Measured() for name in ("bare", "kit", "remember")}
    run._round(results, cast(dict[str, Served], dict.fromkeys(results)), 1.0)
    assert results["bare"].cpu_us == [100.0, 200.0, 400.0]
    assert (results["kit"].ratios, results["remember"].ratios) == ([2.0], [2.0])
    assert results["bare"].ratios == [1.0]


def test_the_table_has_medians_and_the_ratios_spread() -> None:
    kit = Measured([300.0, 400.0, 200.0], [4000.0] * 3, [1.0] * 3, [3.0] * 3, [1.5, 1.0, 1.25])
    row = run.table({"kit": kit}, {}).splitlines()[-1]
    assert row == "| **the kit**, everything on | 300 | 1.25 (1.00 to 1.50) | 4000 | 1.0 | 3.0 |"


def test_each_run_that_is_written_is_kept_with_those_before(tmp_path: Path) -> None:
    path = tmp_path / "runs.md"
    for ratio in (1.25, 1.5):
        kit = Measured([300.0], [4000.0], [1.0], [3.0], [ratio])
        run.keep_run({"bare": Measured(), "kit": kit}, path)
    *_, heads, _, first, second = path.read_text().splitlines()
    assert run.VARIANTS["kit"].label in heads
    assert run.machine() in first
    assert "| 1.25 (1.25 to 1.25) |" in first
    assert "| 1.50 (1.50 to 1.50) |" in second
    assert first.count("|") == second.count("|") == heads.count("|")


def test_the_results_hold_every_section_and_what_other_programs_wrote(tmp_path: Path) -> None:
    (tmp_path / "store.md").write_text("# The session store\n\n## SQLite\n\nfast\n")
    text = run.page({"One": "| a |", "Two": "b"}, tmp_path)
    headings = re.findall(r"^#+ .*", text, re.MULTILINE)
    assert headings == ["# Results", "## One", "## Two", "## The session store", "### SQLite"]
    assert run.machine() in text


# -- instructions, parts, start, two processes -----------------------------------------------------------


@pytest.mark.faults
def test_instructions_are_counted_where_valgrind_is_installed() -> None:
    if shutil.which("valgrind") is None:
        assert instructions.report() == "Left out: valgrind is not installed."
        return
    counts = instructions.run(["bare"], times=2, pages=20)["bare"]
    assert counts[0] == pytest.approx(counts[1], rel=0.2)
    assert min(counts) > 100_000


def test_the_table_of_instructions_compares_medians_with_bare_tornado() -> None:
    text = instructions.table({"bare": [3e6, 2e6, 1e6], "kit": [1e6, 1.25e6, 4e6]})
    assert "| bare Tornado, constant user ID | 2000 (1000 to 3000) | 1.00 |" in text
    assert "| **the kit**, everything on | 1250 (1000 to 4000) | 1.60 |" in text


@pytest.mark.faults
def test_every_part_is_measured() -> None:
    pytest.importorskip("pyperf")
    text = micro.report("--processes=1", "--values=1", "--warmups=0", "--loops=2")
    for name, label in micro.PARTS.items():
        assert f"| {label} | " in text or name == "refresh_postgres"


def test_the_table_of_parts_says_what_was_left_out() -> None:
    text = micro.table({"mint": (290.04, 3.0)})
    assert "| an access token signed | 290.0 | 3.0 |" in text
    assert "Left out: a refresh, PostgreSQL." in text


def test_mean_and_spread_come_from_all_processes_of_pyperf() -> None:
    runs: list[dict[str, object]] = [{"warmups": [[1, 9.0]]}, {"values": [1.0, 3.0]}, {"values": [2.0, 2.0]}]
    name, mean, spread = micro.figures({"metadata": {"name": "mint"}, "runs": runs})
    assert (name, mean) == ("mint", 2.0)
    assert spread == pytest.approx(0.5**0.5)


def test_start_and_memory_make_a_table() -> None:
    text = start.table({"with data": [0.5, 0.4, 0.6]}, [("one process, idle", 51.25, 40.0)])
    assert "| folder with data | 0.50 | 0.40 to 0.60 |" in text
    assert "| one process, idle | 51.2 | 40.0 |" in text


def test_two_processes_are_compared_by_the_busier_one() -> None:
    one = Scaling([1000.0, 1000.0], [2000.0, 1000.0], [2000.0, 1000.0])
    two = Scaling([1500.0, 1500.0], [3000.0, 1900.0], [4000.0, 2000.0])
    apart = Scaling([1600.0, 1600.0], [3000.0, 2000.0], [4000.0, 2000.0])
    text = scaling.table({scaling.ONE: one, scaling.TWO: two, scaling.APART: apart})
    assert "| requests/s | 1000 | 1500 | 1.50 (1.50 to 1.50) | 1600 | 1.60 (1.60 to 1.60) |" in text
    assert "had a core for itself | 1500 | 2450 | 1.70 (1.50 to 1.90) | 2500 | 1.75 (1.50 to 2.00) |" in text
    assert "spread evenly | 1500 | 3000 | 2.00 (2.00 to 2.00) | 3000 |" in text


@pytest.mark.faults
def test_start_memory_and_two_processes_are_measured_on_real_servers() -> None:
    assert "| folder empty |" in start.report(1, 0.1, 5)
    assert "| requests/s |" in scaling.report(1, 0.3)


@pytest.mark.faults
def test_the_command_prints_a_table(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "stormcellar/benchmarks/run.py",
        "--rounds=1",
        "--seconds=0.1",
        "--only",
        "kit",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(re.findall(r"^\| (?:bare Tornado|\*\*the kit)", done.stdout, re.MULTILINE)) == 2


def test_a_server_that_hangs_up_is_an_error_and_no_figure() -> None:
    listening, port = bind_unused_port()
    with listening:
        listening.setblocking(True)
        hanging_up = threading.Thread(target=lambda: listening.accept()[0].close())
        hanging_up.start()
        with pytest.raises(ConnectionError):
            run.load(port, request_for("/page", port, ""), 1.0, connections=1)
        hanging_up.join()
