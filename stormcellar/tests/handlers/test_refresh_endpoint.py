# SPDX-License-Identifier: MIT
"""POST {base}/session/refresh: every answer it has, and many callers at once.

Source: SuperTokens' frontend driver interface, session refresh; RFC 9700, section 4.14.2.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from stormcellar.api.refresh import RefreshHandler
from stormcellar.application import Application
from stormcellar.sessions import Session, StoreUnavailableError
from stormcellar.testing.client import Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import DoTo, LoseReply
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings
from stormcellar.tests.handlers.samples import PAID
from stormcellar.tests.handlers.test_transfer import assert_all_cleared

REFRESH_PATH = "/auth/session/refresh"
NewClient = Callable[..., Client]


@pytest.mark.gen_test
async def test_a_good_refresh_token_gives_new_tokens(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    before = client.cookies
    clock.advance(LIFETIME_S)
    response = await client.refresh()
    assert (response.code, json_of(response)) == (200, {})
    assert response.headers["front-token"] == client.cookies["sFrontToken"]
    assert response.headers["Cache-Control"] == "private, no-store"
    assert client.cookies["sRefreshToken"] != before["sRefreshToken"]
    assert (await client.call("/sample/api", method="GET")).code == 200


@pytest.mark.gen_test
async def test_without_any_cookie_the_client_is_told_and_no_cookie_is_cleared(client: Client) -> None:
    """A user may sign in in another tab while the answer is on its way."""
    response = await client.refresh()
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})
    assert response.headers.get_list("front-token") == ["remove"]
    assert set_cookies(response).keys() <= {"sRefreshRefused"}


@pytest.mark.gen_test
async def test_an_access_token_alone_is_cleared_too(client: Client) -> None:
    """Else its client would ask for a refresh for ever."""
    await client.sign_up()
    del client.jar["sRefreshToken", REFRESH_PATH, ""]
    assert_all_cleared(await client.refresh())
    assert client.cookies.keys() == {"st-last-access-token-update", "sRefreshRefused"}


@pytest.mark.parametrize(
    "token", ["x", "AQ", "a.b.c", "%00", "é", "%ff%fe", "A" * 400, "A" * 20_000, '"quoted"', "AQ=="]
)
@pytest.mark.gen_test
async def test_what_is_no_refresh_token_of_ours_clears_no_cookie(client: Client, token: str) -> None:
    """Another site on this host or a parent domain may have set it. The client is told all the same."""
    client.plant("sRefreshToken", token.encode().decode("latin1"), path=REFRESH_PATH)
    response = await client.refresh()
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})
    assert response.headers.get_list("front-token") == ["remove"]
    assert response.headers.get_list("Set-Cookie") == []


@pytest.mark.gen_test
async def test_an_access_token_is_no_refresh_token(client: Client) -> None:
    await client.sign_up()
    client.jar.pop(("sRefreshToken", REFRESH_PATH, ""))
    client.plant("sRefreshToken", client.cookies["sAccessToken"], path=REFRESH_PATH)
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_a_revoked_session_is_unauthorised(client: Client, revoke_elsewhere: DoTo) -> None:
    await client.sign_up()
    await revoke_elsewhere(client)
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_an_expired_session_is_unauthorised_and_no_theft(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    token = client.cookies["sRefreshToken"]
    clock.advance(30 * 86400)
    client.plant("sRefreshToken", token, path=REFRESH_PATH)
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_a_stolen_token_ends_the_session_of_both(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    """An old token comes back after its successor was used, and the grace period is over."""
    await client.sign_up()
    thief = new_client()
    thief.plant("sRefreshToken", client.cookies["sRefreshToken"], path=REFRESH_PATH)
    await client.refresh()
    await client.refresh()
    clock.advance(31)
    assert_all_cleared(await thief.refresh(), "token theft detected")
    assert_all_cleared(await client.refresh())
    assert (await client.get("/dashboard")).code == 303


@pytest.mark.parametrize("how", ["page", "refresh"])
@pytest.mark.gen_test
async def test_a_patient_thief_ends_the_session_of_both(
    client: Client, app: Application, new_client: NewClient, clock: FakeClock, how: str
) -> None:
    """The thief refreshes first and waits. The first use after the owner's ends the session."""
    await client.sign_up()
    thief = new_client()
    thief.jar = dict(client.jar)
    assert (await thief.refresh()).code == 200
    clock.advance(60)
    assert (await client.refresh()).code == 200
    assert (await client.get("/dashboard")).code == 200
    await app.sessions.write_notes()
    if how == "refresh":
        assert_all_cleared(await thief.refresh(), "token theft detected")
    else:
        assert (await thief.get("/dashboard")).code == 200  # seen here, and judged at once in the background
        await app.sessions.write_notes()
        assert (await thief.get("/dashboard")).code == 302  # to the renewal, which is refused
    assert_all_cleared(await client.refresh())
    assert (await client.get("/dashboard")).code == 303


