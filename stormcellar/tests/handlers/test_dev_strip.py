# SPDX-License-Identifier: MIT
"""The developer strip: what it tells, what its buttons break, and that production knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.websocket import WebSocketHandler

from stormcellar.api.refresh_page import RefreshStoppedHandler
from stormcellar.application import Application
from stormcellar.dev.strip import MOST_REFUSALS, MOST_SHOWN, REVOKED_BY_STRIP, STOPPED
from stormcellar.settings import Settings
from stormcellar.testing.client import NAVIGATION, Client
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import AsUser, Node
from stormcellar.tests.handlers.parts import LIFETIME_S, implements, own_routes, with_settings
from stormcellar.tests.site import SITE
from stormcellar.tests.support import HERE

in_development = with_settings(debug=True)
STRIP = 'aria-label="Developer strip"'
TRACES = ("developer", "/dev/")
BUTTONS = ("/dev/expire-access-token", "/dev/lose-refresh-answer", "/dev/revoke-session")
VERIFY_ONLY = Settings(jwks_url="http://localhost:9/jwks.json", api_domain="http://localhost:9")
NO_COOKIES = {"Cookie": "no=cookies"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


async def page(client: Client, path: str = "/dashboard") -> str:
    response = await client.get(path, follow=True)
    assert response.code == 200, client.visited
    return response.body.decode()


async def refused(client: Client) -> list[str]:
    """The outcomes that /dev/why tells this browser, the newest first."""
    html = await page(client, "/dev/why")
    card = html.partition('id="refusals-heading"')[2].partition("</section>")[0]
    return [part.partition("</span>")[0] for part in card.split('<span class="mark">')[1:]]


# -- production ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("visitor", ["guest", "signed in", "expired"])
@pytest.mark.gen_test
async def test_in_production_no_answer_of_any_route_has_a_trace_of_it(
    client: Client, app: Application, clock: FakeClock, visitor: str
) -> None:
    if visitor != "guest":
        await client.sign_up()
    if visitor == "expired":
        clock.advance(LIFETIME_S)
    jar = dict(client.jar)
    for path, handler in own_routes(app):
        for method in ("GET", "POST"):
            if implements(handler, method):
                client.jar = dict(jar)
                response = await client.request(method, path, headers=NAVIGATION)
                body = (response.body or b"").decode().lower()
                assert not [trace for trace in TRACES if trace in body], f"{method} {path}"


@pytest.mark.parametrize("settings", [Settings(), VERIFY_ONLY])
def test_in_production_there_is_no_route_to_it(settings: Settings) -> None:
    assert not [route for route in SITE.route_table(settings) if "/dev/" in route.regex.pattern]


@pytest.mark.gen_test
async def test_in_production_its_addresses_are_unknown_and_nothing_is_noted(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    for path in ("/dev/why", *BUTTONS):
        method = "GET" if path == "/dev/why" else "POST"
        assert (await client.request(method, path, headers=NAVIGATION)).code == 404
    assert app.developer is None


# -- what it shows ------------------------------------------------------------------------------------


@in_development
@pytest.mark.gen_test
async def test_every_page_tells_whose_session_it_is_and_for_how_long(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(600)
    for path in ("/", "/dashboard", "/account", "/account/sessions", "/dev/mail", "/dev/why"):
        strip = (await page(client, path)).partition(STRIP)[2]
        assert client.session_handle in strip
        assert client.user_id in strip
        assert f'data-seconds-left="{LIFETIME_S - 600}"' in strip
        assert [f'action="{button}"' in strip for button in BUTTONS] == [True] * 3


@in_development
@pytest.mark.gen_test
async def test_no_page_is_without_it(as_user: AsUser, app: Application) -> None:
    """Whichever module the page comes from; errors are pages, too."""
    ann = await as_user(roles=["admin"], verified=True)
    jar = dict(ann.jar)
    without = set()
    for path, handler in own_routes(app):
        if implements(handler, "GET") and not issubclass(handler, WebSocketHandler):
            ann.jar = dict(jar)
            response = await ann.get(path)
            is_page = response.headers.get("Content-Type", "").startswith("text/html") and response.body
            if is_page and f"{STRIP}>".encode() not in response.body:
                without.add(path)
    assert without == {"/refresh-session"}  # caches keep it
    assert STRIP in (await ann.get("/nowhere")).body.decode()


@in_development
@pytest.mark.gen_test
async def test_guests_get_a_smaller_strip_without_buttons(client: Client) -> None:
    for path in ("/", "/login", "/signup", "/dev/why"):
        strip = (await page(client, path)).partition(STRIP)[2]
        assert "Nobody is signed in" in strip
        assert "<form" not in strip
        assert "developer-strip.js" not in strip


@pytest.mark.gen_test
async def test_where_sessions_are_another_servers_there_are_no_buttons(
    as_user: AsUser, second_node: Callable[..., Node], base_url: str
) -> None:
    ann = await as_user()
    jwks_url = f"{base_url}/auth/jwt/jwks.json"
    node = second_node(debug=True, jwks_url=jwks_url, api_domain=HERE)
    there = node.visited_by(ann)
    strip = (await page(there)).partition(STRIP)[2]
    assert ann.session_handle in strip
    assert "<form" not in strip
    assert (await there.post(BUTTONS[0])).code == 404
    await there.get("/dashboard", headers={"Cookie": "sAccessToken=x"})
    assert await refused(there) == ["Unauthorised"]
    assert "The audit log here has nothing" in await page(there, "/dev/why")


# -- buttons ------------------------------------------------------------------------------------------


@in_development
@pytest.mark.gen_test
async def test_an_access_token_that_was_expired_is_renewed_by_the_next_request(client: Client) -> None:
    await client.sign_up()
    handle, before = client.session_handle, client.cookies["sRefreshToken"]
    response = await client.post("/dev/expire-access-token", {"redirectBack": "/account?view=2"})
    assert (response.code, response.headers["Location"]) == (303, "/account?view=2")
    assert client.cookies["sRefreshToken"] == before
    assert client.front_token()["ate"] < client.clock.now() * 1000
    response = await client.get("/account?view=2")
    assert response.headers["Location"].startswith("/refresh-session?")
    assert (await client.refresh()).code == 200
    assert client.session_handle == handle
    assert "<dd>1</dd>" in (await page(client)).partition(STRIP)[2]
    assert await refused(client) == ["TryRefreshToken"]


@with_settings(debug=True, refresh_mode="detour")
@pytest.mark.gen_test
async def test_pressing_it_with_an_expired_token_renews_first(client: Client) -> None:
    await client.sign_up()
    await client.post("/dev/expire-access-token")
    response = await client.post("/dev/expire-access-token", follow=True)
    assert response.code == 200
    assert client.visited[0].endswith("307")
    assert client.visited[-1].startswith("GET /dashboard")


@in_development
@pytest.mark.gen_test
async def test_an_answer_that_was_lost_leaves_the_browser_signed_in(client: Client) -> None:
    await client.sign_up()
    await client.post("/dev/lose-refresh-answer")
    assert "will be lost" in await page(client)
    before = dict(client.jar)
    with pytest.raises(HTTPStreamClosedError):
        await client.refresh()
    assert client.jar == before
    assert "will be lost" not in await page(client)
    assert (await client.refresh()).code == 200
    assert client.cookies["sRefreshToken"] != before["sRefreshToken", "/auth/session/refresh", ""].value
    assert (await client.refresh()).code == 200
    assert await refused(client) == ["Answer lost"]


@in_development
@pytest.mark.gen_test
async def test_only_the_session_that_asked_for_it_loses_its_answer(
    client: Client, new_client: Callable[..., Client]
) -> None:
    other = new_client()
    await client.sign_up()
    await other.sign_in()
    await client.post("/dev/lose-refresh-answer")
    assert (await other.refresh()).code == 200
    with pytest.raises(HTTPStreamClosedError):
        await client.refresh()


@in_development
@pytest.mark.gen_test
async def test_a_session_revoked_from_another_device_ends_here_and_the_reason_is_told(client: Client) -> None:
    await client.sign_up()
    handle = client.session_handle
    response = await client.post("/dev/revoke-session")
    assert response.code == 303
    assert client.session_handle == handle  # nobody told this browser
    response = await client.get("/dashboard")
    assert response.headers["Location"].startswith("/refresh-session?")
    assert (await client.refresh()).code == 401
    why = await page(client, "/dev/why")
    assert REVOKED_BY_STRIP in why
    assert "was revoked." in why
    assert "Nobody is signed in" in why
    assert await refused(client) == ["Unauthorised", "Unauthorised"]


@in_development
@pytest.mark.parametrize("button", BUTTONS)
@pytest.mark.gen_test
async def test_no_other_site_and_no_guest_can_press_a_button(client: Client, button: str) -> None:
    response = await client.post(button)
    assert response.headers["Location"].startswith("/login")
    await client.sign_up()
    before = dict(client.jar)
    assert (await client.post(button, headers=FOREIGN)).code == 403
    assert (await client.get(button)).code == 405
    assert client.jar == before
    assert (await client.get("/dashboard")).code == 200
    assert "will be lost" not in await page(client)


@in_development
@pytest.mark.gen_test
async def test_a_button_leads_to_no_other_site(client: Client) -> None:
    await client.sign_up()
    response = await client.post("/dev/lose-refresh-answer", {"redirectBack": "https://evil.example/"})
    assert response.headers["Location"] == "/dashboard"


# -- why ----------------------------------------------------------------------------------------------


@in_development
@pytest.mark.gen_test
async def test_each_kind_of_refusal_is_told_by_its_name(client: Client, clock: FakeClock) -> None:
    await client.get("/dashboard")  # as a guest
    await client.sign_up()
    await client.post("/account/sessions", headers=FOREIGN)
    await client.get("/admin/users")
    clock.advance(LIFETIME_S)
    await client.get("/account")
    first = client.cookies["sRefreshToken"]
    await client.refresh()
    await client.refresh()
    clock.advance(31)
    client.plant("sRefreshToken", first, path="/auth/session/refresh")
    await client.refresh()
    told = await refused(client)
    assert told == ["Theft", "TryRefreshToken", "InvalidClaims", "Cross-site", "Unauthorised"]
    assert "two parties held tokens of the session; it is revoked" in await page(client, "/dev/why")


@in_development
@pytest.mark.gen_test
async def test_whoever_was_throttled_reads_by_which_limit(client: Client) -> None:
    while (await client.post("/forgot-password", {"email": "ann@example.com"})).code != 429:
        assert await refused(client) == []
    assert await refused(client) == ["Throttled"]
    assert "The limit “" in await page(client, "/dev/why")


@in_development
@pytest.mark.gen_test
async def test_why_a_renewal_was_stopped_is_told(client: Client) -> None:
    """A browser that keeps no cookies."""
    await client.sign_up()
    await client.get(
        "/auth/session/refresh/return?redirectBack=/dashboard&checkCookies=1", headers=NO_COOKIES, follow=True
    )
    assert client.visited[-1].startswith("GET /refresh-session/stopped?reason=cookies")
    assert await refused(client) == ["Stopped"]
    assert "came back without its cookies" in await page(client, "/dev/why")
    assert (await client.get("/refresh-session/stopped?reason=other")).code == 404


def test_every_reason_for_stopping_has_a_sentence() -> None:
    assert STOPPED.keys() == RefreshStoppedHandler.reasons


@in_development
@pytest.mark.gen_test
async def test_a_browser_sees_its_own_refusals_alone(client: Client) -> None:
    await client.get("/dashboard")
    assert await refused(client) == ["Unauthorised"]
    other = await client.get("/dev/why", headers={"User-Agent": "Another/1.0"})
    assert b"Nothing was refused" in other.body


@in_development
@pytest.mark.gen_test
async def test_what_is_remembered_is_bounded_and_has_no_query(client: Client, app: Application) -> None:
    for number in range(MOST_REFUSALS + 20):
        await client.get(f"/dashboard?token=secret-{number}", headers={"Cookie": "sAccessToken=a.b.c"})
    assert app.developer
    assert len(app.developer._refusals) == MOST_REFUSALS
    assert len(await refused(client)) == MOST_SHOWN
    assert "secret-" not in (await page(client, "/dev/why")).partition("<main")[2]


@in_development
@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 5000, "eyJhbGciOiJSUzI1NiJ9.e30.AA", "%00.%ff.é"])
@pytest.mark.gen_test
async def test_whatever_stands_in_the_token_the_refusal_is_told(client: Client, token: str) -> None:
    response = await client.get("/dashboard", headers={"Cookie": f"sAccessToken={token}"})
    assert response.code == 303
    assert await refused(client) == ["Unauthorised"]


@in_development
@pytest.mark.gen_test
async def test_looking_renews_nothing(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    jar = dict(client.jar)
    assert (await client.get("/dev/why")).code == 200
    assert client.jar == jar
