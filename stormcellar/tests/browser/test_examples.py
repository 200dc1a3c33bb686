# SPDX-License-Identifier: MIT
"""SuperTokens' published clients, unmodified, against the kit: the examples that the documentation shows."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from playwright.sync_api import Page, Request

from stormcellar.tests.parts import require_npm_package
from stormcellar.tests.serving import ROOT, ServerProcess, free_port

pytestmark = [pytest.mark.npm, pytest.mark.kit]

EMAIL, PASSWORD = "ann@example.com", "tall ships sail 27 seas"
NEW_PASSWORD = "short ships sail 3 lakes"
SHORT = "--access_token_lifetime_s=2"
REFUSED = r"status of 40[13]"


@pytest.fixture
def example(start_server: Callable[..., ServerProcess]) -> Callable[..., str]:
    """Start an example; the address of its page."""
    require_npm_package("esbuild", "examples")

    def start(name: str, *arguments: str) -> str:
        server = start_server(*arguments, program=(sys.executable, str(ROOT / "examples/run.py"), name))
        return f"{server.url}/example"

    return start


def refreshes(page: Page) -> list[Request]:
    """From now on, the requests of this page that renew the session."""
    seen: list[Request] = []
    page.context.on(
        "request", lambda request: seen.append(request) if "/session/refresh" in request.url else None
    )
    return seen


def output(page: Page, *, holding: str) -> str:
    """What the example's page shows, once it holds this text."""
    shown = page.locator("#output", has_text=holding)
    shown.wait_for()
    return shown.inner_text()


def fill_in(page: Page, button: str) -> None:
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click(f"button:text-is('{button}')")


def sign_out_elsewhere(page: Page, address: str) -> None:
    """End the page's session without its browser hearing of it."""
    origin = address.removesuffix("/example")
    token = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "sAccessToken")
    headers = {"Cookie": f"sAccessToken={token}", "Origin": origin}
    urllib.request.urlopen(urllib.request.Request(f"{origin}/signout", b"", headers))


# -- supertokens-website ----------------------------------------------------------------------------


def sign_up_on_plain_page(page: Page, address: str) -> None:
    page.goto(address)
    fill_in(page, "Sign up")
    output(page, holding='"status":"OK"')


