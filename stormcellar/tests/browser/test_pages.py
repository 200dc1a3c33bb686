# SPDX-License-Identifier: MIT
"""Every page as a visitor meets it: for all eyes and hands, on narrow and wide screens, in light and dark.

Pictures of all of them are then in tests/.artifacts/pages. The documentation's own are taken anew by

    UPDATE_PICTURES=1 .venv/bin/python -m pytest stormcellar/tests/browser/test_pages.py -k documentation
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.browser.conftest import ARTIFACTS
from stormcellar.tests.serving import ROOT, ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
PICTURES = ROOT / "docs" / "images"
LARGEST_PICTURE = 100_000
FIREFOX_ON_ANDROID = "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FOR_AXE = {("light", 320), ("dark", 1280)}  # it takes its time; all colours and both layouts are in these

Visit = Callable[..., Visitor]
Axe = Callable[[Page], list[str]]

# For everybody; what a form looks like that was not filled in well is below.
PUBLIC_PAGES = {
    "home": "/",
    "sign-up": "/signup",
    "sign-in": "/login?redirectBack=/dashboard%3Fview%3D2",
    "forgot-password": "/forgot-password",
    "stopped-cookies": "/refresh-session/stopped?reason=cookies&redirectBack=/dashboard",
    "stopped-clock": "/refresh-session/stopped?reason=clock",
    "stopped-loop": "/refresh-session/stopped?reason=loop",
    "not-found": "/nothing/here",
    "failed": "/fails",
    "asked-wrongly": "/refresh-session/stopped?reason=none",
}
PROTECTED_PAGES = {"dashboard": "/dashboard", "home-signed-in": "/"}


def refused_sign_up(visitor: Visitor) -> None:
    visitor.goto("/signup")
    visitor.page.get_by_label("E-mail").fill("ada@example.org")
    visitor.page.get_by_label("Password", exact=True).fill("short")
    visitor.page.get_by_role("button", name="Sign up").click()
    expect(visitor.page.locator("#password-error")).to_be_visible()


def refused_sign_in(visitor: Visitor) -> None:
    visitor.goto("/login")
    visitor.page.get_by_label("E-mail").fill("ada@example.org")
    visitor.page.get_by_label("Password", exact=True).fill("not hers at all")
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_be_visible()


def waiting_refresh_page(visitor: Visitor) -> None:
    """The server takes its time; the way round the script is offered after some seconds."""
    visitor.context.route("**/auth/session/refresh", lambda route: None)
    visitor.goto("/refresh-session?redirectBack=/dashboard")
    expect(visitor.page.get_by_role("link", name="Continue without script")).to_be_visible()
    visitor.page.evaluate("Promise.all(document.getAnimations().map((fading) => fading.finished))")


def failed_refresh_page(visitor: Visitor) -> None:
    visitor.context.route("**/auth/session/refresh", lambda route: route.fulfill(status=500, body="{}"))
    visitor.goto("/refresh-session?redirectBack=/dashboard")
    expect(visitor.page.get_by_role("button", name="Try again")).to_be_visible()
    visitor.context.unroute_all()


PUBLIC_STATES = {"sign-up-refused": refused_sign_up, "sign-in-refused": refused_sign_in}
PROTECTED_STATES = {"refresh-failed": failed_refresh_page, "refresh-waiting": waiting_refresh_page}


@pytest.fixture
def every_page(server: ServerProcess) -> Callable[[Visitor], Iterator[str]]:
    """Leads a visitor to each page and state in turn: `for name in every_page(visitor)`."""

    def pages(visitor: Visitor) -> Iterator[str]:
        for name, path in PUBLIC_PAGES.items():
            visitor.goto(path)
            yield name
        for name, reach in PUBLIC_STATES.items():
            reach(visitor)
            yield name
        visitor.sign_up()
        for name, path in PROTECTED_PAGES.items():
            visitor.goto(path)
            yield name
        for name, reach in PROTECTED_STATES.items():
            reach(visitor)
            yield name

    def walk(visitor: Visitor) -> Iterator[str]:
        for name in pages(visitor):
            visitor.page.wait_for_load_state()
            yield name

    return walk


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(program=MORE_PAGES)


@pytest.mark.npm
def test_no_page_keeps_anybody_out_or_runs_over_the_edge(
    server: ServerProcess,
    visit: Visit,
    every_page: Callable[[Visitor], Iterator[str]],
    axe: Axe,
    complaints: Complaints,
) -> None:
    complaints.allow(r"status of (404|422|500)")
    visitor = visit(server.url)
    found = {}
    for name in every_page(visitor):
        for scheme, width in product(SCHEMES, (320, 1280)):
            visitor.page.emulate_media(color_scheme=scheme)
            visitor.page.set_viewport_size({"width": width, "height": 800})
            overflow = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found[name, scheme, width] = ["too wide"] * (overflow > 0)
            if (scheme, width) in FOR_AXE:
                found[name, scheme, width] += axe(visitor.page)
            path = ARTIFACTS / "pages" / f"{name}-{scheme}-{width}.png"
            visitor.page.screenshot(path=path, full_page=True)
    assert {state: complaint for state, complaint in found.items() if complaint} == {}


def test_the_keyboard_reaches_everything_on_every_page_and_shows_where_it_is(
    server: ServerProcess,
    visit: Visit,
    every_page: Callable[[Visitor], Iterator[str]],
    complaints: Complaints,
) -> None:
    complaints.allow(r"status of (404|422|500)")
    visitor = visit(server.url)
    found = {}
    for name in every_page(visitor):
        found[name] = unreached(visitor.page)
    assert {name: missed for name, missed in found.items() if missed} == {}


def unreached(page: Page) -> list[str]:
    """What can be pressed or filled in, but is not reached by Tab, in the order of the page; and what is
    reached but shows no ring around it."""
    wanted = page.evaluate(
        """() => {
            const start = document.createElement("button"); // Tab goes on from where this was
            document.body.prepend(start);
            start.focus();
            start.remove();
            window.wanted = [...document.querySelectorAll("a[href], button, input, textarea, summary")]
                .filter((element) => element.type !== "hidden" && element.checkVisibility());
            return window.wanted.map((element) => element.outerHTML);
        }"""
    )
    missed = []
    for number, html in enumerate(wanted):
        page.keyboard.press("Tab")
        has_focus, ring = page.evaluate(
            """(number) => {
                const element = document.activeElement;
                return [element === window.wanted[number], getComputedStyle(element).outlineStyle];
            }""",
            number,
        )
        if not has_focus or ring == "none":
            missed.append(f"{html}: {has_focus=}, {ring=}")
    return missed


def test_the_skip_link_leads_past_the_navigation(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/forms")
    visitor.page.keyboard.press("Tab")
    expect(visitor.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    visitor.page.keyboard.press("Enter")
    visitor.page.keyboard.press("Tab")
    expect(visitor.page.get_by_label("Subject")).to_be_focused()


def test_the_walk_works_with_the_keyboard_alone(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.goto("/signup")
    visitor.page.get_by_label("E-mail").focus()
    visitor.page.keyboard.type("ada@example.org")
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.type("an amber lantern hums")
    visitor.page.keyboard.press("Enter")
    visitor.arrive("/dashboard")
    visitor.page.get_by_role("button", name="Sign out").focus()
    visitor.page.keyboard.press("Enter")
    visitor.arrive("/")


@pytest.mark.skipif("UPDATE_PICTURES" not in os.environ, reason="taken only when UPDATE_PICTURES is set")
def test_pictures_of_the_documentation(start_server: Callable[..., ServerProcess], visit: Visit) -> None:
    from stormcellar.extras.authenticator.tests.browser.test_codes import confirm, give_password, set_up

    site = start_server().url
    visitor = visit(site, viewport={"width": 1000, "height": 720})
    visitor.goto("/login")
    take_pictures(visitor.page, "sign-in")
    visitor.sign_up()
    take_pictures(visitor.page, "dashboard")
    visitor.goto("/account")
    take_pictures(visitor.page, "account")
    phone = visit(site, user_agent=FIREFOX_ON_ANDROID)
    phone.goto("/login")
    phone.sign_in()
    visitor.goto("/account/sessions")
    expect(visitor.page.get_by_text("Firefox")).to_be_visible()
    take_pictures(visitor.page, "devices")
    confirm(visitor, set_up(visitor))
    visitor.sign_out()
    give_password(visitor)
    expect(visitor.page.get_by_label("Code of six digits")).to_be_visible()
    take_pictures(visitor.page, "second-factor")


def take_pictures(page: Page, name: str) -> None:
    """In light and dark, as far down as the window shows."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        path = PICTURES / (f"{name}.png" if scheme == "light" else f"{name}-dark.png")
        page.screenshot(path=path)
        assert path.stat().st_size <= LARGEST_PICTURE
