# SPDX-License-Identifier: MIT
"""In cookies or in headers: which way is taken, and which token counts if several came.

The tables are those of SuperTokens' backend SDKs (getTokenTransferMethod; create, verify and refresh).
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.sessions import Tokens
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings

CREDENTIALS = {
    "formFields": [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
}
METHODS = ["any", "cookie", "header"]


def method_of(response: HTTPResponse) -> str:
    """How an answer carries its tokens."""
    in_cookies = "sAccessToken" in set_cookies(response) and set_cookies(response)["sAccessToken"].value != ""
    in_headers = bool(response.headers.get("st-access-token"))
    return {(True, False): "cookie", (False, True): "header", (False, False): "none"}[in_cookies, in_headers]


def exposed(response: HTTPResponse) -> set[str]:
    return set(response.headers["Access-Control-Expose-Headers"].split(", "))


async def new_tokens(app: Application, user_id: str) -> Tokens:
    await app.start()
    tokens = (await app.sessions.create_new_session(user_id)).new_tokens
    assert tokens is not None
    return tokens


async def tokens_of_two(app: Application) -> tuple[Tokens, Tokens]:
    """One session for the header, one for the cookie."""
    return await new_tokens(app, "from header"), await new_tokens(app, "from cookie")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# -- create -----------------------------------------------------------------------------------------

# Setting, st-auth-mode, how the session travels.
CREATE = [
    ("any", "cookie", "cookie"),
    ("any", "Cookie", "cookie"),
    ("any", "header", "header"),
    ("any", "", "header"),
    ("any", "garbage", "header"),
    *(("cookie", asked, "cookie") for asked in ("cookie", "header", "", "garbage")),
    *(("header", asked, "header") for asked in ("cookie", "header", "", "garbage")),
]


@pytest.mark.parametrize(
    ("settings", "asked", "expected"),
    [({"token_transfer_method": setting}, asked, expected) for setting, asked, expected in CREATE],
    ids=[f"{setting}-{asked or 'unasked'}" for setting, asked, _ in CREATE],
)
@pytest.mark.gen_test
async def test_a_new_session_travels_as_setting_and_client_say(
    client: Client, asked: str, expected: str
) -> None:
    for path in ("/auth/signup", "/auth/signin"):
        client.jar.clear()
        response = await client.call(path, CREDENTIALS, auth_mode=asked)
        assert json_of(response)["status"] == "OK"
        assert method_of(response) == expected


@pytest.mark.parametrize("settings", [{"token_transfer_method": method} for method in METHODS], ids=METHODS)
@pytest.mark.gen_test
async def test_forms_always_use_cookies(client: Client, clock: FakeClock) -> None:
    """A browser without script would throw headers away."""
    assert method_of(await client.sign_up()) == "cookie"
    assert (await client.get("/dashboard")).code == 200
    clock.advance(LIFETIME_S)
    response = await client.get("/auth/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert response.code == 200
    assert client.user_id.encode() in response.body


@pytest.mark.parametrize("settings", [{"token_transfer_method": method} for method in METHODS], ids=METHODS)
@pytest.mark.gen_test
async def test_the_script_of_the_pages_renews_their_cookies(client: Client, clock: FakeClock) -> None:
    """It sends no st-auth-mode, so the server keeps what scripts read. Refused where all other tokens
    travel in headers, it would sign people out at each renewal in the background."""
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert (await client.get("/dashboard")).headers["Location"].startswith("/refresh-session?")
    response = await client.call("/auth/session/refresh", auth_mode="")
    assert (response.code, method_of(response)) == (200, "cookie")
    assert response.headers["front-token"] == client.cookies["sFrontToken"]
    assert (await client.get("/dashboard")).code == 200


@with_settings(
    token_transfer_method="header", public_url="https://www.example.com", cookie_domain="example.com"
)
@pytest.mark.parametrize("by_script", [True, False])
@pytest.mark.gen_test
async def test_cookies_that_pages_hold_twice_are_cleared_whatever_the_setting(
    client: Client, app: Application, by_script: bool
) -> None:
    client.origin = "https://www.example.com"
    await client.sign_up()
    client.plant("sAccessToken", (await new_tokens(app, "ann")).access_token)
    assert (await client.get("/dashboard")).code == 302
    if by_script:
        assert (await client.call("/auth/session/refresh", auth_mode="")).code == 202
        assert (await client.call("/auth/session/refresh", auth_mode="")).code == 200
        response = await client.get("/dashboard")
    else:
        response = await client.get("/auth/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert (response.code, client.address) == (200, "/dashboard")


@pytest.mark.gen_test
async def test_a_session_in_headers_is_all_in_headers(client: Client, clock: FakeClock) -> None:
    created = await client.call("/auth/signup", CREDENTIALS, auth_mode="header")
    assert set_cookies(created) == {}
    assert exposed(created) == {"front-token", "st-access-token", "st-refresh-token"}
    front = json.loads(base64.b64decode(created.headers["front-token"]))
    access = bearer(created.headers["st-access-token"])
    assert json_of(await client.call("/sample/api", headers=access)) == {"user_id": front["uid"]}

    clock.advance(LIFETIME_S)
    late = await client.call("/sample/api", headers=access)
    assert (late.code, json_of(late)) == (401, {"message": "try refresh token"})
    refresh = bearer(created.headers["st-refresh-token"])
    refreshed = await client.call("/auth/session/refresh", auth_mode="header", headers=refresh)
    assert (refreshed.code, json_of(refreshed), set_cookies(refreshed)) == (200, {}, {})
    assert exposed(refreshed) == {"front-token", "st-access-token", "st-refresh-token"}
    assert refreshed.headers["st-refresh-token"] != created.headers["st-refresh-token"]

    access = bearer(refreshed.headers["st-access-token"])
    paid = await client.call("/sample/pay", headers=access)
    assert (paid.code, set_cookies(paid)) == (200, {})
    assert exposed(paid) == {"front-token", "st-access-token"}
    assert "st-refresh-token" not in paid.headers

    left = await client.call("/auth/signout", headers=bearer(paid.headers["st-access-token"]))
    assert json_of(left) == {"status": "OK"}
    assert left.headers.get_list("st-access-token") == left.headers.get_list("st-refresh-token") == [""]
    assert (left.headers["front-token"], set_cookies(left)) == ("remove", {})
    assert exposed(left) == {"front-token", "st-access-token", "st-refresh-token"}
    assert (await client.call("/sample/api", headers=access)).code == 401


@pytest.mark.gen_test
async def test_a_new_session_in_cookies_clears_the_tokens_in_headers(client: Client) -> None:
    """Whatever stood in the header; clearing comes first, so the new front token is the one that remains."""
    response = await client.call("/auth/signup", CREDENTIALS, headers=bearer("any text"))
    assert method_of(response) == "cookie"
    assert (
        response.headers.get_list("st-access-token") == response.headers.get_list("st-refresh-token") == [""]
    )
    assert response.headers.get_list("front-token") == [client.cookies["sFrontToken"]]
    assert exposed(response) == {"front-token", "st-access-token", "st-refresh-token"}


@pytest.mark.gen_test
async def test_a_new_session_in_headers_clears_the_tokens_in_cookies(client: Client) -> None:
    await client.sign_up()
    before = client.session_handle
    response = await client.call("/auth/signin", CREDENTIALS, auth_mode="header")
    assert method_of(response) == "header"
    assert {name for name, cookie in set_cookies(response).items() if cookie.expires_at == 0} == {
        "sAccessToken",
        "sRefreshToken",
        "sRefreshMarker",
    }
    (front,) = response.headers.get_list("front-token")
    assert json.loads(base64.b64decode(front))["up"]["sessionHandle"] != before


# -- verify -----------------------------------------------------------------------------------------

# Setting, is a token in the header, is one in the cookie, whose session it is with a required session.
VERIFY = [
    *((setting, False, False, None) for setting in METHODS),
    *((setting, True, cookie, "from header") for setting in ("any", "header") for cookie in (True, False)),
    ("any", False, True, "from cookie"),
    *(("cookie", header, True, "from cookie") for header in (True, False)),
    ("header", False, True, None),
    ("cookie", True, False, None),
]


@pytest.mark.parametrize(
    ("settings", "header", "cookie", "expected"),
    [({"token_transfer_method": setting}, *rest) for setting, *rest in VERIFY],
    ids=[f"{s}-{'header' * h}-{'cookie' * c}" for s, h, c, _ in VERIFY],
)
@pytest.mark.gen_test
async def test_which_access_token_counts(
    client: Client, app: Application, header: bool, cookie: bool, expected: str | None
) -> None:
    from_header, from_cookie = await tokens_of_two(app)
    if cookie:
        client.plant("sAccessToken", from_cookie.access_token)
    headers = bearer(from_header.access_token) if header else {}
    optional = await client.call("/sample/optional", method="GET", headers=headers)
    assert json_of(optional) == {"user_id": expected}
    required = await client.call("/sample/api", method="GET", headers=headers)
    if expected:
        assert json_of(required) == {"user_id": expected}
    else:
        assert (required.code, json_of(required)) == (401, {"message": "unauthorised"})
        assert "front-token" not in required.headers
        assert set_cookies(required) == {}


FOREIGN = [
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    "opaque",
    "a.b.c",
    "",
]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.gen_test
async def test_another_services_token_in_the_header_is_as_if_absent(
    client: Client, app: Application, foreign: str
) -> None:
    headers = bearer(foreign)
    assert json_of(await client.call("/sample/optional", method="GET", headers=headers)) == {"user_id": None}
    client.plant("sAccessToken", (await new_tokens(app, "ann")).access_token)
    assert json_of(await client.call("/sample/api", method="GET", headers=headers)) == {"user_id": "ann"}


@pytest.mark.parametrize("prefix", ["bearer ", "BEARER ", "Bearer", "Token ", "Basic ", ""])
@pytest.mark.gen_test
async def test_only_the_word_bearer_announces_a_token(client: Client, app: Application, prefix: str) -> None:
    token = (await new_tokens(app, "ann")).access_token
    headers = {"Authorization": prefix + token}
    response = await client.call("/sample/api", method="GET", headers=headers)
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})


# -- refresh ----------------------------------------------------------------------------------------

# Setting, token in the header, token in the cookie, whose token is exchanged, and how the answer carries it.
REFRESH: list[tuple[str, bool, bool, str | None]] = [
    *((setting, False, False, None) for setting in METHODS),
    *((setting, False, True, "from cookie") for setting in ("any", "cookie")),
    ("header", False, True, None),
    *((setting, True, False, "from header") for setting in ("any", "header")),
    ("cookie", True, False, None),
    *((setting, True, True, "from header") for setting in ("any", "header")),
    ("cookie", True, True, "from cookie"),
]


@pytest.mark.parametrize(
    ("settings", "header", "cookie", "expected"),
    [({"token_transfer_method": setting}, *rest) for setting, *rest in REFRESH],
    ids=[f"{s}-{'header' * h}-{'cookie' * c}" for s, h, c, _ in REFRESH],
)
@pytest.mark.gen_test
async def test_which_refresh_token_is_exchanged(
    client: Client, app: Application, header: bool, cookie: bool, expected: str | None
) -> None:
    """What the client prefers plays no part: a session goes on as it began."""
    only_pages_have_it = cookie and expected is None  # and their script sends no st-auth-mode
    for auth_mode in ("cookie", "header") if only_pages_have_it else ("cookie", "header", ""):
        client.jar.clear()
        await refresh_and_check(client, app, header, cookie, expected, auth_mode)


async def refresh_and_check(
    client: Client, app: Application, header: bool, cookie: bool, expected: str | None, auth_mode: str
) -> None:
    from_header, from_cookie = await tokens_of_two(app)
    assert from_header.refresh_token
    assert from_cookie.refresh_token
    if cookie:
        client.plant("sAccessToken", from_cookie.access_token)
        client.plant("sRefreshToken", from_cookie.refresh_token, path="/auth/session/refresh")
    headers = bearer(from_header.refresh_token) if header else {}
    response = await client.call("/auth/session/refresh", auth_mode=auth_mode, headers=headers)
    if not header and not cookie:
        assert (response.code, response.headers.get_list("front-token")) == (401, ["remove"])
        assert not {"sAccessToken", "sRefreshToken"} & set_cookies(response).keys()
        return
    if expected is None:
        assert_all_cleared(response)
        return
    assert (response.code, json_of(response)) == (200, {})
    (front,) = response.headers.get_list("front-token")
    assert json.loads(base64.b64decode(front))["uid"] == expected
    assert method_of(response) == expected.removeprefix("from ")
    if header and cookie and expected == "from header":
        assert set_cookies(response)["sAccessToken"].expires_at == 0
        assert set_cookies(response)["sRefreshToken"].expires_at == 0
    if header and cookie and expected == "from cookie":
        assert response.headers.get_list("st-access-token") == [""]
        assert response.headers.get_list("st-refresh-token") == [""]


def assert_all_cleared(response: HTTPResponse, message: str = "unauthorised") -> None:
    """401 that tells a client of either kind to drop everything."""
    assert (response.code, json_of(response)) == (401, {"message": message})
    assert response.headers.get_list("front-token") == ["remove"]
    assert (
        response.headers.get_list("st-access-token") == response.headers.get_list("st-refresh-token") == [""]
    )
    gone = {name for name, cookie in set_cookies(response).items() if cookie.expires_at == 0}
    assert gone - {"sFrontToken"} == {"sAccessToken", "sRefreshToken", "sRefreshMarker"}
    assert exposed(response) == {"front-token", "st-access-token", "st-refresh-token"}


# -- headers ----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_cookie_sessions_expose_the_front_token_only(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.refresh()
    assert exposed(response) == {"front-token"}
    assert "st-access-token" not in response.headers
    assert "st-refresh-token" not in response.headers
    assert "anti-csrf" not in response.headers


@with_settings(expose_access_token=True)
@pytest.mark.gen_test
async def test_a_setting_gives_scripts_the_access_token_of_cookie_sessions(client: Client) -> None:
    await client.sign_up()
    response = await client.refresh()
    assert response.headers["st-access-token"] == client.cookies["sAccessToken"]
    assert exposed(response) == {"front-token", "st-access-token"}


@with_settings(expose_access_token=True, anti_csrf="VIA_TOKEN")
@pytest.mark.gen_test
async def test_a_redirect_carries_cookies_only(client: Client) -> None:
    """Scripts cannot read the headers of a redirect, and the head must fit into a proxy's buffer."""
    response = await client.sign_up()
    assert response.code == 303
    assert {"sAccessToken", "sRefreshToken", "sFrontToken", "sAntiCsrf"} <= set(set_cookies(response))
    names = {"front-token", "st-access-token", "anti-csrf", "Access-Control-Expose-Headers"}
    assert not [name for name in names if name in response.headers]


