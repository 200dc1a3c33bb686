# SPDX-License-Identifier: MIT
"""One page of about 2 KB, behind each way to know who is looking at it.

`python benchmarks/variants.py NAME` serves one of them on a free loopback port; it prints the port, and
the Cookie header to send. With --uvloop it runs on that event loop, and with --database=ADDRESS what keeps
rows keeps them in that PostgreSQL database. All run with production settings, in one process; the kit is
served as server.py serves it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import jwt  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from tornado.httpserver import HTTPServer  # noqa: E402
from tornado.netutil import bind_sockets  # noqa: E402
from tornado.web import Application, RequestHandler, URLSpec, authenticated  # noqa: E402

from stormcellar import server as processes  # noqa: E402
from stormcellar.application import Application as KitApplication  # noqa: E402
from stormcellar.events import logs  # noqa: E402
from stormcellar.server.http_server import make_http_server  # noqa: E402
from stormcellar.settings import Settings  # noqa: E402
from stormcellar.tests.site import SITE  # noqa: E402
from stormcellar.web.handler import ProtectedHandler  # noqa: E402

if TYPE_CHECKING:
    import psycopg

TEMPLATES = str(HERE / "templates")
USER_ID = "6a0c63a5-3c5b-4d0e-9f8e-2f3f6f4d7a11"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
Made = tuple[Application, str]
"""An application, and the Cookie header that opens its page."""


class BareHandler(RequestHandler):
    """Tornado's defaults and a constant: what a page costs that knows nobody."""

    def get(self) -> None:
        self.render("page.html", user_id=USER_ID)


def bare(_database: str) -> Made:
    return Application([("/page", BareHandler)], template_path=TEMPLATES), ""


def token() -> str:
    now = int(time.time())
    payload = {"sub": USER_ID, "iat": now, "exp": now + 3600, "sessionHandle": USER_ID}
    return jwt.encode(payload, KEY, algorithm="RS256", headers={"kid": "d-1"})


class DecodeHandler(RequestHandler):
    """get_cookie and jwt.decode on each request."""

    def get(self) -> None:
        payload = jwt.decode(self.get_cookie("sAccessToken", ""), KEY.public_key(), algorithms=["RS256"])
        self.render("page.html", user_id=payload["sub"])


def decode_each_time(_database: str) -> Made:
    return Application([("/page", DecodeHandler)], template_path=TEMPLATES), f"sAccessToken={token()}"


class RememberHandler(RequestHandler):
    """The same, with verified tokens remembered."""

    remembered: dict[str, dict[str, Any]] = {}

    def get(self) -> None:
        text = self.get_cookie("sAccessToken", "")
        payload = self.remembered.get(text)
        if payload is None:
            payload = jwt.decode(text, KEY.public_key(), algorithms=["RS256"])
            self.remembered[text] = payload
        if payload["exp"] < time.time():
            raise ValueError("expired")
        self.render("page.html", user_id=payload["sub"])


def remember(_database: str) -> Made:
    return Application([("/page", RememberHandler)], template_path=TEMPLATES), f"sAccessToken={token()}"


class SignedCookieHandler(RequestHandler):
    """Tornado's own: get_signed_cookie and @authenticated. Nothing can be revoked."""

    def get_current_user(self) -> str:
        return (self.get_signed_cookie("user") or b"").decode()

    @authenticated
    def get(self) -> None:
        self.render("page.html", user_id=self.current_user)


def signed_cookie(_database: str) -> Made:
    from tornado.web import create_signed_value

    secret = "benchmarks only"
    cookie = create_signed_value(secret, "user", USER_ID).decode()
    routes = [("/page", SignedCookieHandler)]
    return Application(routes, template_path=TEMPLATES, cookie_secret=secret), f'user="{cookie}"'


ROWS = "CREATE TABLE signed_in (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, expires_at REAL NOT NULL)"
INSERT = "INSERT INTO signed_in VALUES ({0}, {0}, {0})"
SELECT = "SELECT user_id FROM signed_in WHERE id = {0} AND expires_at > {0}"


