# SPDX-License-Identifier: MIT
"""Where clients and servers of SuperTokens' protocol are known to go wrong, and what is answered here.

The cases have numbers, 1 to 58. One that cannot occur here has its number in the list at the end of
docs/coming-from-supertokens.md. What the published clients make of these answers, tests/browser shows.

Source: supertokens-website 20.1, supertokens-node 24.0, supertokens-python 0.31; FDI specification.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.accounts import EMAIL_TAKEN, Mailbox
from stormcellar.application import Application
from stormcellar.sessions import BooleanClaim
from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings
from stormcellar.tests.handlers.samples import PAID
from stormcellar.tests.handlers.test_transfer import (
    assert_all_cleared,
    bearer,
    exposed,
    method_of,
    new_tokens,
)
from stormcellar.tests.serving import ROOT
from stormcellar.tests.site import SITE
from stormcellar.tests.support import HERE
from stormcellar.web.handler import ProtectedAPIHandler

NewClient = Callable[..., Client]

REFRESH_PATH = "/auth/session/refresh"
PUBLIC_URL = "https://www.example.com"
TRUSTED = "https://app.example.com"
FOREIGN_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
PROTECTED_NAMES = ("sub", "rsub", "tId", "iat", "exp", "sessionHandle", "refreshTokenHash1", "antiCsrfToken")
NOTHING = BooleanClaim("nothing", lambda *_: None)


class MergeHandler(ProtectedAPIHandler):
    """Lays the body over the session's claims; `?take=` is how many seconds the request takes before that."""

    async def post(self) -> None:
        self.app.sessions.clock.advance(int(self.get_query_argument("take", "0")))  # type: ignore[attr-defined]
        await self.session.merge_into_access_token_payload(json.loads(self.request.body))
        self.finish({"payload": self.session.access_token_payload})


class RevokeTwiceHandler(ProtectedAPIHandler):
    """Ends the session by its handle, then once more by its object."""

    async def post(self) -> None:
        await self.app.sessions.revoke_session(self.session.handle, owner=None)
        await self.session.revoke()
        self.finish({})


@pytest.fixture
def app(app: Application) -> Application:
    more = [(r"/edge/merge", MergeHandler), (r"/edge/revoke", RevokeTwiceHandler)]
    app.add_handlers(r".*", more)  # type: ignore[arg-type]
    return app


def fields(**values: str) -> dict[str, Any]:
    return {"formFields": [{"id": name, "value": value} for name, value in values.items()]}


CREDENTIALS = fields(email="ann@example.com", password=PASSWORD)


def assert_401(response: HTTPResponse, message: str) -> None:
    """401 that takes nothing from the client."""
    assert (response.code, json_of(response)) == (401, {"message": message})
    assert_no_tokens(response)


def assert_no_tokens(response: HTTPResponse) -> None:
    """Tokens are neither given nor taken."""
    assert set_cookies(response) == {}
    for name in ("front-token", "st-access-token", "st-refresh-token", "anti-csrf"):
        assert name not in response.headers


def front_of(response: HTTPResponse) -> dict[str, Any]:
    (text,) = response.headers.get_list("front-token")
    return json.loads(base64.b64decode(text, validate=True))


# -- 1 to 9: no token, or not one of ours ---------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_01_a_wrong_password_is_answered_200(client: Client) -> None:
    """401 would have the client refresh, and send the password again."""
    await client.sign_up()
    for wrong in (
        fields(email="ann@example.com", password="x"),
        fields(email="bob@example.com", password="x"),
    ):
        response = await client.call("/auth/signin", wrong)
        assert (response.code, json_of(response)) == (200, {"status": "WRONG_CREDENTIALS_ERROR"})
        assert_no_tokens(response)


@with_settings(trusted_origins=(TRUSTED,))
@pytest.mark.gen_test
async def test_edge_02_a_strangers_first_call_is_a_refresh_whose_answer_can_be_read(
    client: Client,
) -> None:
    response = await client.refresh(**{"Origin": TRUSTED, "Sec-Fetch-Site": "cross-site"})
    assert (response.code, response.headers.get_list("front-token")) == (401, ["remove"])
    assert response.headers["Access-Control-Allow-Origin"] == TRUSTED
    assert response.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize(
    "settings",
    [{}, {"api_base_path": "/api/session"}, {"token_transfer_method": "header"}, {"anti_csrf": "VIA_TOKEN"}],
    ids=["default", "other path", "header", "VIA_TOKEN"],
)
@pytest.mark.gen_test
async def test_edge_03_a_stranger_is_told_so_by_every_server_even_without_its_store(
    client: Client, app: Application, settings: dict[str, Any]
) -> None:
    """404 or 500 would have the client refresh before each of its calls."""
    path = settings.get("api_base_path", "/auth") + "/session/refresh"
    await app.start()
    await app.database.close()
    response = await client.call(path)
    assert (response.code, json_of(response)) == (401, {"message": "unauthorised"})
    assert response.headers["front-token"] == "remove"


