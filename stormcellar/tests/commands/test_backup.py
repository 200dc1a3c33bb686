# SPDX-License-Identifier: MIT
"""backup and restore, and the commands that docs/deploy.md shows for them, beside a server that writes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stormcellar.commands.command import open_site
from stormcellar.settings import Settings
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.serving import ROOT, SITE_DIR, ServerProcess, process_env
from stormcellar.tests.site import SITE

DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


@pytest.fixture
def site(data_dir: Path) -> list[str]:
    return [f"--data_dir={data_dir}"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.sqlite3"


def emails(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [email for (email,) in connection.execute("SELECT email FROM users ORDER BY email")]


def test_a_backup_is_readable_by_its_owner_and_replaces_an_older_one(
    manage: Manage, ann: str, file: Path
) -> None:
    file.write_text("an older backup")
    file.chmod(0o644)
    done = manage("backup", str(file))
    assert done.code == 0, done.err
    assert emails(file) == ["ann@example.com"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == ["backup.sqlite3"]


def test_a_backup_that_fails_leaves_the_older_one(manage: Manage, data_dir: Path, file: Path) -> None:
    file.write_text("an older backup")
    (data_dir / "stormcellar.sqlite3").write_bytes(b"no database" * 1000)
    assert manage("backup", str(file)).code == 1
    assert file.read_text() == "an older backup"
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == ["backup.sqlite3"]


def test_a_backup_never_replaces_the_database(manage: Manage, data_dir: Path) -> None:
    done = manage("backup", str(data_dir / "stormcellar.sqlite3"))
    assert (done.code, "Name another file" in done.err) == (1, True)


def test_a_restore_brings_back_the_backup_and_keeps_the_rest(
    manage: Manage, ann: str, data_dir: Path, file: Path
) -> None:
    path = data_dir / "stormcellar.sqlite3"
    manage("backup", str(file))
    manage("create-user", "bob@example.com", stdin="correct cellar staple")
    os.chown(path, 1234, 1234) if os.geteuid() == 0 else None
    done = manage("restore", str(file))
    assert done.code == 0, done.err
    assert emails(path) == ["ann@example.com"]
    facts = path.stat()
    assert facts.st_mode & 0o777 == 0o600
    assert facts.st_uid == (1234 if os.geteuid() == 0 else os.geteuid())
    (kept,) = data_dir.glob("*.before-*")
    assert emails(kept) == ["ann@example.com", "bob@example.com"]
    assert not Path(f"{path}-wal").exists()


def test_a_restore_works_where_no_database_is_left(
    manage: Manage, ann: str, data_dir: Path, file: Path
) -> None:
    manage("backup", str(file))
    (data_dir / "stormcellar.sqlite3").unlink()
    assert manage("restore", str(file)).code == 0
    assert "ann@example.com" in manage("list-users").out


def test_a_restore_refuses_what_is_no_backup(manage: Manage, ann: str, file: Path) -> None:
    sqlite3.connect(file).close()
    assert "no backup of this program" in manage("restore", str(file)).err
    file.write_bytes(b"no database" * 1000)
    assert "not a database" in manage("restore", str(file)).err
    assert "There is no backup" in manage("restore", str(file) + "x").err
    assert "ann@example.com" in manage("list-users").out


def test_a_restore_refuses_a_backup_of_another_secret(
    manage: Manage, ann: str, data_dir: Path, file: Path
) -> None:
    manage("backup", str(file))
    (data_dir / "secret").write_text("another-secret-q7w3-e9r1-t5y8-u2i6-o4p0")
    assert "belongs to another secret" in manage("restore", str(file)).err
    assert manage("restore", str(file), "--secret-is-lost").code == 0
    assert "rotate-secret --lost" in manage("list-users").err
    assert manage("rotate-secret", "--lost", "--yes").code == 0
    assert "ann@example.com" in manage("list-users").out


def test_a_restore_refuses_a_backup_of_a_newer_version(manage: Manage, ann: str, file: Path) -> None:
    manage("backup", str(file))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 99")
    assert "Update the program first" in manage("restore", str(file)).err


@pytest.mark.gen_test
async def test_a_restore_is_refused_while_a_server_runs(data_dir: Path, file: Path) -> None:
    command = [sys.executable, "manage.py"]
    options = f"--data_dir={data_dir}"
    async with open_site(SITE, Settings(data_dir=data_dir)):
        subprocess.run([*command, "backup", str(file), options], cwd=SITE_DIR, check=True, env=process_env())
        done = subprocess.run(
            [*command, "restore", str(file), options],
            cwd=SITE_DIR,
            capture_output=True,
            text=True,
            check=False,
            env=process_env(),
        )
    assert (done.returncode, "Stop every server first" in done.stderr) == (1, True)


# -- the documentation ------------------------------------------------------------------------------


def shown(heading: str, word: str) -> str:
    """The block of commands below a heading that contains a word."""
    section = DEPLOY.split(f"\n## {heading}")[1].split("\n## ")[0]
    (found,) = [block for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if word in block]
    return str(found)


def run_shown(commands: str, folder: Path) -> None:
    """Run commands of the documentation with this machine's folders, and without systemd and other users."""
    for there, here in (
        ("/srv/stormcellar/current", str(ROOT)),
        ("/var/backups/stormcellar", str(folder / "backups")),
        ("--config=/etc/stormcellar/stormcellar.conf", f"--data_dir={folder / 'data'}"),
        ("/var/lib/stormcellar", str(folder / "data")),
        ("runuser -u stormcellar -- ", ""),
        ("-o stormcellar ", ""),
        (".venv/bin/python", sys.executable),
    ):
        commands = commands.replace(there, here)
    commands = re.sub(r"^systemctl .*$", "", commands, flags=re.MULTILINE)
    subprocess.run(["sh", "-euc", commands], check=True, env=process_env())


WRITE = """
import itertools, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
sql = "INSERT INTO users (user_id, email, created_at_ms) VALUES (?, ?, 0)"
for number in itertools.count(1):
    connection.execute(sql, [str(number), f"user{number:06}@example.com"])
"""


@pytest.mark.slow
def test_the_documented_backup_and_restore_work(tmp_path: Path) -> None:
    """Twice in a night beside processes that write. These are killed, and the backup is restored."""
    path = tmp_path / "data" / "stormcellar.sqlite3"
    with ServerProcess(tmp_path / "data") as server:
        writer = subprocess.Popen([sys.executable, "-c", WRITE, path])
        try:
            while not emails(path):
                assert writer.poll() is None
            nightly = shown("Backups", "manage.py backup")
            run_shown(nightly, tmp_path)
            run_shown(nightly, tmp_path)
        finally:
            server.kill()
            writer.kill()
            writer.wait()
    (backup,) = (tmp_path / "backups").glob("*.sqlite3")
    assert backup.stat().st_mode & 0o777 == 0o600
    at_backup = emails(backup)
    assert at_backup == [f"user{number + 1:06}@example.com" for number in range(len(at_backup))]
    assert Path(f"{path}-wal").stat().st_size > 0
    restoring = shown("Restore", "manage.py restore")
    run_shown(re.sub(r"\d{4}-\d\d-\d\d\.sqlite3", backup.name, restoring), tmp_path)
    assert emails(path) == at_backup
    with ServerProcess(tmp_path / "data"):
        pass
    assert emails(path) == at_backup
