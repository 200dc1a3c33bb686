# SPDX-License-Identifier: MIT
"""Passkeys in a real Chromium, with its own virtual authenticator (W3C Web Authentication, section 11)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from stormcellar.testing.visitor import Visitor
from stormcellar.tests.serving import ServerProcess

Visit = Callable[..., Visitor]


class Authenticator:
    """A phone or laptop with passkeys, as one tab's browser sees it."""

    def __init__(self, page: Page) -> None:
        self.tools: CDPSession = page.context.new_cdp_session(page)
        self.tools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self.id = self.tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def credentials(self) -> list[dict[str, Any]]:
        found = self.tools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        credentials: list[dict[str, Any]] = found["credentials"]
        return credentials

    def give(self, other: Authenticator) -> None:
        """What a password manager does: the other device has the same passkeys."""
        for credential in self.credentials():
            other.tools.send(
                "WebAuthn.addCredential", {"authenticatorId": other.id, "credential": credential}
            )

    def set_person(self, is_known: bool) -> None:
        self.tools.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": is_known})


def add_passkey(visitor: Visitor, name: str) -> None:
    visitor.goto("/account/passkeys")
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_role("button", name="Add a passkey").click()


def test_a_passkey_is_added_and_signs_in_by_a_button(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    phone = Authenticator(visitor.page)
    add_passkey(visitor, "my phone")
    expect(visitor.page.get_by_role("heading", name="my phone")).to_be_visible()
    (credential,) = phone.credentials()
    assert credential["isResidentCredential"] is True
    assert credential["rpId"] == "localhost"

    other = visit(server.url)
    # A browser that offers nothing by itself, so that it is the button that signs in.
    other.page.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
    other.goto("/login?redirectBack=/dashboard%3Fview%3D2")
    phone.give(Authenticator(other.page))
    other.page.get_by_role("button", name="Use a passkey").click()
    other.arrive("/dashboard?view=2")
    visitor.goto("/account/passkeys")
    expect(visitor.page.get_by_text("last used")).to_be_visible()


def test_the_browser_offers_it_with_the_e_mail_field(server: ServerProcess, visit: Visit) -> None:
    """Conditional mediation: a device that is there answers without a button."""
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    phone = Authenticator(visitor.page)
    add_passkey(visitor, "")
    expect(visitor.page.get_by_role("heading", name="Passkey", exact=True)).to_be_visible()

    other = visit(server.url)
    other.goto("/login")
    phone.give(Authenticator(other.page))
    other.goto("/login")
    other.arrive("/dashboard")


def test_whoever_the_device_does_not_know_stays_out(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    phone = Authenticator(visitor.page)
    add_passkey(visitor, "my phone")
    expect(visitor.page.get_by_role("heading", name="my phone")).to_be_visible()
    phone.set_person(False)
    visitor.sign_out()
    visitor.goto("/login")
    visitor.page.get_by_role("button", name="Use a passkey").click()
    expect(visitor.page.get_by_role("alert")).to_have_text(
        "It was cancelled, or took too long. You can try again."
    )
    phone.set_person(True)
    visitor.page.get_by_role("button", name="Use a passkey").click()
    visitor.arrive("/dashboard")


def test_a_device_that_is_registered_is_told_so(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    Authenticator(visitor.page)
    add_passkey(visitor, "first")
    expect(visitor.page.get_by_role("heading", name="first")).to_be_visible()
    add_passkey(visitor, "second")
    expect(visitor.page.get_by_role("alert")).to_have_text(
        "This device has a passkey for your account already."
    )
    visitor.page.get_by_role("button", name="Delete").click()
    expect(visitor.page.get_by_text("You have none yet.")).to_be_visible()


def test_a_passkey_is_renamed_with_scripts_and_without(server: ServerProcess, visit: Visit) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    Authenticator(visitor.page)
    add_passkey(visitor, "my phone")
    rename(visitor.page, "my phone", "my <new> phone")

    without_scripts = visit(server.url, has_scripts=False)
    without_scripts.goto("/login?redirectBack=/account/passkeys")
    without_scripts.sign_in(wanted="/account/passkeys")
    rename(without_scripts.page, "my <new> phone", "the old one")


def rename(page: Page, old: str, new: str) -> None:
    """From the list of passkeys by the keyboard alone, and back to it."""
    link = page.get_by_role("link", name="Rename")
    expect(link).to_have_accessible_description(old)
    link.press("Enter")
    field = page.get_by_label("Name")
    expect(field).to_have_value(old)
    field.fill(new)
    field.press("Enter")
    page.wait_for_url("**/account/passkeys")
    expect(page.get_by_role("heading", name=new, exact=True)).to_be_visible()


def test_without_scripts_there_is_the_password_and_no_dead_button(
    server: ServerProcess, visit: Visit
) -> None:
    visitor = visit(server.url, has_scripts=False)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    expect(visitor.page.get_by_text("This needs JavaScript")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Add a passkey")).to_be_hidden()
    visitor.sign_out()
    visitor.goto("/login")
    expect(visitor.page.get_by_role("button", name="Use a passkey")).to_have_count(0)
    visitor.sign_in()
    visitor.arrive("/dashboard")


@pytest.mark.npm
def test_its_pages_keep_nobody_out(
    server: ServerProcess, visit: Visit, axe: Callable[[Page], list[str]], screenshot: Callable[..., Any]
) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.goto("/account/passkeys")
    Authenticator(visitor.page)
    add_passkey(visitor, "m" * 60)
    expect(visitor.page.get_by_role("button", name="Delete")).to_be_visible()
    add_passkey(visitor, "again")
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    look_at(visitor.page, "passkeys", axe, screenshot)
    visitor.page.get_by_role("link", name="Rename").click()
    expect(visitor.page.get_by_role("heading", name="Rename a passkey")).to_be_visible()
    look_at(visitor.page, "passkeys-name", axe, screenshot)


def look_at(page: Page, name: str, axe: Callable[[Page], list[str]], screenshot: Callable[..., Any]) -> None:
    schemes: tuple[Any, ...] = ("light", "dark")
    for scheme, width in product(schemes, (320, 1280)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert axe(page) == []
        screenshot(page, f"pages/{name}-{scheme}-{width}")
