# SPDX-License-Identifier: MIT
"""One's own account in a real browser: every walk with scripts on and off, and pages that notice what happens
to their session elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import PASSWORD, Visitor
from stormcellar.tests.browser.test_after_sign_out import MORE_PAGES, see_links
from stormcellar.tests.serving import ServerProcess

StartServer = Callable[..., ServerProcess]
Visit = Callable[..., Visitor]
EMAIL, NEW_EMAIL, NEW_PASSWORD = "ada@example.org", "ada@new.example.org", "a violet lantern sings"
ANSWERED_401, ANSWERED_422 = r"status of 401", r"status of 422"
scripts_on_and_off = pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    """Chromium with its back/forward cache, which Playwright otherwise turns off."""
    running = launch(ignore_default_args=["--disable-back-forward-cache"])
    yield running
    running.close()


def press(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name, exact=True).click()


def sign_in_on_another_device(visit: Visit, site: str, wanted: str = "/dashboard") -> Visitor:
    device = visit(site)
    device.goto(f"/login?redirectBack={wanted}")
    device.sign_in(wanted=wanted)
    return device


# -- walks -------------------------------------------------------------------------------------------


@scripts_on_and_off
def test_the_walk_through_ones_account(
    start_server: StartServer, visit: Visit, complaints: Complaints, has_scripts: bool
) -> None:
    """Another address, another password, the end."""
    complaints.allow(ANSWERED_422)
    visitor = visit(start_server("--debug").url, has_scripts=has_scripts)
    page = visitor.page
    visitor.sign_up()
    page.get_by_role("link", name="Account").click()
    visitor.arrive("/account")
    expect(page.locator("#email")).to_have_text(EMAIL)

    page.get_by_role("link", name="Change the address").click()
    page.get_by_label("New e-mail").fill(NEW_EMAIL)
    press(page, "Mail me the link")
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    page.goto(visitor.site + link_in_the_mailbox(visitor, "Confirm your new e-mail address"))
    press(page, "Change the address")
    visitor.arrive("/account?notice=new-email")
    expect(page.locator("#email")).to_have_text(NEW_EMAIL)
    expect(page.locator("#email-state")).to_have_text("confirmed")

    page.get_by_role("link", name="Change the password").click()
    page.get_by_label("Current password").fill("not this")
    page.get_by_label("New password").fill(NEW_PASSWORD)
    press(page, "Save the new password")
    expect(page.locator("#current-password-error")).to_be_visible()
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill(NEW_PASSWORD)
    press(page, "Save the new password")
    visitor.arrive("/account?notice=new-password")
    expect(page.get_by_text("Your new password is saved")).to_be_visible()

    page.get_by_role("main").get_by_role("link", name="Delete the account").click()
    page.get_by_label("Address of this account").fill(NEW_EMAIL)
    press(page, "Delete my account for ever")
    visitor.arrive("/account/deleted")
    visitor.goto("/account")
    visitor.arrive_at_sign_in(wanted="/account")


def link_in_the_mailbox(visitor: Visitor, subject: str) -> str:
    """The path in the newest mail of that subject."""
    visitor.goto("/dev/mail")
    visitor.page.get_by_role("link", name=re.compile(re.escape(subject))).first.click()
    text = visitor.page.get_by_role("main").inner_text()
    (path,) = set(re.findall(r"http://[^/\s]+(/\S+token=\S+)", text))
    return str(path)


@scripts_on_and_off
def test_sessions_are_ended_from_the_list(server: ServerProcess, visit: Visit, has_scripts: bool) -> None:
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up()
    phone, tablet = (sign_in_on_another_device(visit, server.url) for _ in range(2))
    visitor.goto("/account/sessions")
    cards = visitor.page.locator("#devices .devices > li")
    expect(cards).to_have_count(3)
    expect(cards.first).to_contain_text("this session")
    expect(cards.first).to_contain_text("Chrome on Linux")
    visitor.page.get_by_role("button", name="End this session").first.click()
    expect(visitor.page.get_by_text("That session has ended.")).to_be_visible()
    expect(cards).to_have_count(2)
    press(visitor.page, "Sign out everywhere else")
    expect(cards).to_have_count(1)
    for other in (phone, tablet):
        other.leave()


@scripts_on_and_off
def test_a_sign_in_that_is_too_old_is_confirmed_on_the_way(
    start_server: StartServer, visit: Visit, complaints: Complaints, has_scripts: bool
) -> None:
    complaints.allow(ANSWERED_422)
    server = start_server(program=MORE_PAGES)
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up()
    visitor.goto("/long-ago")  # the sign-in, not the session
    visitor.goto("/account/password")
    visitor.arrive("/confirm-password?redirectBack=/account/password")
    visitor.page.get_by_label("Password", exact=True).fill("not this")
    press(visitor.page, "Go on")
    expect(visitor.page.locator("#password-error")).to_be_visible()
    visitor.page.get_by_label("Password", exact=True).fill(PASSWORD)
    press(visitor.page, "Go on")
    visitor.arrive("/account/password")
    visitor.goto("/account/email")
    visitor.arrive("/account/email")


# -- a session that ends elsewhere -------------------------------------------------------------------


def test_two_windows_react_within_a_second_to_a_sign_out_in_a_third(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    """Windows of other browsers: no cookie of theirs changes, only the line tells."""
    complaints.allow(ANSWERED_401)
    visitor = visit(server.url)
    visitor.sign_up()
    others = [sign_in_on_another_device(visit, server.url, "/account/sessions") for _ in range(2)]
    visitor.goto("/account/sessions")
    for other in others:
        watch_for_the_veil(other.page)
    at_ms = visitor.page.evaluate("Date.now()")
    press(visitor.page, "Sign out everywhere else")
    for other in others:
        other.arrive_at_sign_in(wanted="/account/sessions")
        took_ms = float(other.page.evaluate("Number(sessionStorage.veiledAt)")) - at_ms
        print(f"nothing private was seen {took_ms:.0f} ms after the click")
        assert took_ms > 0, "the page was veiled before it left"


def watch_for_the_veil(page: Page) -> None:
    """Notes when the page stopped showing anything."""
    page.evaluate(
        """() => new MutationObserver(() => {
            if (document.documentElement.classList.contains("veiled")) sessionStorage.veiledAt = Date.now();
        }).observe(document.documentElement, { attributes: true })"""
    )


def test_the_list_of_sessions_follows_what_happens_elsewhere(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/sessions")
    cards = visitor.page.locator("#devices .devices > li")
    expect(cards).to_have_count(1)
    visitor.page.evaluate("window.isSame = true")
    other = sign_in_on_another_device(visit, server.url)
    expect(cards).to_have_count(2)
    other.sign_out()
    expect(cards).to_have_count(1)
    assert visitor.page.evaluate("window.isSame") is True
    expect(visitor.page.locator("time").first).to_have_attribute("title", re.compile("UTC"))


def end_all_others(visitor: Visitor) -> None:
    visitor.goto("/account/sessions")
    press(visitor.page, "Sign out everywhere else")
    expect(visitor.page.get_by_text("You are signed out everywhere else.")).to_be_visible()


def look_again(page: Page) -> None:
    """As if somebody came back to this window."""
    page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')


def test_a_page_whose_session_was_ended_elsewhere_notices_when_it_is_looked_at_again(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    complaints.allow(ANSWERED_401)
    visitor = visit(server.url)
    visitor.sign_up()
    other = sign_in_on_another_device(visit, server.url)
    look_again(other.page)
    expect(other.page.locator("#user-id")).to_be_visible()
    end_all_others(visitor)
    look_again(other.page)
    other.arrive_at_sign_in(wanted="/dashboard")
    assert "GET /session-alive" in other.requests


def test_once_one_tab_has_noticed_all_tabs_of_the_browser_know(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    complaints.allow(ANSWERED_401)
    visitor = visit(server.url)
    visitor.sign_up()
    other = sign_in_on_another_device(visit, server.url)
    second = other.context.new_page()
    second.goto(f"{other.site}/dashboard")
    end_all_others(visitor)
    look_again(other.page)
    for page in (other.page, second):
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_back_to_a_page_whose_session_was_ended_elsewhere_shows_nothing_private(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    """It comes from the back/forward cache, as the first half shows."""
    complaints.allow(ANSWERED_401)
    visitor = visit(server.url)
    visitor.sign_up()
    other = visit(server.url)
    other.context.add_init_script(
        """addEventListener("pageshow", (event) => { window.wasKept = event.persisted; })"""
    )
    other.goto("/login?redirectBack=/dashboard")
    other.sign_in()
    for ended in (False, True):
        other.page.get_by_role("link", name="Home").click()
        other.arrive("/")
        if ended:
            end_all_others(visitor)
        other.page.evaluate("history.back()")
        if not ended:
            other.until(lambda: other.address == "/dashboard" and other.page.evaluate("window.wasKept"))
            expect(other.page.locator("#user-id")).to_be_visible()
    other.arrive_at_sign_in(wanted="/dashboard")


def test_back_to_the_list_of_sessions_finds_it_as_it_is_now_and_live_again(
    server: ServerProcess, visit: Visit
) -> None:
    """Chromium keeps no page for Back that is not to be stored and had a line; other browsers may."""
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/sessions")
    cards = visitor.page.locator(".devices > li")
    expect(cards).to_have_count(1)
    visitor.page.get_by_role("link", name="Home").click()
    visitor.arrive("/")
    sign_in_on_another_device(visit, server.url)
    visitor.page.evaluate("history.back()")
    expect(cards).to_have_count(2)
    sign_in_on_another_device(visit, server.url)
    expect(cards).to_have_count(3)


def test_guests_ask_nothing(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.goto("/")
    look_again(visitor.page)
    visitor.goto("/login")
    look_again(visitor.page)
    assert not any("session-alive" in request for request in visitor.requests)


def test_a_server_that_cannot_answer_signs_nobody_out(
    server: ServerProcess, visit: Visit, complaints: Complaints
) -> None:
    complaints.allow(r"status of 503|Failed to load")
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.page.evaluate("window.isSame = true")
    answers: list[dict[str, Any] | None] = [{"json": {"alive": False}}, {"json": {"alive": True}}, None]
    answers += [{"status": 200, "body": "<html>"}, {"status": 503, "json": {}}]

    def answer(route: Route) -> None:
        given = answers.pop()
        if given is None:
            route.abort()
        else:
            route.fulfill(**given)

    visitor.context.route("**/session-alive", answer)
    for left in (4, 3, 2, 1):
        look_again(visitor.page)
        visitor.until(lambda left=left: len(answers) == left)  # type: ignore[misc]
    expect(visitor.page.locator("#user-id")).to_be_visible()
    assert visitor.page.evaluate("window.isSame") is True
    look_again(visitor.page)
    visitor.until(lambda: visitor.documents.count("GET /dashboard") == 2)


# -- fetched ahead of time ---------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", ["prefetch", "prerender"])
def test_a_page_fetched_ahead_of_time_is_not_shown_after_its_session_was_ended_elsewhere(
    start_server: StartServer, visit: Visit, complaints: Complaints, ahead: str
) -> None:
    complaints.allow(ANSWERED_401)
    server = start_server(program=MORE_PAGES)
    visitor = visit(server.url)
    visitor.sign_up()
    other = sign_in_on_another_device(visit, server.url)
    see_links(other, server, f"/{ahead}-dashboard-links", "/dashboard")
    end_all_others(visitor)
    other.page.get_by_role("link").click()
    other.arrive_at_sign_in(wanted="/dashboard")
