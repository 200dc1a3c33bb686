# SPDX-License-Identifier: MIT
"""Whatever goes wrong with a renewal, it ends on a page that says so, and not in a circle."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.browser.proxy import Proxy
from stormcellar.tests.serving import ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
WANTED = "/dashboard?view=2"
MOST_ROUNDS = 8  # Chromium itself gives a circle up after ten of two redirects, with an error page of its own

StartServer = Callable[..., ServerProcess]
Visit = Callable[..., Visitor]
every_way = pytest.mark.parametrize(
    ("mode", "has_scripts"), [("page", True), ("page", False), ("in_place", True), ("detour", True)]
)


def arrive_at_explanation(visitor: Visitor, heading: str) -> None:
    """With scripts off, press whatever offers to go on."""

    def is_there() -> bool:
        renew = visitor.page.get_by_role("link", name="Continue", exact=True)
        if not visitor.has_scripts and renew.is_visible():
            renew.click()
        return visitor.address.startswith("/refresh-session/stopped")

    visitor.until(is_there)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text(heading)
    assert sum("refresh" not in line for line in visitor.documents) <= MOST_ROUNDS


@every_way
def test_a_browser_that_keeps_no_cookies_is_told_so(
    start_server: StartServer,
    start_proxy: Callable[..., Proxy],
    visit: Visit,
    complaints: Complaints,
    mode: str,
    has_scripts: bool,
) -> None:
    """The proxy stands for it: from one moment on it passes no Set-Cookie on."""
    complaints.allow(r"status of 401")  # the in-place page is one
    proxy = start_proxy("http", "localhost")
    server = start_server(f"--refresh_mode={mode}")
    proxy.server_port = int(server.url.rpartition(":")[2])
    visitor = visit(proxy.public_url, has_scripts=has_scripts)
    visitor.sign_up()
    visitor.leave()
    visitor.lose_access_token()
    proxy.dropped.add("set-cookie")
    visitor.documents.clear()
    visitor.goto(WANTED)
    arrive_at_explanation(visitor, "Your browser did not keep the session")
    proxy.dropped.clear()
    visitor.page.get_by_role("link", name="Try again").click()
    visitor.arrive(WANTED)
    assert visitor.user_id()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])
def test_who_signs_up_with_a_browser_that_keeps_no_cookies_is_told_so(
    server: ServerProcess, start_proxy: Callable[..., Proxy], visit: Visit, has_scripts: bool
) -> None:
    proxy = start_proxy("http", "localhost")
    proxy.server_port = int(server.url.rpartition(":")[2])
    proxy.dropped.add("set-cookie")
    visitor = visit(proxy.public_url, has_scripts=has_scripts)
    visitor.send_sign_up()
    arrive_at_explanation(visitor, "Your browser did not keep the session")
    proxy.dropped.clear()
    visitor.page.get_by_role("link", name="Try again").click()
    visitor.arrive_at_sign_in(wanted="/dashboard")
    visitor.sign_in()
    assert visitor.user_id()


@every_way
def test_a_page_that_goes_on_asking_for_a_renewal_is_stopped(
    start_server: StartServer, visit: Visit, complaints: Complaints, mode: str, has_scripts: bool
) -> None:
    complaints.allow(r"status of 401")
    visitor = visit(start_server(f"--refresh_mode={mode}", program=MORE_PAGES).url, has_scripts=has_scripts)
    visitor.sign_up()
    visitor.documents.clear()
    visitor.goto("/never?again")
    arrive_at_explanation(visitor, "We stopped a circle")
    expect(visitor.page.get_by_text("/never?again")).to_be_visible()
    assert visitor.is_signed_in()


@pytest.mark.parametrize(("mode", "has_scripts"), [("page", False), ("detour", True)])
def test_one_who_keeps_coming_back_while_tokens_live_for_seconds_is_no_circle(
    start_server: StartServer, visit: Visit, mode: str, has_scripts: bool
) -> None:
    server = start_server(f"--refresh_mode={mode}", "--access_token_lifetime_s=1")
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up()
    for _ in range(4):
        visitor.leave()
        visitor.wait_for_expiry()
        visitor.goto(WANTED)
        visitor.arrive(WANTED)
    assert visitor.user_id()
