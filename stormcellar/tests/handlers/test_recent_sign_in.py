# SPDX-License-Identifier: MIT
"""Handlers that ask for a sign-in of the last minutes, for roles, and for claims."""

from __future__ import annotations

import pytest

from stormcellar.application import Application
from stormcellar.sessions import BooleanClaim
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S, SIGN_IN_TIME
from stormcellar.web.handler import ProtectedAPIHandler, ProtectedHandler

FORM = "/account/email"
PAID = BooleanClaim("paid", lambda *_: None)


class PageHandler(ProtectedHandler):
    async def get(self) -> None:
        self.finish("come in")

    post = get


class RecentPageHandler(PageHandler):
    recent_sign_in_within_s = 60


class RecentAPIHandler(ProtectedAPIHandler):
    recent_sign_in_within_s = 60

    async def get(self) -> None:
        self.finish({"status": "OK"})


class EditorPageHandler(PageHandler):
    required_claims = ("editor", "author")


class PaidRecentEditorHandler(PageHandler):
    required_claims = ("editor", PAID.is_true())
    recent_sign_in_within_s = 60


@pytest.fixture
def app(app: Application) -> Application:
    app.add_handlers(
        r".*",
        [
            (r"/recent", RecentPageHandler),
            (r"/recent/api", RecentAPIHandler),
            (r"/editor", EditorPageHandler),
            (r"/all", PaidRecentEditorHandler),
        ],
    )
    return app


async def confirm(client: Client, password: str = PASSWORD, back: str = "/recent") -> int:
    return (await client.post("/confirm-password", {"password": password, "redirectBack": back})).code


