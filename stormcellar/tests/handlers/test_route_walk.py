# SPDX-License-Identifier: MIT
"""What no request may achieve at any route, whoever sends it and whatever the settings are.

The walks go by the route table, so a route that is added is walked too; of its addresses one is enough.
test_routes.py looks at methods, caching and access, test_cross_site.py at other sites' requests,
test_hostile_input.py at bodies sent by strangers. Here walks somebody who is signed in or whose token has
expired, and whoever sends hostile cookies and damaged addresses.

Source: OWASP ASVS 5.0, 3.4, 4.1, 14.3; RFC 9110, section 9.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.store import Connection
from stormcellar.testing.client import FETCH, NAVIGATION, SDK, Client, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, implements, own_routes, with_settings
from stormcellar.tests.handlers.test_hostile_input import BODIES, check_is_plain
from stormcellar.tests.handlers.test_routes import check_headers, check_storage

SAFE = ("GET", "HEAD", "OPTIONS")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
VISITORS = ("guest", "signed in", "expired")
DEBUG = {"debug": True}  # with the routes that are for developers only
HTTPS = {"public_url": "https://www.example.com"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "guest": ("guest", DEBUG),
    "signed in": ("signed in", DEBUG),
    "expired": ("expired", DEBUG),
    "expired, detour": ("expired", {"refresh_mode": "detour"}),
    "expired, in place": ("expired", {"refresh_mode": "in_place"}),
    "expired, at the root": ("expired", {"api_base_path": ""}),
    "signed in, https": ("signed in", HTTPS),
}
# What a protected page or a token endpoint may answer so that its bearer renews; all of it is private.
RENEWALS = {302, 303, 307}


async def become(visitor: str, client: Client, clock: FakeClock) -> None:
    if visitor != "guest":
        await client.sign_up()
    if visitor == "expired":
        clock.advance(LIFETIME_S)


def requests_of(app: Application, methods: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """One address of every handler with each of these methods that it implements."""
    for handler, path in {handler: path for path, handler in reversed(own_routes(app))}.items():
        for method in methods:
            if method in SAFE or implements(handler, method):
                yield method, path


def check(response: HTTPResponse, path: str, *, secure: bool) -> None:
    """What holds for every answer; a mailed link's page tells no other page its address."""
    where = f"{response.request.method} {path} {response.code}"
    assert response.code < 500 or path == "/readyz", where
    if response.headers["Referrer-Policy"] == "no-referrer":
        response.headers["Referrer-Policy"] = "same-origin"
    check_headers(response, secure=secure)
    check_storage(response, path)
    if response.code in RENEWALS:
        assert response.headers["Cache-Control"] == "private, no-store", where
        target = response.headers["Location"]
        assert target.startswith("/"), where
        assert not target.startswith("//"), where


