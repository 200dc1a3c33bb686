# SPDX-License-Identifier: MIT
"""A session that ends with the browser: its cookies have no expiry, and it lasts for a shorter time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings

DAY_S = 86400
FORM = {"email": "ann@example.com", "password": PASSWORD}
NEW_PASSWORD = "seven slow swans swim south"
TOKENS = {"sAccessToken", "sRefreshToken", "sRefreshMarker"}


def expiries(response: HTTPResponse) -> dict[str, float | None]:
    """When the cookies that an answer sets end, by name; None: with the browser."""
    return {name: cookie.expires_at for name, cookie in set_cookies(response).items()}


async def sign_in(client: Client, **fields: str) -> HTTPResponse:
    response = await client.post("/login", {**FORM, **fields})
    assert response.code == 303
    return response


@pytest.mark.gen_test
async def test_an_unchecked_box_gives_cookies_that_end_with_the_browser(
    client: Client, clock: FakeClock
) -> None:
    """Also after every kind of renewal: by SDK, by our script, by the detour, and when claims change."""
    await client.sign_up()
    response = await sign_in(client, keep_signed_in="no")
    assert {*TOKENS, "sFrontToken"} <= expiries(response).keys()
    assert set(expiries(response).values()) == {None}

    async def by_claims() -> HTTPResponse:
        return await client.post("/sample/pay")

    for renew in (
        lambda: client.refresh(),
        lambda: client.call("/auth/session/refresh", auth_mode=""),
        lambda: client.get("/auth/session/refresh/return?redirectBack=/dashboard"),
        by_claims,
    ):
        clock.advance(LIFETIME_S)
        if renew is by_claims:
            await client.refresh()
        response = await renew()
        renewed = {name: at for name, at in expiries(response).items() if name != "sRefreshRounds"}
        assert "sAccessToken" in renewed
        assert set(renewed.values()) == {None}


@pytest.mark.parametrize("fields", [{}, {"keep_signed_in": "yes"}], ids=str)
@pytest.mark.gen_test
async def test_others_stay_signed_in_for_thirty_days(
    client: Client, clock: FakeClock, fields: dict[str, str]
) -> None:
    await client.sign_up()
    assert set(expiries(await sign_in(client, **fields)).values()) == {clock.now() + 30 * DAY_S}


@pytest.mark.gen_test
async def test_a_checked_box_counts_beside_the_hidden_field(client: Client, clock: FakeClock) -> None:
    """Browsers send the hidden "no" first, then the box; an unchecked box is not sent."""
    await client.sign_up()
    body = urlencode([*FORM.items(), ("keep_signed_in", "no"), ("keep_signed_in", "yes")])
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    response = await client.request("POST", "/login", headers=headers, body=body.encode())
    assert set(expiries(response).values()) == {clock.now() + 30 * DAY_S}


@pytest.mark.gen_test
async def test_a_temporary_session_ends_after_its_own_lifetime(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    await sign_in(client, keep_signed_in="no")
    clock.advance(DAY_S / 2 - 1)
    assert (await client.refresh()).code == 200
    clock.advance(DAY_S / 2 - 1)
    assert (await client.refresh()).code == 200, "each refresh begins it again"
    clock.advance(DAY_S / 2)
    assert (await client.refresh()).code == 401


@with_settings(temporary_session_lifetime_s=90 * DAY_S)
@pytest.mark.gen_test
async def test_a_temporary_session_lasts_no_longer_than_others(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    await sign_in(client, keep_signed_in="no")
    clock.advance(30 * DAY_S - 1)
    assert (await client.refresh()).code == 200
    clock.advance(30 * DAY_S)
    assert (await client.refresh()).code == 401


@pytest.mark.gen_test
async def test_a_new_password_keeps_the_kind_of_session(client: Client, app: Application) -> None:
    await client.sign_up()
    for choice, is_temporary in (("no", True), ("yes", False)):
        await sign_in(client, keep_signed_in=choice)
        change = {"current-password": PASSWORD, "password": NEW_PASSWORD}
        response = await client.post("/account/password", change)
        if response.code != 303:
            pytest.fail(response.body.decode())
        assert await app.sessions.is_temporary(client.session_handle) is is_temporary
        back = {"current-password": NEW_PASSWORD, "password": PASSWORD}
        await client.post("/account/password", back)


@pytest.mark.parametrize(
    ("settings", "asks", "is_temporary"),
    [
        ({"keep_signed_in": "ask"}, True, True),
        ({"keep_signed_in": "always"}, False, False),
        ({"keep_signed_in": "never"}, False, True),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.gen_test
async def test_a_setting_decides_whether_the_form_asks(
    client: Client, app: Application, settings: dict[str, Any], asks: bool, is_temporary: bool
) -> None:
    for path in ("/login", "/signup"):
        page = (await client.get(path)).body.decode()
        assert ('type="checkbox" value="yes" checked' in page) is asks
    await client.sign_up()
    await sign_in(client, keep_signed_in="no")
    assert await app.sessions.is_temporary(client.session_handle) is is_temporary
    by_sdk = {"formFields": [{"id": name, "value": value} for name, value in FORM.items()]}
    assert json_of(await client.call("/auth/signin", by_sdk))["status"] == "OK"
    is_never = settings["keep_signed_in"] == "never"
    assert await app.sessions.is_temporary(client.session_handle) is is_never


@pytest.mark.gen_test
async def test_a_form_that_is_shown_again_keeps_the_choice(client: Client) -> None:
    await client.sign_up()
    response = await client.post("/login", {**FORM, "password": "wrong", "keep_signed_in": "no"})
    assert b'type="checkbox" value="yes">' in response.body
    assert b"checked" not in response.body
