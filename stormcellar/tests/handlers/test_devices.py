# SPDX-License-Identifier: MIT
"""Where one is signed in: the list, and ending sessions; and what pages ask about their own."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from stormcellar.application import Application
from stormcellar.testing.client import NAVIGATION, Client, json_of
from stormcellar.testing.clock import FakeClock
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S

NewClient = Callable[..., Client]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile Safari/604.1"
BOB = "bob@example.com"


async def sign_in_from(client: Client, agent: str, path: str = "/login") -> None:
    fields = {"email": "ann@example.com", "password": "tall ships sail 27 seas"}
    assert (await client.post(path, fields, headers={"User-Agent": agent})).code == 303


async def devices(client: Client) -> list[str]:
    """What the page says of each session, without markup."""
    page = (await client.get("/account/sessions")).body.decode()
    items = re.findall(r'<li class="card.*?</li>', page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", item)).split()) for item in items]


async def end(client: Client, handle: str) -> str:
    done = await client.post("/account/sessions", {"session_handle": handle})
    assert done.code == 303
    return done.headers["Location"]


async def is_signed_in(client: Client) -> bool:
    return (await client.call("/sample/api", method="GET")).code == 200


# -- the list ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_each_session_is_listed_with_device_times_and_addresses(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    phone = new_client()
    await sign_in_from(client, FIREFOX, "/signup")
    clock.advance(60)
    await sign_in_from(phone, SAFARI)
    clock.advance(600)
    await phone.refresh(**{"User-Agent": SAFARI})
    assert await devices(client) == [
        "Firefox on Linux this session First seen 15 Jan 2027, 08:00:00 UTC from 127.0.0.1"
        " Last seen 15 Jan 2027, 08:00:00 UTC from 127.0.0.1",
        "Safari on iOS First seen 15 Jan 2027, 08:01:00 UTC from 127.0.0.1"
        " Last seen 15 Jan 2027, 08:11:00 UTC from 127.0.0.1 End this session",
    ]
    assert [line[:29] for line in await devices(phone)] == [
        "Safari on iOS this session Fi",
        "Firefox on Linux First seen 1",
    ]


@pytest.mark.gen_test
async def test_a_session_that_goes_on_in_another_browser_shows_that(
    client: Client, new_client: NewClient
) -> None:
    """It may be an update of the browser, or somebody who has copied its tokens."""
    await sign_in_from(client, FIREFOX, "/signup")
    await client.refresh(**{"User-Agent": SAFARI})
    (line,) = await devices(client)
    assert line.startswith("Firefox on Linux this session")
    assert line.endswith("(Safari on iOS)")


@pytest.mark.gen_test
async def test_sessions_of_programs_are_listed_too(client: Client, app: Application) -> None:
    await client.sign_up()
    await app.sessions.create_new_session(client.user_id)
    assert len(await devices(client)) == 2
    assert "Unknown device" in (await devices(client))[1]


@pytest.mark.gen_test
async def test_nobody_sees_the_sessions_of_others(client: Client, new_client: NewClient) -> None:
    await client.sign_up()
    bob = new_client()
    await bob.sign_up(BOB)
    assert len(await devices(bob)) == 1
    assert client.session_handle.encode() not in (await bob.get("/account/sessions")).body


@pytest.mark.gen_test
async def test_a_user_agent_is_no_way_into_the_page(client: Client) -> None:
    await sign_in_from(client, "<script>alert(1)</script> Firefox/1 Linux", "/signup")
    page = (await client.get("/account/sessions")).body
    assert b"alert" not in page


# -- ending -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_one_session_is_ended_at_once(client: Client, new_client: NewClient) -> None:
    phone, tablet = new_client(), new_client()
    await client.sign_up()
    await phone.sign_in()
    await tablet.sign_in()
    assert await end(client, phone.session_handle) == "/account/sessions?notice=ended"
    assert not await is_signed_in(phone)
    assert (await phone.refresh()).code == 401
    assert await is_signed_in(tablet)
    assert len(await devices(client)) == 2


@pytest.mark.gen_test
async def test_all_others_are_ended_and_this_one_stays(client: Client, new_client: NewClient) -> None:
    others = [new_client() for _ in range(3)]
    await client.sign_up()
    for other in others:
        await other.sign_in()
    done = await client.post("/account/sessions", {"which": "others"})
    assert done.headers["Location"] == "/account/sessions?notice=others-ended"
    assert [await is_signed_in(other) for other in others] == [False] * 3
    assert len(await devices(client)) == 1


@pytest.mark.gen_test
async def test_a_handle_of_somebody_elses_session_does_nothing(client: Client, new_client: NewClient) -> None:
    bob = new_client()
    await client.sign_up()
    await bob.sign_up(BOB)
    for handle in (client.session_handle, "", "x", "' OR 1=1 --", "\x00", client.session_handle + "x"):
        assert await end(bob, handle) == "/account/sessions", "nothing is said about it either"
    await bob.post("/account/sessions", {"which": "others"})
    assert await is_signed_in(client)


@pytest.mark.gen_test
async def test_ending_ones_own_session_here_leads_to_sign_in(client: Client) -> None:
    await client.sign_up()
    await end(client, client.session_handle)
    response = await client.get("/account/sessions", follow=True)
    assert b"Your user ID" not in response.body
    assert not await is_signed_in(client)


@pytest.mark.gen_test
async def test_ending_asks_for_a_recent_sign_in_and_looking_does_not(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    phone = new_client()
    await client.sign_up()
    await phone.sign_in()
    clock.advance(SENSITIVE_WITHIN_S + 1)
    page = (await client.get("/account/sessions")).body
    assert b"Confirm your password to end sessions" in page
    assert b"End this session" not in page
    for fields in ({"session_handle": phone.session_handle}, {"which": "others"}):
        asked = await client.post("/account/sessions", fields)
        assert asked.headers["Location"] == "/confirm-password?redirectBack=/account/sessions&unsent=yes"
    assert await is_signed_in(phone)


# -- live -------------------------------------------------------------------------------------------


async def session_socket(client: Client) -> WebSocketClientConnection:
    url = client.base_url.replace("http", "ws") + "/ws/session"
    headers = {"Cookie": client._cookie_header("/"), "Origin": client.base_url}
    return await websocket_connect(HTTPRequest(url, headers=headers))


@pytest.mark.gen_test
async def test_open_pages_hear_when_sessions_of_their_user_begin_and_end(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up()
    socket = await session_socket(client)
    phone = new_client()
    for change in (phone.sign_in, lambda: end(client, phone.session_handle)):
        await change()
        assert json.loads(str(await socket.read_message())) == {"sessions": "changed"}
    socket.close()


@pytest.mark.gen_test
async def test_other_sockets_and_other_users_hear_nothing_of_it(
    client: Client, new_client: NewClient, app: Application
) -> None:
    bob = new_client()
    await client.sign_up()
    await bob.sign_up(BOB)
    bobs = await session_socket(bob)
    await new_client().sign_in()
    await app.live.send_to_user(bob.user_id, "for bob")
    heard = []
    while "for bob" not in heard:
        heard.append(await bobs.read_message())
    assert [text for text in heard if text != "for bob"] in ([], ['{"sessions": "changed"}']), "his own"
    bobs.close()


# -- is it still there? -----------------------------------------------------------------------------


async def alive(client: Client) -> bool | None:
    response = await client.request("GET", "/session-alive", headers={"Accept": "*/*"})
    assert response.code == 200
    assert response.headers.get_list("Set-Cookie") == []
    assert "no-store" in response.headers["Cache-Control"]
    return bool(found) if (found := json_of(response)["alive"]) is not None else None


@pytest.mark.gen_test
async def test_a_page_can_ask_whether_its_session_is_still_there(
    client: Client, new_client: NewClient, clock: FakeClock, app: Application
) -> None:
    assert await alive(client) is None
    await client.sign_up()
    assert await alive(client) is True
    clock.advance(app.options.access_token_lifetime_s + 1)
    assert await alive(client) is True, "it can still be renewed"
    await app.sessions.revoke_session(client.session_handle, owner=None)
    assert await alive(client) is False


@pytest.mark.gen_test
async def test_a_session_that_ran_out_or_whose_claims_changed_is_judged_by_the_store(
    client: Client, clock: FakeClock, app: Application
) -> None:
    await client.sign_up()
    await app.sessions.merge_into_access_token_payload(client.session_handle, {"x": 1}, owner=None)
    assert await alive(client) is True
    clock.advance(app.options.refresh_token_lifetime_s - 1)
    assert await alive(client) is True
    token = client.cookies["sAccessToken"]
    clock.advance(1)
    client.plant("sAccessToken", token)
    assert await alive(client) is False


@pytest.mark.gen_test
async def test_asking_prolongs_nothing(client: Client, app: Application) -> None:
    await client.sign_up()
    before = await app.sessions.get_session_information(client.session_handle)
    for _ in range(3):
        await alive(client)
    assert await app.sessions.get_session_information(client.session_handle) == before


@pytest.mark.parametrize("token", ["x", "a.b.c", "\x00", "x" * 9000, "..", "eyJ.eyJ.x"])
@pytest.mark.gen_test
async def test_whatever_else_stands_in_the_cookie_is_no_session(client: Client, token: str) -> None:
    client.plant("sAccessToken", token.replace("\x00", "%00"))
    assert await alive(client) is None


@pytest.mark.gen_test
async def test_only_pages_with_a_session_are_told_where_to_ask(client: Client) -> None:
    assert b"session-alive" not in (await client.get("/")).body
    await client.sign_up()
    page = await client.request("GET", "/", headers=NAVIGATION)
    assert b'<meta name="session-alive" content="/session-alive">' in page.body


# -- sessions that have ended -----------------------------------------------------------------------


async def endings(client: Client) -> list[str]:
    """What the page says of sessions that have ended, without markup."""
    page = (await client.get("/account/sessions")).body.decode()
    items = re.findall(r'<li class="ending.*?</li>', page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", item)).split()) for item in items]


@pytest.mark.parametrize("thief_is", ["at once", "patient"])
@pytest.mark.gen_test
async def test_a_theft_is_shown_after_the_next_sign_in(
    client: Client, app: Application, new_client: NewClient, clock: FakeClock, thief_is: str
) -> None:
    await client.sign_up()
    thief = new_client()
    thief.jar = dict(client.jar)
    first, second = (client, thief) if thief_is == "at once" else (thief, client)
    assert (await first.refresh()).code == 200
    clock.advance(60)
    if thief_is == "at once":
        assert (await first.refresh()).code == 200
    assert (await second.refresh()).code == (401 if thief_is == "at once" else 200)
    if thief_is == "patient":
        assert (await client.get("/dashboard")).code == 200
        await app.sessions.write_notes()
        assert (await thief.refresh()).code == 401
    assert (await client.refresh()).code == 401
    page = (await client.get("/login")).body.decode()
    assert "someone else may have used your session" in html.unescape(page)
    await client.sign_in()
    (ending,) = await endings(client)
    assert ending.startswith("Two browsers used this session, so someone may have copied its cookies.")
    assert "Change your password" in ending
    assert "from 127.0.0.1" in ending


@pytest.mark.gen_test
async def test_why_other_sessions_ended_is_shown(
    client: Client, app: Application, new_client: NewClient
) -> None:
    await client.sign_up()
    ann = (await app.accounts.get_by_email("ann@example.com")).user_id
    for reason in (
        "ended by its user",
        "by administrator 7",
        "command line",
        "more sessions than a user may have",
    ):
        other = new_client()
        await other.sign_in()
        handle = await handle_of(other, app)
        await app.sessions.revoke_session(handle, owner=ann, reason=reason)
    found = [one.partition(" Ended")[0] for one in await endings(client)]
    assert found == [
        "An administrator ended this session.",
        "An administrator ended this session.",
        "You ended this session from another one.",
    ]


async def handle_of(client: Client, app: Application) -> str:
    session = await app.sessions.get_session(client.cookies["sAccessToken"])
    assert session is not None
    return session.handle


@pytest.mark.gen_test
async def test_of_other_users_and_long_ago_nothing_is_shown(
    client: Client, app: Application, new_client: NewClient, clock: FakeClock
) -> None:
    await client.sign_up()
    other = new_client()
    await other.sign_up(BOB)
    bob = (await app.accounts.get_by_email(BOB)).user_id
    await app.sessions.revoke_all_sessions_for_user(bob, reason="command line")
    assert await endings(client) == []
    ann = (await app.accounts.get_by_email("ann@example.com")).user_id
    await app.sessions.revoke_all_sessions_for_user(ann, reason="command line")
    await client.sign_in()
    assert len(await endings(client)) == 1
    clock.advance(31 * 86400)
    await client.sign_in()
    assert await endings(client) == []
