# SPDX-License-Identifier: MIT
"""The example of signing in with an OpenID provider: who gets in, and what is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from examples.sign_in_with_others.others import ATTEMPT_LIFETIME_S, Provider
from examples.sign_in_with_others.run import add_provider
from stormcellar.application import Application
from stormcellar.testing.client import NAVIGATION, Client
from stormcellar.tests.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider, key

NewClient = Callable[..., Client]
FROM_OUTSIDE = {**NAVIGATION, "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def openid(io_loop: IOLoop, app: Application) -> Iterator[OpenIDProvider]:
    """A provider that the application offers at sign-in."""
    socket, port = bind_unused_port()
    provider = OpenIDProvider(f"http://localhost:{port}")
    http = HTTPServer(provider.application())
    http.add_socket(socket)
    add_provider(app, Provider("Example", provider.issuer, CLIENT_ID, CLIENT_SECRET))
    yield provider
    http.stop()
    io_loop.run_sync(http.close_all_connections)


async def leave(client: Client, back: str = "/dashboard") -> str:
    """Off to the provider; the address there."""
    response = await client.get(f"/sign-in-with?redirectBack={back}")
    assert response.code == 302, response.body
    return response.headers["Location"]


async def come_back(client: Client, code: str, state: str, **more: str) -> HTTPResponse:
    query = urlencode({"code": code, "state": state, **more})
    return await client.get(f"/sign-in-with/back?{query}", headers=FROM_OUTSIDE)


async def sign_in(
    client: Client, openid: OpenIDProvider, subject: str, email: str = "ann@example.com", **more: Any
) -> HTTPResponse:
    address = await leave(client)
    return await come_back(client, *openid.code_for(address, subject, email, **more))


def is_refused(response: HTTPResponse, why: str) -> bool:
    cookies = "".join(response.headers.get_list("Set-Cookie"))
    return response.code == 422 and why in response.body.decode() and "sAccessToken" not in cookies


@pytest.mark.gen_test
async def test_somebody_new_gets_an_account_and_comes_back_to_it(
    client: Client, new_client: NewClient, openid: OpenIDProvider, app: Application
) -> None:
    address = await leave(client, "/dashboard%3Fx%3D1")
    back = await come_back(client, *openid.code_for(address, "subject 1", "ann@example.com"))
    assert (back.code, back.headers["Location"]) == (303, "/dashboard?x=1")
    assert (await client.get("/dashboard")).code == 200
    user = await app.accounts.get(client.user_id)
    assert user is not None
    assert (user.email, user.email_verified) == ("ann@example.com", True)
    other = new_client()
    # The subject counts; the address there may change.
    assert (await sign_in(other, openid, "subject 1", "new@example.com")).code == 303
    assert other.user_id == client.user_id
    third = new_client()
    assert (await sign_in(third, openid, "subject 2", "bob@example.com")).code == 303
    assert third.user_id != client.user_id


@pytest.mark.gen_test
async def test_an_address_links_to_an_account_only_if_both_sides_have_confirmed_it(
    client: Client, new_client: NewClient, openid: OpenIDProvider, app: Application
) -> None:
    await client.sign_up()
    other = new_client()
    refused = await sign_in(other, openid, "s", verified=False)
    assert is_refused(refused, "You have not confirmed an e-mail address there")
    assert is_refused(await sign_in(other, openid, "s"), "has not confirmed it")
    token = await app.accounts.create_email_verification(client.user_id)
    assert token is not None
    await app.accounts.verify_email(token.text)
    for claims in (
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": 7},
    ):
        openid.claims = claims
        assert is_refused(await sign_in(other, openid, "s"), "You have not confirmed")
    openid.claims = {}
    assert (await sign_in(other, openid, "s")).code == 303
    assert other.user_id == client.user_id


@pytest.mark.gen_test
async def test_an_answer_counts_in_the_browser_that_asked_once_and_not_for_long(
    client: Client, new_client: NewClient, openid: OpenIDProvider
) -> None:
    """State and PKCE: nobody is signed in to somebody else's account by a link."""
    why = "This did not begin in this browser, or took too long"
    code, state = openid.code_for(await leave(client), "thief", "thief@example.com")
    victim = new_client()
    assert is_refused(await come_back(victim, code, state), why)
    await leave(victim)
    assert is_refused(await come_back(victim, code, state), why)
    assert (await come_back(client, code, state)).code == 303
    assert is_refused(await come_back(client, code, state), why)
    code, state = openid.code_for(await leave(client), "thief", "thief@example.com")
    client.clock.advance(ATTEMPT_LIFETIME_S + 1)
    assert is_refused(await come_back(client, code, state), why)
    # With the state of one attempt and the code of another the verifier does not fit.
    stolen, _ = openid.code_for(await leave(client), "victim", "victim@example.com")
    _, state = openid.code_for(await leave(client), "thief", "thief@example.com")
    assert is_refused(await come_back(client, stolen, state), "did not sign you in")


WRONG_CLAIMS: list[dict[str, Any]] = [
    {"iss": "https://evil.example"},
    {"iss": None},
    {"aud": "another"},
    {"aud": None},
    {"aud": [CLIENT_ID, "another"], "azp": "another"},
    {"exp": 1_000_000_000},
    {"exp": None},
    {"iat": None},
    {"nonce": "another"},
    {"nonce": None},
    {"sub": None},
    {"sub": ""},
    {"sub": "\x00"},
]


