# SPDX-License-Identifier: MIT
"""A new version with another table: killed while it makes it, and beside servers of the version before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError, UnauthorisedError, session_store
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.figures import Figures
from stormcellar.tests.postgres import DATABASE, Cluster, Wire
from stormcellar.tests.sessions.helpers import caught_up, refresh, sign_in, use
from stormcellar.tests.support import database_at, running_engine

pytestmark = pytest.mark.faults

STEPS = (
    "CREATE TABLE trial (name TEXT); INSERT INTO trial VALUES ('from step 1')",
    "ALTER TABLE trial ADD COLUMN size INTEGER; INSERT INTO trial VALUES ('from step 2', 2)",
)
STATEMENTS = (
    "CREATE TABLE trial",
    "from step 1",
    "ALTER TABLE trial",
    "from step 2",
    "schema_version V",
    "COMMIT",
)
NEXT_VERSION = (
    *session_store.TABLES,
    "ALTER TABLE sessions ADD COLUMN nickname TEXT NOT NULL DEFAULT '';"
    " ALTER TABLE feed ADD COLUMN author TEXT;"
    " CREATE TABLE of_the_next_version (name TEXT PRIMARY KEY)",
)
MOMENTS: tuple[Literal["before", "after"], ...] = ("before", "after")
ROUNDS = 10


@pytest.mark.postgres
def test_a_migration_that_breaks_off_anywhere_is_repaired_by_the_next_start(
    cluster: Cluster, figures: Figures
) -> None:
    """The wire is cut before and after each statement, which is all that PostgreSQL sees of a death."""
    points = [(statement, moment) for statement in STATEMENTS for moment in MOMENTS]
    broken: list[tuple[str, str]] = []

    async def migrate(url: str, steps: Sequence[str]) -> None:
        database = database_at(url)
        await database.open()
        try:
            await database.migrate("trial", steps)
        finally:
            await database.close()

    async def story() -> None:
        wire = Wire(cluster)
        for statement, moment in points:
            url = cluster.url(cluster.empty_database())
            async with wire.between(url) as through_wire:
                wire.cut_at, wire.cut = statement.encode(), moment
                with suppress(StoreUnavailableError):
                    await migrate(through_wire, STEPS)
                    broken.append((statement, "was not reached"))
            await migrate(url, STEPS)
            rows = cluster.execute("SELECT name, size FROM trial ORDER BY name", DATABASE)
            if rows != [("from step 1", None), ("from step 2", 2)]:
                broken.append((statement, moment))

    asyncio.run(story())
    figures.none("migration cut off: not repaired", "PostgreSQL", broken, f"{len(points)} points")


def test_servers_of_two_versions_serve_side_by_side(
    place: Path | str, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one started before the newer one changed the tables, and goes on."""

    async def signed_out_by(engine: Sessions, other: Sessions) -> None:
        session = await engine.create_new_session("ann")
        assert session.new_tokens
        await use(other, session.new_tokens)
        await engine.revoke_session(session.handle, owner=None)
        await caught_up(engine, other)
        with pytest.raises(UnauthorisedError):
            await other.get_session(session.new_tokens.access_token)

    async def story() -> None:
        clock = FakeClock()
        async with running_engine(place, clock) as older:
            before = await sign_in(older)
            monkeypatch.setattr(session_store, "TABLES", NEXT_VERSION)
            async with running_engine(place, clock) as newer:
                tokens = before
                for _ in range(ROUNDS):
                    for engine, other in ((older, newer), (newer, older)):
                        tokens = await refresh(engine, tokens)
                        await use(other, tokens)
                        await use(other, await sign_in(engine))
                        await signed_out_by(engine, other)
                    await older.maintain()
                    await newer.maintain()

    asyncio.run(story())
    store = "SQLite" if isinstance(place, Path) else "PostgreSQL"
    figures.none("two versions side by side: refused", store, (), f"{ROUNDS} rounds")
