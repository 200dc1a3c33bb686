# SPDX-License-Identifier: MIT
"""The authenticator app in a real Chromium, with scripts on and off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from stormcellar.extras.authenticator.tests.parts import Phone
from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import PASSWORD, Visitor
from stormcellar.tests.serving import ServerProcess

Visit = Callable[..., Visitor]


def set_up(visitor: Visitor) -> Phone:
    visitor.goto("/account/authenticator")
    visitor.page.get_by_role("button", name="Set it up").click()
    expect(visitor.page.locator("#secret")).to_be_visible()
    return Phone(visitor.page.content())


def give_password(visitor: Visitor) -> None:
    visitor.goto("/login")
    visitor.page.get_by_label("E-mail").fill("ada@example.org")
    visitor.page.get_by_label("Password", exact=True).fill(PASSWORD)
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()


def confirm(visitor: Visitor, phone: Phone) -> list[str]:
    """Type the code that the phone showed a step ago, so that the one of now is still unused."""
    visitor.page.get_by_label("The code that the app shows now").fill(phone.code(time.time() - 30))
    visitor.page.get_by_role("button", name="Switch it on").click()
    expect(visitor.page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    return visitor.page.locator("#recovery-codes li").all_text_contents()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts on", "scripts off"])
def test_it_is_set_up_asked_for_and_replaced_by_a_recovery_code(
    server: ServerProcess, visit: Visit, has_scripts: bool, complaints: Complaints
) -> None:
    complaints.allow(r"status of 422")
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up()
    phone = set_up(visitor)
    picture = visitor.page.get_by_role("img", name="QR code")
    expect(picture).to_be_visible()
    if has_scripts:  # else nobody can ask the picture
        visitor.page.wait_for_function("document.querySelector('main img').naturalWidth > 0")
    recovery_codes = confirm(visitor, phone)
    assert len(recovery_codes) == 10
    visitor.page.get_by_role("link", name="I have kept them").click()
    expect(visitor.page.get_by_text("10 of your recovery codes are unused.")).to_be_visible()

    visitor.sign_out()
    give_password(visitor)
    expect(visitor.page.get_by_role("heading", name="Enter the code from your app")).to_be_visible()
    visitor.page.get_by_label("Code of six digits").fill(phone.wrong_code(time.time()))
    visitor.page.get_by_role("button", name="Continue").click()
    expect(visitor.page.get_by_text("This code is not right")).to_be_visible()
    visitor.page.get_by_label("Code of six digits").fill(phone.code(time.time()))
    visitor.page.get_by_role("button", name="Continue").click()
    visitor.arrive("/dashboard")

    visitor.sign_out()
    give_password(visitor)
    visitor.page.get_by_role("link", name="Use a recovery code").click()
    visitor.page.get_by_label("Recovery code").fill(recovery_codes[0])
    visitor.page.get_by_role("button", name="Continue").click()
    visitor.arrive("/dashboard")

    visitor.goto("/account/authenticator")
    off = visitor.page.get_by_role("form", name="Switch it off")
    off.get_by_label("Code").fill(recovery_codes[1])
    off.get_by_role("button", name="Switch it off").click()
    expect(visitor.page.get_by_text("It is off.")).to_be_visible()


@pytest.mark.npm
def test_its_pages_keep_nobody_out(
    server: ServerProcess,
    visit: Visit,
    axe: Callable[[Page], list[str]],
    screenshot: Callable[..., Any],
    complaints: Complaints,
) -> None:
    complaints.allow(r"status of 422")
    visitor = visit(server.url)
    visitor.sign_up()

    def states() -> Iterator[str]:
        visitor.goto("/account/authenticator")
        yield "authenticator-off"
        phone = set_up(visitor)
        yield "authenticator-set-up"
        visitor.page.get_by_label("The code that the app shows now").fill("x")
        visitor.page.get_by_role("button", name="Switch it on").click()
        expect(visitor.page.get_by_text("This code is not right")).to_be_visible()
        yield "authenticator-refused"
        confirm(visitor, phone)
        yield "recovery-codes"
        visitor.goto("/account/authenticator")
        yield "authenticator-on"
        visitor.sign_out()
        give_password(visitor)
        expect(visitor.page.get_by_label("Code of six digits")).to_be_visible()
        yield "second-factor"
        visitor.goto("/second-factor?with=recovery")
        yield "second-factor-recovery"

    schemes: tuple[Any, ...] = ("light", "dark")
    for state in states():
        for scheme, width in product(schemes, (320, 1280)):
            visitor.page.emulate_media(color_scheme=scheme)
            visitor.page.set_viewport_size({"width": width, "height": 800})
            assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (state, width)
            if (scheme, width) in {("light", 320), ("dark", 1280)}:
                assert axe(visitor.page) == [], state
            screenshot(visitor.page, f"pages/{state}-{scheme}-{width}")
