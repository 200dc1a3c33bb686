# SPDX-License-Identifier: MIT
"""Seal the database's encrypted values again after the server secret has changed.

Values are read in pages by their row's ID, and each is replaced only if it is still what was read. So several
servers may do this at once, a kill at any point loses nothing, and the next run goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from stormcellar.server_secret import Sealer, UnreadableError
from stormcellar.store import Connection, Database

PAGE = 500


class SealedCount(NamedTuple):
    """How many values of a column the current secret has sealed, an earlier one, and one that is unknown."""

    current: int = 0
    earlier: int = 0
    unreadable: int = 0

    def __add__(self, other: Any) -> SealedCount:
        return SealedCount(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class SealedColumn:
    """A column whose values are sealed, each bound to the ID of its row.

    Attributes:
        row_id: the column of the primary key, a text.
        decode, encode: turn what the column keeps into the sealed bytes, and back.
    """

    table: str
    row_id: str
    column: str
    sealer: Sealer
    decode: Callable[[Any], bytes | None] = bytes
    encode: Callable[[bytes], Any] = bytes

    async def count(self, database: Database) -> SealedCount:
        """Tell which secrets have sealed the values. Nothing is changed."""
        return await self._go_through(database, seal=False, delete_unreadable=False)

    async def seal_again(self, database: Database, *, delete_unreadable: bool = False) -> SealedCount:
        """Seal with the current secret what an earlier one has sealed.

        Args:
            delete_unreadable: delete the rows whose value no secret opens.

        Returns:
            What was found before.
        """
        return await self._go_through(database, seal=True, delete_unreadable=delete_unreadable)

    async def _go_through(self, database: Database, *, seal: bool, delete_unreadable: bool) -> SealedCount:
        found, after = SealedCount(), ""
        while rows := await database.read(partial(self._page, after)):
            count, replaced, unreadable = await asyncio.to_thread(self._examine, rows)
            found += count
            changes = (replaced if seal else [], unreadable if delete_unreadable else [])
            if any(changes):
                await database.write(partial(self._change, *changes))
            after = rows[-1][0]
        return found

    def _page(self, after: str, connection: Connection) -> list[Any]:
        return connection.execute(
            f"SELECT {self.row_id}, {self.column} FROM {self.table} WHERE {self.row_id} > :after"  # noqa: S608
            f" ORDER BY {self.row_id} LIMIT :page",
            {"after": after, "page": PAGE},
        ).fetchall()

    def _examine(self, rows: Iterable[Any]) -> tuple[SealedCount, list[dict[str, Any]], list[dict[str, Any]]]:
        current, replaced, unreadable = 0, [], []
        for row_id, value in rows:
            try:
                again = self.sealer.seal_again(self.decode(value) or b"", row_id)
            except UnreadableError:
                unreadable.append({"row_id": row_id, "old": value})
                continue
            if again is None:
                current += 1
            else:
                replaced.append({"row_id": row_id, "old": value, "new": self.encode(again)})
        return SealedCount(current, len(replaced), len(unreadable)), replaced, unreadable

    def _change(
        self, replaced: list[dict[str, Any]], unreadable: list[dict[str, Any]], connection: Connection
    ) -> None:
        where = f"WHERE {self.row_id} = :row_id AND {self.column} = :old"
        for row in replaced:
            connection.execute(f"UPDATE {self.table} SET {self.column} = :new {where}", row)  # noqa: S608
        for row in unreadable:
            connection.execute(f"DELETE FROM {self.table} {where}", row)  # noqa: S608
