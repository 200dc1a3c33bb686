# SPDX-License-Identifier: MIT
"""Each row of the renewal table, by a request as such a caller sends it: expired token, and no session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.testing.client import FETCH, NAVIGATION, SDK, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import DoTo
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.tests.parsers import request_with
from stormcellar.web.renewal_table import TABLE, as_markdown, caller_of

DETOUR = "/auth/session/refresh/return?redirectBack=/sample/note"
REFRESH_PAGE = "/refresh-session?redirectBack=/sample/note"
SIGN_IN = "/login?redirectBack=/sample/note"
HTML = NAVIGATION["Accept"]
PAGE = "http://site/dashboard?tab=2"  # the host is not read


def element(destination: str, mode: str = "no-cors", accept: str = "*/*") -> dict[str, str]:
    return {**FETCH, "Sec-Fetch-Dest": destination, "Sec-Fetch-Mode": mode, "Accept": accept}


def frame(destination: str) -> dict[str, str]:
    return {**NAVIGATION, "Sec-Fetch-Dest": destination}


# What a caller sends, how its row begins, and what it gets with an expired token and without a session.
PARTS = (
    "audio audioworklet font image json manifest paintworklet script sharedworker style text track "
    "video worker"
)
ROWS: dict[str, tuple[dict[str, str], str, str, str]] = {
    "a prefetch": ({**NAVIGATION, "Sec-Purpose": "prefetch"}, "Prefetch", "503", "503"),
    "a prerendered frame": ({**frame("iframe"), "Purpose": "prerender"}, "Prefetch", "503", "503"),
    "an SDK": (SDK, "SuperTokens' SDKs", "401", "401"),
    "an SDK that asks for HTML": ({**SDK, "Accept": HTML}, "SuperTokens' SDKs", "401", "401"),
    "an SDK that names its mode": ({**FETCH, "st-auth-mode": "cookie"}, "SuperTokens' SDKs", "401", "401"),
    "a script of another site": ({**FETCH, "Sec-Fetch-Site": "cross-site"}, "Script, image", "401", "401"),
    "a script of a sub-domain": ({**FETCH, "Sec-Fetch-Site": "same-site"}, "Script, image", "401", "401"),
    "an image on another site": (
        {**element("image"), "Sec-Fetch-Site": "cross-site"},
        "Script, image",
        "401",
        "401",
    ),
    "a service worker's script": (element("serviceworker", "same-origin"), "Service worker", "401", "401"),
    "a report": (element("report"), "Service worker", "401", "401"),
    "FedCM": (element("webidentity"), "Service worker", "401", "401"),
    "a WebSocket": (element("empty", "websocket"), "Service worker", "401", "401"),
    **{
        f"<{name}>": (frame(name), "`<iframe>`", "detour", "401")
        for name in ("iframe", "frame", "embed", "object", "fencedframe")
    },
    "<object> of an image": (element("object"), "`<iframe>`", "detour", "401"),
    **{name: (element(name), "`<img>`", "detour", "401") for name in PARTS.split()},
    "a later kind of element": (element("hologram"), "`<img>`", "detour", "401"),
    "<a download>": (
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty"},
        "`<a download>`",
        "detour",
        "401",
    ),
    "EventSource": ({**FETCH, "Accept": "text/event-stream"}, "Event stream", "detour", "401"),
    "EventSource of an older browser": ({"Accept": "text/event-stream"}, "Event stream", "detour", "401"),
    "htmx": ({**FETCH, "HX-Request": "true", "HX-Current-URL": PAGE}, "htmx", "detour", "HX-Redirect"),
    "htmx without Fetch Metadata": (
        {"HX-Request": "true", "HX-Current-URL": PAGE, "Accept": "*/*"},
        "htmx",
        "detour",
        "HX-Redirect",
    ),
    "Turbo": (
        {**FETCH, "Accept": "text/html, application/xhtml+xml", "X-Turbo-Request-Id": "1"},
        "Turbo",
        "detour",
        "sign-in",
    ),
    "Turbo's frame": ({**FETCH, "Accept": HTML, "Turbo-Frame": "cart"}, "Turbo", "detour", "sign-in"),
    "Turbo's form": (
        {**FETCH, "Accept": "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"},
        "Turbo",
        "detour",
        "sign-in",
    ),
    "Unpoly": (
        {**FETCH, "X-Up-Version": "3.14.3", "X-Requested-With": "XMLHttpRequest"},
        "Turbo",
        "detour",
        "sign-in",
    ),
    "pjax": (
        {**FETCH, "X-PJAX": "true", "X-Requested-With": "XMLHttpRequest", "Accept": "text/html"},
        "Turbo",
        "detour",
        "sign-in",
    ),
    "a link": (NAVIGATION, "Link, address bar;", "page", "sign-in"),
    "a link on another site": (
        {**NAVIGATION, "Sec-Fetch-Site": "cross-site"},
        "Link, address bar;",
        "page",
        "sign-in",
    ),
    "a typed address": ({**NAVIGATION, "Sec-Fetch-Site": "none"}, "Link, address bar;", "page", "sign-in"),
    "a navigation passed on": (
        {**NAVIGATION, "Sec-Fetch-Dest": "empty"},
        "Link, address bar;",
        "page",
        "sign-in",
    ),
    "a service worker that asks again": ({**FETCH, "Accept": HTML}, "Script or service", "detour", "sign-in"),
    "fetch": (FETCH, "`fetch`", "detour", "401"),
    "fetch of JSON": ({**FETCH, "Accept": "application/json"}, "`fetch`", "detour", "401"),
    "fetch without CORS": (element("empty"), "`fetch`", "detour", "401"),
    "jQuery": (
        {**FETCH, "X-Requested-With": "XMLHttpRequest", "Accept": "text/html, */*; q=0.01"},
        "`fetch`",
        "detour",
        "401",
    ),
    "jQuery without Fetch Metadata": (
        {"X-Requested-With": "XMLHttpRequest", "Accept": "text/html, */*; q=0.01"},
        "`fetch`",
        "detour",
        "401",
    ),
    "a link without Fetch Metadata": ({"Accept": HTML}, "Link or address bar", "page", "sign-in"),
    "an image without Fetch Metadata": ({"Accept": "image/webp,*/*"}, "Image, style", "detour", "401"),
    "a style without Fetch Metadata": ({"Accept": "text/css,*/*;q=0.1"}, "Image, style", "detour", "401"),
    "a program": ({"Accept": "application/json"}, "Another program", "401", "401"),
    "a program that says nothing": ({}, "Another program", "401", "401"),
}
FORMS: dict[str, tuple[dict[str, str], str, str, str]] = {
    "a form": ({**NAVIGATION, "Origin": "null"}, "Form", "detour", "sign-in"),
    "a form without Fetch Metadata": ({"Accept": HTML}, "Form in a browser", "detour", "sign-in"),
}
SENT = {name: ROWS[name] for name in ("an SDK", "htmx", "Turbo's form", "Unpoly", "fetch", "jQuery")} | FORMS
EACH_ROW = pytest.mark.parametrize(("headers", "row", "renewal", "guest"), ROWS.values(), ids=ROWS)
EACH_SENT = pytest.mark.parametrize(("headers", "row", "renewal", "guest"), SENT.values(), ids=SENT)


def outcome(response: HTTPResponse, *, is_read: bool = True) -> str:
    """What the answer is, in the words of the table; nothing but that may be in it."""
    location = response.headers.get("Location", "")
    if location == DETOUR:
        assert response.code == (303 if is_read else 307)
        return "detour"
    if location:
        return {(302, REFRESH_PAGE): "page", (303, SIGN_IN): "sign-in"}[response.code, location]
    assert response.code in (401, 503)
    assert response.body == b"" if response.code == 503 else set(json_of(response)) == {"message"}
    assert set_cookies(response) == {}
    assert "front-token" not in response.headers
    if "HX-Redirect" in response.headers:
        assert response.headers["HX-Redirect"] == "/login?redirectBack=/dashboard%3Ftab%3D2"
        return "HX-Redirect"
    return str(response.code)


@EACH_ROW
@pytest.mark.gen_test
async def test_each_caller_gets_the_answer_of_its_row(
    client: Client, clock: FakeClock, headers: dict[str, str], row: str, renewal: str, guest: str
) -> None:
    assert outcome(await client.request("GET", "/sample/note", headers=headers)) == guest
    await client.sign_up()
    assert (await client.request("GET", "/sample/note", headers=headers)).code == 200
    clock.advance(LIFETIME_S)
    assert outcome(await client.request("GET", "/sample/note", headers=headers)) == renewal


@EACH_ROW
@pytest.mark.gen_test
async def test_a_caller_that_follows_redirects_gets_what_it_asked_for(
    client: Client, clock: FakeClock, headers: dict[str, str], row: str, renewal: str, guest: str
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.request("GET", "/sample/note", headers=headers, follow=True)
    if renewal == "detour":
        assert client.visited == ["GET /sample/note 303", f"GET {DETOUR} 303", "GET /sample/note 200"]
        assert client.user_id.encode() in response.body


@EACH_SENT
@pytest.mark.gen_test
async def test_what_is_sent_is_answered_as_the_row_says(
    client: Client, clock: FakeClock, headers: dict[str, str], row: str, renewal: str, guest: str
) -> None:
    headers = {**headers, "Origin": client.origin}
    request = {"headers": headers, "body": b"a=1"}
    assert outcome(await client.request("POST", "/sample/note", **request), is_read=False) == guest
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert outcome(await client.request("POST", "/sample/note", **request), is_read=False) == renewal
    if renewal == "detour":
        response = await client.request("POST", "/sample/note", **request, follow=True)
        assert (response.code, json_of(response)["body"]) == (200, "a=1")


@pytest.mark.parametrize(("headers", "row"), [(sent, row) for sent, row, *_ in ROWS.values()], ids=ROWS)
def test_each_caller_is_known_by_its_own_row(headers: dict[str, str], row: str) -> None:
    assert caller_of(request_with(headers, "GET")).name.startswith(row)


def test_each_row_of_the_table_has_a_caller_here() -> None:
    samples = [(headers, "GET") for headers, *_ in ROWS.values()]
    samples += [(headers, "POST") for headers, *_ in FORMS.values()]
    found = {caller_of(request_with(headers, method)).name for headers, method in samples}
    assert found == {row.name for row in TABLE}


def test_the_documentation_shows_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "pages.md"
    assert as_markdown() in page.read_text(encoding="utf-8")


@pytest.mark.gen_test
async def test_a_token_in_a_header_is_not_renewed_by_redirects(client: Client, clock: FakeClock) -> None:
    """The detour renews cookies. A program that keeps its tokens itself needs its 401."""
    tokens = (await client.call("/auth/signup", signup_body(), auth_mode="header")).headers
    clock.advance(LIFETIME_S)
    client.plant("sRefreshMarker", "1")
    headers = {**FETCH, "Authorization": f"Bearer {tokens['st-access-token']}"}
    assert (await client.request("GET", "/sample/note", headers=headers)).code == 401


def signup_body() -> dict[str, object]:
    fields = {"email": "ann@example.com", "password": "tall ships sail 27 seas"}
    return {"formFields": [{"id": name, "value": value} for name, value in fields.items()]}


# -- the session is over ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("image", ["GET /sample/note 401"]),
        ("fetch", ["GET /sample/note 401"]),
        ("htmx", ["GET /sample/note 401"]),
        ("Turbo", ["GET /sample/note 303", f"GET {SIGN_IN} 200"]),
    ],
)
@pytest.mark.gen_test
async def test_a_caller_whose_session_is_over_is_treated_as_a_guest(
    client: Client, revoke_elsewhere: DoTo, name: str, ends: list[str]
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    await client.request("GET", "/sample/note", headers=ROWS[name][0], follow=True)
    assert client.visited == ["GET /sample/note 303", f"GET {DETOUR} 303", *ends]


@pytest.mark.gen_test
async def test_a_public_page_asks_scripts_and_images_to_renew_too(
    client: Client, clock: FakeClock, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    page = await client.request("GET", "/", headers=FETCH, follow=True)
    assert client.visited[-1] == "GET / 200"
    assert b"You are signed in." in page.body
    await revoke_elsewhere(client)
    assert b'href="/login"' in (await client.request("GET", "/", headers=FETCH, follow=True)).body


@pytest.mark.gen_test
async def test_scripts_are_not_redirected_in_a_circle(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    lost = {key: cookie for key, cookie in client.jar.items() if cookie.name == "sAccessToken"}
    for _ in range(10):
        assert (await client.request("GET", DETOUR, headers=FETCH)).code == 303
        client.jar.update(lost)
    assert (await client.request("GET", DETOUR, headers=FETCH)).code == 401


@pytest.mark.gen_test
async def test_an_image_that_is_on_a_page_many_times_is_renewed_each_time(
    client: Client, new_client: Callable[..., Client]
) -> None:
    await client.sign_up()
    for _ in range(15):
        assert (await client.request("GET", DETOUR, headers=element("image"))).code == 303


@pytest.mark.parametrize("name", ["redirectBack", "checkCookies"])
@pytest.mark.gen_test
async def test_the_detour_reads_its_query_alone_never_the_form(
    client: Client, clock: FakeClock, name: str
) -> None:
    """Forms have fields of these names: one of them must not choose where a password is sent."""
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.post("/sample/note?a=1", {name: "/sample/leave", "password": "x"}, follow=True)
    assert client.visited[-1] == "POST /sample/note?a=1 200"
    assert json_of(response)["fields"] == {name: ["/sample/leave"], "password": ["x"]}
