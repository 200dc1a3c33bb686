# SPDX-License-Identifier: MIT
"""A server whose database cannot be used when it starts: whom it may serve it does not know, so nobody.

`python server.py` ends and says why. An application that listens all the same, as one inside another program
may, answers 503 until it has heard the revocation feed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from stormcellar.settings import Settings
from stormcellar.store import sqlite as sqlite_module
from stormcellar.tests.faults.browsers import SECRET, http_client
from stormcellar.tests.figures import Figures
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import ServerProcess
from stormcellar.tests.site import make_app

pytestmark = pytest.mark.faults

STORES = ["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.postgres)]
ATTEMPTS = 5


class Place:
    """A database in which somebody has a session, and which can be put out of reach."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self.folder = folder
        self.cluster = cluster
        self.url = cluster.url(cluster.empty_database()) if cluster else ""
        self.options = Settings(port=0, data_dir=folder, secret=SECRET, database=self.url)
        self.access_token = asyncio.run(self._sign_in())

    async def _sign_in(self) -> str:
        application = make_app(self.options)
        await application.start()
        user = await application.accounts.sign_up("ann@example.com", "correct cellar staple")
        session = await application.sessions.create_new_session(user.user_id)
        await application.stop()
        assert session.new_tokens
        return session.new_tokens.access_token

    def take_away(self) -> Callable[[], None]:
        """Returns what gives it back."""
        if self.cluster:
            self.cluster.stop()
            return self.cluster.start
        lock = sqlite3.connect(
            self.folder / "stormcellar.sqlite3", isolation_level=None, check_same_thread=False
        )
        lock.execute("PRAGMA locking_mode=EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        lock.execute("CREATE TABLE a_lock (x)")
        return lock.close


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    cluster = request.getfixturevalue("cluster") if request.param == "PostgreSQL" else None
    return Place(tmp_path, cluster)


def test_a_server_that_cannot_read_who_was_revoked_does_not_start(place: Place) -> None:
    server = ServerProcess(place.folder, environment={
        "STORMCELLAR_SECRET": SECRET, "STORMCELLAR_DATABASE_WAIT_S": "0",
        **({"STORMCELLAR_DATABASE": place.url} if place.url else {}),
    })  # fmt: skip
    give_back = place.take_away()
    try:
        with pytest.raises(AssertionError, match="Stormcellar does not start"):
            server.start()
        assert "Traceback" not in server.log
    finally:
        give_back()
    with server:
        pass


def test_a_protected_page_is_refused_until_the_feed_was_heard(
    place: Place, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.2)  # how long it waits is tried elsewhere
    opened: list[object] = []

    async def story() -> None:
        application = make_app(place.options)
        listening, port = bind_unused_port()
        server = HTTPServer(application)
        server.add_socket(listening)
        client = http_client()
        page = f"http://127.0.0.1:{port}/dashboard"
        headers = {"Cookie": f"sAccessToken={place.access_token}", "Host": f"localhost:{port}"}
        give_back = place.take_away()
        try:
            for _ in range(ATTEMPTS):
                response = await client.fetch(page, headers=headers, raise_error=False)
                if response.code != 503 or response.headers.get_list("Set-Cookie"):
                    opened.append(response)
                assert response.headers["Retry-After"]
        finally:
            await asyncio.to_thread(give_back)
        while (response := await client.fetch(page, headers=headers, raise_error=False)).code == 503:
            await asyncio.sleep(0.05)
        assert response.code == 200, response.body
        client.close()
        server.stop()
        await server.close_all_connections()
        await application.stop()

    asyncio.run(asyncio.wait_for(story(), 60))
    store = "PostgreSQL" if place.url else "SQLite"
    figures.none("feed never heard: pages served", store, opened, f"{ATTEMPTS} requests")