@pytest.mark.gen_test
async def test_a_lost_answer_does_no_harm(client: Client, lose_reply: LoseReply, clock: FakeClock) -> None:
    """No client has used the new tokens, so the old token is answered again, also late."""
    await client.sign_up()
    lost = await lose_reply(client)
    again = await client.refresh()
    assert set_cookies(again)["sRefreshToken"].value == set_cookies(lost)["sRefreshToken"].value
    clock.advance(7 * 86400)
    assert (await client.refresh()).code == 200
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.parametrize("path", [REFRESH_PATH, REFRESH_PATH + "/"])
@pytest.mark.gen_test
async def test_a_trailing_slash_is_accepted(client: Client, path: str) -> None:
    await client.sign_up()
    assert (await client.call(path)).code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
@pytest.mark.gen_test
async def test_other_methods_do_nothing(client: Client, method: str) -> None:
    await client.sign_up()
    response = await client.call(REFRESH_PATH, method=method)
    assert (response.code, set_cookies(response)) == (405, {})
    assert "front-token" not in response.headers


@with_settings(engine={"global_claim_validators": [PAID.is_true()]})
@pytest.mark.gen_test
async def test_claims_are_not_asked_for(client: Client) -> None:
    await client.sign_up()
    assert (await client.call("/sample/api", method="GET")).code == 403
    assert (await client.refresh()).code == 200
    assert (await client.call("/auth/signout")).code == 200


@pytest.mark.gen_test
async def test_no_body_is_needed_and_any_is_ignored(client: Client) -> None:
    await client.sign_up()
    headers = {"Content-Type": "application/json", "rid": "session", "Sec-Fetch-Site": "same-origin"}
    for body in (b"", b"{", b"null", b"\xff\x00"):
        response = await client.request("POST", REFRESH_PATH, headers=headers, body=body)
        assert (response.code, json_of(response)) == (200, {})


class WelcomingRefreshHandler(RefreshHandler):
    """Answers with a body of its own, and changes the session."""

    async def answer_renewed(self, session: Session) -> None:
        await session.merge_into_access_token_payload({"renewed": True})
        self.finish({"userId": session.user_id})


@pytest.mark.gen_test
async def test_an_answer_of_its_own_goes_out_with_the_changed_tokens(
    client: Client, app: Application
) -> None:
    app.add_handlers(r".*", [(REFRESH_PATH, WelcomingRefreshHandler)])
    await client.sign_up()
    response = await client.refresh()
    assert (response.code, json_of(response)) == (200, {"userId": client.user_id})
    session = await app.sessions.get_session(client.cookies["sAccessToken"])
    assert session is not None
    assert session.access_token_payload["renewed"] is True
    assert_all_cleared(await new_token(client))


async def new_token(client: Client) -> HTTPResponse:
    """A refresh with a token of nothing is refused as ever."""
    client.plant("sRefreshToken", "x", path=REFRESH_PATH)
    return await client.refresh()


class StrictRefreshHandler(RefreshHandler):
    """An override, as the documentation has them: plain inheritance."""

    async def refresh(self) -> Session:
        session = await super().refresh()
        if self.get_query_argument("end", ""):
            await session.revoke()
        else:
            await session.merge_into_access_token_payload({"seen": True})
        return session


@pytest.mark.gen_test
async def test_what_an_override_does_to_the_renewed_session_reaches_the_client(
    client: Client, app: Application
) -> None:
    """Tokens of a session that was revoked meanwhile are not given out, nor those from before a change."""
    app.add_handlers(r".*", [(REFRESH_PATH + "/strict", StrictRefreshHandler)])
    await client.sign_up()
    changed = await client.call(REFRESH_PATH + "/strict")
    assert (changed.code, client.front_token()["up"]["seen"]) == (200, True)
    assert "sRefreshToken" in set_cookies(changed)
    assert (await client.call("/sample/api", method="GET")).code == 200
    ended = await client.call(REFRESH_PATH + "/strict?end=1")
    assert (ended.code, json_of(ended), ended.headers["front-token"]) == (200, {}, "remove")
    assert not {"sAccessToken", "sRefreshToken"} & client.cookies.keys()