@pytest.mark.gen_test
async def test_edge_04_a_call_without_a_token_clears_nothing(client: Client) -> None:
    """It may have left before a sign-in in another tab, and arrive after it."""
    for method in ("GET", "POST"):
        assert_401(await client.call("/sample/api", method=method), "unauthorised")


@pytest.mark.gen_test
async def test_edge_05_a_refresh_without_its_token_takes_the_access_token_away(client: Client) -> None:
    """Else the client would go on: access token, 401, refresh, 401."""
    await client.sign_up()
    del client.jar["sRefreshToken", REFRESH_PATH, ""]
    assert_all_cleared(await client.refresh())
    assert "sAccessToken" not in client.cookies


@pytest.mark.gen_test
async def test_edge_06_an_expired_token_is_renewed_even_where_none_is_needed(
    client: Client, clock: FakeClock
) -> None:
    """Its bearer is no guest."""
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert_401(await client.call("/sample/optional", method="GET"), "try refresh token")


@pytest.mark.gen_test
async def test_edge_07_another_services_jwt_in_the_header_is_not_looked_at(
    client: Client, app: Application
) -> None:
    headers = bearer(FOREIGN_JWT)
    assert json_of(await client.call("/sample/optional", method="GET", headers=headers)) == {"user_id": None}
    client.plant("sAccessToken", (await new_tokens(app, "ann")).access_token)
    assert json_of(await client.call("/sample/optional", method="GET", headers=headers)) == {"user_id": "ann"}


@pytest.mark.parametrize(
    "garbage", ["x", "a.b.c", FOREIGN_JWT, "%00", "é".encode().decode("latin1"), "A" * 5000]
)
@pytest.mark.gen_test
async def test_edge_08_garbage_in_the_cookie_is_no_token(client: Client, garbage: str) -> None:
    client.plant("sAccessToken", garbage)
    assert_401(await client.call("/sample/api", method="GET"), "unauthorised")
    assert json_of(await client.call("/sample/optional", method="GET")) == {"user_id": None}


@pytest.mark.gen_test
async def test_edge_09_the_word_bearer_is_case_sensitive(client: Client, app: Application) -> None:
    token = (await new_tokens(app, "ann")).access_token
    headers = {"Authorization": f"bearer {token}"}
    assert_401(await client.call("/sample/api", method="GET", headers=headers), "unauthorised")


# -- 10 to 14: cookies, headers, and both ---------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_10_the_mode_a_client_asks_for_is_compared_in_lower_case(client: Client) -> None:
    assert method_of(await client.call("/auth/signup", CREDENTIALS, auth_mode="Cookie")) == "cookie"


@pytest.mark.parametrize("mode", ["cookie", "header"])
@pytest.mark.gen_test
async def test_edge_11_a_new_session_clears_the_other_method_and_its_front_token_is_the_last_word(
    client: Client, app: Application, mode: str
) -> None:
    await client.sign_up()
    headers = bearer((await new_tokens(app, "old")).access_token)
    response = await client.call("/auth/signin", CREDENTIALS, auth_mode=mode, headers=headers)
    assert method_of(response) == mode
    assert front_of(response)["uid"] == json_of(response)["user"]["id"]
    if mode == "cookie":
        assert response.headers.get_list("st-access-token") == [""]
        assert response.headers.get_list("st-refresh-token") == [""]
    else:
        assert {"sAccessToken", "sRefreshToken"} <= client_drops(response)


def client_drops(response: HTTPResponse) -> set[str]:
    return {name for name, cookie in set_cookies(response).items() if cookie.expires_at == 0}


@pytest.mark.parametrize("access_cookie", [True, False])
@pytest.mark.gen_test
async def test_edge_12_of_two_refresh_tokens_the_one_in_the_header_counts_and_the_cookies_are_cleared(
    client: Client, app: Application, access_cookie: bool
) -> None:
    """Clearing comes first, so the front token is the new one."""
    await client.sign_up()
    if not access_cookie:
        del client.jar["sAccessToken", "/", ""]
    token = (await new_tokens(app, "from header")).refresh_token
    assert token
    response = await client.refresh(**bearer(token))
    assert (response.code, method_of(response)) == (200, "header")
    assert front_of(response)["uid"] == "from header"
    assert {"sAccessToken", "sRefreshToken"} <= client_drops(response)