@pytest.mark.gen_test
async def test_whoever_signed_in_a_moment_ago_comes_in(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    assert client.front_token()["up"]["auth_time"] == clock.now()
    clock.advance(60)
    for path in ("/recent", "/recent/api"):
        assert (await client.get(path)).code == 200


@pytest.mark.gen_test
async def test_whoever_signed_in_too_long_ago_confirms_the_password_and_comes_back(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(61)
    asked = await client.get("/recent?tab=2")
    assert (asked.code, asked.headers["Location"]) == (
        303,
        "/confirm-password?redirectBack=/recent%3Ftab%3D2",
    )
    page = await client.get(asked.headers["Location"])
    assert (page.code, b'value="/recent?tab=2"' in page.body) == (200, True)
    done = await client.post("/confirm-password", {"password": PASSWORD, "redirectBack": "/recent?tab=2"})
    assert (done.code, done.headers["Location"]) == (303, "/recent?tab=2")
    assert client.front_token()["up"]["auth_time"] == clock.now()
    assert (await client.get("/recent?tab=2")).body == b"come in"


@pytest.mark.gen_test
async def test_a_form_that_comes_too_late_is_not_taken_and_its_sender_is_told(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(61)
    asked = await client.post("/recent?tab=2", {"note": "x"})
    assert (asked.code, asked.headers["Location"]) == (
        303,
        "/confirm-password?redirectBack=/recent&unsent=yes",
    )
    assert b"Nothing was changed yet" in (await client.get(asked.headers["Location"])).body


@pytest.mark.gen_test
async def test_programs_get_the_claim_error_that_supertokens_clients_know(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(61)
    refused = await client.call("/recent/api", method="GET")
    assert (refused.code, json_of(refused)) == (
        403,
        {
            "message": "invalid claim",
            "claimValidationErrors": [
                {
                    "id": "auth_time",
                    "reason": {"message": "expired", "ageInSeconds": 61, "maxAgeInSeconds": 60},
                }
            ],
        },
    )


@pytest.mark.gen_test
async def test_renewals_make_the_proof_no_younger(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    began = clock.now()
    for _ in range(3):
        clock.advance(59)
        assert (await client.refresh()).code == 200
    assert client.front_token()["up"]["auth_time"] == began
    assert (await client.get("/recent")).code == 303


@pytest.mark.gen_test
async def test_a_session_that_nobody_proved_anything_for_is_asked(client: Client, app: Application) -> None:
    """One that a program began, or of before there was such a thing."""
    await client.sign_up()
    await app.sessions.merge_into_access_token_payload(
        client.session_handle, {SIGN_IN_TIME.key: None}, owner=None
    )
    await client.refresh()
    assert (await client.get("/recent")).code == 303
    refused = json_of(await client.call("/recent/api", method="GET"))
    assert refused["claimValidationErrors"][0]["reason"] == {"message": "value does not exist"}


@pytest.mark.gen_test
async def test_a_wrong_password_confirms_nothing(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(61)
    for password in ("", "wrong", "x" * 2000):
        assert await confirm(client, password) == 422
    assert (await client.get("/recent")).code == 303


@pytest.mark.gen_test
async def test_guessing_at_the_confirmation_is_limited_like_guessing_at_sign_in(
    client: Client, clock: FakeClock
) -> None:
    await client.sign_up()
    codes = [await confirm(client, f"wrong {number}") for number in range(12)]
    assert codes[0] == 422
    assert codes[-1] == 429


@pytest.mark.gen_test
async def test_nobody_is_led_to_another_site(client: Client) -> None:
    await client.sign_up()
    for back in ("https://evil.example", "//evil.example", "/\\evil.example"):
        done = await client.post("/confirm-password", {"password": PASSWORD, "redirectBack": back})
        assert done.headers["Location"] == "/account"


@pytest.mark.parametrize("in_token", [True, False], ids=["in the token", "in the store"])
@pytest.mark.gen_test
async def test_a_role_is_asked_for_wherever_roles_are_kept(
    client: Client, app: Application, in_token: bool
) -> None:
    app.account_claims._roles_in_token = in_token
    await client.sign_up()
    refused = await client.get("/editor")
    assert (refused.code, b"st-role" in refused.body) == (403, True)
    for roles in (["editor"], ["author"]):
        assert (await client.get("/editor")).code == 403
        await app.account_claims.change_roles(app.sessions, client.user_id, add=roles)
        await client.refresh()
    assert (await client.get("/editor")).code == 200
    await app.account_claims.change_roles(app.sessions, client.user_id, remove=["editor"])
    await client.refresh()
    assert (await client.get("/editor")).code == 403


@with_settings(roles_in_token=True)
@pytest.mark.gen_test
async def test_a_role_that_was_taken_away_opens_nothing_at_once(client: Client, app: Application) -> None:
    await client.sign_up()
    await app.account_claims.change_roles(app.sessions, client.user_id, add=["editor", "author"])
    await client.refresh()
    assert (await client.get("/editor")).code == 200
    await app.account_claims.change_roles(app.sessions, client.user_id, remove=["author"])
    assert (await client.get("/editor")).code != 200
    await client.refresh()
    assert (await client.get("/editor")).code == 403


@pytest.mark.gen_test
async def test_whoever_lacks_more_than_a_recent_sign_in_is_not_asked_for_a_password(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(61)
    page = await client.get("/all")
    assert page.code == 403
    assert all(claim in page.body for claim in (b"st-role", b"paid", b"auth_time"))
    await app.accounts.add_role(client.user_id, "editor")
    await app.sessions.set_claim_value(client.session_handle, PAID, True, owner=None)
    await client.refresh()
    assert (await client.get("/all")).code == 303
    assert await confirm(client) == 303
    assert (await client.get("/all")).code == 200


@pytest.mark.gen_test
async def test_signing_in_again_in_this_browser_counts(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(SENSITIVE_WITHIN_S + 1)
    assert (await client.get(FORM)).code == 303
    await client.sign_in()
    assert (await client.get(FORM)).code == 200


@pytest.mark.gen_test
async def test_a_wrong_password_at_the_confirmation_is_in_the_audit_log(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    assert await confirm(client, "not the password") == 422
    last, *_ = await app.audit.events(user_id=client.user_id)
    assert (last.name, last.detail) == ("sign-in failed", "password not confirmed")