@pytest.mark.gen_test
async def test_exposed_headers_are_added_to_those_of_the_application(client: Client) -> None:
    await client.sign_up()
    response = await client.post("/sample/exposing")
    assert response.headers.get_list("Access-Control-Expose-Headers") == ["X-Total, front-token"]


# -- anti-csrf --------------------------------------------------------------------------------------


@with_settings(anti_csrf="VIA_TOKEN")
@pytest.mark.gen_test
async def test_via_token_compares_the_header_with_the_session(client: Client, clock: FakeClock) -> None:
    created = await client.call("/auth/signup", CREDENTIALS)
    token = created.headers["anti-csrf"]
    assert client.cookies["sAntiCsrf"] == token
    assert exposed(created) == {"front-token", "anti-csrf"}
    for headers, status in (({}, 401), ({"anti-csrf": "x"}, 401), ({"anti-csrf": token}, 200)):
        assert (await client.call("/sample/api", headers=headers)).code == status
    assert (await client.call("/sample/api", method="GET")).code == 200

    clock.advance(LIFETIME_S)
    refreshed = await client.refresh(**{"anti-csrf": token})
    assert refreshed.code == 200
    assert refreshed.headers["anti-csrf"] != token
    assert_all_cleared_besides_anti_csrf(await client.refresh())
    assert "sAccessToken" not in client.cookies


