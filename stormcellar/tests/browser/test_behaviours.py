# SPDX-License-Identifier: MIT
"""What pages do by themselves: keep the session alive, notice who is signed in, and small conveniences."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from stormcellar.testing.browser import Complaints
from stormcellar.tests.browser.scripted_site import SITE, ScriptedSite, front_token
from stormcellar.tests.browser.scripted_site import page as html_page
from stormcellar.tests.browser.test_session_module import know_no_session, know_session
from stormcellar.tests.rendering import FORM, NOW_S, SESSION, render

MINUTE_MS = 60_000


@pytest.fixture
def site(context: BrowserContext, complaints: Complaints) -> ScriptedSite:
    complaints.allow(r"status of 401|status of 503")
    site = ScriptedSite(context)
    site.answer_page = lambda _: html_page(render("home.html", session=SESSION))
    return site


@pytest.fixture
def working_page(context: BrowserContext, site: ScriptedSite, page: Page) -> Iterator[Page]:
    """A signed-in page whose session has 50 minutes left, and a clock that stands still until it is moved."""
    know_session(context, front_token())
    page.clock.install(time=NOW_S)
    page.clock.pause_at(NOW_S + 1)
    page.goto(SITE)
    yield page
    page.clock.resume()


def pass_time(page: Page, minutes: float) -> None:
    page.clock.run_for(minutes * MINUTE_MS)


def refreshed(page: Page, action: Callable[[], object]) -> None:
    """The action makes the page ask for a renewal and see the answer."""
    with page.expect_response("**/auth/session/refresh"):
        action()


def test_while_one_works_the_session_is_renewed_when_a_fifth_of_its_life_is_left(
    site: ScriptedSite, working_page: Page
) -> None:
    pass_time(working_page, 39)
    working_page.keyboard.press("a")
    assert site.refreshes == []
    refreshed(working_page, lambda: pass_time(working_page, 2))


def test_nobody_there_nothing_is_renewed_until_the_first_sign_of_life(
    site: ScriptedSite, working_page: Page
) -> None:
    pass_time(working_page, 70)
    assert site.refreshes == []
    refreshed(working_page, lambda: working_page.mouse.click(1, 1))


def test_a_hidden_page_renews_nothing_until_it_is_looked_at(site: ScriptedSite, working_page: Page) -> None:
    def show(hidden: str) -> None:
        working_page.evaluate(
            f"""() => {{
                Object.defineProperty(document, "hidden", {{ value: {hidden}, configurable: true }});
                document.dispatchEvent(new Event("visibilitychange"));
            }}"""
        )

    pass_time(working_page, 38)
    working_page.keyboard.press("a")
    show("true")
    pass_time(working_page, 3)
    assert site.refreshes == []
    refreshed(working_page, lambda: show("false"))


def test_a_life_of_five_seconds_is_renewed_again_and_again(
    context: BrowserContext, site: ScriptedSite, page: Page
) -> None:
    know_session(context, front_token(life_s=5))
    short = type(SESSION)(**{**vars(SESSION), "expires_at": NOW_S + 5})
    site.answer_page = lambda _: html_page(render("home.html", session=short))
    site.answer_refresh = lambda: site.renewed(front_token(life_s=5))
    page.clock.install(time=NOW_S)
    page.clock.pause_at(NOW_S + 1)
    page.goto(SITE)
    for _ in range(3):
        refreshed(page, lambda: page.clock.run_for(4000))
    page.clock.resume()


def test_a_renewal_that_failed_is_tried_again_after_a_pause(site: ScriptedSite, working_page: Page) -> None:
    site.answer_refresh = lambda: {"status": 503, "json": {}}
    working_page.keyboard.press("a")
    pass_time(working_page, 38)
    working_page.keyboard.press("a")
    refreshed(working_page, lambda: pass_time(working_page, 2.1))
    site.answer_refresh = site.renewed
    refreshed(working_page, lambda: pass_time(working_page, 1))
    assert len(site.refreshes) == 2


def test_a_page_whose_session_turns_out_to_be_over_is_loaded_anew(
    site: ScriptedSite, working_page: Page
) -> None:
    site.answer_refresh = site.over
    site.answer_page = lambda _: html_page("<title>x</title><h1>Sign in</h1>")
    pass_time(working_page, 38)
    working_page.keyboard.press("a")
    pass_time(working_page, 3)
    expect(working_page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.fixture
def open_page(context: BrowserContext, site: ScriptedSite, page: Page) -> Page:
    """A page made for SESSION's user; when it is loaded anew, it says so."""
    know_session(context, front_token())
    page.goto(SITE)
    site.answer_page = lambda _: html_page(render("home.html") + "<p>loaded anew</p>")
    return page