@pytest.mark.gen_test
async def test_edge_13_remove_and_a_new_front_token_never_stand_in_one_answer(client: Client) -> None:
    """The client would drop what it has just been given."""
    await client.sign_up()
    response = await client.post("/sample/leave?then=again")
    assert response.headers.get_list("front-token") == [client.cookies["sFrontToken"]]
    assert (await client.call("/sample/api", method="GET")).code == 200


@pytest.mark.gen_test
async def test_edge_14_the_application_and_the_session_expose_their_headers_in_one_list(
    client: Client,
) -> None:
    await client.sign_up()
    response = await client.post("/sample/exposing")
    assert response.headers.get_list("Access-Control-Expose-Headers") == ["X-Total, front-token"]


# -- 15 to 22: front token and payload ------------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_15_16_a_front_token_is_padded_standard_base64_with_its_expiry_in_milliseconds(
    client: Client, app: Application, clock: FakeClock
) -> None:
    """Clients throw at the URL-safe alphabet, and take seconds for a date in 1970."""
    await client.sign_up()
    await app.sessions.merge_into_access_token_payload(
        client.session_handle, {"k": "?" * 9 + "~" * 9}, owner=None
    )
    response = await client.refresh()
    text, front = response.headers["front-token"], front_of(response)
    assert {"/", "+"} <= set(text)
    assert base64.b64encode(base64.b64decode(text)).decode() == text
    assert front["ate"] == front["up"]["exp"] * 1000 == (clock.now() + LIFETIME_S) * 1000


@pytest.mark.gen_test
async def test_edge_17_a_front_token_is_sent_only_when_it_was_issued_this_moment(
    client: Client, clock: FakeClock
) -> None:
    """Clients set their clock by its iat, so an old one puts it wrong. A repeated refresh is issued anew."""
    await client.sign_up()
    before = dict(client.jar)
    assert front_of(await client.refresh())["up"]["iat"] == clock.now()
    client.jar = before
    clock.advance(20)
    assert front_of(await client.refresh())["up"]["iat"] == clock.now()
    clock.advance(20)
    for path in ("/", "/dashboard", "/sample/api", "/none"):
        assert "front-token" not in (await client.get(path)).headers
    assert front_of(await client.call("/edge/merge", {"k": 1}))["up"]["iat"] == clock.now()


@with_settings(anti_csrf="VIA_TOKEN")
@pytest.mark.gen_test
async def test_edge_18_a_merge_gives_a_new_access_token_with_the_old_end_and_nothing_else(
    client: Client, clock: FakeClock
) -> None:
    created = await client.call("/auth/signup", CREDENTIALS)
    headers, before = {"anti-csrf": created.headers["anti-csrf"]}, front_of(created)["up"]
    clock.advance(60)
    response = await client.call("/edge/merge", {"k": 1}, headers=headers)
    after = front_of(response)["up"]
    assert (after["k"], after["exp"], after["iat"]) == (1, before["exp"], before["iat"] + 60)
    assert exposed(response) == {"front-token"}
    assert "sRefreshToken" not in set_cookies(response)
    assert "anti-csrf" not in response.headers
    assert (await client.call("/sample/api", headers=headers)).code == 200


@pytest.mark.gen_test
async def test_edge_19_a_merge_after_the_token_expired_on_the_way_is_delivered_by_the_next_refresh(
    client: Client,
) -> None:
    await client.sign_up()
    response = await client.call(f"/edge/merge?take={LIFETIME_S}", {"k": 1})
    assert (response.code, json_of(response)["payload"]["k"]) == (200, 1)
    assert_no_tokens(response)
    assert front_of(await client.refresh())["up"]["k"] == 1


@pytest.mark.gen_test
async def test_edge_20_merging_null_removes_the_name_from_payload_and_front_token(client: Client) -> None:
    await client.sign_up()
    await client.call("/edge/merge", {"k": 1, "kept": 2})
    response = await client.call("/edge/merge", {"k": None})
    for payload in (json_of(response)["payload"], front_of(response)["up"]):
        assert "k" not in payload
        assert payload["kept"] == 2


@pytest.mark.parametrize("name", PROTECTED_NAMES)
@pytest.mark.gen_test
async def test_edge_21_merging_a_name_of_the_engines_own_fails_and_stores_nothing(
    client: Client, app: Application, name: str
) -> None:
    await client.sign_up()
    response = await client.call("/edge/merge", {"k": 1, name: "eve"})
    assert response.code == 500
    assert_no_tokens(response)
    information = await app.sessions.get_session_information(client.session_handle)
    assert information
    assert "k" not in information.custom_claims_in_access_token_payload
    assert (await client.call("/sample/api", method="GET")).code == 200


