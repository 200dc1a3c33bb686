# SPDX-License-Identifier: MIT
"""What many tests need: a clock that is moved by hand, cheap keys, an engine on a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stormcellar.sessions import SessionConfig, Sessions
from stormcellar.settings import Settings
from stormcellar.store import Database
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys

SITE = Settings().site_name
HERE = f"http://localhost:{Settings().port}"  # the address of a server whose settings name none
SECRET = b"only for the tests: 0123456789abcdef"
ISSUER = "http://localhost:8888/auth"


def session_config(**changes: Any) -> SessionConfig:
    return SessionConfig(**{"secret": SECRET, "issuer": ISSUER, "access_token_jitter": 0.0, **changes})


def database_at(place: Path | str) -> Database:
    """The SQLite file of that path, or the PostgreSQL database of that address; not opened yet."""
    if isinstance(place, Path):
        return SqliteDatabase(place)
    from stormcellar.store.postgres import PostgresDatabase  # what only some tests need

    return PostgresDatabase(place)


@asynccontextmanager
async def running_engine(
    place: Path | str, clock: FakeClock, options: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Sessions]:
    """An engine on the database at `place`, started, and stopped at the end.

    `options` go to Sessions, everything else to SessionConfig.
    """
    database = database_at(place)
    await database.open()
    options = {"generate_key": cheap_keys(), **(options or {})}
    engine = Sessions(database, session_config(**config), clock=clock, **options)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()
        await database.close()
