# SPDX-License-Identifier: MIT
"""Making connections to PostgreSQL: always to the server that takes writes, and never to an old primary.

Several hosts. An address may name all servers of a cluster, separated by commas. The host that answered last
is asked first. If it has not answered after `HEAD_START_S`, all others are asked beside it, again and again
until one of them takes writes: so a frozen host delays nothing, and a promoted replica is found at once.

Timelines. PostgreSQL counts the promotions of a cluster in the timeline of its write-ahead log. This process
remembers the highest timeline that it has met. A server with a lower one is a primary that was replaced, and
that woke up again: nothing is read from it, or written to it.

Session settings. Time limits go along as start-up options. A proxy that refuses those gets them as statements
after connecting. A pooler that shares one connection among many clients, such as PgBouncer, must not get
statements either, since they would stay for the other clients: there the role needs the limits.

Source: PostgreSQL's documentation of libpq's parameter key words, `target_session_attrs`, and of
pg_walfile_name; PgBouncer's table of features for each pooling mode.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import psycopg
from psycopg import errors

log = logging.getLogger("stormcellar.store")

Wire = psycopg.Connection[tuple[Any, ...]]

HEAD_START_S = 0.25
NEXT_ROUND_S = 0.25
CONNECT_S = 2.0
PREPARE_AFTER = 2
LIMITS = {  # milliseconds
    "statement_timeout": "1500",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "2000",
}
WRITABLE_TARGETS = ("any", "read-write", "primary")
NO_OPTIONS = re.compile(r"unsupported startup parameter|command-line options", re.IGNORECASE)
SHARED = re.compile(r"unsupported startup parameter")  # what PgBouncer says

_WHAT_IS_THERE = (
    "SELECT pg_backend_pid(), pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',"
    " CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END"
)
_WHAT_IS_THERE_AT_LEAST = "SELECT pg_backend_pid(), false, NULL"


class NotWritable(psycopg.OperationalError):
    """The server is a replica, or a primary that was replaced."""


class Connector:
    """Makes connections for one address.

    Args:
        parameters: libpq's.
        place: names the database in messages.
        on_failover: called, in any thread, before the first connection to a new primary is used.

    Attributes:
        timeline: the highest one met so far; 0 if the database does not tell.
    """

    def __init__(
        self, parameters: Mapping[str, Any], place: str, on_failover: Callable[[], None] = lambda: None
    ) -> None:
        self._on_failover = on_failover
        self._hosts = split_hosts(parameters)
        self._place = place
        self._preferred = 0
        self._refuses_options = self._is_shared = False
        self._timelines: weakref.WeakKeyDictionary[Wire, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self.timeline = 0

    def connect(self, *, read_only: bool = False) -> Wire:
        """Connect to the server that takes writes; on a `read_only` connection the server refuses them.

        Raises:
            psycopg.OperationalError: no server that takes writes can be reached.
        """

        def attempt(number: int) -> Wire:
            return self._connect_to(self._hosts[number], read_only)

        if len(self._hosts) == 1:
            return attempt(0)
        order = sorted(range(len(self._hosts)), key=lambda number: number != self._preferred)
        self._preferred, wire = first_of(attempt, order)
        return wire

    def is_outdated(self, wire: Wire) -> bool:
        """Tell whether a connection leads to a primary that was replaced since."""
        return self._timelines.get(wire, self.timeline) < self.timeline

    def _connect_to(self, parameters: Mapping[str, Any], read_only: bool) -> Wire:
        wire = self._open(parameters)
        try:
            is_direct = self._check(wire)
            if self._refuses_options and not self._is_shared:
                for name, value in LIMITS.items():
                    wire.execute("SELECT set_config($1, $2, false)", [name, value])
            if read_only and not self._is_shared:
                wire.execute("SET default_transaction_read_only = on")
        except BaseException:
            wire.close()
            raise
        if not is_direct:  # a statement that was prepared there may be another client's here
            wire.prepare_threshold = None
        return wire

    def _open(self, parameters: Mapping[str, Any]) -> Wire:
        more = {}
        if not self._refuses_options:  # what the address says comes last, and so holds
            limits = " ".join(f"-c {name}={value}" for name, value in LIMITS.items())
            more["options"] = f"{limits} {parameters.get('options', '')}"
        try:
            return psycopg.connect(
                **{**parameters, **more},
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
                prepare_threshold=PREPARE_AFTER,
            )
        except psycopg.OperationalError as error:
            if self._refuses_options or not NO_OPTIONS.search(str(error)):
                raise
            self._refuses_options = True
            self._is_shared = bool(SHARED.search(str(error)))
            if self._is_shared:
                log.warning("%s is behind a pooler: give its role the limits %s", self._place, LIMITS)
        return self._open(parameters)

    def _check(self, wire: Wire) -> bool:
        """Refuse what is no primary, or an old one.

        Returns:
            Whether the process that was announced at the greeting is the one that answers. A pooler announces
            a number of its own, and may lead each transaction to another process.
        """
        try:
            row = wire.execute(_WHAT_IS_THERE).fetchone()
        except (errors.FeatureNotSupported, errors.UndefinedFunction, errors.InsufficientPrivilege):
            row = wire.execute(_WHAT_IS_THERE_AT_LEAST).fetchone()
        pid, is_read_only, wal_file = row or (None, True, None)
        if is_read_only:
            raise NotWritable(f"the server at {wire.info.host} takes no writes")
        timeline = timeline_of(wal_file) or self.timeline
        with self._lock:
            if timeline < self.timeline:
                raise NotWritable(
                    f"the server at {wire.info.host} is an old primary of timeline {timeline}; "
                    f"timeline {self.timeline} has begun since"
                )
            if 0 < self.timeline < timeline:
                self._on_failover()
            self.timeline = timeline
        self._timelines[wire] = timeline
        return bool(pid == wire.info.backend_pid)


def timeline_of(wal_file: str | None) -> int:
    """Return the timeline of a file name of the write-ahead log: its first eight hexadecimal digits."""
    return int(wal_file[:8], 16) if wal_file else 0


def check_target(parameters: Mapping[str, Any]) -> str:
    """Return why the `target_session_attrs` of address or environment cannot be used; "" if it can."""
    target = parameters.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS") or "any"
    if target in WRITABLE_TARGETS:
        return ""
    return f"target_session_attrs is {target}, but sessions must be written: use read-write, or leave it out"


def split_hosts(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of each host that the address names.

    The choice among the hosts is made here, so libpq is asked for `any` of one.
    """
    names = ("host", "hostaddr", "port")
    lists = {name: str(parameters[name]).split(",") for name in names if name in parameters}
    count = max((len(values) for values in lists.values()), default=1)
    chosen = []
    for number in range(count):
        one = {name: values[number % len(values)] for name, values in lists.items()}
        chosen.append({**parameters, **one, "target_session_attrs": "any"})
    return chosen


