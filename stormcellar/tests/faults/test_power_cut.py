# SPDX-License-Identifier: MIT
"""The power fails while an engine writes to its SQLite file.

What is simulated. Pictures of the files are taken at random moments: the database first, then its
write-ahead log. Meanwhile a reader holds an old snapshot, so SQLite moves nothing from the log into the
database, which stays as it was at the beginning. So a picture is that database with a prefix of the log, as
a disk holds it that lost the latest writes.

    the whole picture   every flush did what it says (synchronous=FULL): what was acknowledged is there
    cut at any byte     flushes never reached the disk, or synchronous is NORMAL: the latest refreshes that
                        were acknowledged are lost, so clients hold tokens that are newer than the store

What is not. A disk that writes later blocks before earlier ones: the log's checksums turn that into a
shorter prefix. A cut while the log is moved into the database, and a file whose name is lost: SQLite's own
tests cover those (https://www.sqlite.org/testing.html, section 3.3).
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from stormcellar.sessions import Sessions, Tokens, UnauthorisedError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.figures import Figures
from stormcellar.tests.sessions.helpers import DAY, refresh, sign_in, use
from stormcellar.tests.support import running_engine

pytestmark = pytest.mark.faults

CLIENTS = 8
PICTURES = 10
CUTS = 3  # of each picture
LONGEST_PAUSE_S = 0.05


@dataclass
class Picture:
    """The files at one moment, and what clients held at that moment, beside those who had signed out."""

    database: Path
    held: list[Tokens]
    ended: list[Tokens]

    def cut(self, to: Path) -> Path:
        """The same with the log ending somewhere earlier."""
        shutil.copy(self.database, to)
        log = _log_of(self.database).read_bytes()
        _log_of(to).write_bytes(log[: random.randrange(len(log) + 1)])
        return to


class Client:
    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    async def live(self, engine: Sessions) -> None:
        while True:
            self.tokens = await refresh(engine, self.tokens)
            await engine.get_session(self.tokens.access_token)


async def take_pictures(folder: Path) -> list[Picture]:
    """Let clients refresh and leave, and a key be replaced, with pictures in between."""
    path = folder / "db"
    pictures: list[Picture] = []
    async with running_engine(path, FakeClock()) as engine:
        clients = [Client(await sign_in(engine)) for _ in range(CLIENTS)]
        leaving = [await sign_in(engine) for _ in range(PICTURES)]
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sessions").fetchone()
            before = path.read_bytes()
            lives = [asyncio.create_task(client.live(engine)) for client in clients]
            for number in range(1, PICTURES + 1):
                await _sign_out(engine, leaving[number - 1])
                if number == PICTURES // 2:
                    await engine.keys.rotate_now()
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))
                target = folder / f"picture {number}"
                shutil.copy(path, target)
                shutil.copy(_log_of(path), _log_of(target))
                held = [client.tokens for client in clients]
                pictures.append(Picture(target, held, leaving[:number]))
            for life in lives:
                life.cancel()
            outcomes = await asyncio.gather(*lives, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
            assert path.read_bytes() == before, (
                "the log was moved into the database; the pictures are no good"
            )
    return pictures


async def _sign_out(engine: Sessions, tokens: Tokens) -> None:
    session = await engine.get_session(tokens.access_token)
    assert session
    await session.revoke()


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


async def everybody_goes_on(database: Path, held: list[Tokens], *, ended: list[Tokens]) -> None:
    """The power is back, a day later: nobody is refused or accused but those who had left."""
    clock = FakeClock()
    clock.advance(DAY)
    accused: list[str] = []
    hook = {"on_token_theft": lambda handle, user_id: accused.append(handle)}
    async with running_engine(database, clock, hook) as engine:
        for tokens in held:
            one_tab, other_tab = await refresh(engine, tokens), await refresh(engine, tokens)
            assert one_tab.refresh_token == other_tab.refresh_token
            await use(engine, one_tab)
            await use(engine, await refresh(engine, other_tab))
        for tokens in ended:
            with pytest.raises(UnauthorisedError):
                await refresh(engine, tokens)
    assert accused == []
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path, figures: Figures) -> None:
    async def story() -> None:
        for picture in await take_pictures(tmp_path):
            await everybody_goes_on(picture.database, picture.held, ended=picture.ended)

    asyncio.run(story())
    figures.none("power cut: nothing acknowledged is lost", "SQLite", (), f"{PICTURES} cuts")


def test_refreshes_that_never_reached_the_disk_sign_nobody_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, figures: Figures
) -> None:
    """The store lost its latest writes: it goes on from the token that the client holds."""

    async def story() -> None:
        for picture in await take_pictures(tmp_path):
            for number in range(CUTS):
                database = picture.cut(tmp_path / f"{picture.database.name}, cut {number}")
                await everybody_goes_on(database, picture.held, ended=[])

    asyncio.run(story())
    assert "has lost rotations" in caplog.text, "no cut was deep enough"
    tried = f"{PICTURES * CUTS} cuts"
    figures.none("power cut, disk without flushes: nobody is signed out", "SQLite", (), tried)
