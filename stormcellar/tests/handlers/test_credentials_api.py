# SPDX-License-Identifier: MIT
"""POST {base}/signup and /signin: every body they take and give.

Source: SuperTokens' frontend driver interface, EmailPassword recipe.
"""

from __future__ import annotations

from typing import Any

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.tests.support import SITE

PATHS = ["/auth/signup", "/auth/signin"]
EACH_PATH = pytest.mark.parametrize("path", PATHS)
NOT_OPTIONAL = "Field is not optional"
TAKEN = "This email already exists. Please sign in instead."


def form(email: Any = "ann@example.com", password: Any = PASSWORD) -> dict[str, Any]:
    return {"formFields": [{"id": "email", "value": email}, {"id": "password", "value": password}]}


def field_error(**errors: str) -> dict[str, Any]:
    return {
        "status": "FIELD_ERROR",
        "formFields": [{"id": name, "error": message} for name, message in errors.items()],
    }


async def refused(client: Client, path: str, body: Any) -> Any:
    """A business answer: 200, no session."""
    response = await client.call(path, body)
    assert response.code == 200
    assert set_cookies(response) == {}
    assert "front-token" not in response.headers
    return json_of(response)


# -- success ----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_signing_up_and_in_answer_with_the_same_user(client: Client, clock: FakeClock) -> None:
    joined = int(clock.now() * 1000)
    signed_up = await client.call("/auth/signup", form(" Ann@Example.com "))
    user_id = client.user_id
    method = {
        "recipeId": "emailpassword",
        "recipeUserId": user_id,
        "tenantIds": ["public"],
        "email": "ann@example.com",
        "timeJoined": joined,
        "verified": False,
    }
    user = {
        "id": user_id,
        "isPrimaryUser": False,
        "tenantIds": ["public"],
        "timeJoined": joined,
        "emails": ["ann@example.com"],
        "phoneNumbers": [],
        "thirdParty": [],
        "webauthn": {"credentialIds": []},
        "loginMethods": [method],
    }
    assert (signed_up.code, json_of(signed_up)) == (200, {"status": "OK", "user": user})
    clock.advance(60)
    signed_in = await client.call("/auth/signin", form())
    assert (signed_in.code, json_of(signed_in)) == (200, {"status": "OK", "user": user})
    assert client.user_id == user_id


@EACH_PATH
@pytest.mark.gen_test
async def test_a_trailing_slash_and_further_members_are_tolerated(client: Client, path: str) -> None:
    await client.call("/auth/signup", form())
    client.jar.clear()
    email = "bob@example.com" if path == "/auth/signup" else "ann@example.com"
    body = {**form(email), "shouldTryLinkingWithSessionUser": False, "other": [1]}
    assert json_of(await client.call(path + "/", body))["status"] == "OK"


@EACH_PATH
@pytest.mark.gen_test
async def test_an_expired_session_does_not_keep_anybody_from_signing_in(
    client: Client, clock: FakeClock, path: str
) -> None:
    """The session is not looked at, so no 401 sends the client round by a refresh."""
    await client.call("/auth/signup", form())
    clock.advance(3600)
    email = "bob@example.com" if path == "/auth/signup" else "ann@example.com"
    assert json_of(await client.call(path, form(email)))["status"] == "OK"


# -- 400: what no client sends ----------------------------------------------------------------------

MALFORMED: dict[str, tuple[Any, str]] = {
    "no formFields": ({}, "Missing input param: formFields"),
    "formFields is text": ({"formFields": "x"}, "formFields must be an array"),
    "formFields is null": ({"formFields": None}, "formFields must be an array"),
    "formFields is an object": ({"formFields": {}}, "formFields must be an array"),
    "an element is text": ({"formFields": ["x"]}, "All elements of formFields must be an object"),
    "an element is null": ({"formFields": [None]}, "All elements of formFields must be an object"),
    "no id": (
        {"formFields": [{"value": "x"}]},
        "All elements of formFields must contain an 'id' and 'value' field",
    ),
    "the id is a number": (
        {"formFields": [{"id": 1, "value": "x"}]},
        "All elements of formFields must contain an 'id' and 'value' field",
    ),
    "no value": (
        {"formFields": [{"id": "email"}]},
        "All elements of formFields must contain an 'id' and 'value' field",
    ),
    "the e-mail is a number": (form(email=1), "email value must be a string"),
    "the e-mail is null": (form(email=None), "email value must be a string"),
    "the password is a list": (form(password=["x"]), "password value must be a string"),
    "a third field": (
        {"formFields": [*form()["formFields"], {"id": "name", "value": "Ann"}]},
        "Are you sending too many formFields?",
    ),
    "a field that is not known": (
        {"formFields": [{"id": "name\r\n%s", "value": 1}]},
        "Are you sending too many formFields?",
    ),
    "the password twice": (
        {"formFields": [*form()["formFields"], {"id": "password", "value": "x"}]},
        "Are you sending too many formFields?",
    ),
}