@pytest.mark.gen_test
async def test_an_id_token_for_somebody_else_is_not_believed(client: Client, openid: OpenIDProvider) -> None:
    for claims in WRONG_CLAIMS:
        openid.claims = claims
        response = await sign_in(client, openid, "s")
        assert is_refused(response, "could not be believed") or is_refused(
            response, "meant for somebody else"
        )
    openid.claims = {}
    assert (await sign_in(client, openid, "s")).code == 303


@pytest.mark.gen_test
async def test_only_the_providers_own_signature_is_believed(client: Client, openid: OpenIDProvider) -> None:
    async def refused() -> bool:
        response = await sign_in(client, openid, "s")
        return is_refused(response, "could not be believed") or is_refused(
            response, "a key that it does not show"
        )

    openid.signing_key = key(1)
    assert await refused(), "another key under the same name"
    openid.kid = "1"
    assert await refused(), "a key that is not shown"
    openid.keys = [0, 1]
    assert (await sign_in(client, openid, "s")).code == 303, "a key that came later is asked for"
    openid.kid, openid.signing_key, openid.algorithm = "0", CLIENT_SECRET * 2, "HS256"
    assert await refused(), "a secret is no key pair"
    openid.signing_key, openid.algorithm = None, "none"
    assert await refused(), "no signature at all"


@pytest.mark.gen_test
async def test_whatever_the_provider_answers_there_is_a_sentence(
    client: Client, openid: OpenIDProvider
) -> None:
    answers = [(400, b"{}"), (500, b""), (200, b""), (200, b"[]"), (200, b"{}"), (200, b"\xff"), (302, b"")]
    tokens = [None, 7, "", "x.y.z", "\x00", {"a": 1}]
    answers += [(200, json.dumps({"id_token": token}).encode()) for token in tokens]
    for answer in answers:
        openid.answer = answer
        response = await sign_in(client, openid, "s")
        assert response.code == 422, answer
        assert b'role="alert"' in response.body


@pytest.mark.gen_test
async def test_what_comes_back_without_a_code_is_explained(client: Client, openid: OpenIDProvider) -> None:
    for query in ("", "code=x", "state=x&code=x", "error=access_denied", "state=%E2%98%83&code=x"):
        response = await client.get(f"/sign-in-with/back?{query}", headers=FROM_OUTSIDE)
        assert is_refused(response, "This did not begin in this browser")
    code, state = openid.code_for(await leave(client), "s")
    assert is_refused(await come_back(client, "", state, error="access_denied"), "did not sign you in")
    code, state = openid.code_for(await leave(client), "s")
    mixed_up = await come_back(client, code, state, iss="https://evil.example")
    assert is_refused(mixed_up, "This answer is not from Example")
    client.plant("sSignInWith", "2|1:0|bent", path="/sign-in-with")
    assert (await come_back(client, "x", "x")).code == 422


@pytest.mark.gen_test
async def test_a_provider_that_is_not_the_one_expected_is_not_asked(
    client: Client, openid: OpenIDProvider
) -> None:
    openid.metadata = {"issuer": "https://evil.example"}
    assert is_refused(await client.get("/sign-in-with"), "is not set up as this site expects it")


@pytest.mark.gen_test
async def test_it_leads_to_this_site_only(client: Client, openid: OpenIDProvider) -> None:
    address = await leave(client, "//evil.example")
    back = await come_back(client, *openid.code_for(address, "s", "ann@example.com"))
    assert back.headers["Location"] == "/dashboard"


@pytest.mark.gen_test
async def test_a_locked_user_stays_out(client: Client, openid: OpenIDProvider, app: Application) -> None:
    await sign_in(client, openid, "s")
    await app.accounts.lock(client.user_id)
    assert is_refused(await sign_in(client, openid, "s"), "not open at the moment")


@pytest.mark.gen_test
async def test_the_code_of_an_authenticator_app_is_still_asked_for(
    client: Client, new_client: NewClient, openid: OpenIDProvider
) -> None:
    authenticator = pytest.importorskip("stormcellar.extras.authenticator.tests.parts")
    await sign_in(client, openid, "s")
    await authenticator.switch_on(client)
    other = new_client()
    assert (await sign_in(other, openid, "s")).code == 303
    assert (await other.get("/dashboard")).headers["Location"] == "/second-factor?redirectBack=/dashboard"


@pytest.mark.gen_test
async def test_an_account_that_is_gone_is_made_anew(
    client: Client, openid: OpenIDProvider, app: Application
) -> None:
    await sign_in(client, openid, "s")
    before = client.user_id
    await app.accounts.delete(before)
    assert (await sign_in(client, openid, "s")).code == 303
    assert client.user_id != before


@pytest.mark.gen_test
async def test_the_sign_in_page_offers_it(client: Client, openid: OpenIDProvider) -> None:
    page = (await client.get("/login?redirectBack=/a")).body.decode()
    assert 'href="/sign-in-with?redirectBack=%2Fa"' in page
