# SPDX-License-Identifier: MIT
"""Users on a fresh SQLite file, with the cheapest Argon2 parameters there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from accounts import Argon2Parameters, PasswordHasher, Users
from sessions.store.sqlite import SqliteDatabase
from tests.support import FakeClock

CHEAPEST = Argon2Parameters(memory_kib=8, passes=1, lanes=1)
DEARER = Argon2Parameters(memory_kib=64, passes=2, lanes=1)

EMAIL = "ann@example.com"
PASSWORD = "blue kettle drum"
OTHER_PASSWORD = "green saucer flute"


@asynccontextmanager
async def running_users(
    path: Path, *, parameters: Argon2Parameters = CHEAPEST, queue: int = 100, **options: Any
) -> AsyncIterator[Users]:
    """Users in the SQLite file `path`, opened, and closed at the end. `options` go to Users."""
    database = SqliteDatabase(path)
    await database.open()
    hasher = PasswordHasher(2, queue, parameters)
    try:
        users = Users(database, hasher, **{"clock": FakeClock(), "site_name": "Stormcellar", **options})
        await users.open()
        yield users
    finally:
        hasher.close()
        await database.close()
