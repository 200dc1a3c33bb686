# SPDX-License-Identifier: MIT
"""People with browsers, simulated over real HTTP, and the server processes that they visit.

A browser keeps what it was given, repeats what got no answer, and writes all of it into a history.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError, SimpleAsyncHTTPClient

from stormcellar.tests.faults.history import History, Kind, Operation
from stormcellar.tests.postgres import DATABASE, Cluster, Wire
from stormcellar.tests.serving import ServerProcess

SECRET = "only for the tests: 0123456789abcdef"
PASSWORD = "correct cellar staple"
REFRESH_PATH = "/auth/session/refresh"
DEADLINE_S = 60.0  # a request that takes so long hangs
PAUSE_S = 0.01
Route = Callable[[], Awaitable[str]]
"""Tells the address of a server to ask next."""


class NoAnswer(Exception):
    """The connection broke: nobody knows whether the request had an effect."""


class NobodyListened(Exception):
    """There was no connection, or the server said that it could do nothing: there was no effect."""


class Site:
    """Server processes, of which some may be down: on one data folder, or on one PostgreSQL database.

    Args:
        data_dir: theirs; with PostgreSQL each has a folder of its own in it, as machines have.
        cluster: a PostgreSQL server, whose database of the tests is emptied first.
        wire: stands between that and all of the processes.
        parameters: of the database's address, such as "stormcellar_feed=poll".
        address: of an empty PostgreSQL database that another program keeps.
    """

    def __init__(
        self,
        data_dir: Path,
        processes: int,
        *arguments: str,
        cluster: Cluster | None = None,
        wire: Wire | None = None,
        parameters: str = "",
        address: str = "",
    ) -> None:
        self.cluster = cluster
        self.sqlite_file = data_dir / "stormcellar.sqlite3"
        self.up: set[ServerProcess] = set()
        if cluster is None and not address:
            self.servers = [ServerProcess(data_dir, *arguments) for _ in range(processes)]
            return
        url = address
        if cluster is not None:
            url = cluster.url(cluster.empty_database()) + f"?{parameters}" * bool(parameters)
        environment = {
            "STORMCELLAR_DATABASE": wire.address(url) if wire else url,
            "STORMCELLAR_SECRET": SECRET,
        }
        data_dir.mkdir(exist_ok=True)
        self.servers = [
            ServerProcess(data_dir / str(number), *arguments, environment=environment)
            for number in range(processes)
        ]

    async def start(self, *servers: ServerProcess) -> None:
        """Start some, or all, at the same time."""
        chosen = servers or self.servers
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in chosen))
        self.up |= set(chosen)

    async def kill(self, server: ServerProcess) -> None:
        self.up.discard(server)
        await asyncio.to_thread(server.kill)

    def stop(self) -> None:
        self.up.clear()
        for server in self.servers:
            server.stop()

    def rows(self, sql: str) -> list[Any]:
        """What the database itself says."""
        if self.cluster is not None:
            return self.cluster.execute(sql, DATABASE)
        with closing(sqlite3.connect(f"file:{self.sqlite_file}?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute(sql).fetchall()

    def integrity_errors(self) -> list[Any]:
        """What SQLite finds wrong with its file; PostgreSQL has no such command."""
        found = [] if self.cluster else self.rows("PRAGMA integrity_check")
        return [row for row in found if row != ("ok",)]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    async def any_url(self) -> str:
        """A server that is up; waits for one if need be."""
        while not self.up:
            await asyncio.sleep(PAUSE_S)
        return random.choice(sorted(server.url for server in self.up))

    @property
    def complaints(self) -> str:
        """The servers' logs without what is usual."""
        lines = (line for server in self.servers for line in server.log.splitlines())
        return "\n".join(line for line in lines if " INFO " not in line)


def at(url: str) -> Route:
    """Always this server."""

    async def route() -> str:
        return url

    return route


def http_client() -> SimpleAsyncHTTPClient:
    """To be called, used and closed on one event loop."""
    return SimpleAsyncHTTPClient(force_instance=True, max_clients=200)


