# SPDX-License-Identifier: MIT
"""The JSON endpoints about e-mail addresses, as SuperTokens' clients call them.

Source: SuperTokens' frontend driver interface (FDI), EmailPassword and EmailVerification recipes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.accounts import Mail
from stormcellar.application import Application
from stormcellar.sessions import Session, TryRefreshTokenError
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.handlers.mailbox import last_link, last_token, mails
from stormcellar.tests.handlers.parts import LIFETIME_S, fail_to_end_sessions, with_settings
from stormcellar.tests.support import HERE, SITE

NewClient = Callable[..., Client]
EMAIL, BOB = "ann@example.com", "bob@example.com"
NEW_PASSWORD = "eleven calm wolves hum"
BASES = pytest.mark.parametrize("base", ["/auth", "/auth/public"])
INVALID_RESET = {"status": "RESET_PASSWORD_INVALID_TOKEN_ERROR"}
INVALID_VERIFICATION = {"status": "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR"}
OK = {"status": "OK"}


@pytest.fixture
def settings() -> dict[str, Any]:
    """In development mails stay in a mailbox."""
    return {"debug": True}


def fields(**values: Any) -> list[dict[str, Any]]:
    return [{"id": name, "value": value} for name, value in values.items()]


async def forget(client: Client, email: Any = EMAIL, base: str = "/auth") -> HTTPResponse:
    return await client.call(f"{base}/user/password/reset/token", {"formFields": fields(email=email)})


async def reset(
    client: Client, token: Any, password: Any = NEW_PASSWORD, base: str = "/auth"
) -> HTTPResponse:
    body = {"method": "token", "token": token, "formFields": fields(password=password)}
    return await client.call(f"{base}/user/password/reset", body)


async def verify(client: Client, token: Any, base: str = "/auth") -> HTTPResponse:
    return await client.call(f"{base}/user/email/verify", {"method": "token", "token": token})


async def ask_for_verification(client: Client) -> HTTPResponse:
    return await client.call("/auth/user/email/verify/token", {})


async def is_verified(client: Client) -> HTTPResponse:
    return await client.call("/auth/user/email/verify", method="GET")


def claim(client: Client) -> Any:
    """The value of st-ev as scripts see it."""
    return client.front_token()["up"].get("st-ev", {}).get("v")


# -- is there an account? ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", ["/emailpassword/email/exists", "/signup/email/exists", "/signup/email/exists/"]
)
@BASES
@pytest.mark.gen_test
async def test_sign_up_forms_can_ask_whether_an_address_is_taken(
    client: Client, base: str, route: str
) -> None:
    await client.sign_up()
    for email, exists in [
        (EMAIL, True),
        (" ANN@Example.COM ", True),
        (BOB, False),
        ("ann", False),
        ("", False),
    ]:
        response = await client.call(f"{base}{route}?{urlencode({'email': email})}", method="GET")
        assert (response.code, json_of(response)) == (200, {"status": "OK", "exists": exists})


@pytest.mark.gen_test
async def test_the_question_needs_an_address(client: Client) -> None:
    response = await client.call("/auth/emailpassword/email/exists", method="GET")
    assert (response.code, json_of(response)) == (400, {"message": "Please provide the email as a GET param"})


# -- a new password ---------------------------------------------------------------------------------


@BASES
@pytest.mark.gen_test
async def test_the_walk_to_a_new_password(client: Client, app: Application, base: str) -> None:
    await client.sign_up()
    assert json_of(await forget(client, base=base)) == OK
    (mail,) = await mails(app)
    assert (mail.to, mail.subject) == (EMAIL, f"Choose a new password for {SITE}")
    assert "1 hour" in mail.text
    done = await reset(client, await last_token(app), base=base)
    assert (done.code, json_of(done)) == (200, OK)
    assert set_cookies(done) == {}
    assert "front-token" not in done.headers

    signed_in = await client.call("/auth/signin", {"formFields": fields(email=EMAIL, password=NEW_PASSWORD)})
    assert json_of(signed_in)["user"]["loginMethods"][0]["verified"] is True
    refused = await client.call("/auth/signin", {"formFields": fields(email=EMAIL, password=PASSWORD)})
    assert json_of(refused) == {"status": "WRONG_CREDENTIALS_ERROR"}


@pytest.mark.gen_test
async def test_a_new_password_ends_every_session_of_the_user_and_nobody_elses(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone, bob = new_client(), new_client()
    await client.sign_up()
    await phone.sign_in()
    await bob.sign_up(BOB)
    await forget(new_client())
    await reset(new_client(), await last_token(app))
    for gone in (client, phone):
        assert json_of(await gone.call("/sample/api", method="GET")) == {"message": "unauthorised"}
        assert (await gone.refresh()).code == 401
    assert (await bob.call("/sample/api", method="GET")).code == 200


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.gen_test
async def test_a_reset_that_breaks_off_leaves_no_old_session_that_the_link_cannot_end(
    client: Client, new_client: NewClient, app: Application, failing: int
) -> None:
    """Whichever time sessions cannot be ended: the same link does it, or they have ended already."""
    phone = new_client()
    await client.sign_up()
    await phone.sign_in()
    await forget(new_client())
    fail_to_end_sessions(app, failing)
    token = await last_token(app)
    assert (await reset(new_client(), token)).code == 503
    if failing == 1:
        assert (await reset(new_client(), token)).code == 200
    assert (await phone.call("/sample/api", method="GET")).code == 401
    assert (await phone.refresh()).code == 401
    await client.sign_in(password=NEW_PASSWORD)


@pytest.mark.gen_test
async def test_an_unknown_address_gets_the_same_answer_and_no_mail(client: Client, app: Application) -> None:
    await client.sign_up()
    known, unknown = await forget(client), await forget(client, BOB)
    assert (known.code, known.body) == (unknown.code, unknown.body)
    assert {*known.headers} == {*unknown.headers}
    assert len(await mails(app)) == 1


class StuckMailer:
    """A mail server that does not answer before the test lets it."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.taken: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        await self.answers.wait()
        self.taken.append(mail)


