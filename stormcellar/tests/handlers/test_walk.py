# SPDX-License-Identifier: MIT
"""The whole way of a visitor, by forms and by JSON: sign up, stay away too long, come back, sign out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S

NewClient = Callable[..., Client]


@pytest.mark.gen_test
async def test_the_walk_by_forms(client: Client, clock: FakeClock) -> None:
    form = await client.get("/signup?redirectBack=/dashboard%3Ftab%3D2")
    assert b'name="password"' in form.body
    assert b'value="/dashboard?tab=2"' in form.body

    fields = {"email": "ann@example.com", "password": PASSWORD, "redirectBack": "/dashboard?tab=2"}
    await client.post("/signup", fields, follow=True)
    assert client.visited == [
        "POST /signup 303",
        "GET /signup?redirectBack=/dashboard%3Ftab%3D2&checkCookies=1 303",
        "GET /dashboard?tab=2 200",
    ]

    dashboard = await client.get("/dashboard")
    assert f'id="user-id">{client.user_id}<' in dashboard.body.decode()
    assert f'id="session-handle" class="code">{client.session_handle}<' in dashboard.body.decode()

    clock.advance(LIFETIME_S)
    page = await client.get("/dashboard?tab=2", follow=True)
    back = "/dashboard%3Ftab%3D2"
    assert client.visited == [
        "GET /dashboard?tab=2 302",
        f"GET /refresh-session?redirectBack={back} 200",
    ]
    assert b'data-refresh="page"' in page.body

    assert (await client.refresh()).code == 200
    assert (await client.get("/dashboard?tab=2")).code == 200

    signed_out = await client.post("/signout", follow=True)
    assert client.visited == ["POST /signout 303", "GET / 200"]
    assert b'href="/login"' in signed_out.body
    refused = await client.get("/dashboard?tab=2")
    assert (refused.code, refused.headers["Location"]) == (303, f"/login?redirectBack={back}")

    await client.post("/login", fields, follow=True)
    assert client.visited == ["POST /login 303", "GET /dashboard?tab=2 200"]


@pytest.mark.gen_test
async def test_who_signs_up_with_a_browser_that_keeps_no_cookies_is_told_so(client: Client) -> None:
    response = await client.post("/signup", {"email": "ann@example.com", "password": PASSWORD})
    client.jar.clear()
    page = await client.get(response.headers["Location"], follow=True)
    assert client.visited[-1] == "GET /refresh-session/stopped?reason=cookies&redirectBack=/dashboard 200"
    assert b"did not keep the session" in page.body


@pytest.mark.gen_test
async def test_the_walk_by_json(client: Client, clock: FakeClock) -> None:
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
    signed_up = json_of(await client.call("/auth/signup", {"formFields": fields}))
    assert signed_up["status"] == "OK"
    assert signed_up["user"]["id"] == client.user_id
    assert json_of(await client.call("/sample/api", method="GET")) == {"user_id": client.user_id}

    clock.advance(LIFETIME_S)
    expired = await client.call("/sample/api", method="GET")
    assert (expired.code, json_of(expired)) == (401, {"message": "try refresh token"})
    refreshed = await client.refresh()
    assert (refreshed.code, json_of(refreshed)) == (200, {})
    assert json_of(await client.call("/sample/api", method="GET")) == {"user_id": client.user_id}

    signed_out = await client.call("/auth/signout")
    assert (signed_out.code, json_of(signed_out)) == (200, {"status": "OK"})
    assert signed_out.headers["front-token"] == "remove"
    assert set(client.cookies) == {"st-last-access-token-update"}
    refused = await client.call("/sample/api", method="GET")
    assert (refused.code, json_of(refused)) == (401, {"message": "unauthorised"})


@pytest.mark.gen_test
async def test_the_walk_without_script(client: Client, clock: FakeClock) -> None:
    """The link on the refresh page leads round by the refresh cookie's path."""
    await client.sign_up()
    clock.advance(LIFETIME_S)
    page = await client.get("/dashboard?tab=2", follow=True)
    link = "/auth/session/refresh/return?redirectBack=%2Fdashboard%3Ftab%3D2"
    assert f'href="{link}"' in page.body.decode()
    await client.get(link, follow=True)
    assert client.visited == [f"GET {link} 303", "GET /dashboard?tab=2 200"]


