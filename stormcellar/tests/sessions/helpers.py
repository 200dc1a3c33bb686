# SPDX-License-Identifier: MIT
"""What the engine's tests share: an engine to tell a story with, a client's steps, a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError, Tokens, UnauthorisedError
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.testing.waiting import until
from stormcellar.tests.support import running_engine, session_config

DAY = 86400


def run(place: Path | str, story: Callable[[Sessions, FakeClock], Awaitable[None]], **config: Any) -> None:
    """Tell a story about one engine, on a database or in an empty folder; `options` go to Sessions, the rest
    to SessionConfig."""

    async def tell() -> None:
        clock = FakeClock()
        where = place / "db" if isinstance(place, Path) and place.is_dir() else place
        async with running_engine(where, clock, **config) as engine:
            await story(engine, clock)

    asyncio.run(tell())


def run_two(
    tmp_path: Path, story: Callable[[Sessions, Sessions, FakeClock], Awaitable[None]], **config: Any
) -> None:
    """Tell a story about two engines on one file, as two processes would have them."""

    async def tell() -> None:
        clock = FakeClock()
        async with (
            running_engine(tmp_path / "db", clock, **config) as one,
            running_engine(tmp_path / "db", clock, **config) as two,
        ):
            await story(one, two, clock)

    asyncio.run(tell())


async def sign_in(engine: Sessions, user_id: str = "ann", **more: Any) -> Tokens:
    session = await engine.create_new_session(user_id, **more)
    assert session.new_tokens
    return session.new_tokens


async def refresh(engine: Sessions, tokens: Tokens) -> Tokens:
    assert tokens.refresh_token
    session = await engine.refresh_session(tokens.refresh_token)
    assert session.new_tokens
    return session.new_tokens


async def use(engine: Sessions, tokens: Tokens) -> None:
    assert await engine.get_session(tokens.access_token)
    await engine.write_notes()


async def assert_session_is_dead(engine: Sessions, *all_tokens: Tokens) -> None:
    for tokens in all_tokens:
        with pytest.raises(UnauthorisedError):
            await refresh(engine, tokens)
        with pytest.raises(UnauthorisedError):
            await engine.get_session(tokens.access_token)


async def caught_up(*engines: Sessions) -> None:
    """Wait until the engines have heard all that stands in the feed now."""
    for engine in engines:
        newest = max((entry.id for entry in await engine._store.feed_after(0)), default=0)
        feed = engine.feed
        await until(lambda feed=feed, newest=newest: feed._last_id >= newest)  # type: ignore[misc]


class FaultyDatabase(SqliteDatabase):
    """SQLite that a test can break: `broken` makes reads and writes fail; `reads` and `writes` count them.

    A `deaf` one hears of no change, so that nothing is read but what the test itself causes.
    """

    def __init__(self, path: Path, *, deaf: bool = False) -> None:
        super().__init__(path)
        self.deaf = deaf
        self.broken = False
        self.reads = self.writes = 0
        self.on_lost: Callable[[], None] = lambda: None

    async def read(self, work: Any) -> Any:
        self.reads += 1
        self._refuse_if_broken()
        return await super().read(work)

    async def write(self, work: Any) -> Any:
        self.writes += 1
        self._refuse_if_broken()
        return await super().write(work)

    def watch(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self.on_lost = on_lost
        if not self.deaf:
            super().watch(on_change, on_lost)

    def _refuse_if_broken(self) -> None:
        if self.broken:
            raise StoreUnavailableError("the test has broken the store")


@asynccontextmanager
async def engine_on(
    database: SqliteDatabase, clock: FakeClock, options: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Sessions]:
    """As `running_engine`, on a database object of the test's own."""
    await database.open()
    options = {"generate_key": cheap_keys(), **(options or {})}
    engine = Sessions(database, session_config(**config), clock=clock, **options)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()
        await database.close()
