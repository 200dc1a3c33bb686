# SPDX-License-Identifier: MIT
"""From SQLite to PostgreSQL: nobody is signed out, nothing is lost, whenever the copy is killed."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from stormcellar.sessions import SystemClock
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.tests.commands.conftest import Done
from stormcellar.tests.commands.conftest import Manage as Manage
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env

pytestmark = pytest.mark.postgres
DEADLINE_S = 60


@pytest.fixture
def site(data_dir: Path) -> list[str]:
    """For `manage`: the source."""
    return [f"--data_dir={data_dir}"]


def rows_of_source(data_dir: Path, table: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(data_dir / "stormcellar.sqlite3")
    try:
        names = ", ".join(columns_of(connection, table))
        return sorted(connection.execute(f"SELECT {names} FROM {table}").fetchall())
    finally:
        connection.close()


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    return sorted(name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')"))


def tables_of_source(data_dir: Path) -> list[str]:
    connection = sqlite3.connect(data_dir / "stormcellar.sqlite3")
    try:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        return sorted(name for (name,) in connection.execute(sql) if name != "schema_version")
    finally:
        connection.close()


def assert_same_rows(data_dir: Path, cluster: Cluster) -> None:
    """Of every table there is, those of extras included."""
    for table in tables_of_source(data_dir):
        connection = sqlite3.connect(data_dir / "stormcellar.sqlite3")
        names = ", ".join(columns_of(connection, table))
        connection.close()
        there = sorted(map(tuple, cluster.execute(f"SELECT {names} FROM {table}", "kit")))
        assert there == rows_of_source(data_dir, table), table


def change_source(data_dir: Path, sql: str) -> None:
    connection = sqlite3.connect(data_dir / "stormcellar.sqlite3")
    connection.execute(sql)
    connection.commit()
    connection.close()


def multiply_sessions(data_dir: Path, count: int) -> None:
    """That many more like the one there is."""
    connection = sqlite3.connect(data_dir / "stormcellar.sqlite3")
    others = ", ".join(name for name in columns_of(connection, "sessions") if name != "handle")
    connection.close()
    change_source(
        data_dir,
        f"INSERT INTO sessions (handle, {others}) WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL"
        f" SELECT n + 1 FROM numbers WHERE n < {count})"
        f" SELECT handle || '-' || n, {others} FROM sessions, numbers",
    )


@pytest.fixture
def signed_in(manage: Manage, data_dir: Path) -> Client:
    """A browser that signed in on SQLite, by a real server that has stopped again."""

    async def story(server: ServerProcess) -> Client:
        client = Client(AsyncHTTPClient(), server.url, SystemClock())  # type: ignore[arg-type]
        await client.sign_up()
        assert (await client.refresh()).code == 200
        return client

    with ServerProcess(data_dir) as server:
        return asyncio.run(story(server))


def copy(manage: Manage, url: str) -> Done:
    return manage("copy-database", f"--to={url}")


def test_who_was_signed_in_on_sqlite_is_signed_in_on_postgresql(
    signed_in: Client, manage: Manage, data_dir: Path, postgres_url: str, cluster: Cluster
) -> None:
    manage("set-role", "ann@example.com", "editor")
    done = copy(manage, postgres_url)
    assert done.code == 0, done.err
    assert "Nobody is signed out" in done.out
    assert postgres_url not in done.out + done.err
    assert_same_rows(data_dir, cluster)

    async def story(server: ServerProcess) -> None:
        client = Client(AsyncHTTPClient(), server.url, SystemClock())  # type: ignore[arg-type]
        client.jar = signed_in.jar
        assert (await client.get("/dashboard")).code == 200
        assert (await client.refresh()).code == 200
        assert (await client.get("/dashboard")).code == 200
        assert (await client.post("/signout")).code == 303  # writes to the feed, whose ids go on
        assert (await client.get("/dashboard")).code != 200
        await client.sign_in()

    (highest,) = cluster.execute("SELECT max(id) FROM feed", "kit")[0]
    with ServerProcess(data_dir, f"--database={postgres_url}") as server:
        asyncio.run(story(server))
    assert cluster.execute("SELECT max(id) FROM feed", "kit")[0][0] > highest


def test_a_killed_copy_is_taken_up_where_it_stopped(
    signed_in: Client, manage: Manage, data_dir: Path, postgres_url: str, cluster: Cluster
) -> None:
    multiply_sessions(data_dir, 60_000)
    command = [sys.executable, "manage.py", "copy-database", f"--to={postgres_url}", f"--data_dir={data_dir}"]
    process = subprocess.Popen(
        command, cwd=SITE_DIR, env=process_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + DEADLINE_S
    while not (here := sessions_in(cluster)) and process.poll() is None:
        assert time.monotonic() < deadline, "the copy does not begin"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < sessions_in(cluster) < 60_001, "killed too late to show anything"
    done = copy(manage, postgres_url)
    assert done.code == 0, done.err
    assert "begins anew" not in done.out
    percents = [int(percent) for percent in re.findall(r"^ *(\d+) %", done.err, re.MULTILINE)]
    assert min(percents) > 100 * here // 60_100
    assert_same_rows(data_dir, cluster)
    assert copy(manage, postgres_url).out == "This copy was finished before; nothing was changed.\n"


def sessions_in(cluster: Cluster) -> int:
    if not cluster.execute("SELECT to_regclass('database_copy_progress') IS NOT NULL", "kit")[0][0]:
        return 0
    rows = cluster.execute("SELECT done FROM database_copy_progress WHERE name = 'sessions'", "kit")
    return int(rows[0][0]) if rows else 0


def test_a_copy_begins_anew_if_the_source_was_written_to_after_it_was_killed(
    signed_in: Client, manage: Manage, data_dir: Path, postgres_url: str, cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A session revoked in between must not live on in the target."""
    multiply_sessions(data_dir, 6_000)

    def broken(*_: object) -> None:
        raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr("stormcellar.commands.copy_database.Target.finish", broken)
        assert copy(manage, postgres_url).code == 1
    (line,) = manage("list-sessions", "--user=ann@example.com").out.splitlines()[:1]
    assert manage("revoke-session", line.split()[0]).code == 0
    done = copy(manage, postgres_url)
    assert (done.code, "begins anew" in done.out) == (0, True)
    assert_same_rows(data_dir, cluster)


