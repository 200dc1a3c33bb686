# SPDX-License-Identifier: MIT
"""A form that is sent when its session is over is kept for its user, and sent again after sign-in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stormcellar.accounts.kept_forms import KEPT_S, MOST_BYTES
from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import DoTo
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.web.kept_form import SECRET_NAME

NOTE = "/sample/note?a=1"
KEPT = "/kept-form?redirectBack=/sample/note%3Fa%3D1"
SIGN_IN = "/login?redirectBack=/kept-form%3FredirectBack%3D/sample/note%253Fa%253D1"
FIELDS = {"title": "a & b", "text": "two\r\nlines <é>"}
NewClient = Callable[..., Client]


async def send_too_late(client: Client, revoke_elsewhere: DoTo, fields: dict[str, str] = FIELDS) -> None:
    """Sign up, lose the session, and send a form."""
    await client.sign_up()
    await revoke_elsewhere(client)
    await client.post(NOTE, fields, follow=True)


@pytest.mark.gen_test
async def test_a_form_is_shown_and_sent_again_after_sign_in(client: Client, revoke_elsewhere: DoTo) -> None:
    await send_too_late(client, revoke_elsewhere)
    assert client.address == SIGN_IN
    await client.post("/login", {"email": "ann@example.com", "password": PASSWORD, "redirectBack": KEPT})
    page = (await client.get(KEPT)).body.decode()
    assert '<dd class="typed">a &amp; b</dd>' in page
    assert '<input type="hidden" name="text" value="two\r\nlines &lt;é&gt;">' in page
    response = await client.post("/kept-form", FIELDS, follow=True)
    assert client.visited == ["POST /kept-form 307", f"POST {NOTE} 200"]
    assert json_of(response)["fields"] == {"title": ["a & b"], "text": ["two\r\nlines <é>"]}
    await client.post("/kept-form", FIELDS, follow=True)
    assert client.visited[0] == "POST /kept-form 303"  # it is forgotten


@pytest.mark.gen_test
async def test_a_kept_form_works_after_a_token_expired_first(
    client: Client, clock: FakeClock, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    clock.advance(LIFETIME_S)
    await client.post(NOTE, FIELDS, follow=True)
    assert client.address == SIGN_IN


@pytest.mark.gen_test
async def test_nobody_else_sees_a_kept_form(
    client: Client, new_client: NewClient, revoke_elsewhere: DoTo
) -> None:
    await send_too_late(client, revoke_elsewhere)
    same_user = new_client()
    await same_user.sign_in()
    client.jar = {key: cookie for key, cookie in client.jar.items() if cookie.name == "sKeptForm"}
    await client.sign_up("eve@example.com")
    for browser in (client, same_user, new_client()):
        response = await browser.get(KEPT)
        assert response.code == 303
        assert b"two" not in response.body
        assert (await browser.post("/kept-form", FIELDS)).headers["Location"] != NOTE


@pytest.mark.gen_test
async def test_a_kept_form_is_forgotten_after_minutes(
    client: Client, app: Application, clock: FakeClock, revoke_elsewhere: DoTo
) -> None:
    await send_too_late(client, revoke_elsewhere)
    await client.sign_in()
    clock.advance(KEPT_S)
    assert (await client.get(KEPT)).headers["Location"] == "/sample/note?a=1"
    await app.kept_forms.maintain()
    count = await app.database.read(lambda on: on.execute("SELECT count(*) FROM kept_forms", {}).fetchone())
    assert count == (0,)


@pytest.mark.gen_test
async def test_one_form_is_kept_for_each_user_and_it_is_encrypted(
    client: Client, app: Application, revoke_elsewhere: DoTo
) -> None:
    await send_too_late(client, revoke_elsewhere, {"text": "the first"})
    await client.sign_in()
    await revoke_elsewhere(client)
    await client.post(NOTE, {"text": "the second"}, follow=True)
    rows = await app.database.read(lambda on: on.execute("SELECT sealed FROM kept_forms", {}).fetchall())
    ((sealed,),) = rows
    assert b"second" not in bytes(sealed)
    await client.sign_in()
    assert b"the second" in (await client.get(KEPT)).body


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a", "new_password": "b"},
        {"text": "a", "Passwort": "b"},
        {"code": "123456"},
        {"text": "a", "card-number": "4"},
        {"text": "a" * MOST_BYTES},
        {},
    ],
    ids=lambda fields: " ".join(fields),
)
@pytest.mark.gen_test
async def test_secrets_and_large_forms_are_not_kept(
    client: Client, app: Application, revoke_elsewhere: DoTo, fields: dict[str, str]
) -> None:
    await send_too_late(client, revoke_elsewhere, fields)
    assert client.address == "/login?redirectBack=/sample/note%3Fa%3D1"
    count = await app.database.read(lambda on: on.execute("SELECT count(*) FROM kept_forms", {}).fetchone())
    assert count == (0,)


@pytest.mark.parametrize("name", ["shipping", "opinion", "compass", "postcode_note", "title", "barcode"])
def test_ordinary_names_are_no_secrets(name: str) -> None:
    assert not SECRET_NAME.search(name)


@pytest.mark.gen_test
async def test_a_page_that_asks_for_a_recent_sign_in_keeps_nothing(
    client: Client, revoke_elsewhere: DoTo
) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    response = await client.post("/account/delete", {"really": "yes"})
    assert response.headers["Location"].endswith("&keepForm=no")
    await client.post("/account/delete", {"really": "yes"}, follow=True)
    assert client.address == "/login?redirectBack=/account/delete"


@pytest.mark.gen_test
async def test_a_form_without_a_genuine_token_is_not_kept(client: Client) -> None:
    """The token says whose form it is; any other cookie could be another user's."""
    client.plant("sRefreshMarker", "1")
    client.plant("sAccessToken", "a.b.c")
    await client.post(NOTE, FIELDS, follow=True)
    assert client.address == "/login?redirectBack=/sample/note%3Fa%3D1"


@pytest.mark.gen_test
async def test_files_are_not_kept_but_what_was_typed_is_shown(client: Client, revoke_elsewhere: DoTo) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    await client.post(NOTE, FIELDS, files={"photo": b"pixels"}, follow=True)
    await client.sign_in()
    page = (await client.get(KEPT)).body.decode()
    assert "a &amp; b" in page
    assert "Files are not kept" in page
    assert "Send it now" not in page


@pytest.mark.gen_test
async def test_the_cookie_of_a_kept_form_is_narrow(client: Client, revoke_elsewhere: DoTo) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    detour = (await client.post(NOTE, FIELDS)).headers["Location"]
    cookie = set_cookies(await client.post(detour, FIELDS))["sKeptForm"]
    assert (cookie.path, cookie.http_only, cookie.same_site) == ("/kept-form", True, "Lax")


@pytest.mark.gen_test
async def test_another_site_cannot_have_a_form_kept_or_sent(client: Client, revoke_elsewhere: DoTo) -> None:
    await send_too_late(client, revoke_elsewhere)
    await client.sign_in()
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example", "Accept": "text/html"}
    assert (await client.request("POST", "/kept-form", headers=foreign)).code == 403
    assert b"two" in (await client.get(KEPT)).body
