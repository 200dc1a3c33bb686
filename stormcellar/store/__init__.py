# SPDX-License-Identifier: MIT
"""What must last: one interface, and the databases that keep it.

A `Database` runs pieces of work, each a plain function that gets a connection and executes SQL with
named parameters (`:name`). The tables and statements of the engine are in `session_store.py`, written
once in the SQL that every database here understands; what differs between databases stays inside
their own module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


class Cursor(Protocol):
    """The part of DB-API's cursor (PEP 249) that the statements use."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """A connection inside a transaction.

    One of a database with many writers also offers pieces of SQL that keep them apart, which SQLite has no
    need of: `for_update` and `skip_locked` end a SELECT, `lock_table` is a statement on the table `{}`.
    """

    def execute(self, sql: str, parameters: Mapping[str, Any] = ..., /) -> Cursor: ...


class Database(Protocol):
    """A place to keep things, shared by all parts of one application.

    Every coroutine raises `StoreUnavailableError` when the database cannot answer (locked, full,
    stopped). Whether a write whose answer was lost took effect is then unknown, so every write the
    engine makes can be repeated.
    """

    IntegrityError: type[Exception]
    """What a violated unique constraint raises."""
    feed_mode: Literal["listen", "poll"]
    """How `watch` hears of changes at the moment: by notifications, or by asking."""

    async def open(self) -> None:
        """Connect; called once before anything else, on the running event loop."""

    async def now(self) -> float:
        """What the clock of the machine shows that all of the database's writers share; Unix seconds."""
        raise NotImplementedError

    async def close(self) -> None:
        """Finish the writes that wait, then let go of every connection and thread."""

    async def migrate(self, component: str, steps: Sequence[str]) -> None:
        """Bring a component's tables up to date: step n runs once per database, in order.

        A step is one or more statements separated by `;`. `{blob}`, `{serial_key}` and `{double}` stand
        for the database's types. Processes that start together wait for one another.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a read-only connection, off the event loop."""
        raise NotImplementedError

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; when this returns, its effect is durable.

        An exception from `work` undoes this work alone and is raised here.
        """
        raise NotImplementedError

    def watch(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Call `on_change` on the event loop soon after anyone has written to the table `feed`.

        `on_change` is also called once at the beginning, whenever the connection came back, and at times
        for no reason; `on_lost` whenever changes may have gone unnoticed. After a failover it is called
        before the new primary's first answer reaches its caller.
        """


def one_statement(work: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """Mark work for `write` that executes exactly one statement and cannot fail after it.

    A database may then run it without BEGIN and COMMIT around it, in one round trip.
    """
    work.one_statement = True  # type: ignore[attr-defined]
    return work