STUCK = StuckMailer()


@with_settings(engine={"mailer": STUCK})
@pytest.mark.gen_test
async def test_the_answer_does_not_wait_for_the_mail(client: Client, app: Application) -> None:
    """Else its time would tell whether there is somebody to write to."""
    await client.sign_up()
    assert json_of(await forget(client)) == OK
    assert STUCK.taken == []
    STUCK.answers.set()
    await app.mails.finish()
    assert [mail.to for mail in STUCK.taken] == [EMAIL]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing input param: formFields"),
        ({"formFields": "email"}, "formFields must be an array"),
        ({"formFields": ["email"]}, "All elements of formFields must be an object"),
        (
            {"formFields": [{"id": "email"}]},
            "All elements of formFields must contain an 'id' and 'value' field",
        ),
        ({"formFields": fields(email=1)}, "email value must be a string"),
        ({"formFields": fields(email=EMAIL, password="x")}, "Are you sending too many formFields?"),
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_request_for_a_link_is_named(client: Client, body: Any, message: str) -> None:
    response = await client.call("/auth/user/password/reset/token", body)
    assert (response.code, json_of(response)) == (400, {"message": message})


@pytest.mark.parametrize(
    ("email", "message"),
    [
        ("ann", "Email is invalid"),
        ("", "Field is not optional"),
        (" ", "Field is not optional"),
        ("a@\0.b", "Email is invalid"),
    ],
)
@pytest.mark.gen_test
async def test_an_invalid_address_is_a_field_error(client: Client, email: str, message: str) -> None:
    error = {"status": "FIELD_ERROR", "formFields": [{"id": "email", "error": message}]}
    assert json_of(await forget(client, email)) == error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"token": "x"}, "Missing input param: formFields"),
        ({"token": "x", "formFields": fields(password=1)}, "password value must be a string"),
        ({"token": "x", "formFields": fields(email=EMAIL)}, "Are you sending too many formFields?"),
        ({"formFields": fields(password=NEW_PASSWORD)}, "Please provide the password reset token"),
        (
            {"token": None, "formFields": fields(password=NEW_PASSWORD)},
            "Please provide the password reset token",
        ),
        (
            {"token": 7, "formFields": fields(password=NEW_PASSWORD)},
            "The password reset token must be a string",
        ),
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_reset_is_named(client: Client, body: Any, message: str) -> None:
    response = await client.call("/auth/user/password/reset", {"method": "token", **body})
    assert (response.code, json_of(response)) == (400, {"message": message})


