# SPDX-License-Identifier: MIT
"""The fixtures of the plugin for tests that drive a real Chromium against a real server process.

A folder of browser tests has one line in its conftest.py, and needs Playwright (`pip install playwright`):

    from stormcellar.testing.browser import *

A page that meets an uncaught error, a console error or a violation of its CSP fails its test, unless the test
said `complaints.allow(...)` for it.

Playwright's synchronous interface keeps an event loop running in this thread as long as the browser is open.
So the browser lives for that folder only. No test there may run a loop (gen_test, asyncio.run).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    WebError,
    expect,
    sync_playwright,
)

from stormcellar import settings as configuration
from stormcellar.application import Application, Site
from stormcellar.settings import Settings
from stormcellar.testing.plugin import CHEAP, REVOKED_ELSEWHERE, expired_tokens_of
from stormcellar.testing.serving import ServerProcess
from stormcellar.testing.visitor import PATIENCE_S, Visitor

__all__ = [
    "as_user",
    "browser",
    "chromium_path",
    "complaints",
    "context",
    "expire_access_token",
    "launch",
    "lose_reply",
    "new_context",
    "page",
    "page_without_scripts",
    "revoke_elsewhere",
    "server",
    "server_class",
    "start_server",
    "visit",
]

T = TypeVar("T")
ACCESS_COOKIE, FRONT_COOKIE = "sAccessToken", "sFrontToken"
REFRESH_PATH = "/session/refresh"
QUIET = (  # a browser that calls nobody but the server under test, and needs no graphics card
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-gpu",
    # Names to reach a server by that are not loopback names to the browser.
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
expect.set_options(timeout=PATIENCE_S * 1000)


class Complaints:
    """What the pages of one test complained about."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """Accept complaints in which this regular expression is found, such as r"status of 401"."""
        self._allowed.append(pattern)

    def watch(self, context: BrowserContext) -> None:
        """Hear the pages of a context, those to come too."""
        context.on("console", self._hear_console)
        context.on("weberror", self._hear_error)

    def unexpected(self) -> list[str]:
        """All that was heard and not allowed."""
        return [heard for heard in self.heard if not any(re.search(rule, heard) for rule in self._allowed)]

    def _hear_console(self, message: ConsoleMessage) -> None:
        # Chromium reports a violated CSP, a failed load and an uncaught rejection here as well.
        if message.type == "error":
            self.heard.append(f"{message.text} ({message.location['url']})")

    def _hear_error(self, web_error: WebError) -> None:
        self.heard.append(f"uncaught: {web_error.error}")


def hear_out(context: BrowserContext) -> None:
    """Wait for what scripts of open pages still have to say: an unhandled rejection comes a turn later."""
    for page in context.pages:
        with suppress(Error):  # a page that is just leaving has no more to say
            page.evaluate("() => new Promise(done => setTimeout(done))")


def close(context: BrowserContext) -> None:
    """Have its pages stand still first: Chromium closes none that is just arriving, and never says so."""
    for page in context.pages:
        with suppress(Error):
            page.goto("about:blank")
    context.close()


@pytest.fixture
def complaints() -> Complaints:
    """To be told of errors that a test means to cause: `complaints.allow(r"status of 401")`."""
    return Complaints()


@pytest.fixture(scope="package")
def chromium_path() -> str | None:
    """The browser: CHROMIUM of the environment, or one on the PATH; None: that of Playwright."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="package")
def launch(chromium_path: str | None) -> Iterator[Callable[..., Browser]]:
    """Start a Chromium with further options of Playwright's `launch`; it ends with the folder's tests."""
    # For root Chromium does not start with its sandbox on.
    arguments = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else list(QUIET)
    with sync_playwright() as playwright:
        yield lambda **options: playwright.chromium.launch(
            executable_path=chromium_path, args=arguments, **options
        )


@pytest.fixture(scope="package")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    """One Chromium for the whole folder."""
    running = launch()
    yield running
    running.close()


