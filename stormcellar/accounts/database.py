# SPDX-License-Identifier: MIT
"""What accounts ask of a database. Whoever builds the application hands one in.

Statements use named parameters (`:name`) and the SQL that SQLite 3.37 and PostgreSQL 14 share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Cursor(Protocol):
    """The part of DB-API's cursor (PEP 249) that the statements use; rows are tuples."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    def execute(self, sql: str, parameters: Mapping[str, Any] = ..., /) -> Cursor: ...


class Database(Protocol):
    """Coroutines that run a plain function on a connection, off the event loop.

    Each raises an error of the database's own when it cannot answer; accounts pass that on.
    """

    IntegrityError: type[Exception]
    """What a violated unique index raises."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a read-only connection."""
        raise NotImplementedError

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, which is durable when this returns."""
        raise NotImplementedError

    async def migrate(self, component: str, steps: Sequence[str]) -> None:
        """Run those steps that this database has not seen yet, in order."""