@pytest.mark.parametrize(("body", "message"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.gen_test
async def test_malformed_fields_are_400_with_the_reason(client: Client, body: Any, message: str) -> None:
    for path in PATHS:
        response = await client.call(path, body)
        assert (response.code, json_of(response)) == (400, {"message": message})
        assert set_cookies(response) == {}


# -- field errors -----------------------------------------------------------------------------------


@EACH_PATH
@pytest.mark.gen_test
async def test_empty_fields_are_not_optional(client: Client, path: str) -> None:
    both = field_error(email=NOT_OPTIONAL, password=NOT_OPTIONAL)
    assert await refused(client, path, {"formFields": []}) == both
    assert await refused(client, path, form("", "")) == both
    assert await refused(client, path, form(password="")) == field_error(password=NOT_OPTIONAL)
    assert await refused(client, path, form(email="  ")) == field_error(email=NOT_OPTIONAL)


@EACH_PATH
@pytest.mark.gen_test
async def test_what_is_no_address_is_invalid(client: Client, path: str) -> None:
    for email in ("ann", "ann@", "@example.com", "ann@example", "a b@example.com", "a@b..com"):
        assert await refused(client, path, form(email)) == field_error(email="Email is invalid")


@pytest.mark.gen_test
async def test_a_taken_address_is_named(client: Client, app: Application) -> None:
    await client.call("/auth/signup", form())
    client.jar.clear()
    for email in ("ann@example.com", " ANN@example.COM"):
        assert await refused(client, "/auth/signup", form(email)) == field_error(email=TAKEN)
    assert len(await app.accounts.list()) == 1


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("1234567", "Password must contain at least 8 characters"),
        ("password", "This password is too easy to guess. Please choose another one"),
        ("ANN@example.com", "Password must not be your email address"),
        pytest.param(
            SITE.lower(),
            "Password must not be the name of this site",
            marks=pytest.mark.skipif(len(SITE) < 8, reason="the name is too short for a password"),
        ),
        ("x" * 1001, "Password must be at most 1,000 bytes long"),
    ],
)
@pytest.mark.gen_test
async def test_a_password_that_may_not_be_chosen_says_why(
    client: Client, password: str, message: str
) -> None:
    answer = await refused(client, "/auth/signup", form(password=password))
    assert answer == field_error(password=message)


@with_settings(password_min_length=20, site_name="Our Very Long Site Name")
@pytest.mark.gen_test
async def test_the_rule_for_passwords_follows_the_settings(client: Client) -> None:
    short = field_error(password="Password must contain at least 20 characters")
    assert await refused(client, "/auth/signup", form(password="x1y2z3x4y5z6x7y8z9!")) == short
    named = field_error(password="Password must not be the name of this site")
    assert await refused(client, "/auth/signup", form(password="our very long site name")) == named


@pytest.mark.gen_test
async def test_several_fields_are_named_at_once(client: Client) -> None:
    answer = await refused(client, "/auth/signup", form("ann", "short"))
    message = "Password must contain at least 8 characters"
    assert answer == field_error(email="Email is invalid", password=message)


@EACH_PATH
@pytest.mark.gen_test
async def test_a_missing_field_hides_no_other_error(client: Client, path: str) -> None:
    """Else people would correct one field, only to hear of the next."""
    both = field_error(email="Email is invalid", password=NOT_OPTIONAL)
    assert await refused(client, path, form("ann", "")) == both
    assert await refused(client, path, {"formFields": form("ann")["formFields"][:1]}) == both
    only_password = {"formFields": form(password="x" * 1001)["formFields"][1:]}
    long = "Password must be at most 1,000 bytes long"
    assert await refused(client, path, only_password) == field_error(email=NOT_OPTIONAL, password=long)


@pytest.mark.gen_test
async def test_sign_in_asks_for_no_policy(client: Client, app: Application) -> None:
    """Passwords that were chosen under another rule go on working, and a wrong one learns nothing of it."""
    answer = await refused(client, "/auth/signin", form(password="x"))
    assert answer == {"status": "WRONG_CREDENTIALS_ERROR"}


# -- wrong credentials ------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_wrong_password_and_unknown_address_are_the_same_200(client: Client) -> None:
    """A 401 would start a refresh."""
    await client.call("/auth/signup", form())
    client.jar.clear()
    answers = [
        await client.call("/auth/signin", form(password="not her password")),
        await client.call("/auth/signin", form("bob@example.com")),
    ]
    for response in answers:
        assert (response.code, json_of(response)) == (200, {"status": "WRONG_CREDENTIALS_ERROR"})
        assert set_cookies(response) == {}
    volatile = {"Date", "X-Request-Id"}
    headers = [
        {name: response.headers[name] for name in {*response.headers} - volatile} for response in answers
    ]
    assert headers[0] == headers[1]


@pytest.mark.gen_test
async def test_forms_and_json_share_their_accounts(client: Client) -> None:
    await client.sign_up("ann@example.com")
    user_id = client.user_id
    assert json_of(await client.call("/auth/signin", form()))["user"]["id"] == user_id
    await client.call("/auth/signup", form("bob@example.com"))
    bob = client.user_id
    await client.sign_in("bob@example.com")
    assert client.user_id == bob != user_id
