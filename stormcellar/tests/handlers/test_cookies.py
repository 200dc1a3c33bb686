# SPDX-License-Identifier: MIT
"""The cookies, to the letter: their attributes, their values, and that clearing them finds them.

Source: RFC 6265bis; SuperTokens' frontend driver interface.
"""

from __future__ import annotations

import base64
import json
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.settings import Settings
from stormcellar.testing.client import Client, Cookie, is_known_client, json_of, parse_set_cookie, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings
from stormcellar.web.transfer import CookieJar

DAY_S = 86400
LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"
PUBLIC_URL = "https://www.example.com"
# Name, path and whether scripts are kept from it, of what a sign-in sets.
PLAIN = {
    "sAccessToken": ("/", True),
    "sRefreshToken": ("/auth/session/refresh", True),
    "sRefreshMarker": ("/", True),
    "sFrontToken": ("/", False),
    "st-last-access-token-update": ("/", False),
}
PREFIXED = {
    "__Host-sAccessToken": ("/", True),
    "__Secure-sRefreshToken": ("/auth/session/refresh", True),
    "__Host-sRefreshMarker": ("/", True),
    "sFrontToken": ("/", False),
    "st-last-access-token-update": ("/", False),
}
# Settings, the names that follow from them, and the end of each Set-Cookie line.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, bool]], str]] = {
    "plain HTTP": ({}, PLAIN, "; SameSite=Lax"),
    "https": ({"public_url": PUBLIC_URL}, PREFIXED, "; SameSite=Lax; Secure"),
    "prefix": ({"public_url": PUBLIC_URL, "cookie_prefix": True}, PREFIXED, "; SameSite=Lax; Secure"),
    "no prefix": ({"public_url": PUBLIC_URL, "cookie_prefix": False}, PLAIN, "; SameSite=Lax; Secure"),
    "domain": (
        {"public_url": PUBLIC_URL, "cookie_domain": "example.com"},
        PLAIN,
        "; SameSite=Lax; Secure; Domain=example.com",
    ),
    "strict": ({"cookie_same_site": "strict"}, PLAIN, "; SameSite=Strict"),
    "none": ({"public_url": PUBLIC_URL, "cookie_same_site": "none"}, PREFIXED, "; SameSite=None; Secure"),
    "other base": (
        {"api_base_path": "/api/session"},
        {**PLAIN, "sRefreshToken": ("/api/session/session/refresh", True)},
        "; SameSite=Lax",
    ),
    "no base": (
        {"api_base_path": "/"},
        {**PLAIN, "sRefreshToken": ("/session/refresh", True)},
        "; SameSite=Lax",
    ),
}
EACH_VARIANT = pytest.mark.parametrize(("settings", "names", "end"), [*VARIANTS.values()], ids=[*VARIANTS])


def lines(response: HTTPResponse) -> dict[str, str]:
    """The Set-Cookie lines by name, without the values; no name stands twice."""
    set_cookies(response)
    found = {}
    for line in response.headers.get_list("Set-Cookie"):
        pair, _, attributes = line.partition("; ")
        if not is_known_client(parse_set_cookie(line)):
            found[pair.partition("=")[0]] = attributes
    return found


def expected_lines(names: dict[str, tuple[str, bool]], end: str, expires: str) -> dict[str, str]:
    return {
        name: f"Expires={expires}; Path={path}{'; HttpOnly' if http_only else ''}{end}"
        for name, (path, http_only) in names.items()
    }


@EACH_VARIANT
@pytest.mark.gen_test
async def test_signing_in_sets_exactly_these_cookies(
    client: Client, settings: dict[str, Any], names: dict[str, tuple[str, bool]], end: str, clock: FakeClock
) -> None:
    """All live as long as the refresh token: an access token that expired must arrive, to be renewed."""
    client.origin = settings.get("public_url", client.origin)
    response = await client.sign_up()
    expires = formatdate(clock.now() + 30 * DAY_S, usegmt=True)
    assert lines(response) == expected_lines(names, end, expires)
    assert all(len(line) <= 4096 for line in response.headers.get_list("Set-Cookie"))


