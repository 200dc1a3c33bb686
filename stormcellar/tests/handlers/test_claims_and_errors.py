# SPDX-License-Identifier: MIT
"""403 for claims, and what becomes of everything else that goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from stormcellar.accounts import TooBusyError
from stormcellar.application import Application
from stormcellar.testing.client import FETCH, PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings
from stormcellar.tests.handlers.samples import PAID

UNPAID = {
    "message": "invalid claim",
    "claimValidationErrors": [
        {"id": "paid", "reason": {"message": "wrong value", "expectedValue": True, "actualValue": False}}
    ],
}
EVERYWHERE = with_settings(engine={"global_claim_validators": [PAID.is_true()]})


# -- claims -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_page_that_asks_for_more_says_what_is_missing(client: Client) -> None:
    await client.sign_up()
    response = await client.get("/sample/paid")
    assert response.code == 403
    assert '<span class="code">paid</span>' in response.body.decode()
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"


@pytest.mark.gen_test
async def test_scripts_get_the_validators_that_refused(client: Client) -> None:
    await client.sign_up()
    for path in ("/sample/paid", "/sample/paid/api"):
        response = await client.call(path, method="GET")
        assert (response.code, json_of(response)) == (403, UNPAID)
        await client.refresh()  # the claim was fetched, so older tokens must be renewed


@pytest.mark.gen_test
async def test_a_refusal_sends_no_token_although_the_claim_was_fetched_anew(client: Client) -> None:
    """The store has the new value; the client gets it with its next renewal."""
    await client.sign_up()
    response = await client.call("/sample/paid/api", method="GET")
    assert (response.code, set_cookies(response)) == (403, {})
    assert "front-token" not in response.headers
    assert (await client.refresh()).code == 200
    assert client.front_token()["up"]["paid"]["v"] is False


@pytest.mark.gen_test
async def test_a_subclass_may_replace_the_403_page(client: Client) -> None:
    await client.sign_up()
    response = await client.get("/sample/shop")
    assert (response.code, response.headers["Location"]) == (303, "/sample/note?missing=paid")


@pytest.mark.gen_test
async def test_whoever_satisfies_the_claims_comes_in(client: Client) -> None:
    await client.sign_up()
    await client.post("/sample/pay")
    for path in ("/sample/paid", "/sample/shop", "/sample/paid/api"):
        assert (await client.get(path)).code == 200


@EVERYWHERE
@pytest.mark.gen_test
async def test_a_global_validator_holds_for_every_protected_handler(client: Client) -> None:
    await client.sign_up()
    for path in ("/dashboard", "/sample/note"):
        assert (await client.get(path)).code == 403
        await client.refresh()  # the claim was fetched, so older tokens must be renewed
    refused = await client.call("/sample/api", method="GET")
    assert (refused.code, json_of(refused)) == (403, UNPAID)


@EVERYWHERE
@pytest.mark.gen_test
async def test_a_handler_may_override_the_global_validators(client: Client) -> None:
    await client.sign_up()
    assert (await client.get("/sample/unpaid")).body == b"open"


@EVERYWHERE
@pytest.mark.gen_test
async def test_pages_for_everybody_are_open_whatever_claims_hold(client: Client) -> None:
    """So that whoever may not do much may sign out, or in as somebody else."""
    await client.sign_up()
    for path in ("/", "/refresh-session"):
        assert (await client.get(path)).code == 200
    assert (await client.get("/login")).code == 303
    assert (await client.get("/none")).code == 404
    await client.sign_in()
    assert (await client.post("/signout")).headers["Location"] == "/"


@EVERYWHERE
@pytest.mark.gen_test
async def test_json_sign_out_asks_for_no_claims(client: Client) -> None:
    await client.sign_up()
    assert json_of(await client.call("/auth/signout")) == {"status": "OK"}


@EVERYWHERE
@pytest.mark.gen_test
async def test_an_expired_token_is_renewed_before_claims_are_judged(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.call("/sample/api", method="GET")
    assert (response.code, json_of(response)) == (401, {"message": "try refresh token"})


# -- errors -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_401_from_application_code_becomes_403(client: Client) -> None:
    """401 belongs to the session: clients would refresh and repeat for ever."""
    for headers in ({}, FETCH):
        response = await client.get("/sample/fail?how=401", headers=headers)
        assert response.code == 403
        assert "front-token" not in response.headers
    assert set(json_of(response)) == {"message", "requestId"}


@pytest.mark.parametrize(
    ("how", "status", "title"),
    [
        ("400", 400, "Bad Request"),
        ("403", 403, "Forbidden"),
        ("404", 404, "Not Found"),
        ("418", 418, "I&#x27;m a Teapot"),
        ("500", 500, "Internal Server Error"),
        ("503", 503, "Service Unavailable"),
        ("raise", 500, "Internal Server Error"),
    ],
)
@pytest.mark.gen_test
async def test_errors_have_a_page_for_people_and_json_for_programs(
    client: Client, how: str, status: int, title: str
) -> None:
    page = await client.get(f"/sample/fail?how={how}")
    assert page.code == status
    text = page.body.decode()
    assert title.replace("&#x27;", "'").lower() in text.replace("&#x27;", "'").replace("&#39;", "'").lower()
    assert page.headers["X-Request-Id"] in text
    assert "Traceback" not in text
    assert "a secret of the traceback" not in text

    data = await client.call(f"/sample/fail?how={how}", method="GET")
    assert data.code == status
    body = json_of(data)
    assert set(body) == {"message", "requestId"}
    assert body["requestId"] == data.headers["X-Request-Id"]
    assert "secret" not in body["message"]


@pytest.mark.gen_test
async def test_an_error_page_knows_who_is_signed_in(client: Client) -> None:
    await client.sign_up()
    for path in ("/none", "/sample/fail?how=raise"):
        assert b'action="/signout"' in (await client.get(path)).body


@pytest.mark.gen_test
async def test_an_error_page_asks_nobody_to_renew(client: Client, clock: FakeClock) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    response = await client.get("/none")
    assert response.code == 404
    assert b'href="/login"' in response.body


@pytest.mark.gen_test
async def test_too_many_passwords_at_once_are_asked_to_come_again(client: Client, app: Application) -> None:
    async def refuse(*_: object) -> None:
        raise TooBusyError(7)

    await app.start()
    app.hasher.hash = app.hasher.verify = refuse  # type: ignore[method-assign, assignment]
    fields = {"email": "ann@example.com", "password": PASSWORD}
    as_json = {"formFields": [{"id": name, "value": value} for name, value in fields.items()]}
    answers = await asyncio.gather(
        client.post("/login", fields),
        client.post("/signup", fields),
        client.call("/auth/signin", as_json),
        client.call("/auth/signup", as_json),
    )
    for response in answers:
        assert (response.code, response.headers["Retry-After"]) == (503, "7")
        assert set_cookies(response) == {}
