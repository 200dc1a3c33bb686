# SPDX-License-Identifier: MIT
"""What tests of your own pages need: somebody who is signed in, and what can go wrong with a session.

    async def test_reports_know_their_reader(as_user):
        ann = await as_user("ann@example.com")
        assert ann.user_id in await ann.page("/reports")

Each test has an application of its own, with an empty database and a clock that stands still. docs/testing.md
shows every fixture at work. stormcellar/testing/browser.py has the same fixtures for a real Chromium.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from stormcellar.accounts import Argon2Parameters
from stormcellar.application import Application, Site
from stormcellar.dev.strip import expired_tokens
from stormcellar.sessions import ClaimValidator, Clock
from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.testing.waiting import until

__all__ = [
    "app",
    "as_user",
    "client",
    "clock",
    "expire_access_token",
    "lose_reply",
    "make_application",
    "more_routes",
    "new_client",
    "pytest_addoption",
    "pytest_configure",
    "revoke_elsewhere",
    "second_node",
    "settings",
    "site",
    "skew",
    "two_tabs",
]

MakeApplication = Callable[..., Application]
AsUser = Callable[..., Awaitable[Client]]
DoTo = Callable[[Client], Awaitable[None]]
LoseReply = Callable[[Client], Awaitable[HTTPResponse]]

CHEAP = Argon2Parameters(memory_kib=8, passes=1, lanes=1)
PATIENCE_S = 60.0  # nothing here measures time; a busy machine must not fail a test
REVOKED_ELSEWHERE = "revoked on another device"
DEFAULT_SITE = "server:SITE"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("stormcellar_site", "the site under test, as module:name", default=DEFAULT_SITE)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(
        config.option, "async_test_timeout"
    ):  # else pytest-tornado is not there, nor a test that awaits
        config.option.async_test_timeout = max(config.option.async_test_timeout, PATIENCE_S)


# -- an application for each test -------------------------------------------------------------------


@pytest.fixture
def site(pytestconfig: pytest.Config) -> Site:
    """Your site: its folder and its routes. The option `stormcellar_site` of pytest names another one."""
    return load_site(pytestconfig.getini("stormcellar_site"))


def load_site(name: str) -> Site:
    """Import a site by its module and name, such as `server:SITE`."""
    module, _, variable = name.partition(":")
    found: Site = getattr(importlib.import_module(module), variable)
    return found


@pytest.fixture
def clock() -> FakeClock:
    """The server's clock, and the browser's: `clock.advance(3600)`."""
    return FakeClock()


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings other than the default ones; a test gets its own by replacing this fixture."""
    return {}


@pytest.fixture
def more_routes() -> Sequence[Any]:
    """Routes besides those of handlers/routes.py."""
    return []


@pytest.fixture
def make_application(
    io_loop: IOLoop, tmp_path: Path, clock: FakeClock, more_routes: Sequence[Any], site: Site
) -> Iterator[MakeApplication]:
    """Make an application from settings. All are stopped at the end.

    `engine` goes to the session engine; `own_clock` is for one whose time differs from the test's.
    """
    made: list[Application] = []

    def make(
        engine: dict[str, Any] | None = None, own_clock: Clock | None = None, **settings: Any
    ) -> Application:
        options = Settings(**{"data_dir": tmp_path, "access_token_jitter_percent": 0, **settings})
        application = site.make_app(
            options,
            clock=own_clock or clock,
            password_parameters=CHEAP,
            **{"generate_key": cheap_keys(), **(engine or {})},
        )
        application.add_handlers(r".*", list(more_routes))
        # No file changes during a test, so `debug` need not read each page anew at each request.
        application.settings.update(compiled_template_cache=True, static_hash_cache=True)
        made.append(application)
        return application

    yield make
    for application in made:
        io_loop.run_sync(application.stop)


@pytest.fixture
def app(make_application: MakeApplication, settings: dict[str, Any]) -> Application:
    """The application that `client` and `as_user` talk to."""
    return make_application(**settings)


# -- browsers -----------------------------------------------------------------------------------------


@pytest.fixture
def client(app: Application, http_client: AsyncHTTPClient, base_url: str, clock: FakeClock) -> Client:
    """A browser in which nobody is signed in."""
    return Client(http_client, base_url, clock)


@pytest.fixture
def new_client(http_client: AsyncHTTPClient, base_url: str, clock: FakeClock) -> Callable[..., Client]:
    """Further browsers."""
    return lambda **more: Client(http_client, base_url, clock, **more)