class SqliteRowHandler(RequestHandler):
    """A random number in a cookie, and its row read on each request: on the event loop, which is quickest."""

    connection: sqlite3.Connection

    def get(self) -> None:
        wanted = (self.get_cookie("sid"), time.time())
        (user_id,) = self.connection.execute(SELECT.format("?"), wanted).fetchone()
        self.render("page.html", user_id=user_id)


def row_per_request_sqlite(_database: str) -> Made:
    connection = sqlite3.connect(Path(tempfile.mkdtemp()) / "sessions.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(ROWS)
    connection.execute(INSERT.format("?"), (USER_ID, USER_ID, time.time() + 86400))
    SqliteRowHandler.connection = connection
    return Application([("/page", SqliteRowHandler)], template_path=TEMPLATES), f"sid={USER_ID}"


class PostgresRowHandler(RequestHandler):
    """The same with PostgreSQL, by psycopg's asynchronous connections, of which there are a few."""

    free: asyncio.Queue[psycopg.AsyncConnection]

    async def get(self) -> None:
        connection = await self.free.get()
        try:
            cursor = await connection.execute(SELECT.format("%s"), (self.get_cookie("sid"), time.time()))
            (user_id,) = await cursor.fetchone() or ("",)
        finally:
            self.free.put_nowait(connection)
        self.render("page.html", user_id=user_id)


async def row_per_request_postgres(database: str) -> Made:
    import psycopg

    PostgresRowHandler.free = asyncio.Queue()
    for number in range(4):
        connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
        if number == 0:
            await connection.execute("DROP TABLE IF EXISTS signed_in")
            await connection.execute(ROWS)
            await connection.execute(INSERT.format("%s"), (USER_ID, USER_ID, time.time() + 86400))
        PostgresRowHandler.free.put_nowait(connection)
    return Application([("/page", PostgresRowHandler)], template_path=TEMPLATES), f"sid={USER_ID}"


class KitHandler(ProtectedHandler):
    """The kit's, with everything on."""

    def get_template_path(self) -> str:
        return TEMPLATES

    async def get(self) -> None:
        self.render("page.html", user_id=self.session.user_id)


async def kit(database: str) -> Made:
    logs.configure("text", debug=False)
    table = [URLSpec("/page", KitHandler)]
    options = Settings(data_dir=Path(tempfile.mkdtemp()), database=database)
    application = KitApplication(options, [*SITE.routes(options), *table], folder=SITE.folder)
    await application.start()
    session = await application.sessions.create_new_session(USER_ID)
    assert session.new_tokens is not None
    tokens = session.new_tokens
    processes.settle()
    cookie = f"sAccessToken={tokens.access_token}; sRefreshMarker=1; sFrontToken={tokens.front_token}"
    return application, f"{cookie}; st-last-access-token-update={int(time.time() * 1000)}"


VARIANTS: dict[str, Callable[[str], Any]] = {
    "bare": bare,
    "decode_each_time": decode_each_time,
    "remember": remember,
    "signed_cookie": signed_cookie,
    "row_per_request_sqlite": row_per_request_sqlite,
    "row_per_request_postgres": row_per_request_postgres,
    "kit": kit,
}


async def serve(name: str, database: str) -> None:
    made = VARIANTS[name](database)
    application, cookie = await made if asyncio.iscoroutine(made) else made
    sockets = bind_sockets(0, "127.0.0.1")
    http_server = make_http_server(application) if name == "kit" else HTTPServer(application)
    http_server.add_sockets(sockets)
    print(json.dumps({"port": sockets[0].getsockname()[1], "cookie": cookie}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=VARIANTS)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--database", default="", help="postgresql://...")
    options = parser.parse_args()
    # Tornado's access log and the kit's, line by line, as a service manager would have it.
    sys.stderr = open(os.devnull, "w", buffering=1)  # noqa: SIM115
    if options.name != "kit":
        logging.basicConfig(level=logging.INFO)
    loop = Settings(event_loop="uvloop" if options.uvloop else "asyncio")
    processes.event_loop(loop)(serve(options.name, options.database))


if __name__ == "__main__":
    main()
