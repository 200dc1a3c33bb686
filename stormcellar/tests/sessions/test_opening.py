# SPDX-License-Identifier: MIT
"""Starts: a database that is not up yet, one of the wrong encoding, one that another server uses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stormcellar.sessions import StoreUnavailableError
from stormcellar.sessions.errors import UnusableDatabaseError
from stormcellar.settings import Settings
from stormcellar.store import opening, presence
from stormcellar.store.opening import open_in_time
from stormcellar.store.presence import LOCAL_LEASE_S, Presence
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import ServerProcess
from stormcellar.tests.site import make_app
from stormcellar.tests.support import database_at


class LateDatabase(SqliteDatabase):
    """A database that does not answer the first times."""

    def __init__(self, path: Path, failures: list[Exception]) -> None:
        super().__init__(path)
        self.failures = failures

    async def open(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await super().open()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RETRY_S", 0)


@pytest.mark.gen_test
async def test_a_database_that_comes_up_late_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = LateDatabase(tmp_path / "db", [StoreUnavailableError("refused")] * 3)
    await open_in_time(database, 30)
    await database.close()
    assert caplog.text.count("waiting up to 30 s for the database: refused") == 1


@pytest.mark.gen_test
async def test_after_the_wait_the_start_ends_with_a_sentence(tmp_path: Path) -> None:
    database = LateDatabase(tmp_path / "db", [StoreUnavailableError("refused")])
    with pytest.raises(StoreUnavailableError, match=r"did not answer: refused\. Start it, or correct"):
        await open_in_time(database, 0)


@pytest.mark.gen_test
async def test_a_database_that_cannot_be_used_is_not_waited_for(tmp_path: Path) -> None:
    database = LateDatabase(tmp_path / "db", [UnusableDatabaseError("wrong")] * 2)
    with pytest.raises(UnusableDatabaseError):
        await open_in_time(database, 600)
    assert len(database.failures) == 1


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("processes", [1, 2])
def test_a_server_starts_when_its_postgresql_comes_up(
    tmp_path: Path, cluster: Cluster, postgres_url: str, processes: int
) -> None:
    """The server waits for the database; the test starts the database when the server says so."""
    server = ServerProcess(
        tmp_path,
        *([f"--processes={processes}"] if processes > 1 else []),
        environment={"STORMCELLAR_DATABASE": postgres_url},
    )
    cluster.stop()
    before = server._read

    def start_the_database(process: object) -> None:
        output = process.stdout  # type: ignore[attr-defined]
        while "waiting up to 30 s for the database" not in server.log:
            server.log += output.readline()
        cluster.start()
        before(process)  # type: ignore[arg-type]

    server._read = start_the_database  # type: ignore[method-assign]
    try:
        with server:
            assert server.url
    finally:
        if not cluster.is_running:
            cluster.start()


@pytest.mark.postgres
@pytest.mark.gen_test
async def test_a_database_without_unicode_is_refused(cluster: Cluster) -> None:
    cluster.execute("DROP DATABASE IF EXISTS latin")
    cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    database = database_at(cluster.url("latin"))
    with pytest.raises(UnusableDatabaseError, match=r"has the encoding LATIN1.*--encoding=UTF8"):
        await database.open()


# -- several servers ----------------------------------------------------------------------------------


@pytest.fixture
def start(place: Path | str, tmp_path: Path) -> Callable[..., object]:
    """Start an application as server.py does: `await start(port=8001)`."""
    url = place if isinstance(place, str) else ""
    clock = FakeClock()

    async def begin(**settings: object) -> object:
        options = replace(Settings(data_dir=tmp_path, database=url), **settings)  # type: ignore[arg-type]
        application = make_app(options, announced=True, clock=clock, generate_key=cheap_keys())
        try:
            await application.start()
        except BaseException:
            await application.stop()
            raise
        return application

    begin.clock = clock  # type: ignore[attr-defined]
    return begin


@pytest.mark.gen_test
async def test_servers_that_refuse_each_others_tokens_do_not_start(start: Callable[..., object]) -> None:
    first = await start(port=8001)  # type: ignore[misc]
    try:
        with pytest.raises(UnusableDatabaseError, match=r"localhost:8001.*Set public_url to the same"):
            await start(port=8002)  # type: ignore[misc]
        with pytest.raises(UnusableDatabaseError):
            await start(port=8001, public_url="https://www.example.com")  # type: ignore[misc]
        second = await start(port=8001)  # type: ignore[misc]
        await second.stop()
    finally:
        await first.stop()


@pytest.mark.gen_test
async def test_a_server_may_come_back_on_another_port(start: Callable[..., object]) -> None:
    await (await start(port=8001)).stop()  # type: ignore[misc]
    await (await start(port=8002)).stop()  # type: ignore[misc]


@pytest.mark.gen_test
async def test_the_row_of_a_killed_server_ends_by_itself(start: Callable[..., object]) -> None:
    killed = await start(port=8001)  # type: ignore[misc]
    killed.announced = False  # it removes no row
    await killed.stop()
    with pytest.raises(UnusableDatabaseError, match="try again in 30 s"):
        await start(port=8002)  # type: ignore[misc]
    start.clock.advance(LOCAL_LEASE_S)  # type: ignore[attr-defined]
    await (await start(port=8002)).stop()  # type: ignore[misc]


@pytest.mark.gen_test
async def test_servers_may_run_side_by_side_while_their_address_changes(start: Callable[..., object]) -> None:
    old = await start(public_url="https://old.example.com")  # type: ignore[misc]
    new = await start(public_url="https://new.example.com")  # type: ignore[misc]
    await old.stop()
    await new.stop()


@pytest.mark.gen_test
async def test_after_a_failover_servers_wait_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for a server that was killed not for ever."""
    database, clock = SqliteDatabase(tmp_path / "db"), FakeClock()
    await database.open()
    one, two, killed = servers = [
        Presence(database, clock, issuer="https://example.com", is_public=True) for _ in range(3)
    ]
    for server in servers:
        await server.open()
        await server.join()
    await servers.pop().leave()
    monkeypatch.setattr(presence, "SETTLE_S", 60)
    await asyncio.gather(one.settle("00000002"), two.settle("00000002"))
    await killed.join()
    monkeypatch.setattr(presence, "SETTLE_S", 0)
    await one.settle("00000003")
    await database.close()