@pytest.mark.gen_test
async def test_a_copied_access_token_is_refused_after_sign_out(client: Client, new_client: NewClient) -> None:
    await client.sign_up()
    copy = new_client()
    copy.plant("sAccessToken", client.cookies["sAccessToken"])
    assert (await copy.get("/dashboard")).code == 200
    await client.post("/signout")
    assert (await copy.get("/dashboard")).code == 303


@pytest.mark.gen_test
async def test_a_refresh_token_is_refused_after_sign_out(client: Client, new_client: NewClient) -> None:
    await client.sign_up()
    thief = new_client()
    thief.plant("sRefreshToken", client.cookies["sRefreshToken"])
    await client.post("/signout")
    assert (await thief.refresh()).code == 401


@pytest.mark.gen_test
async def test_the_form_signs_out_with_an_expired_access_token_too(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    refresh_token = client.cookies["sRefreshToken"]
    clock.advance(LIFETIME_S)
    assert (await client.post("/signout")).headers["Location"] == "/"
    client.plant("sRefreshToken", refresh_token)
    assert (await client.refresh()).code == 401


@pytest.mark.gen_test
async def test_the_form_signs_out_although_the_access_tokens_key_is_long_gone(
    app: Application, client: Client, clock: FakeClock, new_client: NewClient
) -> None:
    """Weeks later only the refresh token tells which session it is; it must not live on, unseen."""
    await client.sign_up()
    thief = new_client()
    thief.plant("sRefreshToken", client.cookies["sRefreshToken"])
    sessions = app.sessions
    clock.advance(20 * 86400)
    await sessions.maintain()
    clock.advance(86400)
    await sessions.maintain()
    assert await sessions.handle_of(client.cookies["sAccessToken"]) is None
    response = await client.post("/signout", follow=True)
    assert (response.code, "sRefreshToken" in client.cookies) == (200, False)
    assert (await thief.refresh()).code == 401


@pytest.mark.gen_test
async def test_signing_out_by_refresh_token_takes_no_other_sites_word_and_no_forged_token(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up()
    address = "/auth/session/refresh/signout"
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert (await client.post(address, headers=elsewhere)).code == 403
    forger = new_client()
    forger.plant("sRefreshToken", client.cookies["sRefreshToken"][:-4] + "AAAA")
    assert (await forger.post(address)).code == 303
    assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_json_sign_out_with_an_expired_token_asks_for_a_refresh_first(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    refused = await client.call("/auth/signout")
    assert (refused.code, json_of(refused)) == (401, {"message": "try refresh token"})
    await client.refresh()
    assert json_of(await client.call("/auth/signout")) == {"status": "OK"}


@pytest.mark.gen_test
async def test_a_session_ends_when_nobody_refreshed_it_for_its_whole_life(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(30 * 86400)
    assert client.cookies == {}
    assert (await client.get("/dashboard")).headers["Location"] == "/login?redirectBack=/dashboard"


@pytest.mark.gen_test
async def test_whoever_is_signed_in_need_not_see_the_login_form(client: Client) -> None:
    await client.sign_up()
    for path in ("/login", "/signup"):
        response = await client.get(f"{path}?redirectBack=/sample/note")
        assert (response.code, response.headers["Location"]) == (303, "/sample/note")


@pytest.mark.gen_test
async def test_signing_in_leads_to_pages_of_this_site_only(client: Client) -> None:
    await client.sign_up()
    for address in ("https://evil.example/", "//evil.example", "/\\evil.example", "/%2f/evil.example"):
        fields = {"email": "ann@example.com", "password": PASSWORD, "redirectBack": address}
        response = await client.post("/login", fields)
        assert (response.code, response.headers["Location"]) == (303, "/dashboard")