class Browser:
    """One person's browser.

    Args:
        route: which server to ask; asked anew for each request.

    Attributes:
        session: the handle of the session it is signed in with; empty if it is not.
        generation: of its tokens: how many refreshes were answered.
        put_off_s: how long each answer took that only said to come again later (503).
        pages_put_off: how many of those were pages.
        renewals_s: how long each answer to a refresh took, whatever it was.
    """

    def __init__(self, client: SimpleAsyncHTTPClient, history: History, route: Route, email: str) -> None:
        self.client = client
        self.history = history
        self.route = route
        self.email = email
        self.cookies: dict[str, str] = {}
        self.session = self.user_id = ""
        self.generation = 0
        self.put_off_s: list[float] = []
        self.pages_put_off = 0
        self.renewals_s: list[float] = []

    # -- what people do -----------------------------------------------------------------------------

    async def sign_up(self) -> None:
        """Sign up, and so sign in. Who is told that the account is there already had no answer before."""
        operation, response = await self._ask("sign_in", "/auth/signup", self._credentials())
        said = json.loads(response.body)
        if said["status"] == "OK":
            self._begin(operation, response)
        else:
            assert "already exists" in str(said), said
            self.history.strike(operation)
            await self.sign_in()

    async def sign_in(self) -> None:
        operation, response = await self._ask("sign_in", "/auth/signin", self._credentials())
        if json.loads(response.body)["status"] == "OK":
            self._begin(operation, response)
        else:
            self.history.answer(operation, "refused")
            raise AssertionError(f"{self.email} may not sign in: {response.body!r}")

    async def read(self, route: Route | None = None) -> bool:
        """Look at a protected page; renew first if asked to. Whether the page was shown."""
        while True:
            operation, response = await self._ask("read", "/dashboard", route=route)
            if response.code == 200:
                assert self.user_id.encode() in response.body, "this page belongs to somebody else"
                self.history.answer(operation, "ok")
                return True
            if self._refused(operation, response) or not await self.refresh(route):
                return False

    async def refresh(self, route: Route | None = None) -> bool:
        """Exchange the refresh token. Whether that went well."""
        operation, response = await self._ask("refresh", REFRESH_PATH, {}, route)
        if response.code != 200:
            assert self._refused(operation, response), response.body
            return False
        self.generation += 1
        self.history.answer(operation, "ok", self.cookies[self._refresh_cookie])
        return True

    async def sign_out(self, route: Route | None = None, *, by_form: bool = False) -> None:
        """Sign out, by the form of the pages or as scripts do; afterwards nobody is signed in here."""
        path = "/signout" if by_form else "/auth/signout"
        while True:
            operation, response = await self._ask("sign_out", path, None if by_form else {}, route)
            if response.code in (200, 303):
                self.history.answer(operation, "ok")
                break
            if self._refused(operation, response) or not await self.refresh(route):
                break
        self.cookies.clear()
        self.session = ""

    def copy(self) -> Browser:
        """The same tokens in other hands: a second tab, or somebody who kept them."""
        twin = Browser(self.client, self.history, self.route, self.email)
        twin.cookies = dict(self.cookies)
        twin.session, twin.user_id, twin.generation = self.session, self.user_id, self.generation
        return twin

    # -- requests -----------------------------------------------------------------------------------

    async def _ask(
        self, kind: Kind, path: str, body: object = None, route: Route | None = None
    ) -> tuple[Operation, HTTPResponse]:
        """Ask until there is an answer; each attempt is an operation of its own."""
        while True:
            url = await (route or self.route)()
            operation = self.history.ask(kind, "" if kind == "sign_in" else self.session, self.generation)
            try:
                return operation, await self._fetch(url, path, body, post=kind != "read")
            except NobodyListened:
                self.history.strike(operation)
            except NoAnswer:
                pass
            await asyncio.sleep(PAUSE_S)

    async def _fetch(self, url: str, path: str, body: object, *, post: bool) -> HTTPResponse:
        """One request.

        Raises:
            NobodyListened, NoAnswer: there was none to look at.
        """
        request = HTTPRequest(
            url + path,
            method="POST" if post else "GET",
            headers={"Cookie": self._cookie_header(path), "rid": "session", "st-auth-mode": "cookie"},
            body=("" if body is None else json.dumps(body)) if post else None,
            follow_redirects=False,
            connect_timeout=DEADLINE_S,
            request_timeout=DEADLINE_S,
        )
        request.headers["Content-Type"] = "application/json"
        try:
            response = await self.client.fetch(request, raise_error=False)
        except ConnectionRefusedError:
            raise NobodyListened from None
        except (HTTPStreamClosedError, OSError):
            raise NoAnswer from None
        except HTTPError as error:
            raise AssertionError(f"{path} of {url} hangs: {error}") from None
        if path == REFRESH_PATH:
            self.renewals_s.append(response.request_time or 0.0)
        if response.code == 503:
            assert response.headers["Retry-After"]
            assert not response.headers.get_list("Set-Cookie"), "nothing is known, so nothing may be cleared"
            self.put_off_s.append(response.request_time or 0.0)
            self.pages_put_off += not post
            raise NoAnswer
        assert response.code in (200, 303, 401), f"{path} of {url}: {response.code} {response.body!r}"
        self._keep_cookies(response.headers.get_list("Set-Cookie"))
        return response

    def _refused(self, operation: Operation, response: HTTPResponse) -> bool:
        """Note a 401; False if it only says that the access token must be renewed."""
        assert response.code == 401, response
        message = json.loads(response.body)["message"]
        if message == "try refresh token":
            self.history.strike(operation)
            return False
        self.history.answer(operation, "accused" if "theft" in message else "refused")
        return True

    def _begin(self, operation: Operation, response: HTTPResponse) -> None:
        payload = json.loads(base64.b64decode(response.headers["front-token"]))["up"]
        self.session, self.user_id, self.generation = payload["sessionHandle"], payload["sub"], 0
        operation.session = self.session
        self.history.answer(operation, "ok")

    def _credentials(self) -> dict[str, list[dict[str, str]]]:
        return {
            "formFields": [{"id": "email", "value": self.email}, {"id": "password", "value": PASSWORD}],
        }

    # -- cookies ------------------------------------------------------------------------------------

    def _cookie_header(self, path: str) -> str:
        """The refresh token goes to its own path only."""
        return "; ".join(
            f"{name}={value}"
            for name, value in self.cookies.items()
            if name != self._refresh_cookie or path.startswith(REFRESH_PATH)
        )

    @property
    def _refresh_cookie(self) -> str:
        """Return the refresh token's name: it has a prefix where the public URL is https."""
        return next((name for name in self.cookies if name.endswith("sRefreshToken")), "sRefreshToken")

    def _keep_cookies(self, lines: Sequence[str]) -> None:
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                with suppress(KeyError):
                    del self.cookies[name]