# -- the store fails --------------------------------------------------------------------------------


async def close_the_store(app: Application) -> None:
    await app.database.close()


async def damage_the_store(app: Application) -> None:
    with sqlite3.connect(app.options.database_path) as connection:
        for table in ("sessions", "users"):
            connection.execute(f"ALTER TABLE {table} RENAME TO lost_{table}")
    connection.close()


async def lose_the_store(app: Application) -> None:
    async def fail(_: Any) -> None:
        raise StoreUnavailableError("out of reach")

    app.database.read = app.database.write = fail  # type: ignore[method-assign, assignment]


Failure = Callable[[Application], Awaitable[None]]
FAILURES = [close_the_store, damage_the_store, lose_the_store]
EACH_FAILURE = pytest.mark.parametrize("fail", FAILURES, ids=[failure.__name__ for failure in FAILURES])


def assert_come_again(response: HTTPResponse) -> None:
    """503 that takes nothing from the client."""
    assert response.code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "front-token" not in response.headers
    assert "st-access-token" not in response.headers
    assert set_cookies(response) == {}


@EACH_FAILURE
@pytest.mark.gen_test
async def test_a_store_that_fails_takes_no_token_from_anybody(
    client: Client, app: Application, fail: Failure
) -> None:
    await client.sign_up()
    before = client.cookies
    await fail(app)
    response = await client.refresh()
    assert_come_again(response)
    assert set(json_of(response)) == {"message", "requestId"}
    assert client.cookies == before


@EACH_FAILURE
@pytest.mark.gen_test
async def test_pages_go_on_without_the_store_as_long_as_access_tokens_last(
    client: Client, app: Application, clock: FakeClock, fail: Failure
) -> None:
    await client.sign_up()
    await fail(app)
    assert (await client.get("/dashboard")).code == 200
    clock.advance(LIFETIME_S)
    assert (await client.get("/dashboard")).headers["Location"].startswith("/refresh-session?")
    response = await client.get(REFRESH_PATH + "/return?redirectBack=/dashboard")
    assert response.code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "text/html" in response.headers["Content-Type"]
    assert "front-token" not in response.headers
    assert "sAccessToken" not in set_cookies(response)


@EACH_FAILURE
@pytest.mark.gen_test
async def test_forms_say_come_again_when_the_store_fails(
    client: Client, app: Application, fail: Failure
) -> None:
    await client.sign_up()
    await fail(app)
    fields = {"email": "bob@example.com", "password": "tall ships sail 27 seas"}
    for path in ("/login", "/signup"):
        response = await client.post(path, fields)
        assert_come_again(response)
        assert b"<h1>Service Unavailable</h1>" in response.body
    assert_come_again(await client.post("/signout"))


# -- many at once -----------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_50_parallel_refreshes_with_one_token_all_get_the_same_next_one(
    client: Client, app: Application, new_client: NewClient, clock: FakeClock, base_url: str
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    fast = AsyncHTTPClient(force_instance=True, max_clients=50)
    tabs = [Client(fast, base_url, clock) for _ in range(50)]
    for tab in tabs:
        tab.jar = dict(client.jar)
    try:
        responses = await asyncio.gather(*(tab.refresh() for tab in tabs))
    finally:
        fast.close()
    assert {response.code for response in responses} == {200}
    assert {set_cookies(response)["sRefreshToken"].value for response in responses} == {
        tabs[0].cookies["sRefreshToken"]
    }
    handles = await app.sessions.get_all_session_handles_for_user(client.user_id)
    assert handles == [client.session_handle]

    for tab in tabs[::10]:  # whichever tab goes on, and whenever: nobody is taken for a thief
        goes_on = new_client()
        goes_on.jar = dict(tab.jar)
        assert (await goes_on.get("/dashboard")).code == 200
        assert (await goes_on.refresh()).code == 200


@pytest.mark.gen_test
async def test_tabs_that_refresh_each_by_itself_keep_one_session(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    """Two tabs share their cookies, but each request leaves with those of the moment."""
    await client.sign_up()
    for _ in range(5):
        clock.advance(LIFETIME_S)
        both = [client.get(f"{REFRESH_PATH}/return?redirectBack=/sample/note", follow=True) for _ in range(3)]
        assert {response.code for response in await asyncio.gather(*both)} == {200}
        assert (await client.get("/dashboard")).code == 200
