# SPDX-License-Identifier: MIT
"""The life of an SQLite file: removed, replaced, restored, grown, owned by another user."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from stormcellar.sessions import StoreUnavailableError
from stormcellar.sessions.errors import UnusableDatabaseError
from stormcellar.store import Connection, sqlite
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.tests.serving import ROOT

TABLE = "CREATE TABLE names (name TEXT)"


@asynccontextmanager
async def open_at(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    try:
        await database.open()
        await database.migrate("names", [TABLE])
        yield database
    finally:
        await database.close()


async def add(database: SqliteDatabase, name: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO names VALUES (:name)", {"name": name})

    await database.write(work)


async def names(database: SqliteDatabase) -> list[str]:
    sql = "SELECT name FROM names ORDER BY name"
    return [name for (name,) in await database.read(lambda c: c.execute(sql).fetchall())]


async def assert_unavailable(database: SqliteDatabase, why: str) -> None:
    with pytest.raises(StoreUnavailableError, match=why):
        await add(database, "lost")
    with pytest.raises(StoreUnavailableError, match=why):
        await names(database)


@pytest.mark.gen_test
async def test_a_removed_file_is_reported_and_takes_no_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    async with open_at(path) as database:
        await add(database, "ann")
        path.unlink()
        await assert_unavailable(database, "was removed; restart the server")
        assert not path.exists()
    assert caplog.text.count("was removed while the server runs. Restart the server") == 1


@pytest.mark.gen_test
async def test_a_replaced_file_is_reported_and_takes_no_write(tmp_path: Path) -> None:
    path, other = tmp_path / "db", tmp_path / "other"
    async with open_at(path) as database:
        shutil.copy(path, other)
        other.replace(path)
        await assert_unavailable(database, "was replaced by another file; restart the server")


@pytest.mark.gen_test
async def test_a_file_that_is_moved_away_and_back_is_used_again(tmp_path: Path) -> None:
    path, aside = tmp_path / "db", tmp_path / "aside"
    async with open_at(path) as database:
        await add(database, "ann")
        path.rename(aside)
        await assert_unavailable(database, "was removed")
        aside.rename(path)
        await add(database, "bob")
        assert await names(database) == ["ann", "bob"]


@pytest.mark.gen_test
async def test_the_watcher_reports_a_removed_file_without_any_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "FILE_CHECK_S", 0)
    lost = asyncio.Event()
    async with open_at(tmp_path / "db") as database:
        database.watch(lambda: None, lost.set)
        (tmp_path / "db").unlink()
        await asyncio.wait_for(lost.wait(), 30)
    assert "was removed while the server runs" in caplog.text


CRASH = """
import sqlite3, sys, os
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("INSERT INTO names VALUES ('after the backup')")
os._exit(9)
"""


@pytest.mark.slow
@pytest.mark.gen_test
async def test_a_backup_beside_the_log_of_a_crash_is_refused(tmp_path: Path) -> None:
    """SQLite would apply the log of the earlier database to the backup, and say nothing."""
    path, backup = tmp_path / "db", tmp_path / "backup"
    async with open_at(path) as database:
        await add(database, "ann")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"VACUUM INTO '{backup}'")
    crashed = subprocess.run([sys.executable, "-c", CRASH, path], cwd=ROOT, check=False)
    assert crashed.returncode == 9
    log = Path(f"{path}-wal")
    assert log.stat().st_size > 0
    shutil.copy(backup, path)
    with pytest.raises(UnusableDatabaseError, match=r"is a backup, and .*-wal holds changes"):
        async with open_at(path):
            pass
    assert log.exists()
    log.unlink()
    Path(f"{path}-shm").unlink(missing_ok=True)
    async with open_at(path) as database:
        assert await names(database) == ["ann"]


@pytest.mark.gen_test
async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableDatabaseError, match=r"folder .*gone of the database does not exist\. Create"):
        async with open_at(tmp_path / "gone" / "db"):
            pass


@pytest.mark.gen_test
async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableDatabaseError, match="is a folder"):
        async with open_at(tmp_path):
            pass


OPEN = """
import asyncio, os, sys
from pathlib import Path
from stormcellar.store.sqlite import SqliteDatabase
os.setuid(65534)
asyncio.run(SqliteDatabase(Path(sys.argv[1])).open())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("ending", ["", "-wal"])
def test_a_file_of_another_user_is_named_with_its_owner(ending: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o777)
        mine, theirs = folder / "db", folder / f"db{ending}"
        for path in (mine, theirs):
            path.touch(mode=0o600)
            os.chown(path, 65534, 65534)
        os.chown(theirs, 0, 0)
        done = subprocess.run(
            [sys.executable, "-c", OPEN, mine], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert f"{theirs} belongs to the user root" in done.stderr


@pytest.mark.gen_test
async def test_the_log_shrinks_after_a_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOG_LIMIT_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "LOG_CHECK_S", 0.05)
    path = tmp_path / "db"
    log = Path(f"{path}-wal")
    async with open_at(path) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM names").fetchall()  # as long as this lasts, the log only grows
            for _ in range(5):
                await add(database, "x" * 100_000)
            assert log.stat().st_size > 400_000
        database.watch(lambda: None, lambda: None)
        while log.stat().st_size:
            await asyncio.sleep(0.02)
        assert len(await names(database)) == 5
