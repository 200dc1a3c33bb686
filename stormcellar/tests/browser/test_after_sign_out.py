# SPDX-License-Identifier: MIT
"""After signing out no private page is seen: not by Back, not in other tabs, none fetched ahead of time."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from stormcellar.testing.visitor import Visitor, open_tab
from stormcellar.tests.serving import ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
NOTE_WHERE_IT_CAME_FROM = """addEventListener("pageshow", (event) => { window.wasKept = event.persisted; })"""

StartServer = Callable[..., ServerProcess]
Visit = Callable[..., Visitor]
prefetches_and_prerenders = pytest.mark.parametrize("ahead", ["prefetch", "prerender"])


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    """Chromium with its back/forward cache, which Playwright otherwise turns off."""
    running = launch(ignore_default_args=["--disable-back-forward-cache"])
    yield running
    running.close()


# -- Back --------------------------------------------------------------------------------------------


def test_while_signed_in_back_shows_the_page_that_the_browser_kept(
    server: ServerProcess, visit: Visit
) -> None:
    """Without this the tests below would pass in any browser that keeps no pages."""
    visitor = visit(server.url)
    visitor.context.add_init_script(NOTE_WHERE_IT_CAME_FROM)
    visitor.sign_up()
    visitor.page.get_by_role("link", name="Home").click()
    visitor.arrive("/")
    visitor.page.evaluate("history.back()")  # Playwright's go_back waits for a load, and here is none
    visitor.until(lambda: visitor.address == "/dashboard" and visitor.page.evaluate("window.wasKept"))


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])
def test_back_after_signing_out_asks_to_sign_in(
    server: ServerProcess, visit: Visit, has_scripts: bool
) -> None:
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up()
    visitor.sign_out()
    if has_scripts:
        visitor.page.evaluate("history.back()")
    else:
        visitor.page.go_back()
    visitor.arrive_at_sign_in(wanted="/dashboard")


def test_back_after_signing_out_in_another_tab_asks_to_sign_in(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.page.get_by_role("link", name="Home").click()
    visitor.arrive("/")
    sign_out_in_another_tab(visitor)
    expect(visitor.page.get_by_role("link", name="Sign up").first).to_be_visible()
    visitor.page.evaluate("history.back()")
    visitor.arrive_at_sign_in(wanted="/dashboard")


# -- other tabs --------------------------------------------------------------------------------------


def test_a_tab_that_shows_a_private_page_notices_a_sign_out_in_another_one(
    server: ServerProcess, visit: Visit
) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    sign_out_in_another_tab(visitor)
    visitor.arrive_at_sign_in(wanted="/dashboard")


def test_a_tab_notices_when_somebody_else_signs_in_in_another_one(
    server: ServerProcess, visit: Visit
) -> None:
    visitor = visit(server.url)
    visitor.sign_up("ada@example.org")
    ada = visitor.user_id()
    sign_out_in_another_tab(visitor)
    visitor.arrive_at_sign_in(wanted="/dashboard")
    first, visitor.page = visitor.page, visitor.context.new_page()
    visitor.sign_up("bea@example.org")
    expect(first.locator("#user-id")).to_have_text(visitor.user_id())
    assert visitor.user_id() != ada


# -- fetched ahead of time ---------------------------------------------------------------------------


@prefetches_and_prerenders
def test_while_signed_in_a_page_fetched_ahead_of_time_is_shown(
    start_server: StartServer, visit: Visit, ahead: str
) -> None:
    """Without this the tests below would pass in any browser that fetches nothing ahead of time."""
    server = start_server(program=MORE_PAGES)
    visitor = visit(server.url)
    visitor.sign_up()
    see_links(visitor, server, f"/{ahead}-links")
    asked = requests_for(server, "/private")
    visitor.page.get_by_role("link").click()
    expect(visitor.page.locator("#user-id")).to_be_visible()
    assert requests_for(server, "/private") == asked


@prefetches_and_prerenders
def test_a_page_fetched_ahead_of_time_is_not_shown_after_a_sign_out(
    start_server: StartServer, visit: Visit, ahead: str
) -> None:
    server = start_server(program=MORE_PAGES)
    visitor = visit(server.url)
    visitor.sign_up()
    see_links(visitor, server, f"/{ahead}-links")
    sign_out_in_another_tab(visitor)
    visitor.page.get_by_role("link").click()
    visitor.arrive_at_sign_in(wanted="/private")


@prefetches_and_prerenders
def test_fetching_ahead_of_time_with_an_expired_token_renews_nothing_and_the_click_does(
    start_server: StartServer, visit: Visit, ahead: str
) -> None:
    server = start_server("--refresh_mode=detour", program=MORE_PAGES)
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.lose_access_token()
    before = visitor.cookie("sRefreshToken")
    see_links(visitor, server, f"/{ahead}-links")
    assert "503 GET /private" in server.log
    assert "/session/refresh" not in server.log
    assert visitor.cookie("sRefreshToken") == before
    visitor.page.get_by_role("link").click()
    expect(visitor.page.locator("#user-id")).to_be_visible()
    assert visitor.cookie("sRefreshToken") != before


# -- helpers -----------------------------------------------------------------------------------------


def sign_out_in_another_tab(visitor: Visitor) -> None:
    tab = open_tab(visitor, "/dashboard")
    tab.get_by_role("button", name="Sign out").click()
    tab.wait_for_url(f"{visitor.site}/")
    tab.close()


def requests_for(server: ServerProcess, path: str) -> int:
    """How many the server has answered; the browser does not show those that it makes ahead of time."""
    return len(re.findall(rf"stormcellar\.access (?:\[[^\]]*\] )?\d+ GET {path} ", server.log))


def see_links(visitor: Visitor, server: ServerProcess, path: str, target: str = "/private") -> None:
    """Go to a page whose link is followed ahead of time, and wait until the server was asked for it."""
    asked = requests_for(server, target)
    visitor.goto(path)
    visitor.until(lambda: requests_for(server, target) == asked + 1)
