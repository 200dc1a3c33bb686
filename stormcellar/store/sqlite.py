# SPDX-License-Identifier: MIT
"""SQLite: one file, one or several processes on one machine.

Each process has one writer thread, so its own writes never wait for each other's locks. Writes that
arrive while a commit is under way are committed together by the next one (group commit): with
`synchronous=FULL` a commit costs a disk flush, and this shares it. Reads go to a few threads of their
own, which WAL mode lets run beside the writer. Another thread looks at `PRAGMA data_version`, which
changes when another connection has committed; a look costs a few microseconds, so other processes
notice a write within `POLL_INTERVAL_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from stormcellar.errors import StoreUnavailableError
from stormcellar.store import Connection, T
from stormcellar.store.migrations import apply_steps, statements
from stormcellar.store.sqlite_file import SqliteFile

log = logging.getLogger("stormcellar.store")

POLL_INTERVAL_S = 0.02
WATCH_AGAIN_S = 1.0
BUSY_TIMEOUT_S = 5.0
LEAST_BUSY_TIMEOUT_S = 0.2
READER_THREADS = 2
MAX_GROUP = 256
LOG_LIMIT_BYTES = 16 * 1024 * 1024
LOG_CHECK_S = 60.0
LOG_BUSY_TIMEOUT_S = 0.2  # writers wait that long at most while the log is emptied
FILE_CHECK_S = 1.0

# Primary result codes, each with words of its message: the file is of no use to anybody at the moment.
TROUBLE = {
    5: "locked",
    6: "locked",
    8: "readonly",
    10: "disk I/O",
    11: "malformed",
    13: "full",
}

TYPES = {"blob": "BLOB", "serial_key": "INTEGER PRIMARY KEY AUTOINCREMENT", "double": "REAL"}


class _Job:
    """One piece of write work and the future that waits for it."""

    __slots__ = ("error", "future", "queued_at", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.queued_at = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None


class SqliteDatabase:
    """A `Database` in one SQLite file.

    Args:
        path: the file; made, readable by its owner only, if it is not there. Its folder must exist.
    """

    IntegrityError: type[Exception] = sqlite3.IntegrityError
    feed_mode: Literal["listen", "poll"] = "poll"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqliteFile(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._reader_connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._readers: ThreadPoolExecutor | None = None

    # -- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._readers is not None:  # a start that failed later on is being repeated
            return
        self._loop = asyncio.get_running_loop()
        self._start(self._write_forever, await asyncio.to_thread(self._make))
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="sqlite-read")

    async def now(self) -> float:
        return time.time()

    async def close(self) -> None:
        readers, self._readers = self._readers, None
        if readers is None:
            return
        self._closing.set()
        self._jobs.put(None)
        await asyncio.to_thread(self._let_go, readers)

    def _let_go(self, readers: ThreadPoolExecutor) -> None:
        for thread in self._threads:
            thread.join()
        readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name=target.__name__)
        self._threads.append(thread)
        thread.start()

    def _make(self) -> sqlite3.Connection:
        """The file, and the connection to write with."""
        with _as_unavailable():
            self._file.prepare()
            connection = self._connect()
            _switch_to_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit={LOG_LIMIT_BYTES}")
            self._file.remember()
            return connection

    def _connect(self) -> sqlite3.Connection:
        # Never made here: a file that was removed must not come back empty.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,  # transactions are begun and ended here, not by the module
            check_same_thread=False,  # some are made or closed in another thread than the one that works
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.create_function("sha256_of_both", 2, _sha256_of_both, deterministic=True)
        return connection

    # -- reading ------------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._readers is None:
            raise StoreUnavailableError("the database is closed")
        return await self._loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with _as_unavailable():
            self._file.check()
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._connect()
                connection.execute("PRAGMA query_only=ON")
                self._reader_connections.append(connection)
                self._local.connection = connection
            return work(connection)

    # -- writing ------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self._readers is None or self._closing.is_set():
            raise StoreUnavailableError("the database is closed")
        job = _Job(work, self._loop.create_future())
        self._jobs.put(job)
        # Shielded: the caller may go away, the write is under way all the same.
        result: T = await asyncio.shield(job.future)
        return result

    def _write_forever(self, connection: sqlite3.Connection) -> None:
        while (jobs := self._next_group()) is not None:
            self._commit_group(connection, jobs)
            self._tell(_settle, jobs)
        connection.close()

    def _next_group(self) -> list[_Job] | None:
        """Wait for a job and take with it what has queued up; None when the database closes."""
        job = self._jobs.get()
        if job is None:
            return None
        jobs = [job]
        while len(jobs) < MAX_GROUP and not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)  # commit these first, then close
                break
            jobs.append(job)
        return jobs

    def _commit_group(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        try:
            with _as_unavailable():
                self._file.check()
                # A job that queued behind another one's wait for the lock has waited too.
                left_s = jobs[0].queued_at + BUSY_TIMEOUT_S - time.monotonic()
                connection.execute(f"PRAGMA busy_timeout={max(left_s, LEAST_BUSY_TIMEOUT_S) * 1000:.0f}")
                connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    _run(connection, job)
                connection.execute("COMMIT")
        except BaseException as error:  # whatever it is: without this thread nothing would be written again
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for job in jobs:
                job.error = error

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it all who waited
            self._loop.call_soon_threadsafe(callback, *args)

    # -- tables -------------------------------------------------------------------------------------

    async def migrate(self, component: str, steps: Sequence[str]) -> None:
        split = [statements(step, TYPES) for step in steps]
        await self.write(lambda connection: apply_steps(connection, component, split, place=str(self.path)))

    # -- news from other processes ------------------------------------------------------------------

    def watch(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self._start(self._watch_forever, on_change, on_lost)

    def _watch_forever(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        while not self._closing.is_set():
            try:
                self._watch(on_change)
            except Exception as error:  # whatever it is: a watcher that ended would hear nothing for ever
                expected = isinstance(error, (sqlite3.Error, StoreUnavailableError))
                reason = self._reason(error)
                log.warning("cannot look for changes in %s: %s", self.path, reason, exc_info=not expected)
                self._tell(on_lost)
                self._closing.wait(WATCH_AGAIN_S)

    def _reason(self, error: Exception) -> Exception:
        """Return what is wrong with the file, if anything is; SQLite itself says "disk I/O error"."""
        try:
            self._file.check()
        except StoreUnavailableError as reason:
            return reason
        return error

    def _watch(self, on_change: Callable[[], None]) -> None:
        """Tell of every change, and at the beginning, until the database closes."""
        self._file.check()
        with contextlib.closing(self._connect()) as connection:
            seen: object = None
            looked_at = emptied_at = time.monotonic()
            while not self._closing.is_set():
                now = time.monotonic()
                if now - looked_at >= FILE_CHECK_S:
                    looked_at = now
                    self._file.check()
                if now - emptied_at >= LOG_CHECK_S:
                    emptied_at = now
                    self._empty_log(connection)
                version = connection.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    self._tell(on_change)
                self._closing.wait(POLL_INTERVAL_S)

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Make the log small again after a peak. Readers may be in the way, then the next time does it."""
        if self._file.log_size() > LOG_LIMIT_BYTES:
            connection.execute(f"PRAGMA busy_timeout={LOG_BUSY_TIMEOUT_S * 1000:.0f}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Alone among statements, this one does not wait for processes that start at the same moment."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _run(connection: sqlite3.Connection, job: _Job) -> None:
    """Do one job inside the group's transaction; its failure undoes only itself."""
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except BaseException as error:
        if not connection.in_transaction or _concerns_everybody(error):
            raise  # the whole group fails
        job.error = error
        if isinstance(error, sqlite3.OperationalError):
            job.error = StoreUnavailableError(f"SQLite: {error}")
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _concerns_everybody(error: BaseException) -> bool:
    """Whether the database itself is in trouble, rather than one job that asks for what is not there.

    Source: https://www.sqlite.org/rescode.html
    """
    code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11 on
    if code is not None:
        return code & 0xFF in TROUBLE
    return isinstance(error, sqlite3.DatabaseError) and any(word in str(error) for word in TROUBLE.values())


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
            job.future.exception()  # whoever waited may have gone: that is not worth a warning


def _sha256_of_both(one: bytes, other: bytes) -> bytes:
    return hashlib.sha256(one + other).digest()


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """Turn a database that cannot answer into the error that callers know."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(f"SQLite: {error}") from error