@pytest.mark.gen_test
async def test_edge_21_a_new_session_refuses_names_of_the_engines_own(app: Application) -> None:
    await app.start()
    for name in PROTECTED_NAMES:
        with pytest.raises(ValueError, match=name):
            await app.sessions.create_new_session("ann", access_token_payload={"k": 1, name: "eve"})
    assert await app.sessions.get_all_session_handles_for_user("ann") == []


@pytest.mark.gen_test
async def test_edge_22_a_payload_changed_by_handle_has_the_clients_token_renewed_at_once(
    client: Client, app: Application
) -> None:
    """Elsewhere the old payload would be believed until the token expires."""
    await client.sign_up()
    await app.sessions.merge_into_access_token_payload(client.session_handle, {"k": 1}, owner=None)
    assert_401(await client.call("/sample/api", method="GET"), "try refresh token")
    assert front_of(await client.refresh())["up"]["k"] == 1
    assert (await client.call("/sample/api", method="GET")).code == 200


# -- 23 to 28: ends of sessions -------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_23_a_session_revoked_by_handle_is_over_at_once(client: Client, app: Application) -> None:
    """Elsewhere its access token would open everything until it expires."""
    await client.sign_up()
    assert await app.sessions.revoke_session(client.session_handle, owner=None)
    assert_all_cleared(await client.call("/sample/api", method="GET"))
    await client.sign_in()
    assert await app.sessions.revoke_session(client.session_handle, owner=None)
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_edge_24_revoking_a_session_that_is_gone_already_still_clears_its_cookies(
    client: Client,
) -> None:
    await client.sign_up()
    response = await client.call("/edge/revoke")
    assert (response.code, response.headers["front-token"]) == (200, "remove")
    assert not {"sAccessToken", "sRefreshToken"} & client.cookies.keys()


