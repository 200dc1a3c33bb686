# SPDX-License-Identifier: MIT
"""The kit's main job: sign up, a page that knows you, a session that renews itself, sign out, sign in."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.browser.proxy import Proxy
from stormcellar.tests.serving import ServerProcess

MODES = ("page", "in_place", "detour")
WANTED = "/dashboard?view=2&name=%C3%A9t%C3%A9"

ANSWERED_401 = r"status of 401"  # the in-place page is one; Chromium tells the console so

Visit = Callable[..., Visitor]
StartServer = Callable[..., ServerProcess]

scripts_on_and_off = pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])


def walk(visitor: Visitor, let_expire: Callable[[], None]) -> None:
    """From signing up to signing in again; `let_expire` ends the access token while nobody looks."""
    visitor.goto("/dashboard")
    visitor.arrive_at_sign_in(wanted="/dashboard")
    visitor.sign_up()
    user_id = visitor.user_id()
    assert len(user_id) > 30

    visitor.leave()
    let_expire()
    visitor.goto(WANTED)
    visitor.arrive(WANTED)
    assert visitor.user_id() == user_id

    visitor.sign_out()
    visitor.goto(WANTED)
    visitor.arrive_at_sign_in(wanted=WANTED)
    visitor.sign_in(wanted=WANTED)
    assert visitor.user_id() == user_id


@scripts_on_and_off
@pytest.mark.parametrize("mode", MODES)
def test_the_whole_walk_works_in_every_refresh_mode(
    start_server: StartServer, visit: Visit, complaints: Complaints, mode: str, has_scripts: bool
) -> None:
    if mode == "in_place":
        complaints.allow(ANSWERED_401)
    visitor = visit(start_server(f"--refresh_mode={mode}").url, has_scripts=has_scripts)
    walk(visitor, visitor.lose_access_token)


@pytest.mark.parametrize(("lifetime_s", "has_scripts"), [(5, True), (2, False)])
def test_the_whole_walk_works_when_access_tokens_live_for_seconds(
    start_server: StartServer, visit: Visit, lifetime_s: int, has_scripts: bool
) -> None:
    server = start_server(f"--access_token_lifetime_s={lifetime_s}")
    visitor = visit(server.url, has_scripts=has_scripts)
    walk(visitor, visitor.wait_for_expiry)


@pytest.mark.parametrize(
    ("scheme", "host", "keeps_host", "has_scripts"),
    [
        ("https", "app.test", True, True),
        ("https", "app.test", False, False),
        ("http", "localhost", True, True),
    ],
)
def test_the_whole_walk_works_behind_a_proxy_on_another_public_url(
    start_server: StartServer,
    start_proxy: Callable[..., Proxy],
    visit: Visit,
    scheme: str,
    host: str,
    keeps_host: bool,
    has_scripts: bool,
) -> None:
    proxy = start_proxy(scheme, host, keeps_host=keeps_host)
    put_behind(proxy, start_server(f"--public_url={proxy.public_url}"))
    visitor = visit(proxy.public_url, has_scripts=has_scripts, ignore_https_errors=True)
    walk(visitor, visitor.lose_access_token)


def put_behind(proxy: Proxy, server: ServerProcess) -> None:
    """Let the proxy pass on to this server, which says where it listens apart from what visitors type."""
    (listens,) = (line for line in server.log.splitlines() if line.startswith("It listens on "))
    proxy.server_port = urlsplit(listens.split()[-1]).port or 0


def test_behind_https_every_cookie_is_secure_and_the_browser_is_told_to_keep_to_https(
    start_server: StartServer, start_proxy: Callable[..., Proxy], visit: Visit
) -> None:
    proxy = start_proxy("https", "app.test")
    put_behind(proxy, start_server(f"--public_url={proxy.public_url}", "--cookie_prefix"))
    visitor = visit(proxy.public_url, ignore_https_errors=True)
    visitor.sign_up()
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    assert set(cookies) == {
        "__Host-sAccessToken",
        "__Secure-sRefreshToken",
        "__Host-sRefreshMarker",
        "sFrontToken",
        "st-last-access-token-update",
    }
    assert all(cookie["secure"] for cookie in cookies.values())
    answer = visitor.page.goto(proxy.public_url)
    assert answer
    assert answer.headers["strict-transport-security"].startswith("max-age=2592000")


# -- the renewal in the middle of it -----------------------------------------------------------------


def test_the_refresh_page_leads_to_the_wanted_page_with_its_query_and_fragment(
    server: ServerProcess, visit: Visit
) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.leave()
    visitor.lose_access_token()
    visitor.documents.clear()
    visitor.goto(f"{WANTED}#session-handle")
    visitor.arrive(f"{WANTED}#session-handle")
    assert visitor.documents == [f"GET {path}" for path in (WANTED, refresh_page(WANTED), WANTED)]
    assert visitor.refreshes == 1


def test_signing_up_and_in_lead_to_the_wanted_part_of_the_page(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    """A server never sees a fragment, and a form drops it: the page takes it along."""
    complaints.allow("status of 422")
    wanted = f"{WANTED}#session-handle"
    visitor = visit(server.url)
    visitor.goto(wanted)
    visitor.arrive_at_sign_in(wanted=WANTED)
    visitor.page.get_by_role("main").get_by_role("link", name="Sign up").click()
    visitor._fill_in("ada@example.org")
    visitor.page.get_by_role("button", name="Sign up").click()
    visitor.arrive(wanted)
    visitor.sign_out()
    visitor.goto(wanted)
    visitor.arrive_at_sign_in(wanted=WANTED)
    visitor.page.get_by_label("E-mail").fill("ada@example.org")
    visitor.page.get_by_label("Password", exact=True).fill("not the password 9")
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    visitor.sign_in(wanted=wanted)


def test_the_detour_leads_to_the_wanted_page_with_its_query_and_fragment(
    start_server: StartServer, visit: Visit
) -> None:
    visitor = visit(start_server("--refresh_mode=detour").url, has_scripts=False)
    visitor.sign_up()
    visitor.leave()
    visitor.lose_access_token()
    visitor.documents.clear()
    visitor.goto(f"{WANTED}#session-handle")
    assert visitor.address == f"{WANTED}#session-handle"
    detour = f"/auth/session/refresh/return?redirectBack={quote(WANTED)}"
    assert visitor.documents == [f"GET {path}" for path in (WANTED, detour, WANTED)]
    assert visitor.refreshes == 0


def test_the_in_place_page_renews_at_the_wanted_address_itself(
    start_server: StartServer, visit: Visit, complaints: Complaints
) -> None:
    complaints.allow(ANSWERED_401)
    visitor = visit(start_server("--refresh_mode=in_place").url)
    visitor.sign_up()
    visitor.leave()
    visitor.lose_access_token()
    visitor.documents.clear()
    visitor.goto(f"{WANTED}#session-handle")
    expect(visitor.page.locator("#user-id")).to_be_visible()
    assert visitor.address == f"{WANTED}#session-handle"
    assert visitor.documents == [f"GET {WANTED}"] * 2


@pytest.mark.parametrize("mode", ["page", "in_place"])
def test_a_renewal_leaves_nothing_in_the_history(
    start_server: StartServer, visit: Visit, complaints: Complaints, mode: str
) -> None:
    """Back leads to the page before, not into the renewal again."""
    if mode == "in_place":
        complaints.allow(ANSWERED_401)
    visitor = visit(start_server(f"--refresh_mode={mode}").url)
    visitor.sign_up()
    visitor.goto("/")
    before = visitor.page.evaluate("history.length")
    visitor.lose_access_token()
    visitor.page.get_by_role("link", name="Open the dashboard").click()
    expect(visitor.page.locator("#user-id")).to_be_visible()
    assert visitor.page.evaluate("history.length") == before + 1
    visitor.page.go_back()
    visitor.arrive("/")


def test_a_guest_never_meets_the_refresh_page(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.goto(WANTED)
    assert visitor.documents == [f"GET {WANTED}", f"GET /login?redirectBack={quote(WANTED)}"]


@pytest.mark.parametrize(("mode", "has_scripts"), [("page", True), ("page", False), ("detour", True)])
def test_a_session_that_is_over_ends_at_sign_in_and_leads_on_from_there(
    start_server: StartServer, visit: Visit, complaints: Complaints, mode: str, has_scripts: bool
) -> None:
    """Neither token is good any more, but the browser still has them."""
    complaints.allow(ANSWERED_401)
    visitor = visit(start_server(f"--refresh_mode={mode}").url, has_scripts=has_scripts)
    visitor.sign_up()
    visitor.leave()
    spoil_tokens(visitor)
    visitor.goto(WANTED)
    if not has_scripts:
        visitor.page.get_by_role("link", name="Continue", exact=True).click()
    visitor.arrive_at_sign_in(wanted=WANTED)
    visitor.goto(WANTED)  # now it counts as a guest, without another refresh
    visitor.arrive_at_sign_in(wanted=WANTED)
    visitor.sign_in(wanted=WANTED)
    assert len(visitor.user_id()) > 30


def spoil_tokens(visitor: Visitor) -> None:
    visitor.lose_access_token()
    visitor.hold_refresh_token(visitor.cookie("sRefreshToken")[::-1])


def refresh_page(wanted: str) -> str:
    return f"/refresh-session?redirectBack={quote(wanted)}"
