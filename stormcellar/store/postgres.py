# SPDX-License-Identifier: MIT
"""PostgreSQL: any number of servers on one database.

Work is a plain function, so it runs on threads: some for writing, some for reading, each with at most one
connection. Threads cost little here, since the interpreter is free while one waits for the database, and
while a token is signed. Reads are not held up by writes that wait for a lock, and their connections refuse
to write.

Round trips. A transaction takes one for each statement and two more, for BEGIN and COMMIT. A read needs
neither, nor does work marked with `one_statement`: PostgreSQL makes a transaction of a single statement by
itself. So a refresh is one round trip. Statements are prepared once they have been seen a few times.

Nothing hangs. The server ends a statement, a wait for a lock and a transaction that stands still after a
set time, TCP notices a peer that is gone, and a caller that has seen no sign of life for `ANSWER_S` gets
`StoreUnavailableError` while that connection is cut off. Then the idle connections are given up too: they
lead to the same server. Before each use a connection is asked whether the server has ended it: one system
call, no round trip.

Outages. While no connection can be made, attempts follow each other at growing intervals of up to
`LONGEST_RETRY_S`, and everybody else gets `StoreUnavailableError` at once, so that pages go on being served.
That is why connections are kept here and not by psycopg_pool, where every caller waits out the whole
time-out and the intervals grow without such an end. A database that takes fewer connections than there are
threads is shared over those it took; reading gives one up where writing has none, and the reverse.

Which server of several is connected to, and which is never connected to again: postgres_connect.py.

The feed. A trigger notifies the watchers of each transaction that wrote to `feed`. Before the first row
gets its id it also takes a lock that is held until the transaction has ended. Without it, an entry could be
committed after another one with a higher id had been read, and "all entries after the last one I know"
would miss it for ever; with it, ids become visible in their order. It serialises no more than PostgreSQL
does anyhow with transactions that notify. The alternative, reading only up to the oldest transaction that
is under way, would let any forgotten transaction of any program hold back every revocation.

Where notifications do not arrive (transaction poolers such as PgBouncer, databases that only speak the
protocol), watchers ask every `POLL_INTERVAL_S` instead. They find that out by notifying themselves, and
`?stormcellar_feed=poll` in the database's address says it beforehand.

Source: PostgreSQL's documentation of NOTIFY, explicit locking, client connection defaults and libpq's
parameter key words; PgBouncer's table of features for each pooling mode.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import queue
import random
import re
import secrets
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any, Literal

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from stormcellar.errors import StoreUnavailableError, UnusableDatabaseError
from stormcellar.store import Connection, Cursor, T
from stormcellar.store.migrations import apply_steps, statements
from stormcellar.store.postgres_connect import Connector, Wire, check_target

log = logging.getLogger("stormcellar.store")

WRITERS = 8  # with the readers and the watcher at most 13 connections a process, made as they are needed
READERS = 4
ANSWER_S = 2.0
IN_THE_WAY_S = 0.05
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0
POLL_INTERVAL_S = 0.25
LOOK_AGAIN_S = 3.0  # a watcher looks that often although it has heard nothing
HEAR_ITSELF_S = 2.0
LISTEN_AGAIN_S = 60.0  # after it was found that notifications do not arrive
GROW_AGAIN_S = 30.0  # after the server had no connection left
MIGRATION_WAIT_S = 60
CONNECTION = {  # libpq's parameters; the database's address may give others
    "application_name": "stormcellar",
    "client_encoding": "utf8",
    "connect_timeout": "2",
    "keepalives_idle": "4",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",  # ms
}

TYPES = {
    "blob": "BYTEA",
    "serial_key": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "double": "DOUBLE PRECISION",
}
CHANNEL = "stormcellar_feed"
FEED_LOCK, MIGRATION_LOCK = 7_237_031_001, 7_237_031_002  # any two numbers that no other program takes

BEFORE_ALL = (
    [
        "CREATE FUNCTION sha256_of_both(bytea, bytea) RETURNS bytea"
        " LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT sha256($1 || $2)'"
    ],
)
AFTER_COMPONENT = {
    "sessions": (
        [
            "CREATE FUNCTION feed_is_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" PERFORM pg_advisory_xact_lock({FEED_LOCK}); PERFORM pg_notify('{CHANNEL}', ''); RETURN NULL;"
            " END $$",
            "CREATE TRIGGER feed_is_written BEFORE INSERT ON feed"
            " FOR EACH STATEMENT EXECUTE FUNCTION feed_is_written()",
        ],
    ),
}

_IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected)


class _Call:
    """A piece of work on its way: `alive_at` is when it was asked for, or last got something done."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.alive_at = monotonic()
        self.wire: Wire | None = None

    def begin(self, wire: Wire, tells_timeline: bool) -> Connection:
        self.wire, self.alive_at = wire, monotonic()
        return _Statements(wire, self, tells_timeline)


