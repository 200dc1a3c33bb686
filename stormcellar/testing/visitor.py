# SPDX-License-Identifier: MIT
"""Somebody at a browser: what people do on the site, and what their browser sends for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import BrowserContext, Page, Request, expect

PATIENCE_S = 30  # for one step; a machine with other work to do must not fail a test
PASSWORD = "an amber lantern hums"
REFRESH = "POST /auth/session/refresh"


class Visitor:
    """One browser at one site, with one tab open.

    Args:
        site: the address that is typed, such as http://localhost:8888.
        has_scripts: whether the browser runs scripts; what scripts would do must then be clicked.

    Attributes:
        page: the tab.
        requests: what all tabs have asked the site for, such as "GET /dashboard?view=2".
        documents: those of them that load a page.
    """

    def __init__(self, context: BrowserContext, site: str, *, has_scripts: bool = True) -> None:
        self.context = context
        self.site = site
        self.has_scripts = has_scripts
        self.requests: list[str] = []
        self.documents: list[str] = []
        context.on("request", self._note)
        self.page = context.new_page()

    def _note(self, request: Request) -> None:
        if request.url.startswith(self.site + "/"):
            line = f"{request.method} {request.url.removeprefix(self.site)}"
            self.requests.append(line)
            if request.is_navigation_request():
                self.documents.append(line)

    # -- going about -----------------------------------------------------------------------------------

    def goto(self, path: str) -> None:
        """Type an address, and see what comes first: the page, or where the site leads instead."""
        self.page.goto(self.site + path)

    def leave(self) -> None:
        """Look at something else, so that no page of the site is there to renew the session."""
        self.page.goto("about:blank")

    def arrive(self, path: str) -> None:
        """Wait until this page is there, with scripts off by way of the buttons on the way."""

        def is_there() -> bool:
            renew = self.page.get_by_role("link", name="Continue", exact=True)
            if not self.has_scripts and renew.is_visible():
                renew.click()
                return False
            return self.address == path

        self.until(is_there)
        self.page.wait_for_load_state()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, and let the browser go on meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain, at {self.page.url}; {self.documents[-12:]=}"
            self.page.wait_for_timeout(30)

    @property
    def address(self) -> str:
        """Path, query and fragment of the page that is shown."""
        return self.page.url.removeprefix(self.site)

    def arrive_at_sign_in(self, *, wanted: str) -> None:
        """Wait for the sign-in page, which is to lead to the wanted page later."""
        self.page.wait_for_url(lambda url: urlsplit(url).path == "/login")
        assert parse_qs(urlsplit(self.page.url).query)["redirectBack"] == [wanted]
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()

    # -- signing in and out ----------------------------------------------------------------------------

    def sign_up(self, email: str = "ada@example.org", *, wanted: str = "/dashboard") -> None:
        """Make an account, and arrive at the wanted page."""
        self.send_sign_up(email, wanted=wanted)
        self.arrive(wanted)

    def send_sign_up(self, email: str = "ada@example.org", *, wanted: str = "/dashboard") -> None:
        """Make an account, and see what comes."""
        self.goto(f"/signup?redirectBack={quote(wanted)}")
        self._fill_in(email)
        self.page.get_by_role("button", name="Sign up").click()

    def sign_in(self, email: str = "ada@example.org", *, wanted: str = "/dashboard") -> None:
        """Fill in the sign-in form that is shown, and arrive at the wanted page."""
        self._fill_in(email)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        self.arrive(wanted)

    def _fill_in(self, email: str) -> None:
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)

    def sign_out(self) -> None:
        """Press the button in the head of the page."""
        self.page.get_by_role("button", name="Sign out").click()
        self.arrive("/")
        expect(self.page.get_by_role("button", name="Sign out")).to_have_count(0)

    def user_id(self) -> str:
        """Whom the dashboard greets."""
        return self.page.locator("#user-id").inner_text()

    def is_signed_in(self) -> bool:
        """Whether the server, asked in another tab, knows this browser, be it after a renewal."""
        tab = self.context.new_page()
        tab.goto(f"{self.site}/dashboard")
        tab.wait_for_url(lambda url: urlsplit(url).path in ("/dashboard", "/login"))
        path = urlsplit(tab.url).path
        tab.close()
        return path == "/dashboard"

    # -- tokens ----------------------------------------------------------------------------------------

    def lose_access_token(self) -> None:
        """As if it had expired: the browser has no access token any more, but still a refresh token."""
        self.context.clear_cookies(name="sAccessToken")

    def wait_for_expiry(self) -> None:
        """Until the server takes the access token no longer. No page may be open that renews it."""
        self.until(lambda: self.context.request.get(f"{self.site}/dashboard").status == 401)

    def hold_refresh_token(self, value: str) -> None:
        """Put another refresh token in the place of the one that the browser has."""
        host, path = urlsplit(self.site).hostname, "/auth/session/refresh"
        self.context.add_cookies(
            [{"name": "sRefreshToken", "value": value, "domain": host, "path": path, "httpOnly": True}]
        )

    def cookie(self, name: str) -> str:
        """The value of a cookie, of those for the server's eyes only too; "" if there is none."""
        return next((cookie["value"] for cookie in self.context.cookies() if cookie["name"] == name), "")

    @property
    def refreshes(self) -> int:
        """How often scripts have asked for new tokens."""
        return self.requests.count(REFRESH)


def open_tab(visitor: Visitor, path: str) -> Page:
    """Another tab of the same browser."""
    tab = visitor.context.new_page()
    tab.goto(visitor.site + path)
    return tab
