# SPDX-License-Identifier: MIT
"""Fixtures for tests that drive a real Chromium against a real server process.

A page that meets an uncaught error, a console error or a violation of its CSP fails its test, unless the test
said `complaints.allow(...)` for it.

Playwright's synchronous interface keeps an event loop running in this thread as long as the browser is open.
So the browser lives for this folder only, and no test here may run a loop of its own (gen_test, asyncio.run).
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

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

from stormcellar.testing.plugin import browser_as_user as as_user  # noqa: F401
from stormcellar.testing.plugin import browser_expire_access_token as expire_access_token  # noqa: F401
from stormcellar.testing.plugin import browser_lose_reply as lose_reply  # noqa: F401
from stormcellar.testing.plugin import browser_revoke_elsewhere as revoke_elsewhere  # noqa: F401
from stormcellar.tests.browser.proxy import Proxy
from stormcellar.tests.browser.visitor import PATIENCE_S, Visitor
from stormcellar.tests.parts import axe_source, require
from stormcellar.tests.serving import ServerProcess

ARTIFACTS = Path(__file__).parent.parent / ".artifacts"
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


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test of this folder is a browser test."""
    item.add_marker("browser")


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
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts a Chromium with further options of Playwright's `launch`; it ends with the folder's tests."""
    chromium = require("chromium")
    require("playwright")
    # For root Chromium does not start with its sandbox on.
    arguments = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else list(QUIET)
    with sync_playwright() as playwright:
        yield lambda **options: playwright.chromium.launch(
            executable_path=chromium, args=arguments, **options
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
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that end with the test: `start_server("--access_token_lifetime_s=5").url`.

    Each has a data folder of its own, unless `data_dir` names one.
    """
    servers: list[ServerProcess] = []

    def start(*arguments: str, data_dir: Path | None = None, **options: Any) -> ServerProcess:
        server = ServerProcess(data_dir or tmp_path / f"data-{len(servers)}", *arguments, **options)
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


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Starts reverse proxies that end with the test: `start_proxy("https", "app.test")`."""
    proxies: list[Proxy] = []

    def start(scheme: str, host: str, **options: bool) -> Proxy:
        proxies.append(Proxy(tmp_path, scheme, host, **options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def screenshot() -> Callable[[Page, str], Path]:
    """Keeps a picture of the whole page for people to look at: stormcellar/tests/.artifacts/NAME.png."""

    def keep(page: Page, name: str) -> Path:
        path = ARTIFACTS / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return keep


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """Finds what keeps people from using a page, one line each: `assert axe(page) == []`."""
    source = axe_source()

    def find(page: Page) -> list[str]:
        if not page.evaluate("'axe' in window"):
            page.evaluate(source)
        violations = page.evaluate(
            "axe.run({ resultTypes: ['violations'] }).then((found) => found.violations)"
        )
        return [
            f"{violation['id']}: {violation['help']}: {node['html']}"
            for violation in violations
            for node in violation["nodes"]
        ]

    return find