@EACH_VARIANT
@pytest.mark.gen_test
async def test_signing_out_clears_with_the_attributes_that_were_set(
    client: Client, settings: dict[str, Any], names: dict[str, tuple[str, bool]], end: str, clock: FakeClock
) -> None:
    """A browser keeps a cookie whose path or domain is another one. What scripts compare stays, changed."""
    client.origin = settings.get("public_url", client.origin)
    await client.sign_up()
    clock.advance(1)
    response = await client.post("/signout")
    assert response.code == 303
    expected = expected_lines(names, end, LONG_AGO)
    later = formatdate(clock.now() + 30 * DAY_S, usegmt=True)
    updated = {"st-last-access-token-update": names["st-last-access-token-update"]}
    assert lines(response) == {**expected, **expected_lines(updated, end, later)}
    cookies = set_cookies(response)
    assert {cookie.value for name, cookie in cookies.items() if name not in updated} == {""}
    assert set(client.cookies) == set(updated)


@EACH_VARIANT
@pytest.mark.gen_test
async def test_the_session_works_with_these_cookies(
    client: Client, settings: dict[str, Any], names: dict[str, tuple[str, bool]], end: str, clock: FakeClock
) -> None:
    client.origin = settings.get("public_url", client.origin)
    await client.sign_up()
    clock.advance(LIFETIME_S)
    base = settings.get("api_base_path", "/auth").rstrip("/")
    assert (await client.call(base + "/session/refresh")).code == 200
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_refresh_sets_the_same_cookies_with_a_new_life(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    before = client.cookies
    clock.advance(DAY_S)
    response = await client.refresh()
    expires = formatdate(clock.now() + 30 * DAY_S, usegmt=True)
    names = {name: how for name, how in PLAIN.items() if how[1]}  # its client writes the others by itself
    assert lines(response) == expected_lines(names, "; SameSite=Lax", expires)
    changed = {name for name, value in client.cookies.items() if value != before[name]}
    assert changed == {*PLAIN} - {"sRefreshMarker"}


@with_settings(refresh_token_lifetime_s=40 * DAY_S, session_lifetime_s=50 * DAY_S)
@pytest.mark.gen_test
async def test_no_cookie_outlives_its_session(client: Client, clock: FakeClock) -> None:
    begun = clock.now()
    await client.sign_up()
    clock.advance(30 * DAY_S)
    cookies = set_cookies(await client.refresh())
    assert {cookie.expires_at for cookie in cookies.values()} == {begun + 50 * DAY_S}


@pytest.mark.gen_test
async def test_pages_and_calls_that_change_nothing_set_no_cookie(client: Client) -> None:
    await client.sign_up()
    for path in ("/", "/dashboard", "/sample/note", "/sample/api", "/refresh-session", "/none"):
        response = await client.get(path)
        assert "Set-Cookie" not in response.headers, path
        assert "front-token" not in response.headers, path


# -- changes on the way -----------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_changed_claims_bring_a_new_access_token_and_no_refresh_token(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    before = client.cookies
    clock.advance(1)
    response = await client.post("/sample/pay")
    assert set(set_cookies(response)) == {"sAccessToken", "sFrontToken", "st-last-access-token-update"}
    assert response.headers["front-token"] == client.cookies["sFrontToken"]
    assert response.headers["Cache-Control"] == "private, no-store"
    up = client.front_token()["up"]
    assert up["paid"]["v"] is True
    assert (up["exp"], up["iat"]) == (int(clock.now()) - 1 + LIFETIME_S, int(clock.now()))
    assert all(client.cookies[name] != before[name] for name in ("sAccessToken", "sFrontToken"))
    assert (await client.get("/sample/paid")).code == 200


@pytest.mark.gen_test
async def test_changed_tokens_survive_an_error_page(client: Client) -> None:
    """The claims are in the store by then; a client without them would be led to a refresh for nothing."""
    await client.sign_up()
    response = await client.post("/sample/pay?then=fail")
    assert response.code == 500
    assert "sAccessToken" in set_cookies(response)
    assert response.headers["front-token"] == client.cookies["sFrontToken"]
    assert (await client.get("/sample/paid")).code == 200


@pytest.mark.gen_test
async def test_cleared_cookies_survive_an_error_page(client: Client) -> None:
    await client.sign_up()
    response = await client.post("/sample/leave?then=fail")
    assert response.code == 500
    assert response.headers["front-token"] == "remove"
    assert set(client.cookies) == {"st-last-access-token-update"}


@pytest.mark.gen_test
async def test_a_session_that_ends_and_begins_in_one_request_leaves_the_new_tokens(client: Client) -> None:
    await client.sign_up()
    old = client.session_handle
    response = await client.post("/sample/leave?then=again")
    assert set(set_cookies(response)) == {*PLAIN}
    assert response.headers["front-token"] == client.cookies["sFrontToken"]
    assert client.session_handle != old
    assert (await client.get("/dashboard")).code == 200


# -- values -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_front_token_is_what_clients_parse(client: Client, clock: FakeClock) -> None:
    """Standard base64 with padding; `ate` in milliseconds; `up` is the access token's whole payload."""
    await client.sign_up()
    response = await client.refresh()
    text = response.headers["front-token"]
    assert client.cookies["sFrontToken"] == text
    front = json.loads(base64.b64decode(text, validate=True))
    assert base64.b64encode(base64.b64decode(text)).decode() == text
    now = int(clock.now())
    assert list(front) == ["uid", "ate", "up"]
    assert front["ate"] == (now + LIFETIME_S) * 1000
    payload_part = client.cookies["sAccessToken"].split(".")[1]
    payload_text = base64.urlsafe_b64decode(payload_part + "=" * (-len(payload_part) % 4)).decode()
    assert json.dumps(front["up"], separators=(",", ":")) == payload_text, "the members in one order"
    up = front["up"]
    assert front["uid"] == up["sub"] == up["rsub"]
    assert (up["iat"], up["exp"], up["tId"]) == (now, now + LIFETIME_S, "public")
    assert "email" not in text
    assert "ann@example.com" not in json.dumps(front)


@with_settings(engine={"claims": ()})
@pytest.mark.gen_test
async def test_payloads_in_any_script_reach_the_client(client: Client, app: Application) -> None:
    await client.sign_up()
    name = "Zoë 漢字 ~ÿ?>"
    await app.sessions.merge_into_access_token_payload(client.session_handle, {"name": name}, owner=None)
    await client.refresh()
    assert client.front_token()["up"]["name"] == name
    assert (await client.get("/dashboard")).code == 200


def test_values_that_scripts_do_not_read_are_percent_encoded() -> None:
    """Other cookie parsers wrap what is not in quotes, and keep those."""
    jar = CookieJar(Settings(), FakeClock())
    assert jar.line("sRefreshToken", 'a/b+c=d;e "f', 0).startswith("sRefreshToken=a%2Fb%2Bc%3Dd%3Be%20%22f; ")
    assert jar.line("sFrontToken", "a/b+c==", 0).startswith("sFrontToken=a/b+c==; ")


@pytest.mark.gen_test
async def test_percent_encoded_tokens_are_read_as_what_they_stand_for(client: Client) -> None:
    await client.sign_up()
    for name, path in (("sAccessToken", "/"), ("sRefreshToken", "/auth/session/refresh")):
        encoded = "".join(f"%{byte:02X}" for byte in client.cookies[name].encode())
        assert unquote(encoded) == client.cookies[name]
        client.jar[name, path, ""] = Cookie(name, encoded, path, "", None, True, False, "Lax")
    assert (await client.get("/dashboard")).code == 200
    assert (await client.refresh()).code == 200


# -- two of one name --------------------------------------------------------------------------------


async def left_behind(app: Application, name: str) -> str:
    """A genuine token of another session, as an older setting may have left it in a browser."""
    await app.start()
    tokens = (await app.sessions.create_new_session("ann")).new_tokens
    assert tokens
    return str(tokens.access_token if name.endswith("sAccessToken") else tokens.refresh_token)


@pytest.mark.gen_test
async def test_two_access_tokens_of_ours_lead_to_a_refresh(client: Client, app: Application) -> None:
    """An older cookie domain, or another path: the server cannot tell which of them is meant."""
    await client.sign_up()
    other = (await app.sessions.create_new_session("ann")).new_tokens
    assert other
    client.plant("sAccessToken", other.access_token, path="/sample")
    response = await client.call("/sample/api", method="GET")
    assert (response.code, json_of(response)) == (401, {"message": "try refresh token"})
    assert (await client.get("/sample/note")).headers["Location"].startswith("/refresh-session?")


@pytest.mark.gen_test
async def test_two_access_tokens_do_not_keep_anybody_from_signing_out(client: Client) -> None:
    await client.sign_up()
    client.plant("sAccessToken", "x", path="/signout")
    response = await client.post("/signout")
    assert (response.code, response.headers["Location"]) == (303, "/")
    assert "sRefreshToken" not in client.cookies


@with_settings(public_url=PUBLIC_URL, cookie_domain="example.com")
@pytest.mark.parametrize("name", ["sAccessToken", "sRefreshToken"])
@pytest.mark.gen_test
async def test_a_refresh_clears_what_an_older_cookie_domain_left_behind(
    client: Client, app: Application, name: str
) -> None:
    """202 without new tokens: clients then ask again at once, with one cookie of each name."""
    client.origin = PUBLIC_URL
    await client.sign_up()
    value = client.cookies[name]
    path = "/" if name == "sAccessToken" else "/auth/session/refresh"
    left = await left_behind(app, name)
    client.jar[name, path, ""] = Cookie(name, left, path, "", None, True, True, "Lax")
    response = await client.refresh()
    assert response.code == 202
    assert "front-token" not in response.headers
    cleared = [line for line in response.headers.get_list("Set-Cookie") if line.startswith(name)]
    assert not [line for line in cleared if "Domain=example.com" in line], "those are the ones in use"
    assert client.cookies[name] == value
    assert (await client.refresh()).code == 200


@with_settings(public_url=PUBLIC_URL, cookie_prefix=False, older_cookie_domain="old.example.com")
@pytest.mark.gen_test
async def test_a_set_older_domain_is_the_only_one_that_is_cleared(client: Client, app: Application) -> None:
    client.origin = PUBLIC_URL
    await client.sign_up()
    client.plant("sAccessToken", await left_behind(app, "sAccessToken"), domain="old.example.com")
    response = await client.refresh()
    assert response.code == 202
    assert response.headers.get_list("Set-Cookie")[:-1] == [
        f"sAccessToken=; Expires={LONG_AGO}; Path=/; HttpOnly; SameSite=Lax; Secure; Domain=old.example.com"
    ]
    assert (await client.refresh()).code == 200


@with_settings(public_url=PUBLIC_URL, cookie_domain="example.com")
@pytest.mark.gen_test
async def test_the_detour_clears_an_older_domain_and_goes_on(
    client: Client, app: Application, clock: FakeClock
) -> None:
    client.origin = PUBLIC_URL
    await client.sign_up()
    clock.advance(LIFETIME_S)
    left = await left_behind(app, "sAccessToken")
    client.jar["sAccessToken", "/", ""] = Cookie("sAccessToken", left, "/", "", None, True, True, "Lax")
    detour = "/auth/session/refresh/return?redirectBack=/sample/note"
    response = await client.post("/sample/note", {"text": "mine"}, follow=True)
    assert client.visited == [
        "POST /sample/note 307",
        f"POST {detour} 307",
        f"POST {detour} 307",
        "POST /sample/note 200",
    ]
    assert json_of(response)["fields"] == {"text": ["mine"]}


@pytest.mark.gen_test
async def test_a_cookie_of_an_old_backend_leads_to_a_refresh_that_clears_it(client: Client) -> None:
    """sIdRefreshToken comes from SuperTokens backends older than header mode."""
    await client.sign_up()
    for path in ("/sample/api", "/sample/optional"):
        client.plant("sIdRefreshToken", "x")
        client.replace_cookie("sAccessToken", "the token of an old backend")
        refused = await client.call(path, method="GET")
        assert (refused.code, json_of(refused)) == (401, {"message": "try refresh token"})
        response = await client.refresh()
        assert response.code == 200
        assert set_cookies(response)["sIdRefreshToken"].expires_at == 0
        assert (await client.call(path, method="GET")).code == 200