@pytest.mark.gen_test
async def test_a_weak_password_is_a_field_error_and_the_token_stays_good(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await forget(client)
    token = await last_token(app)
    for password, message in [
        ("", "Field is not optional"),
        ("short", "Password must contain at least 8 characters"),
        (EMAIL, "Password must not be your email address"),
        ("password", "This password is too easy to guess. Please choose another one"),
    ]:
        error = {"status": "FIELD_ERROR", "formFields": [{"id": "password", "error": message}]}
        assert json_of(await reset(client, token, password)) == error
    assert (await client.get("/dashboard")).code == 200
    assert json_of(await reset(client, token)) == OK


@pytest.mark.gen_test
async def test_a_token_that_opens_nothing_is_named_and_changes_nothing(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await ask_for_verification(client)
    other_purpose = await last_token(app)
    await forget(client)
    too_old = await last_token(app)
    clock.advance(3600)
    for token in ("", "x", other_purpose, too_old, too_old + "x", "\0", "\ud800"):
        assert json_of(await reset(client, token)) == INVALID_RESET, token
    assert json_of(await client.refresh()) == {}
    await client.sign_in()


@pytest.mark.gen_test
async def test_a_token_works_once_and_takes_all_others_with_it(client: Client, app: Application) -> None:
    await client.sign_up()
    await forget(client)
    older = await last_token(app)
    await forget(client)
    newer = await last_token(app)
    assert json_of(await reset(client, newer)) == OK
    for token in (older, newer):
        assert json_of(await reset(client, token, "another one of mine")) == INVALID_RESET


@pytest.mark.gen_test
async def test_of_twenty_resets_at_once_one_wins(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await forget(client)
    token = await last_token(app)
    passwords = [f"{NEW_PASSWORD} {number}" for number in range(20)]
    answers = [
        json_of(answer)
        for answer in await asyncio.gather(*(reset(new_client(), token, p) for p in passwords))
    ]
    assert answers.count(OK) == 1
    assert answers.count(INVALID_RESET) == 19
    await client.sign_in(password=passwords[answers.index(OK)])


# -- an address to verify ---------------------------------------------------------------------------


@with_settings(debug=True, email_verification="optional")
@BASES
@pytest.mark.gen_test
async def test_the_walk_to_a_verified_address(client: Client, app: Application, base: str) -> None:
    await client.call(f"{base}/signup", {"formFields": fields(email=EMAIL, password=PASSWORD)})
    assert claim(client) is False
    assert await mails(app) == []

    assert json_of(await client.call(f"{base}/user/email/verify/token", {})) == OK
    (mail,) = await mails(app)
    assert (mail.to, mail.subject) == (EMAIL, f"Confirm your e-mail address for {SITE}")
    assert "1 day" in mail.text
    assert json_of(await client.call(f"{base}/user/email/verify", method="GET")) == {
        **OK,
        "isVerified": False,
    }

    done = await verify(client, await last_token(app), base=base)
    assert json_of(done) == OK
    assert "sAccessToken" in set_cookies(done)
    assert done.headers["front-token"] == client.cookies["sFrontToken"]
    assert claim(client) is True
    assert json_of(await client.call(f"{base}/user/email/verify", method="GET")) == {**OK, "isVerified": True}
    assert json_of(await ask_for_verification(client)) == {"status": "EMAIL_ALREADY_VERIFIED_ERROR"}
    assert len(await mails(app)) == 1


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_every_question_brings_a_new_access_token_and_front_token(
    client: Client, clock: FakeClock
) -> None:
    """Clients refresh their claim by it."""
    await client.sign_up()
    before = client.front_token()["up"]
    for _ in range(2):
        clock.advance(1)
        answer = await is_verified(client)
        assert "sAccessToken" in set_cookies(answer)
        assert "sRefreshToken" not in set_cookies(answer)
        assert answer.headers["front-token"] == client.cookies["sFrontToken"]
        after = client.front_token()["up"]
        assert after["st-ev"]["t"] > before["st-ev"]["t"]
        assert (after["exp"], after["sessionHandle"]) == (before["exp"], before["sessionHandle"])
        before = after


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_header_mode_gets_its_new_token_in_a_header(client: Client, clock: FakeClock) -> None:
    signed_up = await client.call(
        "/auth/signup", {"formFields": fields(email=EMAIL, password=PASSWORD)}, auth_mode="header"
    )
    bearer = {"Authorization": f"Bearer {signed_up.headers['st-access-token']}"}
    clock.advance(1)
    answer = await client.call("/auth/user/email/verify", method="GET", auth_mode="header", headers=bearer)
    assert answer.headers["st-access-token"] not in ("", signed_up.headers["st-access-token"])
    assert set_cookies(answer) == {}


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_the_link_works_on_a_device_without_a_session(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """This session's token still says no; the next question finds out at once."""
    await client.sign_up()
    phone = new_client()
    done = await verify(phone, await last_token(app))
    assert (json_of(done), set_cookies(done)) == (OK, {})
    assert claim(client) is False
    assert json_of(await is_verified(client)) == {**OK, "isVerified": True}
    assert claim(client) is True


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_a_link_followed_in_somebody_elses_session_changes_nothing_in_that(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    token = await last_token(app)
    bob = new_client()
    await bob.sign_up(BOB)
    done = await verify(bob, token)
    assert (json_of(done), set_cookies(done)) == (OK, {})
    assert json_of(await is_verified(bob)) == {**OK, "isVerified": False}
    assert json_of(await is_verified(client)) == {**OK, "isVerified": True}


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_asking_for_a_link_tells_a_session_that_has_not_heard_yet(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await verify(new_client(), await last_token(app))
    answer = await ask_for_verification(client)
    assert json_of(answer) == {"status": "EMAIL_ALREADY_VERIFIED_ERROR"}
    assert claim(client) is True


@pytest.mark.gen_test
async def test_an_address_can_be_verified_although_no_session_asks_for_it(
    client: Client, app: Application
) -> None:
    """Setting email_verification is off: new sessions carry no claim."""
    await client.sign_up()
    assert claim(client) is None
    assert json_of(await ask_for_verification(client)) == OK
    assert json_of(await verify(client, await last_token(app))) == OK
    assert json_of(await is_verified(client)) == {**OK, "isVerified": True}


@pytest.mark.gen_test
async def test_a_session_is_needed_to_ask(client: Client, clock: FakeClock) -> None:
    for ask in (ask_for_verification, is_verified):
        answer = await ask(client)
        assert (answer.code, json_of(answer)) == (401, {"message": "unauthorised"})
        assert set_cookies(answer) == {}
    await client.sign_up()
    clock.advance(LIFETIME_S)
    for ask in (ask_for_verification, is_verified):
        assert json_of(await ask(client)) == {"message": "try refresh token"}


@pytest.mark.gen_test
async def test_an_expired_session_renews_before_it_verifies(
    client: Client, app: Application, clock: FakeClock
) -> None:
    """An optional session is not the same as none; the token stays good."""
    await client.sign_up()
    await ask_for_verification(client)
    clock.advance(LIFETIME_S)
    token = await last_token(app)
    answer = await verify(client, token)
    assert (answer.code, json_of(answer)) == (401, {"message": "try refresh token"})
    await client.refresh()
    assert json_of(await verify(client, token)) == OK


@pytest.mark.gen_test
async def test_a_revoked_session_is_told_so_and_cleared(client: Client, app: Application) -> None:
    await client.sign_up()
    await app.sessions.revoke_session(client.session_handle, owner=None)
    answer = await verify(client, "x")
    assert (answer.code, json_of(answer)) == (401, {"message": "unauthorised"})
    assert answer.headers["front-token"] == "remove"
    assert "sAccessToken" not in client.cookies


@pytest.mark.gen_test
async def test_a_session_whose_account_is_gone_is_told_so_and_cleared(
    client: Client, app: Application
) -> None:
    for ask in (ask_for_verification, is_verified):
        await client.sign_up()
        await app.accounts.delete(client.user_id)
        answer = await ask(client)
        assert (answer.code, json_of(answer)) == (401, {"message": "unauthorised"})
        assert answer.headers["front-token"] == "remove"
        assert "sAccessToken" not in client.cookies


@pytest.mark.gen_test
async def test_a_token_that_verifies_nothing_is_named(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await forget(client)
    other_purpose = await last_token(app)
    await ask_for_verification(client)
    too_old = await last_token(app)
    clock.advance(86400)
    await client.refresh()
    for token in ("", "x", other_purpose, too_old, "\0", "\ud800"):
        assert json_of(await verify(client, token)) == INVALID_VERIFICATION, token


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Please provide the email verification token"),
        ({"token": None}, "Please provide the email verification token"),
        ({"token": ["x"]}, "The email verification token must be a string"),
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_verification_is_named(client: Client, body: Any, message: str) -> None:
    response = await client.call("/auth/user/email/verify", {"method": "token", **body})
    assert (response.code, json_of(response)) == (400, {"message": message})


@pytest.mark.gen_test
async def test_of_twenty_verifications_at_once_one_wins(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await ask_for_verification(client)
    token = await last_token(app)
    answers = [
        json_of(answer) for answer in await asyncio.gather(*(verify(new_client(), token) for _ in range(20)))
    ]
    assert answers.count(OK) == 1
    assert answers.count(INVALID_VERIFICATION) == 19


# -- where a verified address is required ------------------------------------------------------------

REQUIRED = with_settings(debug=True, email_verification="required")


@REQUIRED
@pytest.mark.gen_test
async def test_a_protected_endpoint_refuses_as_clients_expect_it(client: Client) -> None:
    await client.call("/auth/signup", {"formFields": fields(email=EMAIL, password=PASSWORD)})
    refused = await client.call("/sample/api", method="GET")
    reason = {"message": "wrong value", "expectedValue": True, "actualValue": False}
    assert (refused.code, json_of(refused)) == (
        403,
        {"message": "invalid claim", "claimValidationErrors": [{"id": "st-ev", "reason": reason}]},
    )


@REQUIRED
@pytest.mark.gen_test
async def test_asking_verifying_refreshing_and_leaving_need_no_verified_address(
    client: Client, app: Application
) -> None:
    await client.call("/auth/signup", {"formFields": fields(email=EMAIL, password=PASSWORD)})
    assert json_of(await is_verified(client)) == {**OK, "isVerified": False}
    assert json_of(await ask_for_verification(client)) == OK
    assert json_of(await verify(client, "x")) == INVALID_VERIFICATION
    assert (await client.refresh()).code == 200
    assert json_of(await client.call("/auth/signout")) == OK


@REQUIRED
@pytest.mark.gen_test
async def test_verified_in_this_browser_the_endpoint_opens_at_once(client: Client, app: Application) -> None:
    await client.call("/auth/signup", {"formFields": fields(email=EMAIL, password=PASSWORD)})
    await ask_for_verification(client)
    await verify(client, await last_token(app))
    assert (await client.call("/sample/api", method="GET")).code == 200


@REQUIRED
@pytest.mark.gen_test
async def test_verified_elsewhere_it_opens_after_ten_seconds(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock
) -> None:
    """ "No" is believed for that long, then asked again; clients with a claim's refresh are faster."""
    await client.sign_up()
    await verify(new_client(), await last_token(app))
    clock.advance(10)
    assert (await client.call("/sample/api", method="GET")).code == 403
    clock.advance(0.1)
    opened = await client.call("/sample/api", method="GET")
    assert opened.code == 200
    assert claim(client) is True
    assert "sAccessToken" in set_cookies(opened)


@REQUIRED
@pytest.mark.gen_test
async def test_verified_elsewhere_it_opens_at_once_for_clients_that_ask(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await verify(new_client(), await last_token(app))
    assert (await client.call("/sample/api", method="GET")).code == 403
    await is_verified(client)
    assert (await client.call("/sample/api", method="GET")).code == 200


# -- ways to sign in, discovery, tenants -------------------------------------------------------------


@BASES
@pytest.mark.gen_test
async def test_the_ways_to_sign_in_are_listed(client: Client, base: str) -> None:
    for path in (f"{base}/loginmethods", f"{base}/loginmethods/?clientType=web"):
        assert json_of(await client.call(path, method="GET")) == {
            "status": "OK",
            "firstFactors": ["emailpassword"],
            "emailPassword": {"enabled": True},
            "passwordless": {"enabled": False},
            "thirdParty": {"enabled": False, "providers": []},
            "webauthn": {"enabled": False},
        }


@with_settings(public_url="https://www.example.com")
@pytest.mark.gen_test
async def test_discovery_leads_to_the_public_keys(client: Client) -> None:
    client.origin = "https://www.example.com"
    found = json_of(await client.call("/auth/.well-known/openid-configuration", method="GET"))
    assert found["issuer"] == "https://www.example.com/auth"
    assert found["jwks_uri"] == "https://www.example.com/auth/jwt/jwks.json"
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert found["subject_types_supported"] == ["public"]
    await client.sign_up()
    assert client.front_token()["up"]["iss"] == found["issuer"]


TENANT_ROUTES = [
    ("POST", "/signup"),
    ("POST", "/signin"),
    ("GET", "/emailpassword/email/exists"),
    ("GET", "/signup/email/exists"),
    ("POST", "/user/password/reset/token"),
    ("POST", "/user/password/reset"),
    ("POST", "/user/email/verify/token"),
    ("POST", "/user/email/verify"),
    ("GET", "/user/email/verify"),
    ("GET", "/loginmethods"),
]


@pytest.mark.parametrize(("method", "route"), TENANT_ROUTES)
@pytest.mark.gen_test
async def test_an_endpoint_answers_alike_with_its_tenant_without_it_and_with_a_slash_behind(
    client: Client, method: str, route: str
) -> None:
    answers = [
        await client.call(f"/auth{tenant}{route}{slash}", {} if method == "POST" else None, method=method)
        for tenant in ("", "/public")
        for slash in ("", "/")
    ]
    assert {(answer.code, answer.body) for answer in answers} == {(answers[0].code, answers[0].body)}
    assert answers[0].code in (200, 400, 401)


@pytest.mark.parametrize(("method", "route"), TENANT_ROUTES)
@pytest.mark.gen_test
async def test_another_tenants_address_is_as_unknown_as_any_other(
    client: Client, method: str, route: str
) -> None:
    for tenant in ("acme", "PUBLIC", "public2", "a.b", "public/public"):
        answer = await client.call(f"/auth/{tenant}{route}", {} if method == "POST" else None, method=method)
        assert answer.code == 404


# -- what nobody else gets to see --------------------------------------------------------------------


@with_settings(debug=True, public_url="")
@pytest.mark.gen_test
async def test_links_name_our_own_address_whatever_host_was_asked(client: Client, app: Application) -> None:
    await client.sign_up()
    for headers in (
        {"Host": "127.0.0.1:1"},
        {"Host": "evil.localhost"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"},
        {"Origin": "http://localhost:1", "Referer": "http://evil.example/"},
    ):
        await client.call(
            "/auth/user/password/reset/token", {"formFields": fields(email=EMAIL)}, headers=headers
        )
        assert (await last_link(app)).startswith(f"{HERE}/reset-password?token=")
    assert len(await mails(app)) == 4


@pytest.mark.gen_test
async def test_a_foreign_host_gets_no_mail_sent(client: Client, app: Application) -> None:
    await client.sign_up()
    for host in ("evil.example", "localhost.evil.example", "evil.example:8888"):
        headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
        body = {"formFields": fields(email=EMAIL)}
        assert (await client.call("/auth/user/password/reset/token", body, headers=headers)).code == 400
    assert await mails(app) == []


@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"debug": True, "port": 9000}, "http://localhost:9000/reset-password?"),
        ({"debug": True, "mail_link_base_path": "/auth"}, f"{HERE}/auth/reset-password?"),
        (
            {"debug": True, "mail_link_base_path": "/auth", "website_domain": "http://localhost:3000"},
            "http://localhost:3000/auth/reset-password?",
        ),
        ({"debug": True, "website_domain": "http://localhost:3000"}, f"{HERE}/reset-password?"),
    ],
)
@pytest.mark.gen_test
async def test_links_lead_to_our_own_pages_or_to_those_of_another_ui(
    client: Client, app: Application, beginning: str
) -> None:
    await client.sign_up()
    await forget(client)
    link = await last_link(app)
    assert link.startswith(beginning + "token=")
    assert link.endswith("&tenantId=public")


@pytest.mark.gen_test
async def test_neither_a_token_nor_an_address_gets_into_the_log(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await client.sign_up()
    await forget(client)
    await ask_for_verification(client)
    tokens = [await last_token(app)]
    await forget(client)
    tokens.append(await last_token(app))
    await verify(client, tokens[0])
    await client.get(f"/verify-email?token={tokens[0]}")
    await client.get(f"/reset-password?token={tokens[1]}")
    await reset(client, tokens[1])
    await reset(client, tokens[1])
    assert "POST /auth/user/password/reset" in caplog.text
    for secret in (*tokens, EMAIL, NEW_PASSWORD):
        assert secret not in caplog.text


# -- roles ------------------------------------------------------------------------------------------


def roles(client: Client) -> Any:
    return client.front_token()["up"].get("st-role", {}).get("v")


@with_settings(debug=True, roles_in_token=True)
@pytest.mark.gen_test
async def test_changed_roles_reach_every_live_session_of_the_user(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """The token that says otherwise is refused from then on, and the next one says it."""
    phone, bob = new_client(), new_client()
    await client.sign_up()
    await phone.sign_in()
    await bob.sign_up(BOB)
    assert roles(client) == []
    for change, expected in [
        ({"add": ["admin", "editor"]}, ["admin", "editor"]),
        ({"add": ["reader"], "remove": ["admin"]}, ["editor", "reader"]),
        ({"remove": ["editor", "reader", "never"]}, []),
    ]:
        await app.account_claims.change_roles(app.sessions, client.user_id, **change)
        for device in (client, phone):
            assert json_of(await device.call("/sample/api", method="GET")) == {"message": "try refresh token"}
            await device.refresh()
            assert (await device.call("/sample/api", method="GET")).code == 200
            assert roles(device) == expected
    assert (await bob.call("/sample/api", method="GET")).code == 200
    await client.sign_in()
    assert roles(client) == []


@with_settings(debug=True, roles_in_token=True)
@pytest.mark.gen_test
async def test_changed_roles_reach_another_process_through_the_feed(
    client: Client, app: Application, make_application: Callable[..., Application]
) -> None:
    await client.sign_up()
    other = make_application(debug=True, roles_in_token=True)
    await other.start()
    token, handle = client.cookies["sAccessToken"], client.session_handle
    assert await other.sessions.get_session(token)
    await app.account_claims.change_roles(app.sessions, client.user_id, add=["admin"])
    await until(lambda: handle in other.sessions.feed.payload_versions)
    with pytest.raises(TryRefreshTokenError):
        await other.sessions.get_session(token)


@with_settings(debug=True, roles_in_token=True)
@pytest.mark.gen_test
async def test_a_role_that_is_taken_away_during_sign_in_is_not_in_the_new_session(
    client: Client, app: Application
) -> None:
    """The claim was fetched before, and the session was not there yet when the others were changed."""
    await client.sign_up()
    user_id = client.user_id
    await app.account_claims.change_roles(app.sessions, user_id, add=["admin"])
    create = app.sessions.create_new_session

    async def slow_create(*arguments: Any, **options: Any) -> Session:
        session = await create(*arguments, **options)
        await app.accounts.remove_role(user_id, "admin")
        return session

    app.sessions.create_new_session = slow_create  # type: ignore[method-assign]
    await client.sign_in()
    assert roles(client) == []
    assert (await client.call("/sample/api", method="GET")).code == 200


@with_settings(debug=True, roles_in_token=True)
@pytest.mark.gen_test
async def test_of_two_changes_at_once_neither_is_lost(client: Client, app: Application) -> None:
    await client.sign_up()
    names = [f"role {number}" for number in range(10)]
    change = app.account_claims.change_roles
    await asyncio.gather(*(change(app.sessions, client.user_id, add=[name]) for name in names))
    await client.refresh()
    assert roles(client) == names


@pytest.mark.gen_test
async def test_roles_stay_out_of_tokens_unless_the_settings_say_otherwise(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await app.account_claims.change_roles(app.sessions, client.user_id, add=["admin"])
    assert await app.accounts.roles(client.user_id) == ["admin"]
    assert (await client.call("/sample/api", method="GET")).code == 200
    await client.sign_in()
    assert roles(client) is None
