# SPDX-License-Identifier: MIT
"""Every page of the kit for people with all kinds of eyes, hands and screens."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from stormcellar.testing.browser import Complaints
from stormcellar.tests.browser.scripted_site import SITE, ScriptedSite
from stormcellar.tests.browser.scripted_site import page as html_page
from stormcellar.tests.rendering import PAGES, SESSION, render

every_screen = pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1280)])


def faults(page: Page, axe: Callable[[Page], list[str]]) -> list[str]:
    """What is wrong with a page once everything that comes in gently has come in."""
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*axe(page), *([f"{overflow} pixels too wide"] if overflow > 0 else [])]


@every_screen
def test_axe_finds_nothing_and_nothing_runs_over_the_edge(
    new_context: Callable[..., BrowserContext],
    complaints: Complaints,
    axe: Callable[[Page], list[str]],
    scheme: str,
    width: int,
) -> None:
    complaints.allow("WebSocket connection")  # nobody is there to take it
    context = new_context(color_scheme=scheme, viewport={"width": width, "height": 720})
    site = ScriptedSite(context)
    site.answer_refresh = lambda: None  # so the refresh pages stay
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for name, (template, variables) in PAGES.items():
        html = render(template, **variables)
        site.answer_page = lambda _, html=html: html_page(html)  # type: ignore[misc]
        page.goto(SITE)
        if wrong := faults(page, axe):
            found[name] = wrong
    assert found == {}


@every_screen
def test_axe_finds_nothing_where_a_renewal_has_failed(
    new_context: Callable[..., BrowserContext],
    complaints: Complaints,
    axe: Callable[[Page], list[str]],
    scheme: str,
    width: int,
) -> None:
    complaints.allow("status of 503")
    context = new_context(color_scheme=scheme, viewport={"width": width, "height": 720})
    ScriptedSite(context).answer_refresh = lambda: {"status": 503, "json": {}}
    page = context.new_page()
    page.goto(f"{SITE}/refresh-session")
    expect(page.get_by_role("alert")).to_be_visible()
    assert faults(page, axe) == []


def test_the_keyboard_reaches_the_content_past_the_navigation(context: BrowserContext, page: Page) -> None:
    site = ScriptedSite(context)
    site.answer_page = lambda _: html_page(render("home.html"))
    page.goto(SITE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_without_scripts_the_refresh_page_shows_the_way_on_and_nothing_that_waits(
    new_context: Callable[..., BrowserContext],
) -> None:
    context = new_context(java_script_enabled=False)
    ScriptedSite(context)
    page = context.new_page()
    page.goto(f"{SITE}/refresh-session?redirectBack=/reports/7")
    link = page.get_by_role("link", name="Continue", exact=True)
    expect(link).to_be_visible()
    assert link.get_attribute("href") == "/auth/session/refresh/return?redirectBack=%2Freports%2F7"
    expect(page.get_by_text("One moment")).to_be_hidden()


def test_without_scripts_no_button_is_shown_that_needs_them(
    new_context: Callable[..., BrowserContext],
) -> None:
    context = new_context(java_script_enabled=False)
    site = ScriptedSite(context)
    variables = {"email": "", "errors": {}, "redirect_back": "/dashboard", "session": SESSION}
    site.answer_page = lambda _: html_page(render("account/signup.html", **variables))
    page = context.new_page()
    page.goto(SITE)
    names = [button.inner_text() for button in page.get_by_role("button").all()]
    assert names == ["Sign out", "Sign up"]