def assert_all_cleared_besides_anti_csrf(response: HTTPResponse) -> None:
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})
    assert response.headers.get_list("front-token") == ["remove"]
    assert "sAntiCsrf" not in set_cookies(response), "its client clears what scripts read"
    assert "anti-csrf" not in response.headers


@with_settings(anti_csrf="VIA_CUSTOM_HEADER")
@pytest.mark.gen_test
async def test_via_custom_header_asks_for_rid_with_any_value(client: Client) -> None:
    await client.call("/auth/signup", CREDENTIALS)
    refused = await client.call("/sample/api", headers={"rid": ""})
    assert (refused.code, json_of(refused)) == (401, {"message": "try refresh token"})
    assert (await client.call("/sample/api", headers={"rid": "x"})).code == 200
    assert (await client.call("/sample/api", method="GET", headers={"rid": ""})).code == 200
    assert (await client.refresh(rid="x")).code == 200
    assert_all_cleared(await client.refresh(rid=""))


@with_settings(anti_csrf="VIA_CUSTOM_HEADER")
@pytest.mark.parametrize("cookie", ["", *FOREIGN[:3]])
@pytest.mark.gen_test
async def test_without_a_token_of_ours_no_rid_is_asked_for(client: Client, cookie: str) -> None:
    """There is nothing that a foreign site could misuse, and a guest has nothing to refresh."""
    client.plant("sAccessToken", cookie)
    optional = await client.call("/auth/user/email/verify", {"token": "x"}, headers={"rid": ""})
    assert json_of(optional) == {"status": "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR"}
    refused = await client.call("/sample/api", headers={"rid": ""})
    assert (refused.code, json_of(refused)) == (401, {"message": "unauthorised"})


