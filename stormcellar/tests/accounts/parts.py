# SPDX-License-Identifier: MIT
"""Users on a fresh database, with the cheapest Argon2 parameters there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stormcellar.accounts import Argon2Parameters, PasswordHasher, Users
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.support import database_at

CHEAPEST = Argon2Parameters(memory_kib=8, passes=1, lanes=1)
DEARER = Argon2Parameters(memory_kib=64, passes=2, lanes=1)

EMAIL = "ann@example.com"
PASSWORD = "blue kettle drum"
OTHER_PASSWORD = "green saucer flute"


@asynccontextmanager
async def running_users(
    place: Path | str, *, parameters: Argon2Parameters = CHEAPEST, queue: int = 100, **options: Any
) -> AsyncIterator[Users]:
    """Users in the database at `place`, opened, and closed at the end. `options` go to Users."""
    database = database_at(place)
    await database.open()
    hasher = PasswordHasher(2, queue, parameters)
    try:
        users = Users(database, hasher, **{"clock": FakeClock(), "site_name": "Stormcellar", **options})
        await users.open()
        yield users
    finally:
        hasher.close()
        await database.close()
