# SPDX-License-Identifier: MIT
"""backup and restore: copies of an SQLite database.

A backup is made by SQLite itself (`VACUUM INTO`) while servers write: it is the state of one moment. It is
written beside its target under another name, and takes the target's name when it is complete and on the disk.

A restore replaces the database and removes its write-ahead log, which SQLite would otherwise apply to the
backup. The earlier database is kept under another name.

Source: https://www.sqlite.org/lang_vacuum.html, https://www.sqlite.org/howtocorrupt.html.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stormcellar.commands.check_database import COMPONENTS
from stormcellar.commands.command import Argument, Call, Command, key_ring
from stormcellar.commands.output import CommandError
from stormcellar.sessions import StoreUnavailableError
from stormcellar.sessions.session_store import SessionStore
from stormcellar.settings import Settings
from stormcellar.store.migrations import needs
from stormcellar.store.sqlite import SqliteDatabase

BUSY_TIMEOUT_S = 5.0
ENDINGS = ("-wal", "-shm", "-journal")


async def backup(call: Call) -> None:
    source = _sqlite_path(call.settings())
    target = _absolute(call.arguments.file)
    if not source.is_file():
        raise CommandError(f"There is no database {source}. Give the settings of the server")
    if not target.parent.is_dir():
        raise CommandError(f"There is no folder {target.parent}. Create it")
    if target.resolve() == source.resolve():
        raise CommandError("The backup would replace the database. Name another file")
    with _draft(target) as draft:
        _vacuum_into(source, draft)
        _check_whole(draft)
        _put_in_place(draft, target)
    print(f"{target} is a backup of {source}.")
    print("The secret is not in it. Keep a copy of the secret in another place.")


async def restore(call: Call) -> None:
    options = call.settings()
    target, source = _sqlite_path(options), _absolute(call.arguments.file)
    if not source.is_file():
        raise CommandError(f"There is no backup {source}")
    if not target.parent.is_dir():
        raise CommandError(f"There is no folder {target.parent}. Create it, or correct `database`")
    if target.resolve() == source.resolve():
        raise CommandError(f"{source} is the database itself. Name a backup")
    with _draft(target) as draft:
        shutil.copyfile(source, draft)
        _check_whole(draft)
        await _check_fits(draft, options, secret_is_lost=call.arguments.secret_is_lost)
        kept = _set_aside(target)
        _give_to_owner(draft, target)
        _remove_logs(target)
        _put_in_place(draft, target)
    print(f"{target} is the state of {source} now. Start the servers.")
    if kept is not None:
        print(f"The earlier database is {kept}. Delete it when you do not need it any more.")


def _sqlite_path(options: Settings) -> Path:
    if options.verify_only:
        raise CommandError(f"This server keeps nothing. Run the command at {options.api_domain}")
    if options.uses_postgres:
        raise CommandError("The database is PostgreSQL. Use pg_dump and pg_restore (docs/operations.md)")
    return options.database_path.absolute()


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A new empty file beside the target, for its owner only. It is gone at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
        _remove_logs(draft)


def _remove_logs(path: Path) -> None:
    for ending in ENDINGS:
        Path(f"{path}{ending}").unlink(missing_ok=True)


def _absolute(name: str) -> Path:
    return Path(name).absolute()


def _vacuum_into(source: Path, draft: Path) -> None:
    with _connection(source, "rw") as connection:
        connection.execute("VACUUM INTO ?", [str(draft)])


@contextlib.contextmanager
def _connection(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Raises CommandError: SQLite cannot do what is asked."""
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
        with contextlib.closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise CommandError(f"{path}: {error}") from error


def _check_whole(path: Path) -> None:
    with _connection(path, "rw") as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise CommandError(f"The copy is damaged ({found}). Use another one")


async def _check_fits(draft: Path, options: Settings, *, secret_is_lost: bool) -> None:
    """Check that this program, with this secret, can work with a backup.

    Raises:
        CommandError: it cannot.
    """
    with _connection(draft, "rw") as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"schema_version", "sessions", "signing_keys"} <= names:
            raise CommandError("The file is no backup of this program")
        versions = dict(connection.execute("SELECT component, version FROM schema_version"))
    for component, version in COMPONENTS.items():
        if versions.get(component, 0) > version < versions.get(needs(component), 0):
            raise CommandError(f"The backup is of a newer version ({component}). Update the program first")
    database = SqliteDatabase(draft)
    await database.open()
    try:
        await key_ring(SessionStore(database), replace(options, database="")).load()
    except StoreUnavailableError as error:
        if not secret_is_lost:
            raise CommandError(f"The backup belongs to another secret: {error}") from error
    finally:
        await database.close()
    with _connection(draft, "rw") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # all of it is in one file


def _set_aside(target: Path) -> Path | None:
    """Keep the earlier database under another name. It stays in its place too until it is replaced.

    Raises:
        CommandError: a server uses it.
    """
    if not target.exists():
        return None
    _take_alone(target)
    kept = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    for ending in ("", "-wal"):
        found = Path(f"{target}{ending}")
        if found.exists():
            os.link(found, f"{kept}{ending}")
    return kept


def _take_alone(target: Path) -> None:
    """Check that no process uses a database, and move what is in its log into the file."""
    connection = sqlite3.connect(f"{target.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=1)
    with contextlib.closing(connection):
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            raise CommandError(f"{target} is in use ({error}). Stop every server first") from error
        except sqlite3.DatabaseError:  # it is damaged, which may be why it is restored
            return


def _give_to_owner(draft: Path, target: Path) -> None:
    """The user who owned the database owns the restored one, also if root restores it."""
    owner = (target if target.exists() else target.parent).stat()
    if os.geteuid() == 0:
        os.chown(draft, owner.st_uid, owner.st_gid)


def _put_in_place(draft: Path, target: Path) -> None:
    """Give a complete file its name, so that a crash leaves the earlier file or this one."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


COMMANDS = (
    Command(
        "backup",
        backup,
        "Write a backup of the SQLite database into a file, while servers run. The file is readable by its "
        "owner only; a file of that name is replaced when the backup is complete. The secret is not in it.",
        "backup /var/backups/stormcellar/today.sqlite3",
        (Argument("file", "The backup.", {"metavar": "FILE"}),),
    ),
    Command(
        "restore",
        restore,
        "Replace the SQLite database by a backup. Stop the servers first. The backup is checked: is it "
        "whole, of this version or an earlier one, and of this secret? The earlier database is kept under "
        "another name.",
        "restore /var/backups/stormcellar/today.sqlite3",
        (
            Argument("file", "The backup.", {"metavar": "FILE"}),
            Argument(
                "--secret-is-lost",
                "Restore it although no secret opens it; then run `rotate-secret --lost` before the start.",
                {"action": "store_true"},
            ),
        ),
    ),
)