def test_a_page_is_loaded_anew_when_another_tab_signs_out(context: BrowserContext, open_page: Page) -> None:
    context.clear_cookies(name="sFrontToken")
    know_no_session(context)
    context.new_page().goto(SITE)
    expect(open_page.get_by_text("loaded anew")).to_be_visible()


def test_a_page_is_loaded_anew_when_somebody_else_signs_in(context: BrowserContext, open_page: Page) -> None:
    know_session(context, front_token("somebody-else"), "1")
    context.new_page().goto(SITE)
    expect(open_page.get_by_text("loaded anew")).to_be_visible()


def test_a_guests_page_is_loaded_anew_when_another_tab_signs_in(
    context: BrowserContext, site: ScriptedSite, page: Page
) -> None:
    site.answer_page = lambda _: html_page(render("home.html"))
    page.goto(SITE)
    know_session(context, front_token())
    site.answer_page = lambda _: html_page(render("home.html", session=SESSION))
    context.new_page().goto(SITE)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_renewal_in_another_tab_loads_nothing_anew(
    context: BrowserContext, site: ScriptedSite, open_page: Page
) -> None:
    """Nor does a front token that the page does not agree with, as long as it stays the same."""
    open_page.evaluate("window.isSame = true")
    other = context.new_page()
    other.goto(SITE)
    other.evaluate("import('/static/session.js').then((session) => session.attemptRefreshingSession())")
    open_page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
    assert len(site.refreshes) == 1
    assert open_page.evaluate("window.isSame") is True


def test_a_copy_from_the_back_button_is_loaded_anew_after_sign_out(
    context: BrowserContext, open_page: Page
) -> None:
    context.clear_cookies(name="sFrontToken")
    open_page.evaluate('window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))')
    expect(open_page.get_by_text("loaded anew")).to_be_visible()


def test_times_are_shown_in_the_visitors_own_zone(
    new_context: Callable[..., BrowserContext],
) -> None:
    context = new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    site = ScriptedSite(context)
    site.answer_page = lambda _: html_page(render("dashboard.html", session=SESSION, user_id="u"))
    page = context.new_page()
    page.goto(SITE)
    shown = page.locator("time").first
    expect(shown).to_contain_text("16:50:00")
    assert shown.get_attribute("title") == "15 Jan 2027, 07:50:00 UTC"


def test_a_password_can_be_looked_at_and_is_hidden_again_before_it_is_sent(
    site: ScriptedSite, page: Page
) -> None:
    site.answer_page = lambda _: html_page(render("account/signup.html", **FORM, errors={}))
    page.goto(SITE)
    field, button = page.get_by_label("Password"), page.get_by_role("button", name="Show password")
    field.fill("correct horse")
    button.click()
    expect(field).to_have_attribute("type", "text")
    expect(button).to_have_attribute("aria-pressed", "true")
    page.evaluate('document.forms[0].addEventListener("submit", (event) => event.preventDefault())')
    page.get_by_role("button", name="Sign up").click()
    expect(field).to_have_attribute("type", "password")