class _Statements:
    """The connection that work sees."""

    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    lock_table = "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE"

    def __init__(self, wire: Wire, call: _Call | None = None, tells_timeline: bool = False) -> None:
        self._wire = wire
        self._call = call
        self.timeline_sql = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)" if tells_timeline else ""

    def execute(self, sql: str, parameters: Mapping[str, Any] = {}, /) -> Cursor:
        text, names = _translated(sql)
        cursor = self._wire.execute(text, [parameters[name] for name in names] if names else None)
        if self._call:
            self._call.alive_at = monotonic()
        return cursor


class _Lane:
    """Threads for one kind of work and the connections they share."""

    def __init__(
        self, name: str, threads: int, connect: Callable[[], Wire], is_outdated: Callable[[Wire], bool]
    ) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=f"postgres-{name}")
        self.others: Sequence[_Lane] = ()
        self._connect = connect
        self._is_outdated = is_outdated
        self._grow_at = 0.0
        self._connecting = threading.Lock()
        self._idle: queue.LifoQueue[Wire] = queue.LifoQueue()
        self._all: set[Wire] = set()

    @contextlib.contextmanager
    def connection(self) -> Iterator[Wire]:
        wire = self._take()
        try:
            yield wire
        finally:
            if wire.closed:
                self._all.discard(wire)
            else:
                self._idle.put(wire)

    def _take(self) -> Wire:
        wire = self._take_idle()
        if wire is None:
            with self._connecting:  # one by one; meanwhile one may have come free
                wire = self._take_idle() or self._connect_or_share()
        return wire or self._wait_for_one()

    def _wait_for_one(self) -> Wire:
        deadline = monotonic() + ANSWER_S
        while self._all and monotonic() < deadline:  # those there are may all turn out to be broken
            with contextlib.suppress(queue.Empty):
                return self._idle.get(timeout=FIRST_RETRY_S)
        raise StoreUnavailableError("PostgreSQL: no connection came free")

    def _take_idle(self) -> Wire | None:
        with contextlib.suppress(queue.Empty):
            while True:
                wire = self._idle.get_nowait()
                if not (_has_ended(wire) or self._is_outdated(wire)):
                    return wire
                self._all.discard(wire)
                wire.close()
        return None

    def _connect_or_share(self) -> Wire | None:
        """A new connection; None if there is none to be had beside those there are."""
        if self._all and monotonic() < self._grow_at:
            return None
        try:
            wire = self._connect_when_one_is_free()
        except (psycopg.Error, StoreUnavailableError):
            if self._all:
                return None
            raise
        self._all.add(wire)
        return wire

    def _connect_when_one_is_free(self) -> Wire:
        """Connect. If the server has no connection left, the other lane gives one up for this lane."""
        deadline = monotonic() + ANSWER_S
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError as error:
                self._grow_at = monotonic() + GROW_AGAIN_S
                if self._all or not _is_full(error) or monotonic() > deadline:
                    raise
            for lane in self.others:
                lane.give_up_idle(1)
            sleep(FIRST_RETRY_S)

    def give_up_idle(self, most: int = 1_000) -> None:
        """Close idle connections."""
        with contextlib.suppress(queue.Empty):
            for _ in range(most):
                wire = self._idle.get_nowait()
                self._all.discard(wire)
                wire.close()

    def close(self) -> None:
        """Finish what waits; what is still under way after `ANSWER_S` is cut off."""
        timer = threading.Timer(ANSWER_S, self._cut_off)
        timer.start()
        self.threads.shutdown(wait=True)
        timer.cancel()
        for wire in self._all:
            wire.close()

    def _cut_off(self) -> None:
        for wire in list(self._all):
            _cut(wire)