@pytest.mark.parametrize("settings", [{"anti_csrf": "VIA_TOKEN"}, {"anti_csrf": "VIA_CUSTOM_HEADER"}])
@pytest.mark.gen_test
async def test_forms_send_no_such_headers_and_need_none(
    client: Client, clock: FakeClock, settings: dict[str, Any]
) -> None:
    """Fetch Metadata and Origin protect them."""
    await client.sign_up()
    assert (await client.post("/sample/note", {"text": "mine"})).code == 200
    clock.advance(LIFETIME_S)
    assert (await client.post("/sample/note", {"text": "mine"}, follow=True)).code == 200
    assert (await client.post("/signout")).code == 303


@pytest.mark.parametrize("settings", [{"anti_csrf": "VIA_TOKEN"}, {"anti_csrf": "VIA_CUSTOM_HEADER"}])
@pytest.mark.gen_test
async def test_sessions_in_headers_are_never_asked_for_them(client: Client, settings: dict[str, Any]) -> None:
    """No browser sends an Authorization header by itself."""
    created = await client.call("/auth/signup", CREDENTIALS, auth_mode="header")
    assert "anti-csrf" not in created.headers
    headers = {**bearer(created.headers["st-access-token"]), "rid": ""}
    assert (await client.call("/sample/api", headers=headers)).code == 200
    headers = {**bearer(created.headers["st-refresh-token"]), "rid": ""}
    assert (await client.call("/auth/session/refresh", headers=headers)).code == 200
