# SPDX-License-Identifier: MIT
"""How a page is reached whose access token has expired: by which way, with what, and that it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.testing.client import FETCH, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import DoTo
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings

DETOUR = "/auth/session/refresh/return?redirectBack="
MODES = ["page", "in_place", "detour"]
EACH_MODE = pytest.mark.parametrize("settings", [{"refresh_mode": mode} for mode in MODES], ids=MODES)


async def expired(client: Client, clock: FakeClock, email: str = "ann@example.com") -> Client:
    await client.sign_up(email)
    clock.advance(LIFETIME_S)
    return client


# -- pages ------------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_page_mode_leads_to_the_refresh_page(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    response = await client.get("/sample/note?a=1&b=%C3%A9")
    assert response.code == 302
    assert (
        response.headers["Location"] == "/refresh-session?redirectBack=/sample/note%3Fa%3D1%26b%3D%25C3%25A9"
    )
    assert response.headers["Cache-Control"] == "private, no-store"
    assert set_cookies(response) == {}


@with_settings(refresh_mode="in_place")
@pytest.mark.gen_test
async def test_in_place_mode_shows_the_refresh_page_at_the_address_of_the_page(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    response = await client.get("/sample/note?a=1")
    assert response.code == 401
    assert "Location" not in response.headers
    assert b'data-refresh="in-place"' in response.body
    assert f'href="{DETOUR}%2Fsample%2Fnote%3Fa%3D1"'.encode() in response.body
    assert response.headers["Cache-Control"] == "private, no-store"
    assert set_cookies(response) == {}


@with_settings(refresh_mode="detour")
@pytest.mark.gen_test
async def test_detour_mode_leads_round_without_script(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    old = client.cookies
    await client.get("/sample/note?a=1", follow=True)
    back = DETOUR + "/sample/note%3Fa%3D1"
    assert client.visited == [
        "GET /sample/note?a=1 303",
        f"GET {back} 303",
        "GET /sample/note?a=1 200",
    ]
    assert client.cookies["sRefreshToken"] != old["sRefreshToken"]
    assert client.cookies["sAccessToken"] != old["sAccessToken"]


@EACH_MODE
@pytest.mark.gen_test
async def test_head_gets_the_answer_of_get_without_its_body(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    got = await client.get("/sample/note")
    asked = await client.request("HEAD", "/sample/note", headers=got.request.headers)
    assert (asked.code, asked.headers.get("Location"), asked.body) == (
        got.code,
        got.headers.get("Location"),
        b"",
    )


@pytest.mark.gen_test
async def test_the_refresh_page_is_the_same_for_everybody(
    client: Client, new_client: Callable[..., Client]
) -> None:
    await client.sign_up()
    path = "/refresh-session?redirectBack=/sample/note"
    response = await client.get(path)
    assert response.code == 200
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.body == (await new_client().get(path)).body
    assert client.user_id.encode() not in response.body


@pytest.mark.gen_test
async def test_a_public_page_renews_by_the_detour_so_that_it_knows_who_looks(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    response = await client.get("/", follow=True)
    assert client.visited == ["GET / 303", f"GET {DETOUR}/ 303", "GET / 200"]
    assert b"You are signed in." in response.body


@pytest.mark.gen_test
async def test_a_public_page_takes_whoever_lost_the_session_for_a_guest(
    client: Client, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    response = await client.get("/", follow=True)
    assert client.visited == ["GET / 303", f"GET {DETOUR}/ 303", "GET / 200"]
    assert b'href="/login"' in response.body
    assert set(client.cookies) == {"st-last-access-token-update", "sRefreshRounds", "sSignInNotice"}


# -- the detour -------------------------------------------------------------------------------------


@EACH_MODE
@pytest.mark.gen_test
async def test_a_form_sent_with_an_expired_token_arrives_complete(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    fields = {"title": "a & b = é", "text": "line\r\nline"}
    response = await client.post("/sample/note?a=1", fields, follow=True)
    assert client.visited == [
        "POST /sample/note?a=1 307",
        f"POST {DETOUR}/sample/note%3Fa%3D1 307",
        "POST /sample/note?a=1 200",
    ]
    told = json_of(response)
    assert told["fields"] == {name: [value] for name, value in fields.items()}
    assert (told["method"], told["uri"], told["user_id"]) == ("POST", "/sample/note?a=1", client.user_id)


@pytest.mark.gen_test
async def test_an_upload_sent_with_an_expired_token_arrives_complete(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    content = bytes(range(256)) * 1000
    response = await client.post("/sample/note", {"title": "é"}, files={"photo": content}, follow=True)
    assert len(client.visited) == 3
    assert json_of(response)["fields"] == {"title": ["é"]}
    assert json_of(response)["files"] == {"photo": content.hex()}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.gen_test
async def test_other_methods_go_round_with_their_body(client: Client, clock: FakeClock, method: str) -> None:
    await expired(client, clock)
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
    body = json.dumps({"a": [1, "é"]}).encode()
    response = await client.request(method, "/sample/note", headers=headers, body=body, follow=True)
    assert [visit.split()[0] for visit in client.visited] == [method] * 3
    assert json_of(response)["method"] == method
    assert json_of(response)["body"].encode("latin1") == body


@pytest.mark.gen_test
async def test_a_good_access_token_goes_straight_back_from_the_detour(client: Client) -> None:
    """Another tab was faster; a second rotation would be of no use."""
    await client.sign_up()
    before = client.cookies
    response = await client.get(DETOUR + "/sample/note")
    assert (response.code, response.headers["Location"]) == (303, "/sample/note")
    assert set(set_cookies(response)) == {"sRefreshRounds"}
    assert {**client.cookies, **before} == client.cookies


@pytest.mark.gen_test
async def test_the_detour_leads_to_paths_of_this_site_only(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    for address in ("https://evil.example/", "//evil.example", "/%5Cevil.example", "javascript:alert(1)", ""):
        clock.advance(21)  # so that it is not taken for a circle
        response = await client.get(DETOUR + address)
        assert (response.code, response.headers["Location"]) == (303, "/dashboard")


@pytest.mark.gen_test
async def test_the_detour_clears_the_tokens_of_a_session_that_is_over(
    client: Client, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    response = await client.get(DETOUR + "/sample/note", follow=True)
    assert response.code == 200
    assert client.visited[1:] == ["GET /sample/note 303", "GET /login?redirectBack=/sample/note 200"]
    assert set(client.cookies) == {"st-last-access-token-update", "sRefreshRounds", "sSignInNotice"}


@pytest.mark.gen_test
async def test_what_was_sent_in_a_session_that_is_over_is_sent_to_nobody(
    client: Client, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    await client.post("/sample/note", {"password": "mine"}, follow=True)
    assert client.visited == [
        "POST /sample/note 307",
        f"POST {DETOUR}/sample/note 303",
        "GET /login?redirectBack=/sample/note 200",
    ]


@pytest.mark.gen_test
async def test_no_detour_goes_round_in_a_circle(client: Client, clock: FakeClock) -> None:
    """A browser that keeps the refresh cookies but loses the access token, as with a wrong clock."""
    await expired(client, clock)
    lost = {key: cookie for key, cookie in client.jar.items() if cookie.name == "sAccessToken"}
    for _ in range(3):
        response = await client.get(DETOUR + "/sample/note")
        assert (response.code, response.headers["Location"]) == (303, "/sample/note")
        client.jar.update(lost)
    response = await client.get(DETOUR + "/sample/note")
    stopped = "/refresh-session/stopped?reason=loop&redirectBack=/sample/note"
    assert (response.code, response.headers["Location"]) == (303, stopped)
    page = await client.get(stopped)
    assert page.code == 200
    assert b"We stopped a circle" in page.body
    assert b'href="/sample/note"' in page.body


@pytest.mark.gen_test
async def test_the_loop_counter_counts_each_page_by_itself_and_forgets_after_seconds(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    lost = {key: cookie for key, cookie in client.jar.items() if cookie.name == "sAccessToken"}

    async def go_round(path: str) -> str:
        location = (await client.get(DETOUR + path)).headers["Location"]
        client.jar.update(lost)
        return location

    assert [await go_round("/sample/note") for _ in range(3)] == ["/sample/note"] * 3
    assert await go_round("/dashboard") == "/dashboard"
    assert (await go_round("/sample/note")).startswith("/refresh-session/stopped")
    clock.advance(21)
    assert await go_round("/sample/note") == "/sample/note"


@pytest.mark.gen_test
async def test_a_page_that_asks_for_ever_is_stopped_although_the_token_is_good(client: Client) -> None:
    await client.sign_up()
    locations = [(await client.get(DETOUR + "/sample/note")).headers["Location"] for _ in range(7)]
    assert locations[:6] == ["/sample/note"] * 6
    assert locations[6] == "/refresh-session/stopped?reason=loop&redirectBack=/sample/note"


@pytest.mark.gen_test
async def test_a_browser_that_does_not_keep_the_new_cookies_is_told_so(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    old = dict(client.jar)
    for _ in range(2):
        response = await client.get(DETOUR + "/sample/note%3Fa%3D1%26b")
        client.jar.clear()
        client.jar.update(old)
    check = DETOUR + "/sample/note%3Fa%3D1%26b&checkCookies=1"
    assert response.headers["Location"] == check
    response = await client.get(check)
    stopped = "/refresh-session/stopped?reason=cookies&redirectBack=/sample/note%3Fa%3D1%26b"
    assert (response.code, response.headers["Location"]) == (303, stopped)


@pytest.mark.gen_test
async def test_a_tab_that_comes_too_late_with_the_old_token_goes_one_step_more_and_arrives(
    client: Client, clock: FakeClock
) -> None:
    await expired(client, clock)
    old = dict(client.jar)
    await client.get(DETOUR + "/sample/note")
    client.jar.clear()
    client.jar.update(old)
    await client.get(DETOUR + "/sample/note", follow=True)
    assert [visit.split()[1] for visit in client.visited] == [
        f"{DETOUR}/sample/note",
        f"{DETOUR}/sample/note&checkCookies=1",
        "/sample/note",
    ]


@with_settings(access_token_lifetime_s=5)
@pytest.mark.gen_test
async def test_renewals_that_are_a_tokens_life_apart_are_no_circle(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    for _ in range(6):
        clock.advance(5)
        assert (await client.get(DETOUR + "/sample/note")).headers["Location"] == "/sample/note"


@pytest.mark.parametrize(
    "counter", ["", "x", "::", "ab:cd", "ab:99999999999999999999", ".:.:.", '"', "ab:٣", "a:1." * 500]
)
@pytest.mark.gen_test
async def test_a_damaged_loop_counter_counts_nothing(client: Client, clock: FakeClock, counter: str) -> None:
    await expired(client, clock)
    client.plant("sRefreshRounds", counter.encode().decode("latin1"), path="/auth/session/refresh")
    response = await client.get(DETOUR + "/sample/note")
    assert (response.code, response.headers["Location"]) == (303, "/sample/note")
    assert len(set_cookies(response)["sRefreshRounds"].value) < 200


@pytest.mark.parametrize("reason", ["cookies", "clock", "loop"])
@pytest.mark.gen_test
async def test_the_explanation_page_knows_its_reasons(client: Client, reason: str) -> None:
    assert (await client.get(f"/refresh-session/stopped?reason={reason}")).code == 200
    assert (await client.get(f"/refresh-session/stopped?reason={reason}s")).code == 404


# -- unusual addresses ------------------------------------------------------------------------------

UNUSUAL = [
    "a//b",
    "a%5Cb",
    "a%0Ab",
    "a%252Fb",
    "a?q=//x",
    "a?q=\\x",
    "a?q=%5C%0A%252F",
    "a/%2541",
    "a%2F..%2Fb",
]
EACH_UNUSUAL = pytest.mark.parametrize("name", UNUSUAL)


@EACH_UNUSUAL
@pytest.mark.gen_test
async def test_a_form_arrives_at_its_address_however_unusual(
    client: Client, clock: FakeClock, name: str
) -> None:
    await expired(client, clock)
    response = await client.post(f"/sample/files/{name}", {"a": "1"}, follow=True)
    assert (json_of(response)["uri"], json_of(response)["fields"]) == (f"/sample/files/{name}", {"a": ["1"]})


@EACH_UNUSUAL
@pytest.mark.gen_test
async def test_the_visitor_returns_to_an_unusual_address(client: Client, clock: FakeClock, name: str) -> None:
    await expired(client, clock)
    page = await client.get(f"/sample/files/{name}")
    back = parse_qs(urlsplit(page.headers["Location"]).query)["redirectBack"]
    assert back == [f"/sample/files/{name}"]
    await client.get(DETOUR + quote(back[0]), follow=True)
    assert client.visited[-1] == f"GET /sample/files/{name} 200"


@pytest.mark.gen_test
async def test_a_long_address_is_renewed_at_the_address_itself(client: Client, clock: FakeClock) -> None:
    """A redirect would carry it in its head, and common proxies refuse a head of more than 4 kB."""
    long = "/sample/note?q=" + "a" * 3000
    guest = await client.get(long)
    assert (guest.code, f"/login?redirectBack={quote(long, safe='')}" in guest.body.decode()) == (401, True)
    await expired(client, clock)
    page = await client.get(long)
    assert (page.code, b'data-refresh="in-place"' in page.body) == (401, True)
    await client.get(DETOUR + quote(long, safe=""), follow=True)
    assert client.visited[-1] == f"GET {long} 200"


@pytest.mark.gen_test
async def test_a_form_with_a_long_address_is_sent_again_by_the_page(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    path = "/sample/note?q=" + "a" * 3000
    response = await client.post(path, {"a": "1"})
    page = response.body.decode()
    assert response.code == 401
    assert f'<form method="post" action="{path}" data-repeat hidden>' in page
    assert '<input type="hidden" name="a" value="1">' in page


@pytest.mark.gen_test
async def test_the_action_of_a_form_names_no_other_site(client: Client, clock: FakeClock) -> None:
    await expired(client, clock)
    response = await client.post("//sample/double", {"a": "1"})
    assert f'action="{client.origin}//sample/double"' in response.body.decode()


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "cookie", "told"),
    [
        ("/sample/report", "17", "17"),
        ("/sample/report", "", None),
        ("/sample/report", "17x", None),
        ("/sample/report", "1" * 11, None),
        ("/sample/note", "17", None),
    ],
)
@pytest.mark.gen_test
async def test_the_refresh_page_hears_that_its_address_was_a_file(
    client: Client, path: str, cookie: str, told: str | None
) -> None:
    await client.sign_up()
    client.plant("sFileAwaited", cookie, path="/sample")
    sent = set_cookies(await client.get(path)).get("sFileSent")
    assert (sent.value if sent else None) == told
    assert not sent or (sent.path, sent.http_only, sent.same_site) == ("/", False, "Lax")


# -- who is worth a refresh -------------------------------------------------------------------------


@EACH_MODE
@pytest.mark.parametrize("access_token", ["", "not-a-token", "a.b.c"])
@pytest.mark.gen_test
async def test_guests_go_straight_to_login(client: Client, access_token: str) -> None:
    if access_token:
        client.plant("sAccessToken", access_token)
    response = await client.get("/sample/note?a=1")
    assert (response.code, response.headers["Location"]) == (303, "/login?redirectBack=/sample/note%3Fa%3D1")
    assert set_cookies(response) == {}


@pytest.mark.gen_test
async def test_crawlers_go_straight_to_login(client: Client) -> None:
    """They send no Fetch Metadata, but ask for HTML."""
    crawler = {"User-Agent": "SomeBot/1.0", "Accept": "text/html"}
    response = await client.request("GET", "/sample/note", headers=crawler)
    assert (response.code, response.headers["Location"]) == (303, "/login?redirectBack=/sample/note")


@pytest.mark.gen_test
async def test_the_marker_alone_is_worth_a_refresh(client: Client) -> None:
    """The access cookie may be gone before the refresh token."""
    await client.sign_up()
    client.jar = {key: cookie for key, cookie in client.jar.items() if cookie.name != "sAccessToken"}
    assert (await client.get("/sample/note")).headers["Location"].startswith("/refresh-session?")


@pytest.mark.gen_test
async def test_the_marker_says_nothing_and_lives_as_long_as_the_refresh_token(client: Client) -> None:
    cookies = set_cookies(await client.sign_up())
    assert cookies["sRefreshMarker"].value == "1"
    assert cookies["sRefreshMarker"].expires_at == cookies["sRefreshToken"].expires_at


# -- who cannot use a redirect ----------------------------------------------------------------------


def refusal(response: HTTPResponse) -> tuple[int, object, bool]:
    """Status, body, and whether the client may keep its tokens."""
    return (
        response.code,
        json_of(response),
        not set_cookies(response) and "front-token" not in response.headers,
    )


@pytest.mark.gen_test
async def test_json_endpoints_answer_401_whoever_asks(client: Client, clock: FakeClock) -> None:
    guest = await client.get("/sample/api")
    assert refusal(guest) == (401, {"message": "unauthorised"}, True)
    await expired(client, clock)
    assert refusal(await client.get("/sample/api")) == (401, {"message": "try refresh token"}, True)
    assert refusal(await client.post("/sample/api")) == (401, {"message": "try refresh token"}, True)


@pytest.mark.gen_test
async def test_a_revoked_session_is_cleared_by_json_endpoints(client: Client, revoke_elsewhere: DoTo) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    response = await client.call("/sample/api", method="GET")
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})
    assert response.headers["front-token"] == "remove"
    assert set(client.cookies) == {"st-last-access-token-update", "sSignInNotice"}


@pytest.mark.gen_test
async def test_an_optional_session_that_expired_is_no_guest_at_json_endpoints(
    client: Client, clock: FakeClock
) -> None:
    guest = await client.call("/sample/optional", method="GET")
    assert (guest.code, json_of(guest)) == (200, {"user_id": None})
    await expired(client, clock)
    late = await client.call("/sample/optional", method="GET")
    assert refusal(late) == (401, {"message": "try refresh token"}, True)
    await client.refresh()
    assert json_of(await client.call("/sample/optional", method="GET")) == {"user_id": client.user_id}


@pytest.mark.gen_test
async def test_htmx_cannot_be_led_to_another_site(client: Client) -> None:
    for current in ("https://evil.example//evil.example/", "//evil.example", "http://[", "nonsense"):
        htmx = {**FETCH, "HX-Request": "true", "HX-Current-URL": current}
        response = await client.request("GET", "/sample/note", headers=htmx)
        assert response.headers["HX-Redirect"] == "/login?redirectBack=/dashboard"


# -- pages that are fetched ahead of time -----------------------------------------------------------

AHEAD = {
    "prefetch": {"Sec-Purpose": "prefetch"},
    "prerender": {"Sec-Purpose": "prefetch;prerender"},
    "link prefetch": {"Sec-Purpose": "prefetch", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "no-cors"},
    "older Chromium": {"Purpose": "prefetch"},
    "older Safari": {"X-Purpose": "preview"},
    "older Firefox": {"X-Moz": "prefetch"},
}
EACH_AHEAD = pytest.mark.parametrize("purpose", AHEAD.values(), ids=AHEAD)


@EACH_MODE
@pytest.mark.gen_test
async def test_nothing_fetched_ahead_of_time_renews_ends_or_begins_a_session(
    client: Client, clock: FakeClock
) -> None:
    """It gets an empty 503, which browsers throw away; the click then goes the usual way."""
    for number, purpose in enumerate(AHEAD.values()):
        client.jar.clear()
        await fetch_ahead(client, clock, f"{number}@example.com", purpose)


async def fetch_ahead(client: Client, clock: FakeClock, email: str, purpose: dict[str, str]) -> None:
    for path in ("/sample/note", DETOUR + "/sample/note"):
        guest = await client.get(path, headers=purpose)
        assert (guest.code, guest.body, set_cookies(guest)) == (503, b"", {})
    await expired(client, clock, email)
    before = client.cookies
    for path in ("/sample/note", "/dashboard", "/", DETOUR + "/sample/note"):
        response = await client.get(path, headers=purpose)
        if path == "/" and purpose.get("Sec-Fetch-Dest") == "empty":
            continue  # who looks at a public page is not asked then
        assert (response.code, response.body, set_cookies(response)) == (503, b"", {}), path
        assert "front-token" not in response.headers
        assert "Location" not in response.headers
    assert client.cookies == before
    assert (await client.refresh()).code == 200


@EACH_AHEAD
@pytest.mark.gen_test
async def test_what_is_fetched_ahead_of_time_with_a_good_token_is_served(
    client: Client, purpose: dict[str, str]
) -> None:
    await client.sign_up()
    response = await client.get("/sample/note", headers=purpose)
    assert (response.code, set_cookies(response)) == (200, {})


@EACH_AHEAD
@pytest.mark.gen_test
async def test_no_address_that_is_only_visited_signs_out(client: Client, purpose: dict[str, str]) -> None:
    await client.sign_up()
    for path in ("/signout", "/auth/signout"):
        assert (await client.get(path, headers=purpose)).code == 405
        assert (await client.get(path)).code == 405
    assert (await client.get("/dashboard")).code == 200
