# SPDX-License-Identifier: MIT
"""What the session store costs with 10 thousand, 1 million and 10 million sessions, on each database.

    python benchmarks/store.py                            both databases, all sizes: some 20 minutes, 12 GB
    python stormcellar/benchmarks/store.py --sizes 10000 --rounds 1   a look

One process, one event loop, 16 clients at a time, as durable as in production: SQLite with synchronous=FULL,
PostgreSQL with fsync on, over loopback. Signing is included: a refresh and a sign-in each sign an access
token on the event loop. Sizes take turns round by round, so that a machine that changes its speed changes it
for all. Up to 100,000 rows are loaded by SQL in random order with the indexes in place, so that these are as
full as they become in use: that is where the disk figures come from. More are loaded in the order of their
handles, which is quicker, with the other indexes built at the end. Sessions to refresh are picked at random
from the whole table.

CPU is what the operating system accounts for this process, all its threads included, an operation; what
PostgreSQL's processes take stands beside it. `--write` puts all of it into benchmarks/results/store.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stormcellar.benchmarks.run import TICKS_PER_S, machine, spread
from stormcellar.sessions import SessionConfig, Sessions
from stormcellar.sessions import engine as engine_module
from stormcellar.sessions.refresh_token import RefreshTokens
from stormcellar.store import Database
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.web.device import SeenFrom

HERE = Path(__file__).resolve().parent
CLIENTS = 16
SAMPLE = 5000  # sessions to refresh
SECRET = b"a secret of the benchmark, of no use to anybody"
TO_PURGE = 1_000_000
DAY_S = 86400
CHUNK = 250_000  # rows a transaction
DENSE_FROM = 100_001  # rows; so many are loaded in order
OTHER_INDEXES = {"sessions_by_user": "user_id", "sessions_by_expiry": "expires_at"}

# What a session of the kit looks like: public tenant, no claims, address and browser of its owner.
SEEN_FROM = SeenFrom("203.0.113.77", "Firefox", "Windows").to_text()
COLUMNS = (
    "handle, user_id, tenant_id, secret, generation, used_generation, rotated_at, created_at, expires_at,"
    " payload, payload_version, data, created_from, refreshed_from"
)
ROW = (
    "{handle}, {user_id}, 'public', {secret}, 3, 3, {now} - {random} * 86400, {now} - {random} * 864000,"
    " {expires_at}, '{{}}', 0, '{{}}', '{seen}', '{seen}'"
)
SQLITE_UUID = (
    "lower(hex(randomblob(4))||'-'||hex(randomblob(2))||'-4'||substr(hex(randomblob(2)),2)||'-a'"
    "||substr(hex(randomblob(2)),2)||'-'||hex(randomblob(6)))"
)
SQLITE_RANDOM = "(abs(random() % 1000000) / 1e6)"
BYTES_OF = {
    "sessions (table)": ("sessions",),
    "index by handle": ("sqlite_autoindex_sessions_1", "sessions_pkey"),
    "index by user": ("sessions_by_user",),
    "index by expiry": ("sessions_by_expiry",),
}


# -- places -----------------------------------------------------------------------------------------


class Sqlite:
    """SQLite files in a folder."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def database(self, name: str) -> Database:
        return SqliteDatabase(self._folder / f"{name}.sqlite3")

    def server_cpu_s(self) -> float:
        return 0.0

    def load(self, name: str, count: int, now: float, expires_at: str) -> None:
        connection = sqlite3.connect(self._folder / f"{name}.sqlite3", isolation_level=None)
        connection.execute("PRAGMA cache_size=-2000000")
        connection.execute("PRAGMA synchronous=OFF")
        dense = count >= DENSE_FROM
        for index in OTHER_INDEXES if dense else ():
            connection.execute(f"DROP INDEX {index}")
        in_order = f"printf('%08x', (:start + n) * {2**32 // (count + 1)}) || substr({SQLITE_UUID}, 9)"
        row = ROW.format(
            handle=in_order if dense else SQLITE_UUID,
            user_id=SQLITE_UUID,
            secret="randomblob(32)",
            random=SQLITE_RANDOM,
            now=now,
            seen=SEEN_FROM,
            expires_at=expires_at.format(now=now, random=SQLITE_RANDOM),
        )
        for number, chunk in enumerate(chunks(count)):
            connection.execute(
                "WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < :count)"
                f" INSERT INTO sessions ({COLUMNS}) SELECT {row} FROM counter",
                {"count": chunk, "start": number * CHUNK} if dense else {"count": chunk},
            )
        for index, column in OTHER_INDEXES.items() if dense else ():
            connection.execute(f"CREATE INDEX {index} ON sessions ({column})")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def sample(self, name: str, count: int) -> list[tuple[str, bytes, int]]:
        connection = sqlite3.connect(self._folder / f"{name}.sqlite3")
        last = connection.execute("SELECT max(rowid) FROM sessions").fetchone()[0]
        ids = random.sample(range(1, last + 1), min(count, last))
        query = "SELECT handle, secret, generation FROM sessions WHERE rowid = ?"
        rows = [connection.execute(query, [number]).fetchone() for number in ids]
        connection.close()
        return [row for row in rows if row]

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of the table and of each index, and of the whole file."""
        path = self._folder / f"{name}.sqlite3"
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            found = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
        except sqlite3.OperationalError:  # built without it
            found = {}
        connection.close()
        return {**found, "all": path.stat().st_size}

    def drop(self, name: str) -> None:
        for path in self._folder.glob(f"{name}.sqlite3*"):
            path.unlink()


class Postgres:
    """A server of its own, with the settings of a small machine."""

    name = "PostgreSQL"

    def __init__(self, folder: Path) -> None:
        from stormcellar.tests.parts import find_postgres
        from stormcellar.tests.postgres import Cluster

        programs = find_postgres()
        if programs is None:
            raise SystemExit("There is no PostgreSQL server here: sudo apt-get install postgresql")
        tempfile.tempdir = str(folder)
        self._cluster = Cluster(programs, fsync=True)
        tempfile.tempdir = None
        with (self._cluster.folder / "data" / "postgresql.conf").open("a") as file:
            file.write("shared_buffers = 1GB\nmax_wal_size = 4GB\ncheckpoint_timeout = 15min\n")

    def start(self) -> None:
        from stormcellar.tests.postgres import PASSWORD

        self._cluster.start()
        self._cluster.execute(f"CREATE ROLE kit LOGIN PASSWORD '{PASSWORD}'")

    def stop(self) -> None:
        self._cluster.remove()

    def database(self, name: str) -> Database:
        from stormcellar.store.postgres import PostgresDatabase

        self._cluster.execute(f"CREATE DATABASE {name} OWNER kit")
        return PostgresDatabase(self._cluster.url(name))

    def server_cpu_s(self) -> float:
        process = self._cluster._process
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ticks = 0
        for pid in children:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_S

    def load(self, name: str, count: int, now: float, expires_at: str) -> None:
        dense = count >= DENSE_FROM
        for index in OTHER_INDEXES if dense else ():
            self._cluster.execute(f"DROP INDEX {index}", name)
        number_of = f"lpad(to_hex((START + n) * {2**32 // (count + 1)}), 8, '0')"
        in_order = f"{number_of} || substr(gen_random_uuid()::text, 9)"
        row = ROW.format(
            handle=in_order if dense else "gen_random_uuid()::text",
            user_id="gen_random_uuid()::text",
            secret="sha256(gen_random_uuid()::text::bytea)",
            random="random()",
            now=now,
            seen=SEEN_FROM,
            expires_at=expires_at.format(now=now, random="random()"),
        )
        for number, chunk in enumerate(chunks(count)):
            values = row.replace("START", f"{number * CHUNK}::bigint")
            self._cluster.execute(
                f"INSERT INTO sessions ({COLUMNS}) SELECT {values} FROM generate_series(1, {chunk}) AS n",
                name,
            )
        for index, column in OTHER_INDEXES.items() if dense else ():
            self._cluster.execute(f"CREATE INDEX {index} ON sessions ({column})", name)
        self._cluster.execute("VACUUM (ANALYZE) sessions", name)
        self._cluster.execute("CHECKPOINT")

    def sample(self, name: str, count: int) -> list[tuple[str, bytes, int]]:
        total = self._cluster.execute("SELECT count(*) FROM sessions", name)[0][0]
        share = min(100.0, 120.0 * count / total)
        rows = self._cluster.execute(
            f"SELECT handle, secret, generation FROM sessions TABLESAMPLE BERNOULLI ({share}) LIMIT {count}",
            name,
        )
        return [(handle, bytes(secret), generation) for handle, secret, generation in rows]

    def sizes(self, name: str) -> dict[str, int]:
        rows = self._cluster.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname LIKE 'sessions%'", name
        )
        whole = self._cluster.execute(f"SELECT pg_database_size('{name}')", name)[0][0]
        return {**dict(rows), "all": whole}

    def drop(self, name: str) -> None:
        self._cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


Place = Sqlite | Postgres


def chunks(count: int) -> list[int]:
    return [CHUNK] * (count // CHUNK) + ([count % CHUNK] if count % CHUNK else [])


@asynccontextmanager
async def engine(database: Database) -> AsyncIterator[Sessions]:
    sessions = Sessions(database, SessionConfig(secret=SECRET, issuer="https://example.com/auth"))
    await database.open()
    try:
        await sessions.start()
        yield sessions
        await sessions.stop()
    finally:
        await database.close()


# -- what is measured -------------------------------------------------------------------------------


@dataclass
class Measured:
    """The rounds of one operation: operations a second, CPU µs an operation here and in PostgreSQL, ms."""

    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    server_cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


class Table:
    """One database with so many sessions, and clients that use it."""

    def __init__(self, place: Place, size: int) -> None:
        self.place, self.size, self.name = place, size, f"size{size}"
        self.measured: dict[str, Measured] = defaultdict(Measured)
        self._tokens: list[str] = []
        self._access_tokens: dict[str, str] = {}
        self._created: list[str] = []

    async def fill(self) -> None:
        database = self.place.database(self.name)
        async with engine(database):
            pass
        began = time.perf_counter()
        await asyncio.to_thread(
            self.place.load, self.name, self.size, time.time(), "{now} + {random} * 2e6 + 1e5"
        )
        say(f"{self.place.name}: {self.size:,} sessions in {time.perf_counter() - began:.0f} s")
        make = RefreshTokens(SECRET).make
        rows = await asyncio.to_thread(self.place.sample, self.name, SAMPLE)
        self._tokens = [make(handle, generation, secret, False) for handle, secret, generation in rows]

    async def round(self, sessions: Sessions, seconds: float) -> None:
        async def refresh() -> None:
            place = random.randrange(len(self._tokens))
            token = self._tokens.pop(place)
            session = await sessions.refresh_session(token)
            tokens = session.new_tokens
            assert tokens is not None
            self._tokens.append(tokens.refresh_token or "")
            self._access_tokens[session.handle] = tokens.access_token

        async def sign_in() -> None:
            number = random.getrandbits(48)
            session = await sessions.create_new_session(f"00000000-0000-4000-8000-{number:012x}")
            self._created.append(session.handle)

        async def revoke() -> None:
            if self._created:
                assert await sessions.revoke_session(self._created.pop(), owner=None)

        current: list[str] = []

        async def check() -> None:
            await sessions.get_session(random.choice(current), check_database=True)

        operations: dict[str, Callable[[], Awaitable[None]]] = {
            "refresh": refresh,
            "sign-in (without password)": sign_in,
            "revoke": revoke,
            "get_session, check_database": check,
        }
        for what, operation in operations.items():
            current = list(self._access_tokens.values())
            enough = (lambda: bool(self._created)) if what == "revoke" else (lambda: True)
            await self._measure(what, operation, seconds, enough)

    async def _measure(
        self, what: str, operation: Callable[[], Awaitable[None]], seconds: float, enough: Callable[[], bool]
    ) -> None:
        latencies: list[float] = []
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end and enough():
                began = time.perf_counter()
                await operation()
                latencies.append((time.perf_counter() - began) * 1000)

        cpu, server_cpu, began = time.process_time(), self.place.server_cpu_s(), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        took, count = time.perf_counter() - began, len(latencies)
        latencies.sort()
        measured = self.measured[what]
        measured.per_second.append(count / took)
        measured.cpu_us.append(1e6 * (time.process_time() - cpu) / count)
        measured.server_cpu_us.append(1e6 * (self.place.server_cpu_s() - server_cpu) / count)
        measured.p50_ms.append(latencies[count // 2])
        measured.p99_ms.append(latencies[int(count * 0.99)])


@dataclass
class Purged:
    """Deleting expired rows beside the usual traffic."""

    rows: int
    took_s: float
    p50_write_ms: float
    p99_write_ms: float
    longest_write_ms: float
    longest_loop_ms: float
    idle_loop_ms: float
    refresh_p99_ms: float
    idle_refresh_p99_ms: float


async def purge(place: Place, live: int, seconds: float) -> Purged:
    """A million rows that have expired among `live` others, as after a long time without any purge."""
    # Nothing else cleans meanwhile.
    engine_module.PURGE_AT_MOST_S, engine_module.MAINTENANCE_INTERVAL_S = seconds, 1e9
    name = "purge"
    database = place.database(name)
    async with engine(database):
        pass
    now = time.time()
    await asyncio.to_thread(place.load, name, live, now, "{now} + {random} * 2e6 + 1e5")
    tokens = [
        RefreshTokens(SECRET).make(handle, generation, secret, False)
        for handle, secret, generation in await asyncio.to_thread(place.sample, name, 500)
    ]
    await asyncio.to_thread(place.load, name, TO_PURGE, now, "{now} - {random} * 1e6 - 1")
    async with engine(database if isinstance(place, Postgres) else place.database(name)) as sessions:
        idle = await loop_lag_ms(asyncio.sleep(5))
        writes: list[float] = []
        rows = 0
        plain_purge = sessions._store.purge

        async def timed_purge(now: float, limit: int) -> int:
            nonlocal rows
            began = time.perf_counter()
            gone = await plain_purge(now, limit)
            writes.append((time.perf_counter() - began) * 1000)
            rows += gone
            return gone

        sessions._store.purge = timed_purge  # type: ignore[method-assign]

        async def visit(meanwhile: asyncio.Future[Any]) -> list[float]:
            latencies = []
            while not meanwhile.done():
                began = time.perf_counter()
                session = await sessions.refresh_session(tokens.pop(0))
                latencies.append((time.perf_counter() - began) * 1000)
                assert session.new_tokens is not None
                tokens.append(session.new_tokens.refresh_token or "")
                await asyncio.sleep(0.02)
            return latencies

        quiet = await visit(asyncio.ensure_future(asyncio.sleep(5)))
        began = time.perf_counter()
        cleaning = asyncio.ensure_future(sessions._purge())
        visiting = asyncio.ensure_future(visit(cleaning))
        busy = await loop_lag_ms(asyncio.gather(cleaning, visiting))
        took = time.perf_counter() - began
    place.drop(name)
    return Purged(
        rows, took, statistics.median(writes), p99(writes), max(writes), busy, idle, p99(visiting.result()),
        p99(quiet),
    )  # fmt: skip


def p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


async def loop_lag_ms(work: Awaitable[Any]) -> float:
    """By how much the event loop was late at most while `work` went on."""
    waiting = asyncio.ensure_future(work)
    longest = 0.0
    while not waiting.done():
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        longest = max(longest, time.perf_counter() - began - 0.002)
    await waiting
    return longest * 1000


# -- the report -------------------------------------------------------------------------------------


def operations_table(tables: Sequence[Table]) -> str:
    lines = [
        "| operation | sessions | a second (min to max) | CPU µs here | CPU µs in the database server "
        "| p50 ms | p99 ms | CPU compared with the smallest |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for what in tables[0].measured:
        first = tables[0].measured[what]
        for table in tables:
            one = table.measured[what]
            ratios = [
                (mine + mine_there) / (other + other_there)
                for mine, mine_there, other, other_there in zip(
                    one.cpu_us, one.server_cpu_us, first.cpu_us, first.server_cpu_us, strict=True
                )
            ]
            there = spread(one.server_cpu_us) if any(one.server_cpu_us) else "-"
            lines.append(
                f"| {what} | {table.size:,} | {spread(one.per_second)} | {spread(one.cpu_us)} | {there} "
                f"| {statistics.median(one.p50_ms):.1f} | {statistics.median(one.p99_ms):.1f} "
                f"| {spread(ratios, 2)} |"
            )
    return "\n".join(lines)


def disk_table(place: Place, tables: Sequence[Table]) -> str:
    lines = [
        f"| bytes a session on disk | {' | '.join(f'{table.size:,} sessions' for table in tables)} |",
        "| --- |" + " ---: |" * len(tables),
    ]
    sizes = [place.sizes(table.name) for table in tables]
    for what, names in BYTES_OF.items():
        found = [sum(size.get(name, 0) for name in names) for size in sizes]
        cells = [f"{value / table.size:.0f}" for value, table in zip(found, tables, strict=True)]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    cells = [f"{size['all'] / table.size:.0f}" for size, table in zip(sizes, tables, strict=True)]
    lines.append(f"| everything | {' | '.join(cells)} |")
    return "\n".join(lines)


def purge_line(purged: Purged, live: int) -> str:
    return (
        f"Of {TO_PURGE:,} expired sessions among {live:,} others {purged.rows:,} were deleted in "
        f"{purged.took_s:.0f} s. A write of the purge took {purged.p50_write_ms:.0f} ms (median), "
        f"{purged.p99_write_ms:.0f} ms (p99) and {purged.longest_write_ms:.0f} ms at most, waiting included. "
        f"The event loop was late by at most {purged.longest_loop_ms:.0f} ms ({purged.idle_loop_ms:.0f} ms "
        f"in 5 idle seconds before). Refreshes beside it: p99 {purged.refresh_p99_ms:.0f} ms, and without it "
        f"{purged.idle_refresh_p99_ms:.0f} ms."
    )


async def measure_place(
    place: Place, sizes: Sequence[int], rounds: int, seconds: float, live: int, purge_s: float
) -> str:
    tables = [Table(place, size) for size in sizes]
    for table in tables:
        await table.fill()
    disk = disk_table(place, tables)
    for number in range(rounds):
        order = tables if number % 2 == 0 else tables[::-1]
        for table in order:
            async with engine(reopened(place, table.name)) as sessions:
                await table.round(sessions, seconds)
        say(f"{place.name}: round {number + 1} of {rounds}")
    for table in tables:
        place.drop(table.name)
    text = f"## {place.name}\n\n{operations_table(tables)}\n\n{disk}\n"
    if live:
        text += f"\n{purge_line(await purge(place, live, purge_s), live)}\n"
    return text


def reopened(place: Place, name: str) -> Database:
    if isinstance(place, Sqlite):
        return place.database(name)
    from stormcellar.store.postgres import PostgresDatabase

    return PostgresDatabase(place._cluster.url(name))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgres"], choices=["sqlite", "postgres"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="per operation, size and round")
    parser.add_argument(
        "--purge-among", type=int, default=1_000_000, help="live sessions beside; 0: no purge"
    )
    parser.add_argument("--purge-seconds", type=float, default=60.0, help="the longest that a purge goes on")
    parser.add_argument(
        "--folder", type=Path, help="where the databases lie; default: where temporary files do"
    )
    parser.add_argument("--write", action="store_true", help="into stormcellar/benchmarks/results/store.md")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stormcellar-benchmark-", dir=options.folder))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    parts = []
    try:
        for name in options.stores:
            place: Place = Sqlite(folder) if name == "sqlite" else Postgres(folder)
            place.start()
            try:
                parts.append(
                    asyncio.run(
                        measure_place(
                            place,
                            sorted(options.sizes),
                            options.rounds,
                            options.seconds,
                            options.purge_among,
                            options.purge_seconds,
                        )
                    )
                )
            finally:
                place.stop()
            if options.write:
                path = HERE / "results" / "store.md"
                path.parent.mkdir(exist_ok=True)
                path.write_text(report(parts, options.rounds, options.seconds))
    finally:
        shutil.rmtree(folder)
    print(report(parts, options.rounds, options.seconds))


def report(parts: Sequence[str], rounds: int, seconds: float) -> str:
    made_by = "Made by `python stormcellar/benchmarks/store.py --write`; the file says what is measured."
    text = "\n".join(parts)
    return f"# The session store\n\n{made_by}\n\n{about(rounds, seconds)}\n\n{text}"


def about(rounds: int, seconds: float) -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}, {machine()}, SQLite {sqlite3.sqlite_version}, {platform.system()}. "
        f"{rounds} rounds of {seconds:g} s, {CLIENTS} clients. Load of the machine at the end: {load}."
    )


if __name__ == "__main__":
    main()
