# SPDX-License-Identifier: MIT
"""The pages for administrators: for that role alone, and what they can do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.testing.client import Client, json_of
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.tests.site import MODULES

ADMINISTRATION = MODULES["handlers.admin"]
ADMIN, MOST_EVENTS, PAGE = ADMINISTRATION.ADMIN, ADMINISTRATION.MOST_EVENTS, ADMINISTRATION.PAGE

NewClient = Callable[..., Client]
BOB = "bob@example.com"


async def become_admin(client: Client, app: Application) -> None:
    await client.sign_up("admin@example.com")
    await app.account_claims.change_roles(app.sessions, client.user_id, add=[ADMIN])
    await client.refresh()


async def is_signed_in(client: Client) -> bool:
    return (await client.call("/sample/api", method="GET")).code == 200


def emails_on(response: HTTPResponse) -> list[str]:
    assert response.code == 200
    return re.findall(r'href="/admin/users/[^"]+">([^<]+)<', response.body.decode())


def next_page(response: HTTPResponse) -> str:
    (address,) = re.findall(r'href="([^"]+&amp;after=[^"]+)"', response.body.decode())
    return str(address.replace("&amp;", "&"))


@pytest.mark.parametrize("roles_in_token", [True, False])
@pytest.mark.gen_test
async def test_nobody_but_administrators_comes_in(
    client: Client, new_client: NewClient, app: Application, roles_in_token: bool
) -> None:
    app.account_claims._roles_in_token = roles_in_token
    await client.sign_up()
    await app.account_claims.change_roles(app.sessions, client.user_id, add=["editor", "Admin"])
    await client.refresh()
    for path in ("/admin/users", f"/admin/users/{client.user_id}", "/admin/users/unknown"):
        assert (await client.get(path)).code == 403
        refused = await client.call(path, method="GET")
        assert (refused.code, json_of(refused)["claimValidationErrors"][0]["id"]) == (403, "st-role")
        assert (await new_client().get(path)).code == 303
    posted = await client.post(f"/admin/users/{client.user_id}", {"action": "end-all"})
    assert posted.code == 403
    assert await is_signed_in(client)


@with_settings(roles_in_token=True)
@pytest.mark.gen_test
async def test_an_administrator_who_is_none_any_more_is_out_at_once(client: Client, app: Application) -> None:
    await become_admin(client, app)
    assert (await client.get("/admin/users")).code == 200
    await app.account_claims.change_roles(app.sessions, client.user_id, remove=[ADMIN])
    await client.refresh()
    assert (await client.get("/admin/users")).code == 403


@pytest.mark.gen_test
async def test_an_administrator_who_signed_in_long_ago_confirms_the_password(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await become_admin(client, app)
    clock.advance(3601)
    await client.refresh()
    asked = await client.get("/admin/users?search=bob")
    assert asked.headers["Location"] == "/confirm-password?redirectBack=/admin/users%3Fsearch%3Dbob"


@pytest.mark.gen_test
async def test_users_are_listed_in_pages_and_can_be_searched(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await become_admin(client, app)
    for number in range(PAGE + 5):
        clock.advance(1)
        await app.accounts.sign_up(f"user{number:02}@example.com", "a good password 5")
    first = await client.get("/admin/users")
    assert len(emails_on(first)) == PAGE
    assert emails_on(first)[:2] == ["admin@example.com", "user00@example.com"]
    second = await client.get(next_page(first))
    assert emails_on(second) == [f"user{number:02}@example.com" for number in range(PAGE - 1, PAGE + 5)]
    assert b"Next page" not in second.body
    found = await client.get("/admin/users?search=USER1")
    assert emails_on(found) == [f"user1{number}@example.com" for number in range(10)]
    assert emails_on(await client.get(f"/admin/users?search={client.user_id}")) == ["admin@example.com"]
    for nobody in ("nobody", "%25", "_", "%3Cscript%3E", "x" * 3000):
        page = await client.get(f"/admin/users?search={nobody}")
        assert emails_on(page) == []
        assert b"<script>" not in page.body.replace(b'<script type="module"', b"")
    assert (await client.get("/admin/users?after=unknown")).code == 200


@pytest.mark.gen_test
async def test_a_users_sessions_are_shown_and_ended(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await become_admin(client, app)
    phone, laptop = new_client(), new_client()
    await phone.sign_up(BOB)
    await laptop.sign_in(BOB)
    path = f"/admin/users/{phone.user_id}"
    page = (await client.get(path)).body.decode()
    assert "Sessions: 2" in page
    for handle in (phone.session_handle, laptop.session_handle):
        assert handle in page
    await client.post(path, {"action": "end", "session_handle": phone.session_handle})
    assert not await is_signed_in(phone)
    assert await is_signed_in(laptop)
    await client.post(path, {"action": "end", "session_handle": client.session_handle})
    assert await is_signed_in(client), "it is not this user's"
    await client.post(path, {"action": "end-all"})
    assert not await is_signed_in(laptop)
    assert "Sessions: 0" in (await client.get(path)).body.decode()


@pytest.mark.gen_test
async def test_a_user_is_locked_and_let_in_again(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await become_admin(client, app)
    bob = new_client()
    await bob.sign_up(BOB)
    path = f"/admin/users/{bob.user_id}"
    assert (await client.post(path, {"action": "lock"})).headers["Location"] == f"{path}?notice=locked"
    assert not await is_signed_in(bob)
    assert (await bob.post("/login", {"email": BOB, "password": "tall ships sail 27 seas"})).code == 422
    await client.post(path, {"action": "unlock"})
    await bob.sign_in(BOB)


@pytest.mark.gen_test
async def test_nobody_locks_themselves_out(client: Client, app: Application) -> None:
    await become_admin(client, app)
    path = f"/admin/users/{client.user_id}"
    assert b"Lock this user" not in (await client.get(path)).body
    assert (await client.post(path, {"action": "lock"})).code == 400
    assert await is_signed_in(client)


@pytest.mark.parametrize("action", ["", "delete", "END"])
@pytest.mark.gen_test
async def test_an_unknown_action_is_refused(client: Client, app: Application, action: str) -> None:
    await become_admin(client, app)
    assert (await client.post(f"/admin/users/{client.user_id}", {"action": action})).code == 400


@pytest.mark.parametrize("user_id", ["unknown", "0" * 64, "-"])
@pytest.mark.gen_test
async def test_a_user_who_is_not_there_is_not_found(client: Client, app: Application, user_id: str) -> None:
    await become_admin(client, app)
    assert (await client.get(f"/admin/users/{user_id}")).code == 404
    assert (await client.post(f"/admin/users/{user_id}", {"action": "end-all"})).code == 404


@pytest.mark.gen_test
async def test_what_happened_to_a_user_last_is_shown_and_nothing_of_others(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await become_admin(client, app)
    bob = new_client()
    await bob.sign_up(BOB)
    path = f"/admin/users/{bob.user_id}"
    await new_client().post("/login", {"email": BOB, "password": "a wrong password"})
    for number in range(MOST_EVENTS):
        app.journal.record("session revoked", user_id=bob.user_id, detail=f"<{number}>")
    page = (await client.get(path)).body.decode()
    shown = re.findall(r'<dd class="wrap">(.*?)</dd>', page)
    assert len(shown) == MOST_EVENTS
    assert shown[0] == f"session revoked: &lt;{MOST_EVENTS - 1}&gt;"
    await bob.call("/auth/signout", headers={"rid": "session"})
    page = (await client.get(path)).body.decode()
    assert '<dd class="wrap">signed out, from <span class="code">127.0.0.1</span></dd>' in page
    assert "&lt;1&gt;" in page
    assert "&lt;0&gt;" not in page
    own = (await client.get(f"/admin/users/{client.user_id}")).body.decode()
    assert "signed up" in own
    assert "session revoked" not in own
