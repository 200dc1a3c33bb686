# SPDX-License-Identifier: MIT
"""copy-database: from SQLite to PostgreSQL without signing anybody out.

Every table is copied as it is, but for `schema_version`, of which the target gets one of its own. Rows are
read in the order of their row ids and written with COPY in batches, each in one transaction together with
how far it came (`database_copy_progress`). So memory does not grow with the tables, and a run that was killed
is taken up by the next one, unless the source was written to in between: then it begins anew.

The source is locked for as long as it takes. A server that went on writing to it would lose what it wrote
behind the copy's back, and a session revoked there would live on in the target.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stormcellar.commands.command import JSON, Argument, Call, Command, key_ring, open_site
from stormcellar.commands.output import CommandError, Progress, print_json
from stormcellar.packages import install_command
from stormcellar.secret_files import load_or_create_secret
from stormcellar.server_secret import fingerprint
from stormcellar.sessions import StoreUnavailableError
from stormcellar.sessions.session_store import SessionStore, StoredKey
from stormcellar.settings import Settings

if TYPE_CHECKING:
    import psycopg

BATCH = 5000  # rows; some megabytes of memory, a fraction of a second of work
NOT_COPIED = frozenset({"schema_version"})
COPY_LOCK = 7_237_031_003  # beside those of stormcellar/store/postgres.py
MARKERS = """
    CREATE TABLE IF NOT EXISTS database_copy (source TEXT NOT NULL, finished_at DOUBLE PRECISION);
    CREATE TABLE IF NOT EXISTS database_copy_progress (
        name TEXT PRIMARY KEY, last_rowid BIGINT NOT NULL, done BIGINT NOT NULL
    )
"""


class Table(NamedTuple):
    name: str
    columns: Sequence[str]
    rows: int


async def copy_database(call: Call) -> None:
    options = call.settings()
    source_options, target_options = _ends(options, call.arguments.source, call.arguments.target)
    with _as_command_error(), Source(source_options.database_path) as source:
        await _check_secret(source, options)
        with Target(target_options.database) as target:
            begun = target.state()
            if begun == (source.fingerprint, True):
                print("This copy was finished before; nothing was changed.")
                return
            if begun is None or begun[0] != source.fingerprint:
                target.begin(source.fingerprint, started_before=begun)
                async with open_site(call.site, target_options):
                    pass  # its tables are there now, with what a first start leaves in them
                target.prepare(source)
            progress = await _copy(source, target)
            target.finish(source)
    _tell_what_is_next(call, source, target_options, options, progress)


def _ends(options: Settings, source: str | None, target: str | None) -> tuple[Settings, Settings]:
    """The settings of a server on the source, and of one on the target."""
    source_options = replace(options, database=source or "")
    target_options = replace(options, database=target or options.database)
    if source_options.uses_postgres:
        raise CommandError("The source must be an SQLite file: --from=sqlite:///var/stormcellar.sqlite3")
    if not target_options.uses_postgres:
        raise CommandError(
            "The target must be a PostgreSQL database: --to=postgresql://user@host:5432/name, or the setting "
            "`database`, which keeps its password off the command line"
        )
    return source_options, target_options


async def _check_secret(source: Source, options: Settings) -> None:
    """The server that read these signing keys had the secret of these settings.

    Refresh tokens depend on the secret as well, so with another one everybody would be signed out.
    """
    try:
        await key_ring(_KeysOf(source), options).load()
    except StoreUnavailableError as error:
        raise CommandError(f"The secret of these settings is not the source's: {error}") from error


class _KeysOf(SessionStore):
    """The signing keys of a locked source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def load_keys(self) -> list[StoredKey]:
        return [StoredKey(*row) for row in self._source.signing_keys()]


async def _copy(source: Source, target: Target) -> Progress:
    tables = source.tables()
    progress = Progress(sum(table.rows for table in tables), "rows")
    positions = target.positions()
    progress.begin_at(sum(done for _, done in positions.values()))
    for table in tables:
        last_rowid, done = positions.get(table.name, (0, 0))
        for batch in source.batches(table, last_rowid):
            done += len(batch)
            target.write(table, batch, done)
            progress.advance(len(batch))
            await asyncio.sleep(0)  # Ctrl+C is heard here
    progress.finish()
    return progress