@pytest.fixture
def new_context(
    browser: Browser,
    complaints: Complaints,
    start_server: object,  # set up first, so that no page outlives its server and complains of that
) -> Iterator[Callable[..., BrowserContext]]:
    """Makes a browser that knows nothing yet, such as `new_context(color_scheme="dark")`."""
    contexts: list[tuple[BrowserContext, bool]] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_S * 1000)
        complaints.watch(context)
        contexts.append((context, options.get("java_script_enabled", True)))
        return context

    yield make
    for context, has_scripts in contexts:
        if has_scripts:  # else what hear_out waits for never comes
            hear_out(context)
    unexpected = complaints.unexpected()
    for context, _ in contexts:
        close(context)
    assert unexpected == []


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    """A browser with default options; a second tab is `context.new_page()`."""
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab with scripts on."""
    return context.new_page()


@pytest.fixture
def page_without_scripts(new_context: Callable[..., BrowserContext]) -> Page:
    """A tab of another browser, with scripts off."""
    return new_context(java_script_enabled=False).new_page()


@pytest.fixture
def visit(new_context: Callable[..., BrowserContext]) -> Callable[..., Visitor]:
    """Somebody at a browser of their own: `visit(server.url)`, `visit(server.url, has_scripts=False)`."""

    def make(site: str, *, has_scripts: bool = True, **options: Any) -> Visitor:
        context = new_context(java_script_enabled=has_scripts, **options)
        return Visitor(context, site, has_scripts=has_scripts)

    return make


@pytest.fixture
def server_class() -> type[ServerProcess]:
    """What runs server.py in the current folder."""
    return ServerProcess


@pytest.fixture
def start_server(tmp_path: Path, server_class: type[ServerProcess]) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that end with the test: `start_server("--access_token_lifetime_s=5").url`.

    Each has a data folder of its own, unless `data_dir` names one.
    """
    servers: list[ServerProcess] = []

    def start(*arguments: str, data_dir: Path | None = None, **options: Any) -> ServerProcess:
        server = server_class(data_dir or tmp_path / f"data-{len(servers)}", *arguments, **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
        print(server.log)  # pytest shows it where the test failed


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with default settings."""
    return start_server()


# -- what can go wrong --------------------------------------------------------------------------------


@pytest.fixture
def as_user(server: ServerProcess, visit: Callable[..., Visitor]) -> Callable[..., Visitor]:
    """A Chromium of its own in which somebody is signed in: `ann = as_user("ann@example.com")`."""
    known: set[str] = set()

    def sign_in(email: str = "ann@example.com", **options: Any) -> Visitor:
        visitor = visit(server.url, **options)
        if email in known:
            visitor.goto("/login?redirectBack=/dashboard")
            visitor.sign_in(email)
        else:
            visitor.sign_up(email)
        known.add(email)
        return visitor

    return sign_in


@pytest.fixture
def expire_access_token(server: ServerProcess, site: Site) -> Callable[[Visitor], None]:
    """End a browser's access token, and nothing else. Pages that are open do not notice."""

    def expire(visitor: Visitor) -> None:
        held = _access_token(visitor)
        access, front = _beside(site, server, lambda node: expired_tokens_of(node, held))
        values = {ACCESS_COOKIE: access, FRONT_COOKIE: front}
        for cookie in visitor.context.cookies():
            for ending, value in values.items():
                if cookie["name"].endswith(ending):
                    visitor.context.add_cookies([{**cookie, "value": value}])  # type: ignore[typeddict-item]

    return expire


@pytest.fixture
def revoke_elsewhere(server: ServerProcess, complaints: Complaints, site: Site) -> Callable[[Visitor], None]:
    """End a browser's session from another server; it is over when this one has heard of it."""

    def revoke(visitor: Visitor) -> None:
        complaints.allow(r"status of 401 .*/session/refresh\)")  # what the browser meets next
        held = _access_token(visitor)

        async def end(node: Application) -> None:
            handle = await node.sessions.handle_of(held)
            assert handle, "nobody is signed in there"
            assert await node.sessions.revoke_session(handle, owner=None, reason=REVOKED_ELSEWHERE), (
                "it was over already"
            )

        _beside(site, server, end)
        alive = f"{server.url}/session-alive"
        visitor.until(lambda: visitor.context.request.get(alive).json() == {"alive": False})

    return revoke


@pytest.fixture
def lose_reply(server: ServerProcess) -> Callable[[Visitor], None]:
    """Renew a browser's session, and lose the reply on its way."""

    def lose(visitor: Visitor) -> None:
        address = f"{server.url}{_settings_of(server).api_base_path}{REFRESH_PATH}"
        cookies = "; ".join(
            f"{cookie['name']}={cookie['value']}" for cookie in visitor.context.cookies(address)
        )
        headers = {"Cookie": cookies, "rid": "session", "st-auth-mode": "cookie"}
        request = urllib.request.Request(address, method="POST", headers=headers)
        with urllib.request.urlopen(request) as response:
            assert response.headers["front-token"] not in (None, "remove")

    return lose


def _access_token(visitor: Visitor) -> str:
    """The browser's access token, be its cookie's name prefixed or not; "" if there is none."""
    cookies = visitor.context.cookies()
    return next((one["value"] for one in cookies if one["name"].endswith(ACCESS_COOKIE)), "")


def _settings_of(server: ServerProcess) -> Settings:
    return configuration.load([part for part in server.command if part.startswith("--")], {})


def _beside(site: Site, server: ServerProcess, work: Callable[[Application], Awaitable[T]]) -> T:
    """Do something on another server of the same site, which lives for that only.

    In another thread, because Playwright has an event loop running in this one.
    """

    async def run() -> T:
        node = site.make_app(_settings_of(server), password_parameters=CHEAP)
        try:
            await node.start()
            return await work(node)
        finally:
            await node.stop()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()