def test_a_source_in_use_is_refused(manage: Manage, data_dir: Path, postgres_url: str) -> None:
    with ServerProcess(data_dir):
        done = copy(manage, postgres_url)
    assert done.code == 1
    assert "stop every server on it first" in done.err


def test_a_target_that_holds_a_site_is_refused_and_left_as_it_is(
    manage: Manage, data_dir: Path, postgres_url: str, cluster: Cluster
) -> None:
    assert manage("create-user", "bob@example.com", f"--database={postgres_url}", stdin=PASSWORD).code == 0
    done = copy(manage, postgres_url)
    assert done.code == 1
    assert "The target holds data already" in done.err
    assert [email for (email,) in cluster.execute("SELECT email FROM users", "kit")] == ["bob@example.com"]


def test_another_secret_is_refused(
    manage: Manage, data_dir: Path, postgres_url: str, cluster: Cluster
) -> None:
    done = manage("copy-database", f"--to={postgres_url}", f"--secret={secrets.token_urlsafe(48)}")
    assert done.code == 1
    assert "The secret of these settings is not the source's" in done.err
    assert cluster.execute("SELECT to_regclass('users')", "kit") == [(None,)]


def test_what_is_no_source_or_no_target_is_refused(
    manage: Manage, data_dir: Path, tmp_path: Path, postgres_url: str
) -> None:
    assert (
        "There is no SQLite file"
        in manage("copy-database", f"--from=sqlite:///{tmp_path}/none.sqlite3", f"--to={postgres_url}").err
    )
    assert "The target must be a PostgreSQL database" in manage("copy-database").err
    assert (
        "The source must be an SQLite file"
        in manage("copy-database", f"--from={postgres_url}", f"--to={postgres_url}").err
    )
    foreign = tmp_path / "foreign.sqlite3"
    sqlite3.connect(foreign).execute("CREATE TABLE other (a)").connection.close()
    assert (
        "holds no sessions"
        in manage("copy-database", f"--from=sqlite:///{foreign}", f"--to={postgres_url}").err
    )
    text = tmp_path / "text.sqlite3"
    text.write_text("no database at all, but a file of some length\n" * 100)
    assert (
        "The source cannot be read"
        in manage("copy-database", f"--from=sqlite:///{text}", f"--to={postgres_url}").err
    )
    unreachable = postgres_url.replace("/kit", "/nowhere")
    assert "PostgreSQL: " in copy(manage, unreachable).err


def test_an_older_source_is_to_be_started_once(manage: Manage, data_dir: Path, postgres_url: str) -> None:
    change_source(data_dir, "UPDATE schema_version SET version = version - 1 WHERE component = 'accounts'")
    assert "start and stop this version's server on it once" in copy(manage, postgres_url).err


def test_a_copy_of_the_file_elsewhere_can_be_the_source(
    signed_in: Client, manage: Manage, data_dir: Path, tmp_path: Path, postgres_url: str, cluster: Cluster
) -> None:
    elsewhere = tmp_path / "a copy.sqlite3"
    shutil.copy(data_dir / "stormcellar.sqlite3", elsewhere)
    done = manage("copy-database", f"--from=sqlite:///{elsewhere}", f"--to={postgres_url}", "--json")
    assert done.code == 0, done.err
    assert done.records[0]["rows"] > 2
    assert_same_rows(data_dir, cluster)
