# SPDX-License-Identifier: MIT
"""A session ends while requests of it are on their way: what their answers do to the browser's cookies.

The first answer after an end elsewhere clears the cookies. If the browser signed out or signed in again, no
answer about the earlier session touches them, in whatever order requests and answers come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.sessions import UnauthorisedError
from stormcellar.testing.client import PASSWORD, Client, Cookie, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.tests.handlers.samples import PAID, SAMPLES
from stormcellar.web.handler import ProtectedAPIHandler, ProtectedHandler

BOB = "bob@example.com"
NewClient = Callable[..., Client]
Step = Callable[[Client, Client], Awaitable[Any]]
GATE: dict[str, asyncio.Event] = {}
Late = Callable[[Client], Awaitable[HTTPResponse]]


class SlowHandler(ProtectedHandler):
    """Waits until the test lets it go on, and then does what `?then=` says."""

    async def post(self) -> None:
        GATE["begun"].set()
        await GATE["may go on"].wait()
        then = self.get_query_argument("then")
        if then == "claims":
            await self.session.set_claim_value(PAID, True)
        elif then == "sign-out":
            await self.session.revoke(reason="signed out")
        elif then == "gone":
            raise UnauthorisedError("gone", session_handle=self.session.handle)
        self.finish({})


class SlowAPIHandler(ProtectedAPIHandler):
    post = SlowHandler.post


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return [*SAMPLES, (r"/slow/page", SlowHandler), (r"/slow/api", SlowAPIHandler)]


# -- how a session ends -----------------------------------------------------------------------------


async def sign_out_by_form(ann: Client, _other: Client) -> None:
    assert (await ann.post("/signout")).code == 303


async def sign_out_by_sdk(ann: Client, _other: Client) -> None:
    assert json_of(await ann.call("/auth/signout")) == {"status": "OK"}


async def end_on_another_device(ann: Client, other: Client) -> None:
    await other.sign_in("ann@example.com")
    response = await other.post("/account/sessions", {"session_handle": ann.session_handle})
    assert response.headers["Location"].endswith("notice=ended")


async def expire(ann: Client, _other: Client) -> None:
    """The browser's clock is behind, so it still sends its cookies."""
    ann.jar = tab_of(ann.jar)
    ann.clock.advance(31 * 86400)  # type: ignore[attr-defined]


async def nobody(_ann: Client, _other: Client) -> None:
    pass


async def bob_by_form(ann: Client, _other: Client) -> None:
    await ann.sign_in(BOB)


async def bob_by_sdk(ann: Client, _other: Client) -> None:
    fields = [{"id": "email", "value": BOB}, {"id": "password", "value": PASSWORD}]
    assert json_of(await ann.call("/auth/signin", {"formFields": fields}))["status"] == "OK"


# -- what is late -----------------------------------------------------------------------------------


async def get_a_page(late: Client) -> HTTPResponse:
    return await late.get("/dashboard")


async def post_a_form(late: Client) -> HTTPResponse:
    return await late.post("/sample/note", {"text": "x"})


async def call_the_api(late: Client) -> HTTPResponse:
    return await late.call("/sample/api", method="GET")


async def refresh(late: Client) -> HTTPResponse:
    return await late.refresh()


async def refresh_by_our_script(late: Client) -> HTTPResponse:
    return await late.call("/auth/session/refresh", auth_mode="")


async def take_the_detour(late: Client) -> HTTPResponse:
    return await late.get("/auth/session/refresh/return?redirectBack=/dashboard")


async def send_the_detour(late: Client) -> HTTPResponse:
    return await late.post("/auth/session/refresh/return?redirectBack=/sample/note", {"text": "x"})


async def sign_out_again(late: Client) -> HTTPResponse:
    return await late.post("/signout")


async def sign_out_again_by_sdk(late: Client) -> HTTPResponse:
    return await late.call("/auth/signout")


async def sign_out_again_by_refresh_token(late: Client) -> HTTPResponse:
    return await late.post("/auth/session/refresh/signout")


