# SPDX-License-Identifier: MIT
"""The sign-in page says why a session ended elsewhere, and tells strangers nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import AsUser
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.web.why_ended import KEPT_S, SENTENCES

NewClient = Callable[..., Client]
End = Callable[[Client, Client, Application], Awaitable[object]]


async def on_another_device(ann: Client, other: Client, _: Application) -> None:
    await other.sign_in()
    await other.post("/account/sessions", {"session_handle": ann.session_handle})


async def by_a_new_password(ann: Client, other: Client, _: Application) -> None:
    await other.sign_in()
    new = "seven slow swans swim south"
    response = await other.post("/account/password", {"current-password": PASSWORD, "password": new})
    assert response.code == 303


async def by_an_administrator(ann: Client, _other: Client, app: Application) -> None:
    await app.sessions.revoke_all_sessions_for_user(ann.user_id, reason="by administrator 1")


async def by_theft(ann: Client, thief: Client, _: Application) -> None:
    thief.jar = dict(ann.jar)
    await ann.refresh()
    await ann.call("/sample/api", method="GET")
    await ann.refresh()
    ann.clock.advance(31)  # type: ignore[attr-defined]
    assert (await thief.refresh()).code == 401


async def by_age(ann: Client, _other: Client, app: Application) -> None:
    ann.clock.advance(31 * 86400)  # type: ignore[attr-defined]
    for key, cookie in list(ann.jar.items()):
        ann.plant(key[0], cookie.value, path=key[1])


ENDS: dict[str, End] = {
    "device": on_another_device,
    "password": by_a_new_password,
    "administrator": by_an_administrator,
    "theft": by_theft,
    "over": by_age,
}


async def page_after(ann: Client, *, by_script: bool) -> str:
    """The sign-in page that a visitor meets who opens a page."""
    if by_script:
        await ann.get("/dashboard")
        await ann.call("/auth/session/refresh", auth_mode="")
        response = await ann.get("/dashboard", follow=True)
    else:
        response = await ann.get("/auth/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert ann.address.startswith("/login"), ann.visited
    return response.body.decode()


@pytest.mark.parametrize("by_script", [True, False])
@pytest.mark.parametrize("word", ENDS)
@pytest.mark.gen_test
async def test_the_sign_in_page_says_why_the_session_ended(
    client: Client, new_client: NewClient, app: Application, word: str, by_script: bool
) -> None:
    await client.sign_up()
    await ENDS[word](client, new_client(), app)
    page = await page_after(client, by_script=by_script)
    assert [name for name, text in SENTENCES.items() if text in page] == [word]


@pytest.mark.gen_test
async def test_the_sentence_is_gone_after_sign_in_and_after_some_minutes(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    for leave in (client.sign_in, None):
        await on_another_device(client, new_client(), app)
        assert SENTENCES["device"] in await page_after(client, by_script=True)
        if leave:
            await leave()
        else:
            clock.advance(KEPT_S)
        assert "sSignInNotice" not in client.cookies
    await client.post("/signout")
    page = (await client.get("/login")).body.decode()
    assert not [text for text in SENTENCES.values() if text in page]


@pytest.mark.gen_test
async def test_who_signs_out_is_told_nothing(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    await client.post("/signout")
    await client.get("/dashboard", follow=True)
    assert "sSignInNotice" not in client.cookies


@pytest.mark.gen_test
async def test_strangers_learn_no_reason(client: Client, as_user: AsUser, app: Application) -> None:
    """A forged token that names the session gets nothing; an unknown word in the cookie shows nothing."""
    ann = await as_user()
    forged = ann.cookies["sAccessToken"][:-20] + "A" * 20
    await app.sessions.revoke_session(ann.session_handle, owner=None, reason="ended by its user")
    client.plant("sAccessToken", forged)
    await client.refresh()
    assert "sSignInNotice" not in client.cookies
    client.plant("sSignInNotice", "<b>You must call us</b>", path="/login")
    assert b"call us" not in (await client.get("/login")).body


@pytest.mark.gen_test
async def test_an_old_revocation_has_a_general_sentence(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await app.sessions.revoke_session(client.session_handle, owner=None, reason="ended by its user")
    clock.advance(2 * LIFETIME_S)
    await app.sessions.maintain()
    assert SENTENCES["over"] in await page_after(client, by_script=True)
