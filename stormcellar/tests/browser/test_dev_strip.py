# SPDX-License-Identifier: MIT
"""The developer strip in a browser: its buttons break things, and the site recovers from what it should."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.browser.scripted_site import SITE, ScriptedSite, front_token
from stormcellar.tests.browser.scripted_site import page as html_page
from stormcellar.tests.browser.test_session_module import know_session
from stormcellar.tests.rendering import NOW_S, SESSION, STRIP, render
from stormcellar.tests.serving import ServerProcess

Visit = Callable[..., Visitor]
StartServer = Callable[..., ServerProcess]
# Without the parent that starts the server again when a file is saved: a developer may be at work here.
CODE = (
    "from server import SITE; from stormcellar.server import run; "
    "run.run_and_watch = lambda options: run.run(options, SITE); run.main(SITE)"
)
PROGRAM = (sys.executable, "-c", CODE)
scripts_on_and_off = pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])


def strip(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Developer strip")


def fact(page: Page, name: str) -> str:
    return strip(page).locator("div", has=page.get_by_text(name, exact=True)).locator("dd").last.inner_text()


def press(page: Page, name: str) -> None:
    strip(page).get_by_role("button", name=name).click()


@scripts_on_and_off
def test_the_strip_breaks_a_session_and_the_site_recovers_or_says_why(
    start_server: StartServer,
    visit: Visit,
    complaints: Complaints,
    axe: Callable[[Page], list[str]],
    screenshot: Callable[[Page, str], object],
    has_scripts: bool,
) -> None:
    complaints.allow("status of 401|ERR_EMPTY_RESPONSE|ERR_CONNECTION")
    visitor = visit(
        start_server("--debug", "--refresh_mode=detour", program=PROGRAM).url, has_scripts=has_scripts
    )
    page = visitor.page
    visitor.sign_up()
    handle = fact(page, "Session")
    assert (fact(page, "User"), fact(page, "Generation")) == (visitor.user_id(), "0")

    press(page, "Expire the access token now")
    visitor.arrive("/dashboard")
    assert (fact(page, "Session"), fact(page, "Generation")) == (handle, "1")
    expect(strip(page)).to_contain_text("TryRefreshToken The access token has expired.")

    press(page, "Lose the next refresh answer")
    expect(strip(page)).to_contain_text("will be lost")
    visitor.goto("/account")
    press(page, "Expire the access token now")
    visitor.until(lambda: go_on(visitor, "/account"))
    assert (fact(page, "Session"), fact(page, "Generation")) == (handle, "2")
    assert visitor.is_signed_in()
    expect(strip(page)).to_contain_text("Answer lost")

    press(page, "Revoke from another device")
    visitor.arrive_at_sign_in(wanted="/account")
    expect(strip(page)).to_contain_text("Nobody is signed in.")
    strip(page).get_by_role("link", name="Why was I signed out?").click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("session revoked: ended from another device, by the developer strip")
    outcomes = main.locator("#refusals-heading + ul .mark").all_inner_texts()
    assert {"Unauthorised", "Answer lost", "TryRefreshToken"} <= set(outcomes)
    if has_scripts:
        assert axe(page) == []
        screenshot(page, "why-signed-out")


def go_on(visitor: Visitor, path: str) -> bool:
    """Whether this page is there; a browser that got no answer and did not ask again by itself is told to."""
    if visitor.page.url.startswith("chrome-error:") or visitor.page.locator("#main-frame-error").count():
        visitor.page.reload()
    return visitor.address == path and strip(visitor.page).count() == 1


def test_a_page_whose_script_renews_gets_over_a_lost_answer(
    start_server: StartServer, visit: Visit, complaints: Complaints
) -> None:
    complaints.allow("ERR_EMPTY_RESPONSE|ERR_CONNECTION")
    visitor = visit(start_server("--debug", program=PROGRAM).url)
    visitor.sign_up()
    handle = fact(visitor.page, "Session")
    press(visitor.page, "Lose the next refresh answer")
    expect(strip(visitor.page)).to_contain_text("will be lost")
    press(visitor.page, "Expire the access token now")
    again = visitor.page.get_by_role("button", name="Try again")
    visitor.until(lambda: visitor.address == "/dashboard" or again.is_visible())
    if again.is_visible():
        again.click()
    visitor.arrive("/dashboard")
    assert (fact(visitor.page, "Session"), fact(visitor.page, "Generation")) == (handle, "1")
    expect(strip(visitor.page)).to_contain_text("Answer lost")


def test_the_seconds_count_down_and_begin_anew_with_a_renewal(
    context: BrowserContext, complaints: Complaints, page: Page
) -> None:
    site = ScriptedSite(context)
    html = render("home.html", session=SESSION, debug=True, developer=STRIP)
    site.answer_page = lambda _: html_page(html)
    know_session(context, front_token())
    page.clock.install(time=NOW_S)
    page.clock.pause_at(NOW_S + 1)
    page.goto(SITE)
    seconds = page.locator("[data-seconds-left]")
    expect(seconds).to_have_text("3000")
    page.clock.run_for(10_000)
    assert int(seconds.inner_text()) in (2990, 2991)
    know_session(context, front_token(life_s=7200))
    page.clock.run_for(2_000)
    assert int(seconds.inner_text()) > 3000
    page.clock.resume()