@pytest.mark.gen_test
async def test_edge_25_sign_out_with_an_expired_token_is_renewed_and_repeated(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    handle = client.session_handle
    clock.advance(LIFETIME_S)
    assert_401(await client.call("/auth/signout"), "try refresh token")
    assert (await client.refresh()).code == 200
    assert json_of(await client.call("/auth/signout")) == {"status": "OK"}
    assert await app.sessions.get_session_information(handle) is None


@pytest.mark.gen_test
async def test_edge_25_if_that_renewal_fails_the_client_is_signed_out_all_the_same(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert_401(await client.call("/auth/signout"), "try refresh token")
    await app.sessions.revoke_session(client.session_handle, owner=None)
    assert_all_cleared(await client.refresh())


@with_settings(engine={"global_claim_validators": [PAID.is_true()]})
@pytest.mark.gen_test
async def test_edge_26_28_claims_keep_nobody_from_refreshing_or_signing_out(client: Client) -> None:
    await client.sign_up()
    assert (await client.call("/sample/api", method="GET")).code == 403
    assert (await client.refresh()).code == 200
    assert (await client.call("/auth/signout")).code == 200


@pytest.mark.gen_test
async def test_edge_27_sign_out_is_answered_with_json(client: Client) -> None:
    """Clients parse the body, and throw at an empty one."""
    await client.sign_up()
    response = await client.call("/auth/signout")
    assert (response.code, json_of(response)) == (200, {"status": "OK"})


# -- 29 to 32: claims -----------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_29_a_refusal_stores_what_it_fetched_and_sends_no_token(
    client: Client, app: Application
) -> None:
    """The next call is led to a refresh, which brings it."""
    await client.sign_up()
    response = await client.call("/sample/paid/api", method="GET")
    assert response.code == 403
    assert_no_tokens(response)
    assert await app.sessions.get_claim_value(client.session_handle, PAID) is False
    assert_401(await client.call("/sample/api", method="GET"), "try refresh token")
    assert front_of(await client.refresh())["up"]["paid"]["v"] is False
    assert (await client.call("/sample/api", method="GET")).code == 200


@pytest.mark.gen_test
async def test_edge_30_an_applications_own_403_is_none_of_the_clients_business(client: Client) -> None:
    await client.sign_up()
    response = await client.call("/sample/fail?how=403", method="GET")
    assert response.code == 403
    assert "claimValidationErrors" not in json_of(response)
    assert_no_tokens(response)


@with_settings(engine={"claims": [NOTHING], "global_claim_validators": [NOTHING.is_true()]})
@pytest.mark.gen_test
async def test_edge_31_a_claim_that_finds_nothing_is_absent_and_the_validator_says_so(client: Client) -> None:
    await client.sign_up()
    assert "nothing" not in client.front_token()["up"]
    response = await client.call("/sample/api", method="GET")
    reason = {"message": "value does not exist", "expectedValue": True}
    assert json_of(response)["claimValidationErrors"] == [{"id": "nothing", "reason": reason}]


async def verify_elsewhere(client: Client, app: Application) -> None:
    """The mailed link is opened on another device."""
    token = await app.accounts.create_email_verification(client.user_id)
    assert token
    await app.accounts.verify_email(token.text)


@with_settings(email_verification="required")
@pytest.mark.gen_test
async def test_edge_32_an_address_verified_elsewhere_is_known_after_ten_seconds(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await verify_elsewhere(client, app)
    clock.advance(10)
    refused = await client.call("/sample/api", method="GET")
    reason = {"message": "wrong value", "expectedValue": True, "actualValue": False}
    assert json_of(refused)["claimValidationErrors"] == [{"id": "st-ev", "reason": reason}]
    clock.advance(1)
    accepted = await client.call("/sample/api", method="GET")
    assert (accepted.code, front_of(accepted)["up"]["st-ev"]["v"]) == (200, True)


@with_settings(email_verification="required")
@pytest.mark.gen_test
async def test_edge_32_asking_whether_the_address_is_verified_brings_the_claim_at_once(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await verify_elsewhere(client, app)
    response = await client.call("/auth/user/email/verify", method="GET")
    assert json_of(response) == {"status": "OK", "isVerified": True}
    assert front_of(response)["up"]["st-ev"]["v"] is True
    assert (await client.call("/sample/api", method="GET")).code == 200


# -- 33 to 39: refresh tokens and keys ------------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_33_a_client_that_got_no_answer_may_ask_again_late(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    before = dict(client.jar)
    await client.refresh()
    client.jar = before
    clock.advance(7 * 86400)
    again = await client.refresh()
    assert again.code == 200
    assert (await client.get("/dashboard")).code == 200
    assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_edge_34_two_refreshes_with_one_token_at_once_are_no_theft(
    client: Client, clock: FakeClock
) -> None:
    """Both get the same next token, so it does not matter which answer the browser keeps."""
    await client.sign_up()
    clock.advance(LIFETIME_S)
    answers = await asyncio.gather(client.refresh(), client.refresh())
    assert [answer.code for answer in answers] == [200, 200]
    assert len({set_cookies(answer)["sRefreshToken"].value for answer in answers}) == 1
    clock.advance(LIFETIME_S)
    assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_edge_35_an_old_token_after_its_successor_was_used_is_theft_and_ends_the_session_of_both(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    handle, thief = client.session_handle, new_client()
    thief.jar = dict(client.jar)
    await client.refresh()
    await client.call("/sample/api", method="GET")
    await app.sessions.write_notes()
    clock.advance(31)
    assert_all_cleared(await thief.refresh(), "token theft detected")
    assert await app.sessions.get_session_information(handle) is None
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_edge_36_a_refresh_token_is_good_although_its_access_token_was_never_used(
    client: Client,
) -> None:
    await client.sign_up()
    for _ in range(3):
        assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_edge_37_the_refresh_token_of_an_expired_session_is_no_theft(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    old = client.cookies["sRefreshToken"]
    await client.refresh()
    clock.advance(31 * 86400)
    client.plant("sRefreshToken", old, path=REFRESH_PATH)
    assert_all_cleared(await client.refresh())


@pytest.mark.gen_test
async def test_edge_38_after_the_signing_key_was_replaced_tokens_are_renewed_and_sessions_survive(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    handle = client.session_handle
    await app.sessions.keys.rotate_now(forget_old=True)
    assert_401(await client.call("/sample/api", method="GET"), "try refresh token")
    assert (await client.refresh()).code == 200
    assert (await client.call("/sample/api", method="GET")).code == 200
    assert client.session_handle == handle


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({"use_dynamic_signing_key": dynamic}, kind) for dynamic, kind in ((False, "s-"), (True, "d-"))],
)
@pytest.mark.gen_test
async def test_edge_39_tokens_of_the_other_kind_of_key_are_renewed(
    client: Client, make_application: Callable[..., Application], settings: dict[str, bool], kind: str
) -> None:
    before = make_application(use_dynamic_signing_key=not settings["use_dynamic_signing_key"])
    tokens = await new_tokens(before, "ann")
    await before.stop()
    assert tokens.refresh_token
    client.plant("sAccessToken", tokens.access_token)
    client.plant("sRefreshToken", tokens.refresh_token, path=REFRESH_PATH)
    assert_401(await client.call("/sample/api", method="GET"), "try refresh token")
    assert (await client.refresh()).code == 200
    head = client.cookies["sAccessToken"].partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"].startswith(kind)


# -- 40 to 42: the custom header ------------------------------------------------------------------------


@with_settings(anti_csrf="VIA_CUSTOM_HEADER")
@pytest.mark.gen_test
async def test_edge_40_only_get_needs_no_custom_header(client: Client) -> None:
    await client.sign_up()
    assert (await client.call("/sample/api", method="GET", headers={"rid": ""})).code == 200
    for method in ("HEAD", "POST"):
        assert (await client.call("/sample/api", method=method, headers={"rid": ""})).code == 401
        assert (await client.call("/sample/api", method=method)).code == 200


@with_settings(anti_csrf="VIA_CUSTOM_HEADER")
@pytest.mark.gen_test
async def test_edge_41_a_rid_that_names_nothing_known_is_as_good_as_any(client: Client) -> None:
    """It is neither compared nor used to find the route."""
    headers = {"rid": "no such recipe"}
    assert json_of(await client.call("/auth/signup", CREDENTIALS, headers=headers))["status"] == "OK"
    assert (await client.call("/sample/api", headers=headers)).code == 200
    assert (await client.refresh(**headers)).code == 200
    assert json_of(await client.call("/auth/signout", headers={"rid": "emailpassword"})) == {"status": "OK"}


@with_settings(anti_csrf="VIA_CUSTOM_HEADER")
@pytest.mark.gen_test
async def test_edge_42_a_refresh_without_the_custom_header_ends_the_session_in_the_browser(
    client: Client,
) -> None:
    """`try refresh token` would lead in a circle."""
    await client.sign_up()
    assert_all_cleared(await client.refresh(rid=""))


# -- 43 to 50: cookies ----------------------------------------------------------------------------------


@with_settings(public_url=PUBLIC_URL, cookie_domain="example.com")
@pytest.mark.parametrize("name", ["sAccessToken", "sRefreshToken"])
@pytest.mark.gen_test
async def test_edge_43_two_cookies_of_one_name_are_sorted_out_by_one_refresh_without_tokens(
    client: Client, app: Application, name: str
) -> None:
    """202: current clients then ask again at once; at a 200 without a front token they throw."""
    client.origin = PUBLIC_URL
    await client.sign_up()
    path = "/" if name == "sAccessToken" else REFRESH_PATH
    earlier = await new_tokens(app, "ann")
    left = earlier.access_token if name == "sAccessToken" else earlier.refresh_token
    client.jar[name, path, ""] = replace(client.jar[name, path, "example.com"], domain="", value=left or "")
    if name == "sAccessToken":
        assert_401(await client.call("/sample/api", method="GET"), "try refresh token")
    response = await client.refresh()
    assert (response.code, json_of(response).keys()) == (202, {"message"})
    assert "front-token" not in response.headers
    lines = response.headers.get_list("Set-Cookie")
    assert {line.partition("=")[0] for line in lines} == {name, "sRefreshTidied"}
    lines = [line for line in lines if line.startswith(name)]
    assert not [line for line in lines if line.endswith("Domain=example.com")], "that one is in use"
    assert (await client.refresh()).code == 200
    assert (await client.call("/sample/api", method="GET")).code == 200


@with_settings(public_url=PUBLIC_URL, cookie_domain="example.com", older_cookie_domain="")
@pytest.mark.gen_test
async def test_edge_44_an_empty_older_domain_means_the_host_alone(client: Client, app: Application) -> None:
    client.origin = PUBLIC_URL
    await client.sign_up()
    client.plant("sAccessToken", (await new_tokens(app, "ann")).access_token)
    line, _tidied = (await client.refresh()).headers.get_list("Set-Cookie")
    assert line.startswith("sAccessToken=;")
    assert "Domain" not in line
    assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_edge_45_the_cookie_of_a_very_old_backend_leads_to_a_refresh_that_clears_it(
    client: Client,
) -> None:
    """Whether a session is needed or not, and whether the refresh succeeds or not."""
    for signed_in, status in ((False, 401), (True, 200)):
        if signed_in:
            await client.sign_up()
        client.plant("sIdRefreshToken", "x")
        for path in ("/sample/api", "/sample/optional"):
            if signed_in:  # the session is not that backend's, whose cookie may be out of reach
                assert (await client.call(path, method="GET")).code == 200
            else:
                assert_401(await client.call(path, method="GET"), "try refresh token")
        response = await client.refresh()
        assert response.code == status
        assert set_cookies(response)["sIdRefreshToken"] == replace(
            client.jar["sIdRefreshToken", "/", ""], value="", expires_at=0, path="/"
        )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"public_url": PUBLIC_URL, "cookie_domain": "example.com"},
        {"public_url": PUBLIC_URL, "cookie_prefix": True},
        {"api_base_path": "/api/session", "cookie_same_site": "strict"},
    ],
    ids=["default", "domain", "prefix", "path"],
)
@pytest.mark.gen_test
async def test_edge_46_cookies_are_cleared_with_the_attributes_they_were_set_with(
    client: Client, settings: dict[str, Any]
) -> None:
    """A browser keeps a cookie whose path or domain is another one."""
    client.origin = settings.get("public_url", client.origin)
    was_set = set_cookies(await client.sign_up())
    cleared = set_cookies(await client.post("/signout"))
    assert cleared.keys() == was_set.keys()
    for name, cookie in cleared.items():
        assert replace(cookie, value="", expires_at=None) == replace(was_set[name], value="", expires_at=None)
    assert {name for name, cookie in cleared.items() if cookie.expires_at != 0} == {
        "st-last-access-token-update"
    }


@with_settings(api_base_path="/")
@pytest.mark.gen_test
async def test_edge_47_at_the_root_no_address_has_two_slashes_and_renewing_works_either_way(
    client: Client, clock: FakeClock
) -> None:
    patterns = [route.regex.pattern for route in SITE.route_table(Settings(api_base_path="/"))]
    assert not [pattern for pattern in patterns if "//" in pattern]
    await client.sign_up()
    assert ("sRefreshToken", "/session/refresh", "") in client.jar
    assert (await client.call("/session/refresh")).code == 200
    clock.advance(LIFETIME_S)
    response = await client.get("/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert response.code == 200
    assert client.front_token()["up"]["iss"] == HERE


@with_settings(api_base_path="/")
@pytest.mark.gen_test
async def test_edge_47_at_the_root_clients_get_json_where_people_have_a_page(client: Client) -> None:
    """/signup and /signout are both."""
    assert (await client.get("/signup")).headers["Content-Type"].startswith("text/html")
    assert json_of(await client.call("/signup", CREDENTIALS))["status"] == "OK"
    assert json_of(await client.call("/signout")) == {"status": "OK"}
    assert json_of(await client.call("/signin", CREDENTIALS))["status"] == "OK"
    assert (await client.post("/signout")).headers["Location"] == "/"


@pytest.mark.gen_test
async def test_edge_48_no_cookie_that_the_server_reads_needs_quotes(client: Client) -> None:
    """Cookie parsers differ in what they make of those."""
    cookies = set_cookies(await client.sign_up())
    for name in ("sAccessToken", "sRefreshToken", "sRefreshMarker"):
        assert re.fullmatch(r"[A-Za-z0-9._~%-]+", cookies[name].value)
    for name in ("sFrontToken", "st-last-access-token-update"):
        assert re.fullmatch(r"[A-Za-z0-9+/=]+", cookies[name].value), "scripts read it as it stands"


@pytest.mark.parametrize("mode", ["cookie", "header"])
@pytest.mark.gen_test
async def test_edge_49_what_clears_tokens_says_remove_which_no_proxy_takes_for_empty(
    client: Client, mode: str
) -> None:
    """Clients drop everything on that word alone."""
    created = await client.call("/auth/signup", CREDENTIALS, auth_mode=mode)
    headers = bearer(created.headers["st-access-token"]) if mode == "header" else {}
    for response in (await client.call("/auth/signout", headers=headers), await client.refresh()):
        assert response.headers.get_list("front-token") == ["remove"]
        assert "front-token" in exposed(response)


@pytest.mark.parametrize(
    "settings", [{"token_transfer_method": name} for name in ("any", "cookie", "header")]
)
@pytest.mark.gen_test
async def test_edge_50_a_plain_form_gets_cookies_and_leaves_the_sdk_on_the_next_page_right(
    client: Client,
) -> None:
    """Also in a browser that had signed out, which the SDK remembers as "nobody is signed in"."""
    await client.sign_up()
    await client.post("/signout")
    assert client.cookies.keys() == {"st-last-access-token-update"}
    signed_out_at = client.cookies["st-last-access-token-update"]
    client.clock.advance(1)
    assert method_of(await client.sign_in()) == "cookie"
    assert client.cookies["st-last-access-token-update"] != signed_out_at
    assert client.front_token()["uid"]
    assert not client.jar["sFrontToken", "/", ""].http_only
    assert (await client.get("/dashboard")).code == 200


# -- 51 to 58: accounts, versions, methods --------------------------------------------------------------


@pytest.mark.gen_test
async def test_edge_51_an_address_in_other_case_and_with_blanks_is_the_same_account(client: Client) -> None:
    user = json_of(await client.call("/auth/signup", CREDENTIALS))["user"]
    spelt = " Ann@EXAMPLE.com\t"
    again = json_of(await client.call("/auth/signin", fields(email=spelt, password=PASSWORD)))
    assert again == {"status": "OK", "user": user}
    taken = json_of(await client.call("/auth/signup", fields(email=spelt, password=PASSWORD)))
    assert taken["status"] == "FIELD_ERROR"


@pytest.mark.gen_test
async def test_edge_52_a_taken_address_is_an_error_of_the_field_email(client: Client) -> None:
    await client.call("/auth/signup", CREDENTIALS)
    response = await client.call("/auth/signup", CREDENTIALS)
    error = {"id": "email", "error": EMAIL_TAKEN}
    assert (response.code, json_of(response)) == (200, {"status": "FIELD_ERROR", "formFields": [error]})
    assert EMAIL_TAKEN == "This email already exists. Please sign in instead."
    assert_no_tokens(response)


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_edge_53_a_reset_for_an_unknown_address_is_ok_and_mails_nothing(
    client: Client, app: Application
) -> None:
    await client.call("/auth/signup", CREDENTIALS)
    mailbox = app.mails.mailer
    assert isinstance(mailbox, Mailbox)
    for email, mails in (("bob@example.com", 0), ("ann@example.com", 1)):
        response = await client.call("/auth/user/password/reset/token", fields(email=email))
        assert (response.code, json_of(response)) == (200, {"status": "OK"})
        await app.mails.finish()
        assert len(mailbox.numbered()) == mails


@pytest.mark.gen_test
async def test_edge_54_a_reset_with_a_weak_password_does_not_spend_the_token(
    client: Client, app: Application
) -> None:
    await client.call("/auth/signup", CREDENTIALS)
    token = await app.accounts.create_password_reset("ann@example.com")
    assert token
    for password, status in (("weak", "FIELD_ERROR"), ("another good one 42", "OK")):
        body = {"method": "token", "token": token.text, **fields(password=password)}
        answer = json_of(await client.call("/auth/user/password/reset", body))
        assert answer["status"] == status
        assert [item["id"] for item in answer.get("formFields", [])] == ["password"] * (
            status == "FIELD_ERROR"
        )


@pytest.mark.parametrize(
    "versions", ["", "3.0", "3.1,4.0,4.1", "4.1,3.1,9.9", "1.16,1.17,3.0,4.2", "garbage"]
)
@pytest.mark.gen_test
async def test_edge_55_whatever_versions_a_client_lists_it_gets_the_answers_of_today(
    client: Client, versions: str
) -> None:
    headers = {"fdi-version": versions, "rid": "emailpassword"}
    user = json_of(await client.call("/auth/signup", CREDENTIALS, headers=headers))["user"]
    (login_method,) = user["loginMethods"]
    assert user["emails"] == [login_method["email"]] == ["ann@example.com"]
    assert (await client.refresh(**headers)).code == 200


@with_settings(trusted_origins=(TRUSTED,))
@pytest.mark.parametrize("path", ["/sample/api", "/auth/signout", "/auth/user/email/verify/token"])
@pytest.mark.gen_test
async def test_edge_57_a_preflight_needs_no_session(client: Client, path: str) -> None:
    asked = {"Origin": TRUSTED, "Access-Control-Request-Method": "POST"}
    response = await client.request("OPTIONS", path, headers=asked)
    assert (response.code, response.headers["Access-Control-Allow-Origin"]) == (204, TRUSTED)
    assert "POST" in response.headers["Access-Control-Allow-Methods"].split(", ")
    assert_no_tokens(response)


@pytest.mark.gen_test
async def test_edge_58_without_its_account_a_session_is_cleared_by_whatever_asks_for_the_account(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    cookies = dict(client.jar)
    await app.accounts.delete(client.user_id)
    assert_all_cleared(await client.call("/auth/user/email/verify/token", {}))
    client.jar = dict(cookies)
    assert_all_cleared(await client.call("/auth/user/email/verify", method="GET"))


@pytest.mark.gen_test
async def test_edge_58_the_sessions_of_a_deleted_account_are_ended_at_once(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await app.accounts.delete(client.user_id)
    await app.sessions.revoke_all_sessions_for_user(client.user_id)
    assert_all_cleared(await client.call("/sample/api", method="GET"))


# -- all of them ----------------------------------------------------------------------------------------


def test_every_case_has_a_test_or_a_line_that_says_why_it_cannot_occur() -> None:
    names = [re.match(r"test_edge_((?:\d\d_)+)", name) for name in globals()]
    tested = {int(number) for match in names if match for number in match[1].split("_")[:-1]}
    page = (ROOT / "docs/coming-from-supertokens.md").read_text(encoding="utf-8")
    lines = page.partition("## Edge cases that cannot occur here\n")[2].partition("\n## ")[0]
    explained = {int(number) for number in re.findall(r"^\| (\d+) \| ", lines, re.MULTILINE)}
    assert tested | explained == set(range(1, 59))
    assert not tested & explained