def test_website_signs_up_calls_and_signs_out(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    sign_up_on_plain_page(page, example("plain_page"))
    assert page.evaluate("SuperTokens.doesSessionExist()") is True
    user_id = page.evaluate("SuperTokens.getUserId()")
    page.click("#me")
    assert user_id in output(page, holding='"status":200')
    page.click("#signout")
    output(page, holding="signedOut")
    assert page.evaluate("SuperTokens.doesSessionExist()") is False
    page.click("#me")
    output(page, holding='"status":401')
    assert page.evaluate("events")[-2:] == ["SIGN_OUT", "UNAUTHORISED"]


def test_website_says_who_is_wrong_with_200_and_signs_in_again(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    sign_up_on_plain_page(page, example("plain_page"))
    page.click("#signout")
    output(page, holding="signedOut")
    page.fill("[name=password]", "not the password")
    page.click("button:text-is('Sign in')")
    output(page, holding="WRONG_CREDENTIALS_ERROR")
    fill_in(page, "Sign in")
    output(page, holding='"status":"OK"')


def test_website_renews_an_expired_token_once_for_parallel_calls(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    sign_up_on_plain_page(page, example("plain_page", SHORT))
    page.wait_for_timeout(2100)
    seen = refreshes(page)
    statuses = page.evaluate(
        """() => Promise.all([1, 2, 3, 4, 5].map(async (number) =>
            (await fetch("/api/me", { method: "POST", body: `body ${number}` })).json()))"""
    )
    assert [answer["got"] for answer in statuses] == [f"body {number}" for number in range(1, 6)]
    assert len(seen) == 1
    assert "REFRESH_SESSION" in page.evaluate("events")


def test_website_in_two_tabs_renews_once(page: Page, example: Callable[..., str], complaints: Any) -> None:
    complaints.allow(REFUSED)
    address = example("plain_page", SHORT)
    sign_up_on_plain_page(page, address)
    other = page.context.new_page()
    other.goto(address)
    page.wait_for_timeout(2100)
    seen = refreshes(page)
    call = "() => { window.answer = fetch('/api/me').then((response) => response.status); }"
    page.evaluate(call)
    other.evaluate(call)
    assert [tab.evaluate("answer") for tab in (page, other)] == [200, 200]
    assert len(seen) <= 2
    for tab in (page, other):
        assert tab.evaluate("SuperTokens.attemptRefreshingSession()") is True


def test_website_reads_the_payload_and_refreshes_when_asked(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    sign_up_on_plain_page(page, example("plain_page", SHORT))
    user_id = page.evaluate("SuperTokens.getUserId()")
    before = page.evaluate("SuperTokens.getAccessTokenPayloadSecurely()")
    page.wait_for_timeout(2100)
    after = page.evaluate("SuperTokens.getAccessTokenPayloadSecurely()")
    assert before["sub"] == after["sub"] == user_id
    assert after["exp"] > before["exp"]
    assert page.evaluate("SuperTokens.attemptRefreshingSession()") is True


def test_website_hears_a_claim_that_is_missing_and_then_the_new_one(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    sign_up_on_plain_page(page, example("plain_page"))
    invited = """async () => { const answer = await fetch("/api/invited");
        return [answer.status, await answer.json()]; }"""
    status, body = page.evaluate(invited)
    assert (status, body["message"]) == (403, "invalid claim")
    assert body["claimValidationErrors"] == [
        {"id": "invited", "reason": {"message": "value does not exist", "expectedValue": True}}
    ]
    page.evaluate("fetch('/api/invitation', { method: 'POST' })")
    payload = page.evaluate("SuperTokens.getAccessTokenPayloadSecurely()")
    assert payload["invited"]["v"] is True
    assert page.evaluate(invited)[0] == 200
    events = page.evaluate("events")
    assert "API_INVALID_CLAIM" in events
    assert "ACCESS_TOKEN_PAYLOAD_UPDATED" in events


def test_website_agrees_with_a_sign_in_by_plain_form(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    """Also in a browser that had signed out before, which the SDK remembers as "nobody is signed in"."""
    complaints.allow(REFUSED)
    address = example("plain_page")
    sign_up_on_plain_page(page, address)
    page.click("#signout")
    output(page, holding="signedOut")
    page.goto(address.replace("/example", "/login"))
    fill_in(page, "Sign in")
    page.wait_for_url("**/dashboard")
    page.goto(address)
    assert page.evaluate("SuperTokens.doesSessionExist()") is True
    page.click("#me")
    output(page, holding='"status":200')


def test_website_is_told_once_that_the_session_has_ended(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    address = example("plain_page")
    sign_up_on_plain_page(page, address)
    sign_out_elsewhere(page, address)
    page.click("#me")
    output(page, holding='"status":401')
    assert page.evaluate("SuperTokens.doesSessionExist()") is False
    assert page.evaluate("events").count("UNAUTHORISED") >= 1


class HoldingRelay:
    """Stands before a server on loopback and holds the first request with `?held` in it.

    Attributes:
        port: where it listens.
        has_one: is set as soon as it holds a request.
        release: lets the request go on.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.has_one, self.release = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if b"?held" in data and not self.has_one.is_set():
                    self.has_one.set()
                    self.release.wait(60)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


BOB = "bob@example.com"
LATE_CALLS = {
    "a call": "fetch('/api/me').then((answer) => answer.status)",
    "a form call": "fetch('/api/me', { method: 'POST', body: 'late' }).then((answer) => answer.status)",
    "a refresh": "SuperTokens.attemptRefreshingSession()",
}


@pytest.mark.parametrize("by", ["form", "SDK"])
def test_what_the_first_users_tab_does_late_leaves_the_next_user_signed_in(
    page: Page, example: Callable[..., str], complaints: Any, by: str
) -> None:
    """The session of the first user ended on another device; then another user signs in in this browser."""
    complaints.allow(REFUSED)
    address = example("plain_page")
    holding = HoldingRelay(urlsplit(address).port or 0)
    address = f"http://localhost:{holding.port}/example"
    sign_up_on_plain_page(page, address)
    page.evaluate("() => { window.late = fetch('/api/me?held').then((answer) => answer.status); }")
    assert holding.has_one.wait(30)  # it has the first user's cookies
    sign_out_elsewhere(page, address)
    other = page.context.new_page()
    if by == "form":
        other.goto(address.replace("/example", "/signup"))
        other.fill("[name=email]", BOB)
        other.fill("[name=password]", PASSWORD)
        other.click("form button:text-is('Sign up')")
        other.wait_for_url("**/dashboard")
        other.goto(address)
    else:
        other.goto(address)
        other.fill("[name=email]", BOB)
        other.fill("[name=password]", PASSWORD)
        other.click("button:text-is('Sign up')")
        output(other, holding='"status":"OK"')
    bob = other.evaluate("SuperTokens.getUserId()")
    holding.release.set()
    assert page.evaluate("late") in (200, 401)
    for call in LATE_CALLS.values():
        page.evaluate(call)
        assert other.evaluate("SuperTokens.doesSessionExist()") is True
    other.click("#me")
    assert bob in output(other, holding='"status":200')
    assert other.evaluate("SuperTokens.getUserId()") == bob
    holding.close()


def test_a_session_that_ends_with_the_browser_stays_so_when_the_sdk_renews_it(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    address = example("plain_page")
    sign_up_on_plain_page(page, address)
    page.click("#signout")
    output(page, holding="signedOut")
    page.goto(address.replace("/example", "/login"))
    page.uncheck("[type=checkbox]")
    fill_in(page, "Sign in")
    page.wait_for_url("**/dashboard")
    page.goto(address)
    for _ in range(2):
        ends = {cookie["name"]: cookie["expires"] for cookie in page.context.cookies()}
        assert (ends["sAccessToken"], ends["sRefreshToken"]) == (-1, -1)
        assert page.evaluate("SuperTokens.attemptRefreshingSession()") is True


# -- supertokens-web-js -----------------------------------------------------------------------------


def test_web_js_signs_up_reads_its_payload_and_signs_out(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    page.goto(example("custom_ui"))
    fill_in(page, "Sign up")
    output(page, holding='"status":"OK"')
    page.click("#payload")
    output(page, holding='"sessionHandle"')
    page.click("#signout")
    output(page, holding="signedOut")
    fill_in(page, "Sign up")
    output(page, holding="This email already exists. Please sign in instead.")
    fill_in(page, "Sign in")
    output(page, holding='"status":"OK"')


# -- supertokens-auth-react -------------------------------------------------------------------------


def test_auth_react_signs_up_signs_out_and_signs_in_by_its_pre_built_ui(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    address = example("prebuilt_ui")
    page.goto(address)  # nobody is signed in: SessionAuth leads to the sign-in page
    page.wait_for_url("**/example/auth**")
    page.click("text=Sign up")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("#user-id")
    user_id = page.inner_text("#user-id")
    page.click("text=Sign out")
    page.wait_for_url("**/example/auth**")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("#user-id")
    assert page.inner_text("#user-id") == user_id


class MailTaker:
    """Takes what a real SMTP server on loopback is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)  # type: ignore[arg-type]
        self.texts.append(message.get_body(("plain",)).get_content())  # type: ignore[attr-defined]
        return "250 OK"


def test_auth_react_resets_a_password_by_a_mail_that_went_through_smtp(
    page: Page, example: Callable[..., str], complaints: Any
) -> None:
    complaints.allow(REFUSED)
    taker = MailTaker()
    port = free_port()
    smtp = Controller(taker, hostname="127.0.0.1", port=port)
    smtp.start()
    try:
        mail = (f"--smtp_url=smtp://127.0.0.1:{port}", "--mail_from=kit@example.com")
        address = example("prebuilt_ui", *mail, "--mail_link_base_path=/example/auth")
        page.goto(address)
        page.click("text=Sign up")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        user_id = page.inner_text("#user-id")
        page.click("text=Sign out")
        page.click("text=Forgot password?")
        page.fill("input[name=email]", EMAIL)
        page.click("button[type=submit]")
        page.wait_for_selector("text=/email.*sent|check your email|reset.*sent/i")
        deadline = time.monotonic() + 30
        while not taker.texts and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        link = urlsplit(next(word for word in taker.texts[0].split() if "/reset-password?" in word))
        page.goto(address.replace("/example", f"{link.path}?{link.query}"))
        for field in ("password", "confirm-password"):
            page.fill(f"input[name={field}]", NEW_PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_selector("text=/success/i")
        page.goto(address)
        page.wait_for_url("**/example/auth**")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", NEW_PASSWORD)
        page.click("button[type=submit]")
        assert page.inner_text("#user-id") == user_id
    finally:
        smtp.stop()