class Source:
    """An SQLite file that nobody else can use meanwhile.

    Attributes:
        fingerprint: changes as soon as anybody writes to the file.

    Raises:
        CommandError: there is no such file, or somebody else uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self.fingerprint = ""

    def __enter__(self) -> Source:
        if not self._path.is_file():
            raise CommandError(f"There is no SQLite file {self._path}; name it with --from=sqlite:///...")
        address = f"{self._path.as_uri()}?mode=rw"
        self._connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=1)
        try:
            # In this mode the first access takes the file for this connection alone, if nobody else has it.
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise CommandError(
                f"{self._path} is in use ({error}); stop every server on it first, and start them on "
                "PostgreSQL afterwards"
            ) from error
        except sqlite3.DatabaseError:
            self._connection.close()
            raise
        facts = self._path.stat()
        self.fingerprint = f"{self._path} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def versions(self) -> dict[str, int]:
        """How far each component's tables have come; empty if this is no database of ours."""
        if "schema_version" not in self._names():
            return {}
        return dict(self._connection.execute("SELECT component, version FROM schema_version"))

    def _names(self) -> list[str]:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        return [name for (name,) in self._connection.execute(sql + " ORDER BY name")]

    def tables(self) -> list[Table]:
        """All that are copied."""
        return [
            Table(name, self._columns(name), self._count(name))
            for name in self._names()
            if name not in NOT_COPIED
        ]

    def _columns(self, name: str) -> list[str]:
        return [
            column for (column,) in self._connection.execute(f"SELECT name FROM pragma_table_info('{name}')")
        ]

    def _count(self, name: str) -> int:
        found: tuple[int] = self._connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
        return found[0]

    def batches(self, table: Table, last_rowid: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows behind `last_rowid`; each begins with its row id."""
        columns = ", ".join(f'"{column}"' for column in table.columns)
        cursor = self._connection.execute(
            f'SELECT rowid, {columns} FROM "{table.name}" WHERE rowid > ? ORDER BY rowid',
            [last_rowid],
        )
        while batch := cursor.fetchmany(BATCH):
            yield batch

    def signing_keys(self) -> list[tuple[Any, ...]]:
        if "signing_keys" not in self._names():
            raise CommandError(f"{self._path} holds no sessions; name the file with --from=sqlite:///...")
        sql = "SELECT kid, private_key, created_at, active_from FROM signing_keys"
        return self._connection.execute(sql).fetchall()

    def last_id(self, table: str) -> int:
        """The highest id that a table with ids of its own ever gave."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [table]).fetchone()
        return row[0] if row else 0


class Target:
    """A PostgreSQL database that a copy is written to, by one run at a time."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Target:
        try:
            import psycopg

            from stormcellar.store.postgres import read_address
        except ImportError as error:
            raise CommandError(
                f"psycopg cannot be used ({error}); {install_command('postgres')} installs it"
            ) from error
        parameters, _ = read_address(self._url)
        self._wire: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(**parameters, autocommit=True)
        if not self._one("SELECT pg_try_advisory_lock(%s)", [COPY_LOCK])[0]:
            self._wire.close()
            raise CommandError("Another copy into this database is under way")
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        row = self._wire.execute(sql.encode(), parameters).fetchone()
        assert row is not None, sql  # noqa: S101 - each of these statements has a row
        return row

    def _has(self, table: str) -> bool:
        return self._one("SELECT to_regclass(%s) IS NOT NULL", [f'"{table}"'])[0] is True

    # -- how far an earlier run came ----------------------------------------------------------------

    def state(self) -> tuple[str, bool] | None:
        """The source whose copy is here and prepared, and whether it is complete; None: no copy yet."""
        if not self._has("database_copy"):
            return None
        row = self._wire.execute("SELECT source, finished_at IS NOT NULL FROM database_copy").fetchone()
        return (row[0], row[1]) if row else ("", False)

    def positions(self) -> Mapping[str, tuple[int, int]]:
        """For each table that was begun: the last row id that is here, and how many rows."""
        rows = self._wire.execute("SELECT name, last_rowid, done FROM database_copy_progress").fetchall()
        return {name: (last_rowid, done) for name, last_rowid, done in rows}

    def begin(self, fingerprint: str, *, started_before: tuple[str, bool] | None) -> None:
        """Mark the database as a copy's target.

        Raises:
            CommandError: it holds a site already.
        """
        if started_before is None:
            self._refuse_data()
        elif started_before[1]:
            raise CommandError("The target holds a finished copy that may be in use; name an empty database")
        elif started_before[0]:
            print("The source has changed since the last run: the copy begins anew.")
        with self._wire.transaction():
            self._wire.execute(MARKERS.encode())
            self._wire.execute("DELETE FROM database_copy")
            self._wire.execute("DELETE FROM database_copy_progress")

    def _refuse_data(self) -> None:
        for name in self._tables():
            if name not in NOT_COPIED and self._count(name):
                raise CommandError(
                    f"The target holds data already ({self._count(name)} rows in {name}); "
                    "name an empty database"
                )

    def _tables(self) -> list[str]:
        sql = b"SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        return sorted(name for (name,) in self._wire.execute(sql).fetchall())

    def _count(self, name: str) -> int:
        count: int = self._one(f'SELECT count(*) FROM "{name}"')[0]
        return count

    def prepare(self, source: Source) -> None:
        """Empty the tables, and see that they are those of the source.

        Raises:
            CommandError: they differ.
        """
        mine: dict[str, int] = dict(
            self._wire.execute("SELECT component, version FROM schema_version").fetchall()
        )
        for component, version in source.versions().items():
            if mine.get(component) != version:
                raise CommandError(
                    f"The source's tables are of another version ({component} {version}, this program has "
                    f"{mine.get(component, 'none')}); start and stop this version's server on it once"
                )
        tables = source.tables()
        for table in tables:
            if set(self._column_names(table.name)) != set(table.columns):
                raise CommandError(f"The table {table.name} of the source is not one of this program's")
        with self._wire.transaction():
            names = ", ".join(f'"{table.name}"' for table in tables)
            self._wire.execute(f"TRUNCATE {names}".encode())
            self._wire.execute("INSERT INTO database_copy (source) VALUES (%s)", [source.fingerprint])

    # -- writing ------------------------------------------------------------------------------------

    def write(self, table: Table, batch: Sequence[tuple[Any, ...]], done: int) -> None:
        """Rows, and how far that is, in one transaction."""
        columns = ", ".join(f'"{column}"' for column in table.columns)
        with self._wire.transaction():
            # The last commit of a run waits for the disk, and with it all before it.
            self._wire.execute("SET LOCAL synchronous_commit = off")
            with self._wire.cursor().copy(f'COPY "{table.name}" ({columns}) FROM STDIN'.encode()) as copy:
                for row in batch:
                    copy.write_row(row[1:])
            self._wire.execute(
                "INSERT INTO database_copy_progress VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE"
                " SET last_rowid = excluded.last_rowid, done = excluded.done",
                [table.name, batch[-1][0], done],
            )

    def finish(self, source: Source) -> None:
        """Let new ids follow the copied ones, count, and say that the copy is complete.

        Raises:
            CommandError: a table has not as many rows as the source's.
        """
        for table in source.tables():
            if self._count(table.name) != table.rows:
                raise CommandError(
                    f"The target has {self._count(table.name)} rows in {table.name} and the source "
                    f"{table.rows}, so somebody else writes there; stop them, empty the database and run the "
                    "command again"
                )
            for column in self._column_names(table.name, b" AND is_identity = 'YES'"):
                last = max(source.last_id(table.name), self._highest(table.name, column))
                if last:
                    sequence = "pg_get_serial_sequence(%s, %s)"
                    self._one(f"SELECT setval({sequence}, %s)", [f'"{table.name}"', column, last])
            self._wire.execute(f'ANALYZE "{table.name}"'.encode())
        with self._wire.transaction():
            self._wire.execute("UPDATE database_copy SET finished_at = %s", [time.time()])
            self._wire.execute("DELETE FROM database_copy_progress")

    def _highest(self, name: str, column: str) -> int:
        highest: int = self._one(f'SELECT COALESCE(max("{column}"), 0) FROM "{name}"')[0]
        return highest

    def _column_names(self, table: str, condition: bytes = b"") -> list[str]:
        sql = (
            b"SELECT column_name FROM information_schema.columns"
            b" WHERE table_schema = current_schema() AND table_name = %s"
        )
        return [column for (column,) in self._wire.execute(sql + condition, [table]).fetchall()]


@contextlib.contextmanager
def _as_command_error() -> Iterator[None]:
    """What the two databases say, as one sentence; the run after it goes on from there."""
    try:
        yield
    except sqlite3.Error as error:
        raise CommandError(f"The source cannot be read: SQLite: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "psycopg":
            raise
        message = str(error).partition("\n")[0].rstrip(".")
        raise CommandError(
            f"PostgreSQL: {message}; run the command again, and it goes on from there"
        ) from error


def _tell_what_is_next(
    call: Call, source: Source, target: Settings, options: Settings, progress: Progress
) -> None:
    name = fingerprint(load_or_create_secret(options))
    if call.arguments.json:
        print_json({"rows": progress.done, "per_second": progress.per_second(), "secret": name})
        return
    where = "the setting `secret`" if options.secret else f"the file {options.data_dir / 'secret'}"
    print(f"Copied and counted {progress.done:,} rows. Nobody is signed out if now")
    print(f"  1. every server has the same secret ({where}, fingerprint {name}),")
    print("  2. every server has the target as its setting `database`,")
    print("  3. no server is ever started on the SQLite file again: keep it as a backup, then delete it.")
    print("`python manage.py check` with the new settings says whether they fit.")


COMMANDS = (
    Command(
        "copy-database",
        copy_database,
        "Copy everything from SQLite to PostgreSQL without signing anybody out. Stop the servers first: the "
        "file is locked meanwhile. A run that was killed is taken up by the next one; a target that holds "
        "data is refused; at the end the rows are counted on both sides. The secret does not lie in the "
        "database: take it along.",
        "copy-database --from sqlite:///var/stormcellar.sqlite3 --to postgresql://kit@db.example.com/kit",
        (
            Argument(
                "--from",
                "The SQLite file; unless given, the one in data_dir.",
                {"dest": "source", "metavar": "ADDRESS"},
            ),
            Argument(
                "--to",
                "The PostgreSQL database; unless given, that of the setting `database`, so that no password "
                "need stand on the command line.",
                {"dest": "target", "metavar": "ADDRESS"},
            ),
            JSON,
        ),
    ),
)
