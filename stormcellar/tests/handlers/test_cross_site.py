# SPDX-License-Identifier: MIT
"""What other sites' pages send has no effect, and other hosts' names are not answered.

Source: OWASP ASVS 5.0, 3.5; Fetch Metadata (W3C); RFC 6454.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tornado.web import StaticFileHandler

from stormcellar import get_all_cors_headers
from stormcellar.application import Application
from stormcellar.testing.client import BOUNDARY, PASSWORD, SDK, Client, json_of, multipart, set_cookies
from stormcellar.tests.handlers.parts import implements, own_routes, with_settings
from stormcellar.tests.handlers.samples import SAMPLES
from stormcellar.web.arrival import ArrivalHandler
from stormcellar.web.handler import BaseHandler

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
PUBLIC_URL = "https://www.example.com"
FIELDS = {"email": "mallory@example.com", "password": PASSWORD, "session_handle": "x"}
FORM = ("application/x-www-form-urlencoded", urlencode(FIELDS).encode())
MULTIPART = (f"multipart/form-data; boundary={BOUNDARY}", multipart(FIELDS, {}))
JSON = ("application/json", b'{"formFields": [{"id": "email", "value": "mallory@example.com"}]}')
TEXT = ("text/plain", JSON[1])
EVIL = "https://evil.example"
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}

# Headers and body of what a hostile page, or a page of a neighbour, makes a browser send. OWN stands for
# the origin of the site under attack.
HOSTILE: dict[str, tuple[dict[str, str], tuple[str, bytes]]] = {
    "form": ({"Sec-Fetch-Site": "cross-site", "Origin": EVIL, **NAVIGATE}, FORM),
    "multipart form": ({"Sec-Fetch-Site": "cross-site", "Origin": EVIL, **NAVIGATE}, MULTIPART),
    "form that is really JSON": ({"Sec-Fetch-Site": "cross-site", "Origin": EVIL, **NAVIGATE}, TEXT),
    "form in a sandbox": ({"Sec-Fetch-Site": "cross-site", "Origin": "null", **NAVIGATE}, FORM),
    "form without referrer": ({"Sec-Fetch-Site": "cross-site", **NAVIGATE}, FORM),
    "old browser": ({"Origin": EVIL, "Accept": "text/html"}, FORM),
    "old browser, sandbox": ({"Origin": "null", "Accept": "text/html"}, FORM),
    "older browser": ({"Referer": EVIL + "/", "Accept": "text/html"}, FORM),
    "older browser, JSON as text": ({"Accept": "*/*"}, TEXT),
    "neighbour": ({"Sec-Fetch-Site": "same-site", "Origin": "http://neighbour.localhost"}, FORM),
    "neighbour without origin": ({"Sec-Fetch-Site": "same-site"}, FORM),
    "other port": ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"}, FORM),
    "other port, old browser": ({"Origin": "http://localhost:1"}, FORM),
    "other scheme": ({"Origin": "https://OWN"}, FORM),
    "own name as a prefix": ({"Origin": "http://OWN.evil.example"}, FORM),
    "own name as a user": ({"Origin": "http://OWN@evil.example"}, FORM),
    "own name as a path": ({"Origin": "https://evil.example/http://OWN"}, FORM),
    "own origin and another": ({"Origin": "http://OWN, https://evil.example"}, FORM),
    "own origin with a slash": ({"Origin": "http://OWN/"}, FORM),
    "own referrer only": ({"Origin": EVIL, "Referer": "http://OWN/"}, FORM),
    "misspelt same-origin": ({"Sec-Fetch-Site": "Same-Origin", "Origin": EVIL}, FORM),
    "two answers": ({"Sec-Fetch-Site": "same-origin, cross-site", "Origin": EVIL}, FORM),
    "fetch with the SDK's headers": ({**SDK, "Sec-Fetch-Site": "cross-site", "Origin": EVIL}, JSON),
    "the SDK's headers and a form": ({"rid": "session", "st-auth-mode": "cookie"}, FORM),
    "the SDK's headers and text": ({"rid": "session", "fdi-version": "3.1"}, TEXT),
    "a type that only looks like JSON": ({"rid": "session"}, ("text/plain; application/json", JSON[1])),
    "no type at all": ({"rid": "session"}, ("", JSON[1])),
    "beacon": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Origin": EVIL}, TEXT),
    "empty": ({"Sec-Fetch-Site": "cross-site", "Origin": EVIL}, ("", b"")),
    "empty, no headers": ({}, ("", b"")),
    "method in a header": ({"Origin": EVIL, "X-HTTP-Method-Override": "POST"}, FORM),
    "basic authorization": ({"Authorization": "Basic YTpi"}, FORM),
}


async def attack(client: Client, method: str, path: str, shapes: Iterable[str] = HOSTILE) -> None:
    """Send hostile shapes; each must be refused and take nothing."""
    own = urlsplit(client.origin).netloc
    for name in shapes:
        headers, (content_type, body) = HOSTILE[name]
        sent = {key: value.replace("OWN", own) for key, value in headers.items()}
        sent.setdefault("Content-Type", content_type)
        sent.setdefault("Origin", "")  # empty headers are not sent, and this keeps the client's own away
        response = await client.request(method, path, headers=sent, body=body)
        assert response.code == 403, f"{method} {path}, {name}: {response.code}"
        assert set_cookies(response) == {}, f"{method} {path}, {name}"
        assert "front-token" not in response.headers, f"{method} {path}, {name}"
        assert "Clear-Site-Data" not in response.headers, f"{method} {path}, {name}"
        assert "Access-Control-Allow-Origin" not in response.headers, f"{method} {path}, {name}"


async def assert_nothing_happened(client: Client, app: Application) -> None:
    """One person signed up, in one session, which goes on."""
    assert (await client.get("/dashboard")).code == 200
    assert [user.email for user in await app.accounts.list()] == ["ann@example.com"]
    assert await app.sessions.get_all_session_handles_for_user(client.user_id) == [client.session_handle]


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/signup",
        "/signout",
        "/auth/signin",
        "/auth/signout",
        "/auth/session/refresh",
        "/sample/note",
    ],
)
@pytest.mark.gen_test
async def test_no_hostile_shape_has_an_effect(client: Client, app: Application, path: str) -> None:
    await client.sign_up()
    before = client.cookies
    await attack(client, "POST", path)
    assert client.cookies == before
    await assert_nothing_happened(client, app)


@pytest.mark.gen_test
async def test_no_route_obeys_another_site(client: Client, app: Application) -> None:
    """Where the check is the one that all share, a few shapes tell that it is there."""
    await client.sign_up()
    before = client.cookies
    few = ("form", "old browser, sandbox", "older browser", "fetch with the SDK's headers")
    for path, handler in own_routes(app):
        unsafe = [method for method in UNSAFE if implements(handler, method)]
        if issubclass(handler, StaticFileHandler):
            assert unsafe == []
            continue
        if handler is ArrivalHandler:
            continue  # it takes requests with a signature only, wherever they come from: test_arrival.py
        shares = getattr(handler, "check_cross_site", None) is BaseHandler.check_cross_site
        for method in unsafe or ["POST"]:
            await attack(client, method, path, few if shares else HOSTILE)
    assert client.cookies == before
    await assert_nothing_happened(client, app)


def test_the_samples_have_no_check_of_their_own() -> None:
    """So what holds for them holds for every handler that inherits."""
    for _, handler in SAMPLES:
        assert handler.check_cross_site is BaseHandler.check_cross_site


@pytest.mark.gen_test
async def test_safe_methods_change_nothing(client: Client, app: Application) -> None:
    """Whatever a header or the query says.

    Two set cookies all the same: one renews the access token, because clients rely on it (FDI), and the
    way round for forms counts how often it was gone.
    """
    await client.sign_up()
    query = urlencode({**FIELDS, "_method": "POST"})
    override = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "DELETE"}
    for path, _ in own_routes(app):
        may_set = path.endswith(("/user/email/verify", "/session/refresh/return"))
        for method in ("GET", "HEAD", "OPTIONS"):
            response = await client.request(method, f"{path}?{query}", headers={**NAVIGATE, **override})
            assert response.code < 500, path
            assert may_set or set_cookies(response) == {}, path
    await assert_nothing_happened(client, app)


# -- who is let in ----------------------------------------------------------------------------------

FRIENDLY: dict[str, tuple[dict[str, str], tuple[str, bytes]]] = {
    "form": ({"Sec-Fetch-Site": "same-origin", "Origin": "http://OWN"}, FORM),
    "form without origin": ({"Sec-Fetch-Site": "same-origin"}, FORM),
    "form under no-referrer": ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, FORM),
    "the visitor himself": ({"Sec-Fetch-Site": "none"}, FORM),
    "old browser": ({"Origin": "http://OWN"}, FORM),
    "app without browser": ({"rid": "session"}, ("application/json", b"{}")),
    "app, type with charset": ({"st-auth-mode": "cookie"}, ("Application/JSON; charset=utf-8", b"{}")),
    "program that sends JSON": ({"Accept": "application/json"}, ("application/json", b"{}")),
    "app without body": ({"fdi-version": "3.1"}, ("", b"")),
}


@pytest.mark.parametrize(("headers", "content"), FRIENDLY.values(), ids=FRIENDLY)
@pytest.mark.gen_test
async def test_our_own_pages_and_apps_are_obeyed(
    client: Client, headers: dict[str, str], content: tuple[str, bytes]
) -> None:
    await client.sign_up()
    own = urlsplit(client.origin).netloc
    sent = {key: value.replace("OWN", own) for key, value in headers.items()}
    sent = {"Origin": "", "Content-Type": content[0], **sent}
    response = await client.request("POST", "/sample/note", headers=sent, body=content[1])
    assert response.code == 200


@pytest.mark.gen_test
async def test_a_token_in_a_header_needs_no_other_proof(client: Client) -> None:
    """No browser sends it by itself."""
    await client.sign_up()
    headers = {"Authorization": f"Bearer {client.cookies['sAccessToken']}"}
    assert (await client.request("POST", "/sample/api", headers=headers, body=b"a=b")).code == 200


@with_settings(trusted_origins=("https://app.example.com",))
@pytest.mark.gen_test
async def test_trusted_sites_are_obeyed_and_may_read(client: Client) -> None:
    await client.sign_up()
    trusted = {**SDK, "Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}
    response = await client.request("POST", "/sample/api", headers=trusted)
    assert response.code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response.headers["Vary"]
    for origin in (
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://APP.example.com",
    ):
        refused = await client.request("POST", "/sample/api", headers={**trusted, "Origin": origin})
        assert refused.code == 403
        assert "Access-Control-Allow-Origin" not in refused.headers


@with_settings(trusted_origins=("https://app.example.com",))
@pytest.mark.gen_test
async def test_trusted_sites_can_read_errors_too(client: Client) -> None:
    """Else their scripts see a network error instead of a status."""
    trusted = {**SDK, "Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}
    for method, path, status in (
        ("GET", "/sample/api", 401),
        ("POST", "/auth/session/refresh", 401),
        ("GET", "/sample/fail?how=raise", 500),
        ("GET", "/none", 404),
        ("PUT", "/auth/signin", 405),
    ):
        response = await client.request(method, path, headers=trusted)
        assert response.code == status
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


@with_settings(trusted_origins=("https://app.example.com",))
@pytest.mark.parametrize("path", ["/auth/signin", "/auth/session/refresh", "/sample/api", "/dashboard"])
@pytest.mark.gen_test
async def test_preflights_need_no_session_and_answer_trusted_sites_only(client: Client, path: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "rid, x-extra, <b>"}
    response = await client.request("OPTIONS", path, headers={**asked, "Origin": "https://app.example.com"})
    assert (response.code, response.body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert response.headers["Access-Control-Allow-Methods"] == response.headers["Allow"]
    allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
    expected = {"content-type", "rid", "fdi-version", "anti-csrf", "authorization", "st-auth-mode", "x-extra"}
    assert set(allowed) == expected
    foreign = await client.request("OPTIONS", path, headers={**asked, "Origin": EVIL})
    assert not any(name.startswith("Access-Control-") for name in foreign.headers)


@pytest.mark.gen_test
async def test_no_route_lets_a_foreign_site_read(client: Client, app: Application) -> None:
    """Public keys are for everybody, and where they are; nothing else is, and nobody else is ever named."""
    await client.sign_up()
    for path, _ in own_routes(app):
        is_about_keys = path.endswith(("/jwt/jwks.json", "/.well-known/openid-configuration"))
        for method in ("GET", "POST", "OPTIONS"):
            response = await client.request(method, path, headers={"Origin": EVIL, "Accept": "*/*"})
            allowed = response.headers.get("Access-Control-Allow-Origin")
            assert allowed is None or (allowed == "*" and is_about_keys), path
            assert "Access-Control-Allow-Credentials" not in response.headers, path


# -- the public URL and the host --------------------------------------------------------------------


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.parametrize("host", ["www.example.com", "WWW.EXAMPLE.COM", "localhost:8888", "127.0.0.1:8888"])
@pytest.mark.gen_test
async def test_behind_a_proxy_the_public_url_is_the_origin_whatever_host_the_proxy_names(
    client: Client, host: str
) -> None:
    client.origin = PUBLIC_URL
    fields = {"email": "ann@example.com", "password": PASSWORD}
    old_browser = {"Host": host, "Sec-Fetch-Site": "", "Origin": PUBLIC_URL}
    response = await client.post("/signup", fields, headers=old_browser)
    check = "/signup?redirectBack=/dashboard&checkCookies=1"
    assert (response.code, response.headers["Location"]) == (303, check)
    assert all(cookie.secure for cookie in set_cookies(response).values())
    assert (await client.get("/dashboard", headers={"Host": host})).code == 200
    for origin in (f"http://{host}", f"https://{host}:444", "http://www.example.com", "https://example.com"):
        refused = await client.post("/signout", headers={**old_browser, "Origin": origin})
        assert refused.code == 403


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.gen_test
async def test_the_walk_behind_a_proxy_on_another_public_url(client: Client, clock: Any) -> None:
    client.origin = PUBLIC_URL
    await client.sign_up()
    clock.advance(3600)
    response = await client.post("/sample/note", {"text": "mine"}, follow=True)
    assert json_of(response)["fields"] == {"text": ["mine"]}
    assert client.front_token()["up"]["iss"] == "https://www.example.com/auth"
    clock.advance(3600)
    assert (await client.refresh()).code == 200
    assert (await client.post("/signout")).headers["Location"] == "/"


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.gen_test
async def test_forwarded_headers_name_nothing(client: Client) -> None:
    client.origin = PUBLIC_URL
    forwarded = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Forwarded": "host=evil.example",
        "X-Original-URL": "/evil.example",
    }
    for path in ("/", "/dashboard", "/login", "/none", "/refresh-session"):
        response = await client.get(path, headers=forwarded)
        assert b"evil" not in response.body
        assert "evil" not in response.headers.get("Location", "")


NAMES = {
    "localhost": True,
    "LOCALHOST:9999": True,
    "127.0.0.1": True,
    "127.1.2.3:80": True,
    "[::1]": True,
    "[::1]:8888": True,
    "clone.localhost": True,
    "evil.example": False,
    "evil.example:8888": False,
    "localhost.evil.example": False,
    "127.evil.example": False,
    "127.0.0.1.evil.example": False,
    "evil.example#localhost": False,
    "localhost@evil.example": False,
    "[::2]": False,
    "0.0.0.0": False,
    "192.168.0.1": False,
    "www.example.com": False,
}


@pytest.mark.parametrize(("host", "is_ours"), NAMES.items())
@pytest.mark.gen_test
async def test_only_our_own_names_are_answered(client: Client, host: str, is_ours: bool) -> None:
    """A foreign name that leads to this machine (DNS rebinding) gets nothing."""
    response = await client.get("/login", headers={"Host": host})
    assert response.code == (200 if is_ours else 400)
    assert (b'name="password"' in response.body) is is_ours


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.gen_test
async def test_the_public_name_is_answered_and_its_neighbours_are_not(client: Client) -> None:
    for host, status in (
        ("www.example.com", 200),
        ("example.com", 400),
        ("www.example.com.evil.example", 400),
        ("www.example.com:444", 400),
        ("evil-www.example.com", 400),
    ):
        assert (await client.get("/login", headers={"Host": host})).code == status


def test_the_headers_for_a_cors_answer_are_those_of_the_published_clients() -> None:
    assert {"content-type", "rid", "fdi-version", "st-auth-mode", "anti-csrf", "authorization"} <= {
        *get_all_cors_headers()
    }