ENDS = [sign_out_by_form, sign_out_by_sdk, end_on_another_device, expire, nobody]
REQUESTS: list[Late] = [
    get_a_page, post_a_form, call_the_api, refresh, refresh_by_our_script, take_the_detour, send_the_detour,
    sign_out_again, sign_out_again_by_sdk, sign_out_again_by_refresh_token,
]  # fmt: skip
CLEARING = [call_the_api, refresh, refresh_by_our_script, take_the_detour, send_the_detour]


def name_of(function: Any) -> str:
    return str(function.__name__)


def tab_before(browser: Client, new_client: NewClient) -> Client:
    """A tab whose requests left with the cookies that the browser has now."""
    tab = new_client()
    tab.jar = tab_of(browser.jar)
    return tab


def tab_of(jar: dict[Any, Cookie]) -> dict[Any, Cookie]:
    return {key: replace(cookie, expires_at=None) for key, cookie in jar.items() if cookie.expires_at != 0}


def arrive(browser: Client, response: HTTPResponse, by_sdk: bool) -> None:
    """The browser keeps the cookies of an answer to a request that left earlier."""
    browser._keep_cookies(response)
    if by_sdk and response.code != 401:  # that one is not told apart from a sign-out by the client itself
        browser._keep_front_token(response)


@pytest.mark.parametrize("sign_in", [bob_by_form, bob_by_sdk], ids=name_of)
@pytest.mark.parametrize("end", ENDS, ids=name_of)
@pytest.mark.gen_test(timeout=60)
async def test_no_late_answer_signs_the_next_user_out(
    client: Client, new_client: NewClient, end: Step, sign_in: Step
) -> None:
    """Every kind of late request, answered after another user signed in in the same browser."""
    other = new_client()
    await new_client().sign_up(BOB)
    await client.sign_up()
    tab = tab_before(client, new_client)
    await end(client, other)
    await sign_in(client, other)
    bob = client.session_handle
    for late in REQUESTS:
        response = await late(tab_before(tab, new_client))
        cleared = {name for name, cookie in set_cookies(response).items() if not cookie.value}
        assert not cleared, late.__name__
        arrive(client, response, late in (call_the_api, refresh, sign_out_again_by_sdk))
        assert client.session_handle == bob, late.__name__
        assert (await client.get("/dashboard")).code == 200, late.__name__


@pytest.mark.parametrize("first", CLEARING, ids=name_of)
@pytest.mark.parametrize("sign_in", [bob_by_form, bob_by_sdk], ids=name_of)
@pytest.mark.gen_test(timeout=60)
async def test_after_a_cleared_answer_a_later_one_clears_nothing(
    client: Client, new_client: NewClient, first: Late, sign_in: Step
) -> None:
    """The session ended elsewhere, the first answer cleared the browser, and another user signed in there."""
    await new_client().sign_up(BOB)
    await client.sign_up()
    tab = tab_before(client, new_client)
    await end_on_another_device(client, new_client())
    response = await first(client)
    assert set_cookies(response)["sAccessToken"].value == "", "it ended elsewhere"
    assert "sAccessToken" not in client.cookies
    await sign_in(client, client)
    for late in REQUESTS:
        response = await late(tab_before(tab, new_client))
        assert not [name for name, cookie in set_cookies(response).items() if not cookie.value], late
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.parametrize("first", CLEARING, ids=name_of)
@pytest.mark.parametrize("end", [end_on_another_device, expire], ids=name_of)
@pytest.mark.gen_test
async def test_a_session_that_ended_elsewhere_is_cleared_by_the_first_answer(
    client: Client, new_client: NewClient, end: Step, first: Late
) -> None:
    await client.sign_up()
    await end(client, new_client())
    if end is expire and first is call_the_api:
        assert (await first(client)).code == 401
        first = refresh
    await first(client)
    assert not {"sAccessToken", "sRefreshToken", "sRefreshMarker", "sFrontToken"} & client.cookies.keys()