class PostgresDatabase:
    """A `Database` in PostgreSQL 14 or newer.

    Args:
        url: as libpq understands it, `postgresql://user:password@host:5432/name?sslmode=verify-full`, with
            `stormcellar_feed=poll` among its parameters where notifications are known not to arrive.

    Raises:
        StoreUnavailableError: the address cannot be read.
    """

    IntegrityError: type[Exception] = psycopg.IntegrityError

    def __init__(self, url: str) -> None:
        self._parameters, self._never_listens = read_address(url)
        self.place = f"the PostgreSQL database {self._parameters.get('dbname', '')}".rstrip()
        self.feed_mode: Literal["listen", "poll"] = "poll"
        self._lanes: tuple[_Lane, _Lane] | None = None
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at = 0.0
        self._trouble = ""
        self._connector = Connector(self._parameters, self.place, self._note_failover)
        self._watches: tuple[Callable[[], None], ...] = ()
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None
        self._ear: Wire | None = None

    # -- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._lanes is not None:  # a start that failed later on is being repeated
            return
        self._loop = asyncio.get_running_loop()
        is_outdated = self._connector.is_outdated
        reading = _Lane("read", READERS, functools.partial(self._connect, read_only=True), is_outdated)
        writing = _Lane("write", WRITERS, self._connect, is_outdated)
        reading.others, writing.others = [writing], [reading]
        self._lanes = (reading, writing)
        try:
            await self._check_encoding()
        except BaseException:
            await self.close()
            self._closing.clear()
            raise

    async def _check_encoding(self) -> None:
        sql = "SELECT current_setting('server_encoding')"
        encoding = await self.read(lambda connection: connection.execute(sql).fetchone()[0])
        if encoding != "UTF8":
            raise UnusableDatabaseError(
                f"{self.place} has the encoding {encoding}, in which not every name and address can be "
                "written. Create a database with `createdb --encoding=UTF8 --template=template0 NAME`"
            )

    async def close(self) -> None:
        lanes, self._lanes = self._lanes, None
        if lanes is None:
            return
        self._closing.set()
        await asyncio.to_thread(self._let_go, lanes)

    def _let_go(self, lanes: Sequence[_Lane]) -> None:
        for lane in lanes:
            lane.close()
        if self._watcher is not None:
            if self._ear is not None:
                _cut(self._ear)
            self._watcher.join()

    def _connect(self, *, read_only: bool = False) -> Wire:
        """A new connection; StoreUnavailableError at once while it is too early for the next attempt."""
        with self._lock:
            if self._failures and monotonic() < self._retry_at:
                raise StoreUnavailableError(f"PostgreSQL: {self._trouble}")
            self._put_off_next_attempt()
        try:
            wire = self._connector.connect(read_only=read_only)
        except psycopg.Error as error:
            with self._lock:
                self._failures += not _is_full(error)  # the server is there
                self._trouble = _first_line(error)
                self._put_off_next_attempt()
            raise
        self._failures = 0
        return wire

    def _put_off_next_attempt(self) -> None:
        delay_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._failures, 10))
        self._retry_at = monotonic() + delay_s * random.uniform(0.5, 1)  # noqa: S311 - not a secret

    # -- work ---------------------------------------------------------------------------------------

    async def now(self) -> float:
        asked = "SELECT extract(epoch FROM clock_timestamp())::float8"
        return float(await self.read(lambda connection: connection.execute(asked).fetchone()[0]))

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(0, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(1, work)

    async def _run(self, number: int, work: Callable[[Connection], T]) -> T:
        if self._lanes is None:
            raise StoreUnavailableError("the database is closed")
        lane, call = self._lanes[number], _Call(work)
        transaction = number == 1 and not getattr(work, "one_statement", False)
        future: asyncio.Future[T] = self._loop.run_in_executor(
            lane.threads, self._do, lane, call, transaction
        )
        future.add_done_callback(_look_at)
        while (patience_s := call.alive_at + ANSWER_S - monotonic()) > 0:
            await asyncio.wait({future}, timeout=patience_s)
            if future.done():
                return future.result()
        future.cancel()  # does something only if it has not begun
        if call.wire is not None:
            _cut(call.wire)
            for each in self._lanes or ():
                each.give_up_idle()
        raise StoreUnavailableError(f"PostgreSQL has not answered for {ANSWER_S:.0f} s")

    def _do(self, lane: _Lane, call: _Call, transaction: bool) -> Any:
        """In a lane's thread: run the work, once more if somebody was in the way."""
        with _as_unavailable():
            try:
                return self._attempt(lane, call, transaction)
            except _IN_THE_WAY:
                sleep(IN_THE_WAY_S * random.uniform(0.5, 1))  # noqa: S311 - let the other one through first
                return self._attempt(lane, call, transaction)

    def _attempt(self, lane: _Lane, call: _Call, transaction: bool) -> Any:
        with lane.connection() as wire:
            try:
                connection = call.begin(wire, self._connector.timeline > 0)
                if not transaction:
                    return call.work(connection)
                with wire.transaction():
                    result = call.work(connection)
                    if wire.info.transaction_status == TransactionStatus.INERROR:
                        raise errors.InFailedSqlTransaction("a statement failed, and the work went on")
                    return result
            except errors.ReadOnlySqlTransaction:
                wire.close()  # the server became a replica; the address may lead to its successor now
                raise
            finally:
                call.wire = None

    # -- tables -------------------------------------------------------------------------------------

    async def migrate(self, component: str, steps: Sequence[str]) -> None:
        await asyncio.to_thread(self._migrate, component, [statements(step, TYPES) for step in steps])

    def _migrate(self, component: str, steps: Sequence[Sequence[str]]) -> None:
        after = AFTER_COMPONENT.get(component, ())
        with _as_unavailable(), self._connect() as wire, wire.transaction():
            wire.prepare_threshold = None
            connection = _Statements(wire)
            connection.execute("SET LOCAL statement_timeout = 0")  # an index on a large table takes its time
            connection.execute(f"SET LOCAL lock_timeout = '{MIGRATION_WAIT_S}s'")
            connection.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            apply_steps(connection, "postgresql", BEFORE_ALL, place=self.place)
            apply_steps(connection, component, steps, place=self.place)
            apply_steps(connection, f"{component} on postgresql", after, place=self.place)

    # -- news from other processes ------------------------------------------------------------------

    def watch(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self._watches = (on_lost, on_change)
        self._watcher = threading.Thread(
            target=self._watch_forever, args=(on_change, on_lost), daemon=True, name="postgres-watch"
        )
        self._watcher.start()

    def _note_failover(self) -> None:
        """Tell the watchers before any answer of the new primary arrives: it may have lost changes."""
        for callback in self._watches:
            self._tell(callback)

    def _watch_forever(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        while not self._closing.is_set():
            listen_again_s = POLL_INTERVAL_S
            try:
                if self._never_listens or not self._listen(on_change):
                    listen_again_s = LISTEN_AGAIN_S
            except (psycopg.Error, OSError, StoreUnavailableError) as error:
                if self.feed_mode == "listen" and not self._closing.is_set():
                    log.warning("notifications of %s broke off: %s", self.place, _first_line(error))
                    self._tell(on_lost)
            except Exception:  # a watcher that ended would hear nothing for ever
                log.exception("notifications of %s cannot be heard", self.place)
                self._tell(on_lost)
                listen_again_s = LISTEN_AGAIN_S
            self.feed_mode = "poll"
            self._poll(on_change, listen_again_s)

    def _listen(self, on_change: Callable[[], None]) -> bool:
        """Hear notifications until the connection breaks; False at once if they do not arrive."""
        with self._connect() as wire:
            self._ear = wire  # so that close() can cut it off
            if not self._hears_itself(wire, on_change):
                log.warning(
                    "notifications do not arrive from %s: asking every %s s instead",
                    self.place,
                    POLL_INTERVAL_S,
                )
                return False
            if self.feed_mode == "poll":
                log.info("hearing notifications of %s", self.place)
            self.feed_mode = "listen"
            while not self._closing.is_set():
                self._tell(on_change)
                for _notification in wire.notifies(timeout=LOOK_AGAIN_S, stop_after=1):
                    pass
        return True

    def _hears_itself(self, wire: Wire, on_change: Callable[[], None]) -> bool:
        """Listen, and find out whether what another connection notifies arrives; ask until that is known."""
        try:
            wire.execute(f"LISTEN {CHANNEL}")
            token = secrets.token_hex(8)
            with self._connect() as other:
                other.execute("SELECT pg_notify($1, $2)", [CHANNEL, token])
        except (errors.NotSupportedError, errors.ProgrammingError, errors.InternalError):
            return False
        deadline = monotonic() + HEAR_ITSELF_S
        while monotonic() < deadline:
            self._tell(on_change)
            if any(heard.payload == token for heard in wire.notifies(timeout=POLL_INTERVAL_S, stop_after=1)):
                return True
        return False

    def _poll(self, on_change: Callable[[], None], duration_s: float) -> None:
        end = monotonic() + duration_s
        self._tell(on_change)
        while not self._closing.wait(POLL_INTERVAL_S) and monotonic() < end:
            self._tell(on_change)

    def _tell(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it all who waited
            self._loop.call_soon_threadsafe(callback)


_TOKEN = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|::)|:([A-Za-z_]\w*)""")


@functools.lru_cache(maxsize=1000)
def _translated(sql: str) -> tuple[bytes, list[str]]:
    """The statement with `$1` for the first name, and so on, and the names in that order.

    Text, quoted names, comments and `::` stay as they are.
    """
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[2]
        if name is None:
            return match[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _TOKEN.sub(number, sql).encode(), names


def read_address(url: str) -> tuple[dict[str, Any], bool]:
    """libpq's parameters, and whether to poll the feed. The error does not show the address's password."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    own = [option for option in options if option.startswith("stormcellar_feed=")]
    others = [option for option in options if option not in own]
    try:
        parameters = conninfo_to_dict(address + ("?" + "&".join(others) if others else ""))
    except psycopg.Error:
        parameters = {}
    if not parameters or own not in ([], ["stormcellar_feed=poll"]):
        raise StoreUnavailableError(
            "the database's address cannot be read; write it like postgresql://user:password@host:5432/name, "
            "with %XX for special characters of the password, and after a ? only parameters that libpq "
            "knows, or stormcellar_feed=poll"
        )
    if refusal := check_target(parameters):
        raise StoreUnavailableError(refusal)
    return {**CONNECTION, **parameters}, bool(own)


def _look_at(done: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have gone: an error that nobody sees is then not worth a warning."""
    if not done.cancelled():
        done.exception()


def _is_full(error: BaseException) -> bool:
    """Tell whether the server, the database or the role has no connection left (SQLSTATE 53300)."""
    return bool(re.search(r"too many (connections|clients)|remaining connection slots", str(error)))


def _has_ended(wire: Wire) -> bool:
    """Whether the server has closed this idle connection, or is about to: otherwise it has nothing to say."""
    if wire.closed:
        return True
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _cut(wire: Wire) -> None:
    """End a connection from another thread: whoever waits on it learns at once that it is gone."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(wire.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """Turn a database that cannot answer into the error that callers know."""
    try:
        yield
    except (psycopg.IntegrityError, psycopg.DataError):
        raise
    except (psycopg.Error, OSError) as error:
        raise StoreUnavailableError(f"PostgreSQL: {_first_line(error)}") from error
