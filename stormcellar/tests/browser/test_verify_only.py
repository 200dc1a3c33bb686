# SPDX-License-Identifier: MIT
"""The pages' own modules where the session's API is another server, which may be none of this kit's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD
from stormcellar.tests.rendering import render
from stormcellar.tests.serving import ServerProcess, free_port
from stormcellar.web.addresses import Addresses

READABLE = ("sFrontToken", "st-last-access-token-update")


@dataclass(frozen=True)
class Servers:
    """The addresses of both; they differ by their ports only, so that they share their cookies."""

    api: str
    web: str


@pytest.fixture
def servers(start_server: Callable[..., ServerProcess]) -> Servers:
    api, web = (f"http://localhost:{free_port()}" for _ in range(2))
    start_server(f"--port={port_of(api)}", f"--public_url={api}", f"--website_domain={web}")
    start_server(
        f"--port={port_of(web)}",
        f"--public_url={web}",
        f"--api_domain={api}",
        f"--jwks_url={api}/auth/jwt/jwks.json",
    )
    return Servers(api, web)


def port_of(origin: str) -> int:
    return urlsplit(origin).port or 0


def sign_up(page: Page, servers: Servers) -> None:
    page.goto(f"{servers.api}/signup?redirectBack={quote(servers.web + '/dashboard')}")
    page.fill("[name=email]", "ann@example.com")
    page.fill("[name=password]", PASSWORD)
    page.click("main button:text-is('Sign up')")
    page.wait_for_url(f"{servers.web}/dashboard")


def leave_cookies_to_scripts(route: Route) -> None:
    """Answer as SuperTokens' backends do: what scripts read stands in headers only."""
    answer = route.fetch()
    headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
    kept = [
        header["value"]
        for header in answer.headers_array
        if header["name"].lower() == "set-cookie" and not header["value"].startswith(READABLE)
    ]
    route.fulfill(response=answer, headers={**headers, "set-cookie": "\n".join(kept)})


def cookies(context: BrowserContext) -> dict[str, Any]:
    return {cookie["name"]: cookie for cookie in context.cookies()}


def test_cookies_that_the_api_server_leaves_to_scripts_are_written_by_them(
    page: Page, context: BrowserContext, servers: Servers, complaints: Any
) -> None:
    """As SuperTokens' web SDK does it, so that both agree, after a renewal and after a sign-out."""
    sign_up(page, servers)
    for name in ("sAccessToken", *READABLE):
        context.clear_cookies(name=name)
    context.route(f"{servers.api}/auth/**", leave_cookies_to_scripts)

    with page.expect_response(f"{servers.api}/auth/session/refresh") as renewal:
        page.goto(f"{servers.web}/dashboard")
    page.wait_for_selector("#user-id")
    written = cookies(context)
    assert written["sFrontToken"]["value"] == renewal.value.headers["front-token"]
    assert written["st-last-access-token-update"]["value"].isdigit()
    assert not written["sFrontToken"]["httpOnly"]

    page.click("button:text-is('Sign out')")
    page.wait_for_selector("a:text-is('Sign in')")
    assert page.url == f"{servers.web}/"
    left = cookies(context)
    assert "sAccessToken" not in left
    assert "sFrontToken" not in left
    assert "st-last-access-token-update" in left
    page.goto(f"{servers.web}/dashboard")
    assert page.url.startswith(f"{servers.api}/login?")


def test_without_scripts_the_sign_out_is_for_both_servers(
    page_without_scripts: Page, servers: Servers
) -> None:
    page = page_without_scripts
    sign_up(page, servers)
    page.click("button:text-is('Sign out')")
    page.wait_for_url(f"{servers.web}/")
    page.wait_for_selector("a:text-is('Sign in')")
    assert {"sAccessToken", "sRefreshToken"}.isdisjoint(cookies(page.context))
    page.goto(f"{servers.api}/dashboard")
    assert page.url.startswith(f"{servers.api}/login?")


def test_a_guest_is_led_from_the_refresh_page_to_the_api_servers_sign_in_page(
    page: Page, servers: Servers, complaints: Any
) -> None:
    complaints.allow("status of 401")
    page.goto(f"{servers.web}/dashboard?tab=2")
    page.wait_for_url(f"{servers.api}/login**")
    assert parse_qs(urlsplit(page.url).query) == {"redirectBack": [f"{servers.web}/dashboard?tab=2"]}


def test_a_form_that_came_too_soon_is_sent_again_as_it_was(
    page: Page, context: BrowserContext, servers: Servers, complaints: Any
) -> None:
    complaints.allow("status of 401")
    sign_up(page, servers)
    options = Settings(jwks_url=f"{servers.api}/jwks.json", api_domain=servers.api, public_url=servers.web)
    arrived: list[dict[str, list[str]]] = []

    def answer(route: Route) -> None:
        arrived.append(parse_qs(route.request.post_data or "", keep_blank_values=True))
        if len(arrived) == 1:
            fields = [(name, value) for name, values in arrived[0].items() for value in values]
            html = render(
                "refresh_session.html",
                redirect_back="/notes?a=1",
                in_place=True,
                form=fields,
                form_action="/notes?a=1",
                form_detour="",
                addresses=Addresses.of(options),
            )
            route.fulfill(status=401, content_type="text/html", body=html)
        else:
            route.fulfill(status=200, content_type="text/html", body="<p id=thanks>Thank you</p>")

    context.route(f"{servers.web}/notes?a=1", answer)
    # A page that came from no server may not call one on this machine (Local Network Access).
    context.route(f"{servers.api}/auth/**", lambda route: route.fulfill(response=route.fetch()))
    fields = {"text": 'two\r\nlines "&<', "empty": "", "name": "Zoë"}
    page.evaluate(
        """(fields) => {
            const form = document.createElement("form");
            Object.assign(form, { method: "post", action: "/notes?a=1" });
            for (const [name, value] of Object.entries(fields)) {
                const field = Object.assign(document.createElement("textarea"), { name, value });
                form.append(field);
            }
            document.body.append(form);
            form.submit();
        }""",
        fields,
    )
    page.wait_for_selector("#thanks")
    assert arrived == [{name: [value] for name, value in fields.items()}] * 2, json.dumps(arrived)
    assert page.url == f"{servers.web}/notes?a=1"