def first_of(attempt: Callable[[int], Wire], order: list[int]) -> tuple[int, Wire]:
    """Ask several hosts, the first of them ahead of the others, and return the number and connection of one.

    Raises:
        psycopg.Error: of the last host that refused; all have, or time is up.
    """
    answers: queue.Queue[tuple[int, Wire | Exception]] = queue.Queue()
    chosen = threading.Event()
    deadline = monotonic() + CONNECT_S
    under_way: set[int] = set()
    last_error: Exception = psycopg.OperationalError("no server has answered")

    def ask(number: int) -> None:
        try:
            wire = attempt(number)
        except Exception as error:
            answers.put((number, error))
            return
        answers.put((number, wire))
        if chosen.is_set():  # too late
            _close_all(answers)

    def begin(*numbers: int) -> None:
        for number in numbers:
            if number not in under_way:
                under_way.add(number)
                threading.Thread(target=ask, args=(number,), daemon=True).start()

    begin(order[0])
    next_round = monotonic() + HEAD_START_S
    while (now := monotonic()) < deadline:
        if now >= next_round:
            begin(*order)
            next_round = now + NEXT_ROUND_S
        with contextlib.suppress(queue.Empty):
            number, answer = answers.get(timeout=max(0.0, min(next_round, deadline) - monotonic()))
            under_way.discard(number)
            if not isinstance(answer, Exception):
                chosen.set()
                _close_all(answers)
                return number, answer
            last_error = answer
            if number == order[0] and not under_way:
                begin(*order[1:])
            elif not under_way:
                break  # all have refused
    chosen.set()
    _close_all(answers)
    raise last_error


def _close_all(answers: queue.Queue[tuple[int, Wire | Exception]]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            _number, answer = answers.get_nowait()
            if not isinstance(answer, Exception):
                answer.close()
