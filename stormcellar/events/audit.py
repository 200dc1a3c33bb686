# SPDX-License-Identifier: MIT
"""The audit log: what happened to accounts and sessions, kept in the database for `audit_retention_s`.

    for event in await application.audit.events(user_id=user.user_id, limit=20):
        print(event.time, event.name, event.detail)

Nobody waits for it. Events gather in memory for half a second and are written together; so a kill -9 loses
half a second of them at most, and stopping in order loses none. While the store cannot be written they wait,
up to MOST_WAITING; what comes after that is lost, which is logged and counted. Every event has an id made
here, so a write whose answer was lost can be repeated.

What anybody on the Internet can cause at will (a refused sign-in, a foreign form) is written once per half
second, account and client address, with the number of times.

Source: OWASP ASVS 5.0, 16.3 and 16.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stormcellar.accounts.text import is_storable
from stormcellar.clock import Clock
from stormcellar.events.journal import Event
from stormcellar.sessions.errors import StoreUnavailableError
from stormcellar.store import Connection, Database

log = logging.getLogger("stormcellar.audit")

# The ids begin with the time and so sort by it. `at_ms`, Unix milliseconds, is for people who look by SQL.
AUDIT_TABLES = [
    """
    CREATE TABLE audit_events (
        event_id TEXT PRIMARY KEY,
        at_ms BIGINT NOT NULL,
        name TEXT NOT NULL,
        user_id TEXT NOT NULL,
        session_handle TEXT NOT NULL,
        client_address TEXT NOT NULL,
        request_id TEXT NOT NULL,
        detail TEXT NOT NULL,
        occurrences INTEGER NOT NULL
    );
    CREATE INDEX audit_events_by_user ON audit_events (user_id, event_id);
    CREATE INDEX audit_events_by_session ON audit_events (session_handle, event_id)
    """,
]

GATHER_S = 0.5
RETRY_S = 5.0
WRITE_BATCH = 100
PURGE_BATCH = 500
MOST_WAITING = 10_000

REPEATABLE = frozenset({"sign-in failed", "cross-site request refused", "throttled"})
BEYOND_ALL = "g"  # sorts after every hexadecimal number

_COLUMNS = "event_id, at_ms, name, user_id, session_handle, client_address, request_id, detail, occurrences"


@dataclass(frozen=True)
class AuditEvent(Event):
    """An event as it is kept. `event_id` grows with time; `occurrences`: how often the same came at once."""

    event_id: str = ""
    occurrences: int = 1


class AuditLog:
    """The audit log of one application, in its database.

    Args:
        retention_s: how long events are kept; 0: none is written, and what there is stays.

    Attributes:
        lost: how many events could not be kept, since this process started.
    """

    def __init__(self, database: Database, clock: Clock, *, retention_s: int) -> None:
        self._database = database
        self._clock = clock
        self._retention_s = retention_s
        self._waiting: dict[object, AuditEvent] = {}
        self._numbers = itertools.count()
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Future[None]] = []
        self.lost = 0
        self._lost_before = 0

    # -- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Bring the table up to date; from now on events are written."""
        await self._database.migrate("audit", AUDIT_TABLES)
        if not self._tasks:
            self._tasks.append(asyncio.ensure_future(self._keep_writing()))

    async def close(self) -> None:
        """Write what still waits; called before the database closes. What cannot be written is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            await self.flush()
        except StoreUnavailableError as error:
            log.error("the last events cannot be written: %s", error)
            self.lost += len(self._waiting)
            self._waiting.clear()
        self._report_lost()

    async def maintain(self) -> None:
        """Delete what is older than the retention time, in small batches: other writes go between them."""
        if not self._retention_s:
            return
        end = _first_id(self._clock.now() - self._retention_s)
        gone = PURGE_BATCH
        while gone >= PURGE_BATCH:
            gone = await self._database.write(partial(_delete_before, end, PURGE_BATCH))

    # -- writing ------------------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """Keep an event, soon and in the background. This neither waits nor fails."""
        if not self._retention_s:
            return
        kept = AuditEvent(**vars(event), event_id=self._new_id(event.time))
        key: object = kept.event_id
        if event.name in REPEATABLE:
            key = (event.name, event.user_id, event.client_address)
            if same := self._waiting.get(key):
                self._waiting[key] = replace(same, occurrences=same.occurrences + 1)
                return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
        else:
            self._waiting[key] = kept
        self._news.set()

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreUnavailableError: it goes on waiting.
        """
        async with self._writing:
            while self._waiting:
                keys = list(itertools.islice(self._waiting, WRITE_BATCH))
                batch = [self._waiting.pop(key) for key in keys]
                try:
                    await self._database.write(partial(_insert, batch))
                except (
                    StoreUnavailableError,
                    asyncio.CancelledError,
                ):  # written or not: once more is no harm
                    self._waiting = {**{event.event_id: event for event in batch}, **self._waiting}
                    raise
                except Exception:  # these cannot be written, ever; those after them may
                    log.exception("events cannot be written")
                    self.lost += len(batch)

    async def _keep_writing(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except StoreUnavailableError as error:
                log.warning("%d events are written later: %s", len(self._waiting), error)
                await asyncio.sleep(RETRY_S)
                self._news.set()
            self._report_lost()

    def _report_lost(self) -> None:
        if self.lost > self._lost_before:
            log.error("%d events are not in the audit log", self.lost - self._lost_before)
            self._lost_before = self.lost

    def _new_id(self, moment: float) -> str:
        """The time, then in the order of this process, then by chance: 12, 4 and 12 hexadecimal digits."""
        return f"{_first_id(moment)}{next(self._numbers) & 0xFFFF:04x}{secrets.token_hex(6)}"

    # -- reading ------------------------------------------------------------------------------------

    async def events(
        self,
        *,
        user_id: str | None = None,
        session_handle: str | None = None,
        name: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: AuditEvent | None = None,
        limit: int = 100,
    ) -> Sequence[AuditEvent]:
        """Events, the newest first, at most `limit`.

        What this process has gathered is written first, so that it is among them if that can be done.

        Args:
            user_id, session_handle, name: only those with this; None: with any.
            since, until: only those from then on, and before then (Unix seconds); None: all.
            before: only older ones than this: the last one of the page before.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        with contextlib.suppress(StoreUnavailableError):  # what is written already can perhaps be read
            await self.flush()
        wanted = {"user_id": user_id, "session_handle": session_handle, "name": name}
        exact = {column: text for column, text in wanted.items() if text is not None}
        if not all(map(is_storable, exact.values())):
            return []
        ends = [BEYOND_ALL if until is None else _first_id(until), before.event_id if before else BEYOND_ALL]
        conditions = " AND ".join(["event_id >= :since", "event_id < :end", *(f"{c} = :{c}" for c in exact)])
        sql = f"SELECT {_COLUMNS} FROM audit_events WHERE {conditions} ORDER BY event_id DESC LIMIT :limit"  # noqa: S608
        parameters = {**exact, "since": _first_id(since or 0.0), "end": min(ends), "limit": limit}
        rows = await self._database.read(lambda connection: connection.execute(sql, parameters).fetchall())
        return [_event(row) for row in rows]


def _first_id(moment: float) -> str:
    """Ids of this millisecond and later sort after this; Unix seconds."""
    return f"{max(0, int(moment * 1000)):012x}"


def _insert(events: Sequence[AuditEvent], connection: Connection) -> None:
    for event in events:
        connection.execute(
            f"INSERT INTO audit_events ({_COLUMNS}) VALUES (:event_id, :at_ms, :name, :user_id,"  # noqa: S608
            " :session_handle, :client_address, :request_id, :detail, :occurrences)"
            " ON CONFLICT (event_id) DO NOTHING",
            {**vars(event), "at_ms": int(event.time * 1000)},
        )


def _delete_before(end: str, limit: int, connection: Connection) -> int:
    others_aside = getattr(connection, "skip_locked", "")
    oldest = "SELECT event_id FROM audit_events WHERE event_id < :end ORDER BY event_id LIMIT :limit"
    return connection.execute(
        f"DELETE FROM audit_events WHERE event_id IN ({oldest}{others_aside})",  # noqa: S608
        {"end": end, "limit": limit},
    ).rowcount


def _event(row: Sequence[Any]) -> AuditEvent:
    event_id, at_ms, name, user_id, session_handle, client_address, request_id, detail, occurrences = row
    return AuditEvent(
        name,
        at_ms / 1000,
        user_id,
        session_handle,
        client_address,
        request_id,
        detail,
        event_id=event_id,
        occurrences=occurrences,
    )