@pytest.fixture
def as_user(app: Application, new_client: Callable[..., Client]) -> AsUser:
    """A browser in which somebody is signed in: `ann = await as_user("ann@example.com", roles=["admin"])`.

    The account is made if it is not there; whoever comes again comes with another browser, a second device.
    `verified` confirms the address.
    """

    async def sign_in(
        email: str = "ann@example.com", *, roles: Sequence[str] = (), verified: bool = False
    ) -> Client:
        await app.start()
        users = app.accounts
        user = await users.get_by_email(email) or await users.sign_up(email, PASSWORD)
        for role in roles:
            await users.add_role(user.user_id, role)
        if verified and (mailed := await users.create_email_verification(user.user_id)):
            await users.verify_email(mailed.text)
        browser = new_client()
        await browser.sign_in(email)
        return browser

    return sign_in


@pytest.fixture
def two_tabs() -> Callable[[Client], tuple[Client, Client]]:
    """Two tabs of one browser, which share its cookies: `first, second = two_tabs(ann)`."""
    return lambda browser: (browser, copy.copy(browser))


# -- what can go wrong --------------------------------------------------------------------------------


@pytest.fixture
def expire_access_token(app: Application) -> DoTo:
    """End a browser's access token, and nothing else: `await expire_access_token(ann)`."""

    async def expire(browser: Client) -> None:
        tokens = await expired_tokens_of(app, browser.cookies[app.jar.access])
        browser.replace_cookie(app.jar.access, tokens[0])
        browser.replace_cookie(app.jar.front, tokens[1])

    return expire


@pytest.fixture
def revoke_elsewhere(app: Application, make_application: MakeApplication, settings: dict[str, Any]) -> DoTo:
    """End a browser's session on another server: `await revoke_elsewhere(ann)`.

    It is over when this server has heard of it. The browser keeps its cookies: nobody has told it.
    """

    async def revoke(browser: Client) -> None:
        other = make_application(**settings)
        await other.start()
        handle = browser.session_handle
        assert await other.sessions.revoke_session(handle, owner=None, reason=REVOKED_ELSEWHERE), (
            "it was over already"
        )
        await until(lambda: handle in app.sessions.feed.revoked)

    return revoke


@pytest.fixture
def lose_reply() -> LoseReply:
    """Renew a browser's session, and lose the reply on its way: `await lose_reply(ann)`.

    The server has gone on to the next tokens; the browser still holds the ones before. What was lost is
    returned, for the test alone.
    """

    async def lose(browser: Client) -> HTTPResponse:
        before = dict(browser.jar)
        response = await browser.refresh()
        assert response.code == 200, response.body
        browser.jar.clear()
        browser.jar.update(before)
        return response

    return lose


class SkewedClock:
    """A clock that is always so many seconds ahead of another one."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds


@pytest.fixture
def skew(clock: FakeClock) -> Callable[[float], Clock]:
    """A clock that is wrong: `second_node(clock=skew(90))`, or, for a device, `ann.clock = skew(-3600)`."""
    return lambda seconds: SkewedClock(clock, seconds)


class Node:
    """Another server of the same site.

    Attributes:
        app: its application.
        base_url: where it listens.
    """

    def __init__(self, application: Application, base_url: str) -> None:
        self.app = application
        self.base_url = base_url

    def visited_by(self, browser: Client) -> Client:
        """A tab of this browser, with its cookies, whose requests come to this server."""
        tab = copy.copy(browser)
        tab.base_url = tab.origin = self.base_url
        return tab


@pytest.fixture
def second_node(
    io_loop: IOLoop, make_application: MakeApplication, settings: dict[str, Any]
) -> Iterator[Callable[..., Node]]:
    """Another server on the same database: `second_node().visited_by(ann)`. It takes further settings."""
    servers: list[HTTPServer] = []

    def start(*, clock: Clock | None = None, **more: Any) -> Node:
        application = make_application(own_clock=clock, **{**settings, **more})
        socket, port = bind_unused_port()
        server = HTTPServer(application)
        server.add_socket(socket)
        servers.append(server)
        return Node(application, f"http://localhost:{port}")

    yield start
    for server in servers:
        server.stop()
        io_loop.run_sync(server.close_all_connections)


async def expired_tokens_of(application: Application, access_token: str) -> tuple[str, str]:
    """Access token and front token of the same session, which are over already."""
    session = await application.sessions.get_session(
        access_token, override_global_claim_validators=_no_validators
    )
    assert session
    tokens = await expired_tokens(application.sessions, session)
    return tokens.access_token, tokens.front_token


def _no_validators(*_: object) -> Sequence[ClaimValidator]:
    return []
