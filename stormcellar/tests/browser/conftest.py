# SPDX-License-Identifier: MIT
"""The fixtures of stormcellar/testing/browser.py on the packaged site, and those that only the kit needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from stormcellar.application import Site
from stormcellar.testing.browser import *  # noqa: F403 - the fixtures that it names
from stormcellar.tests.browser.proxy import Proxy
from stormcellar.tests.parts import axe_source, require
from stormcellar.tests.serving import ServerProcess
from stormcellar.tests.site import SITE

ARTIFACTS = Path(__file__).parent.parent / ".artifacts"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test of this folder is a browser test."""
    item.add_marker("browser")


@pytest.fixture
def site() -> Site:
    """The packaged site."""
    return SITE


@pytest.fixture
def server_class() -> type[ServerProcess]:
    return ServerProcess


@pytest.fixture(scope="package")
def chromium_path() -> str:
    """The browser that set-up installs; without it the tests are skipped."""
    require("playwright")
    return str(require("chromium"))


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