@pytest.mark.parametrize("then", ["claims", "sign-out", "gone", "nothing"])
@pytest.mark.parametrize("path", ["/slow/page", "/slow/api"])
@pytest.mark.parametrize("sign_in", [bob_by_form, bob_by_sdk], ids=name_of)
@pytest.mark.gen_test
async def test_a_slow_handler_leaves_the_next_users_cookies(
    client: Client, new_client: NewClient, sign_in: Step, path: str, then: str
) -> None:
    """It began in the earlier session and ends after another user has signed in."""
    await new_client().sign_up(BOB)
    await client.sign_up()
    GATE.update({"begun": asyncio.Event(), "may go on": asyncio.Event()})
    tab = tab_before(client, new_client)
    under_way = asyncio.ensure_future(
        tab.call(f"{path}?then={then}") if path == "/slow/api" else tab.post(f"{path}?then={then}")
    )
    await GATE["begun"].wait()
    await sign_in(client, client)
    bob = client.session_handle
    GATE["may go on"].set()
    response = await under_way
    assert set_cookies(response) == {}
    assert "front-token" not in response.headers
    arrive(client, response, by_sdk=False)
    assert client.session_handle == bob
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_every_server_knows_which_browsers_were_told(
    client: Client, new_client: NewClient, app: Application, second_node: Callable[..., Any]
) -> None:
    """A late answer of another server clears nothing either."""
    await new_client().sign_up(BOB)
    await client.sign_up()
    node = second_node()
    await node.app.start()
    tab = tab_before(client, new_client)
    await end_on_another_device(client, new_client())
    await client.refresh()
    assert "sAccessToken" not in client.cookies
    await client.sign_in(BOB)
    for late in (refresh, call_the_api, take_the_detour):
        response = await late(node.visited_by(tab_before(tab, new_client)))
        assert not [name for name, cookie in set_cookies(response).items() if not cookie.value], late


@pytest.mark.gen_test
async def test_what_is_remembered_of_told_browsers_is_forgotten_in_time(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await client.post("/signout")
    assert app.sessions.feed.settled
    clock.advance(2 * LIFETIME_S)
    app.sessions.feed.forget_expired()
    assert not app.sessions.feed.settled
    assert not app.sessions.feed.reasons


@pytest.mark.parametrize(
    "late", [refresh, refresh_by_our_script, take_the_detour, send_the_detour], ids=name_of
)
@pytest.mark.gen_test
async def test_a_guests_late_refresh_clears_nothing_of_a_user_who_has_signed_in(
    client: Client, new_client: NewClient, late: Late
) -> None:
    """The request left before the sign-in, without any cookie of a session."""
    guest = new_client()
    await client.sign_up()
    response = await late(guest)
    assert not [name for name, cookie in set_cookies(response).items() if not cookie.value]
    arrive(client, response, by_sdk=False)
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.parametrize("is_expired", [False, True], ids=["valid token", "expired token"])
@pytest.mark.parametrize(
    "end", [sign_out_by_form, sign_out_by_sdk, end_on_another_device, nobody], ids=name_of
)
@pytest.mark.gen_test
async def test_a_late_sign_out_of_the_sdk_is_answered_so_that_it_does_not_try_again(
    client: Client, new_client: NewClient, clock: FakeClock, end: Step, is_expired: bool
) -> None:
    """After a 401 it renews and asks again, with the tokens of the next user."""
    await new_client().sign_up(BOB)
    await client.sign_up()
    tab = tab_before(client, new_client)
    await end(client, new_client())
    await client.sign_in(BOB)
    if is_expired:
        clock.advance(LIFETIME_S)
    response = await sign_out_again_by_sdk(tab)
    assert (response.code, json_of(response)) == (200, {"status": "OK"})
    assert not [name for name, cookie in set_cookies(response).items() if not cookie.value]
    assert "front-token" not in response.headers
    assert await client.page("/dashboard")


@pytest.mark.gen_test
async def test_a_sign_out_with_an_expired_token_of_a_living_session_asks_for_a_refresh(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.call("/auth/signout")
    assert (response.code, json_of(response)) == (401, {"message": "try refresh token"})