@pytest.mark.parametrize(
    ("visitor", "settings"),
    [
        pytest.param(*case, id=name, marks=() if name in VISITORS else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
@pytest.mark.gen_test
async def test_answers_to_our_own_pages_and_scripts_carry_the_headers_that_protect_them(
    client: Client, app: Application, clock: FakeClock, visitor: str
) -> None:
    """Those of forms and calls that are obeyed, and those that lead to a renewal, too."""
    secure = bool(app.options.public_url)
    client.origin = app.options.public_url or client.origin
    await become(visitor, client, clock)
    jar = dict(client.jar)
    for method, path in requests_of(app, (*SAFE, *UNSAFE)):
        for headers in (NAVIGATION, SDK) if method in ("GET", "POST") else (NAVIGATION,):
            client.jar = dict(jar)
            check(await client.request(method, path, headers=headers), path, secure=secure)


def everything(connection: Connection) -> dict[str, list[Any]]:
    """All that the database knows of people and sessions; how often somebody asked is no change of that."""
    about_requests = {"rate_limits", "audit_events", "schema_version"}
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    kept = [name for name in names if not name.startswith("sqlite_") and name not in about_requests]
    found = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in kept}
    # Messages to open pages change nothing; that of the sign-up goes out when it finds the time.
    found["feed"] = [row for row in found["feed"] if "message" not in row]
    return found


HOSTILE_QUERY = urlencode(
    {
        "_method": "DELETE",
        "email": "mallory@example.com",
        "password": "x",
        "session_handle": "x",
        "token": "x",
    }
)
OVERRIDES = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "DELETE", "X-HTTP-Method": "PUT"}
# Clients rely on these two: asking whether an address is verified renews the claim in the token (FDI), and
# the way round without script renews the session, as its name says.
RENEWS_BY_GET = ("/user/email/verify", "/session/refresh/return")


@with_settings(**DEBUG)
@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.gen_test
async def test_safe_methods_leave_the_database_as_it_is(
    client: Client, app: Application, clock: FakeClock, visitor: str
) -> None:
    await become(visitor, client, clock)
    await client.get("/")
    before = await app.database.read(everything)
    assert before.keys() >= {"users", "sessions", "one_time_tokens", "feed"}
    for method, path in requests_of(app, SAFE):
        if path.endswith(RENEWS_BY_GET):
            continue
        for headers in (NAVIGATION, SDK) if method == "GET" else (FETCH,):
            address = f"{path}?{HOSTILE_QUERY}"
            response = await client.request(method, address, headers={**headers, **OVERRIDES})
            assert response.code < 500, f"{method} {path}"
        assert await app.database.read(everything) == before, f"{method} {path}"


LONG = "a" * 60_000  # with the rest of the head just below what the server reads of one
COOKIES = (
    "sAccessToken",
    "sRefreshToken",
    "sFrontToken",
    "sRefreshMarker",
    "sRefreshRounds",
    "sIdRefreshToken",
)
LONG_COOKIES = [
    f"sAccessToken={LONG}",
    "sAccessToken=" + "a." * 20_000 + "; sRefreshToken=" + "%41" * 5_000,
    "; ".join(f"{name}=x" for name in COOKIES * 500),
    "sRefreshMarker=1; sRefreshRounds=" + "abc:1." * 9_000,
]


@pytest.mark.parametrize("cookie", LONG_COOKIES, ids=lambda text: text[:20])
@pytest.mark.gen_test
async def test_no_cookie_of_sixty_thousand_characters_fails_a_route_or_opens_it(
    client: Client, app: Application, cookie: str
) -> None:
    assert len(cookie) > 50_000 or cookie.count(";") > 1000
    for method, path in requests_of(app, ("GET", "POST")):
        headers = NAVIGATION if method == "GET" else SDK
        response = await client.request(method, path, headers={**headers, "Cookie": cookie})
        assert response.code < 500 or path == "/readyz", f"{method} {path}"
        granted = set_cookies(response).get("sAccessToken")
        assert granted is None or granted.value == "", f"{method} {path}"
    assert list(await app.accounts.list()) == []


SOME_BODIES = (
    "bytes that are no text",
    "NUL",
    "unfinished part",
    "part of bytes",
    "deep object",
    "no JSON",
    "XML",
)


@pytest.mark.gen_test
async def test_no_body_from_somebody_signed_in_fails_a_route_or_shows_how_it_is_made(
    client: Client, app: Application
) -> None:
    """As tests/handlers/test_hostile_input.py has it for strangers; sign-out must not end the walk early."""
    await client.sign_up()
    jar = dict(client.jar)
    for method, path in requests_of(app, UNSAFE):
        if path.startswith("/sample"):
            continue  # they repeat what they get
        for content_type, body in (BODIES[name] for name in SOME_BODIES):
            client.jar = dict(jar)
            headers = {**(SDK if path.startswith("/auth") else NAVIGATION), "Content-Type": content_type}
            response = await client.request(method, path, headers=headers, body=body)
            if not path.endswith(("/signout", "/session/refresh", "/user/email/verify/token")):
                check_is_plain(response)
            assert response.code < 500, f"{method} {path} {content_type}"


TARGETS = ["/%zz", "/%ff%fe%00", "/%2e%2e/%2e%2e?%ff=%ff", "/;a=%" + "%41" * 5000, "/?" + "a&" * 9000]


@pytest.mark.parametrize("target", TARGETS, ids=lambda text: text[:12])
@pytest.mark.gen_test
async def test_no_damaged_address_behind_any_route_fails(
    client: Client, app: Application, target: str
) -> None:
    await client.sign_up()
    for _, path in requests_of(app, ("GET",)):
        for address in (path.rstrip("/") + target, path + target[1:]):
            response = await client.request("GET", address, headers=NAVIGATION)
            assert response.code < 500, address[:100]
            assert b"Traceback" not in response.body, address[:100]
