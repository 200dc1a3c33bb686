# SPDX-License-Identifier: MIT
"""Whoever guesses or floods is told to come back later; whose account it is gets in all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.accounts.limits import LOOK_UP, SIGN_IN_CLIENT
from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of, parse_set_cookie
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.mailbox import last_token
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.web.known_clients import DAY_S, KNOWN_DAYS, MOST_ADDRESSES, KnownClients

ANN, WRONG = "ann@example.com", "not the password"
NewClient = Callable[..., Client]
COOKIE = "sKnownClient"


def fields(**values: str) -> dict[str, Any]:
    return {"formFields": [{"id": name, "value": value} for name, value in values.items()]}


async def by_form(client: Client, email: str = ANN, password: str = WRONG, **headers: str) -> HTTPResponse:
    return await client.post("/login", {"email": email, "password": password}, headers=headers)


async def by_json(client: Client, email: str = ANN, password: str = WRONG, **headers: str) -> HTTPResponse:
    return await client.call("/auth/signin", fields(email=email, password=password), headers=headers)


def known_client(client: Client) -> str:
    return client.jar[COOKIE, "/", ""].value


@pytest.mark.gen_test
async def test_the_page_says_how_long_to_wait_and_keeps_the_address(client: Client) -> None:
    for _ in range(10):
        assert (await by_form(client)).code == 422
    refused = await by_form(client)
    assert refused.code == 429
    assert refused.headers["Retry-After"] == "300"
    text = refused.body.decode()
    assert "too many failed attempts to sign in. Please try again in 5 minutes." in text
    assert f'value="{ANN}"' in text
    assert WRONG not in text


@pytest.mark.gen_test
async def test_clients_of_the_api_get_429_and_a_message(client: Client) -> None:
    for _ in range(10):
        assert json_of(await by_json(client)) == {"status": "WRONG_CREDENTIALS_ERROR"}
    refused = await by_json(client)
    assert refused.code == 429
    assert refused.headers["Retry-After"] == "300"
    assert json_of(refused) == {
        "status": "GENERAL_ERROR",
        "message": "There were too many failed attempts to sign in. Please try again in 5 minutes.",
    }


@pytest.mark.gen_test
async def test_page_and_api_and_every_spelling_have_one_budget(client: Client, new_client: NewClient) -> None:
    spellings = [ANN, "ANN@example.com", " ann@EXAMPLE.com ", "Ann@Example.Com"]
    paths = ["/auth/signin", "/auth/public/signin", "/auth/signin/"]
    stranger = new_client()
    for number in range(10):
        email = spellings[number % 4]
        forged = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-Ip": f"203.0.113.{number}"}
        if number % 2:
            assert (await by_form(client, email, **forged)).code == 422
        else:
            body = fields(email=email, password=WRONG)
            answer = await client.call(paths[number % 3], body, headers=forged)
            assert answer.code == 200
    for path in paths:
        assert (await stranger.call(path, fields(email=ANN, password=WRONG))).code == 429
    assert (await by_form(stranger, **{"X-Forwarded-For": "203.0.113.77"})).code == 429


@pytest.mark.gen_test
async def test_an_unknown_address_is_refused_exactly_as_a_known_one(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up(ANN)
    stranger = new_client()

    def answer(response: HTTPResponse) -> tuple[Any, ...]:
        skipped = ("Date", "X-Request-Id")
        headers = sorted((name, text) for name, text in response.headers.get_all() if name not in skipped)
        return response.code, headers, response.body

    for email in (ANN, "bob@example.com"):
        for _ in range(10):
            await by_json(stranger, email)
    assert answer(await by_json(stranger, ANN)) == answer(await by_json(stranger, "bob@example.com"))
    page = answer(await by_form(stranger, ANN))
    other = answer(await by_form(stranger, "bob@example.com"))
    assert page[0] == other[0] == 429
    assert page[2].replace(b"ann@", b"bob@") == other[2]


@pytest.mark.gen_test
async def test_the_owner_of_an_attacked_account_keeps_sessions_and_gets_in_where_they_did_before(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    await client.sign_up(ANN)
    stranger, elsewhere = new_client(), new_client()
    for number in range(SIGN_IN_CLIENT.most):
        await by_json(stranger, ANN if number < 10 else f"user{number}@example.com")
    assert (await by_form(elsewhere, ANN, PASSWORD)).code == 429
    assert (await client.get("/dashboard")).code == 200
    await client.refresh()
    assert (await client.get("/dashboard")).code == 200
    await client.post("/signout")
    assert (await by_form(client, ANN, PASSWORD)).code == 303
    assert (await by_form(elsewhere, ANN, PASSWORD)).code == 429
    clock.advance(600)
    assert (await by_form(elsewhere, ANN, PASSWORD)).code == 303


@pytest.mark.gen_test
async def test_strangers_do_not_keep_the_owner_from_confirming_the_password_and_a_thief_gets_ten_guesses(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up(ANN)
    client.jar.pop((COOKIE, "/", ""))
    for _ in range(10):
        await by_json(new_client())
    assert (await client.post("/confirm-password", {"password": PASSWORD})).code == 303
    for _ in range(10):
        assert (await client.post("/confirm-password", {"password": WRONG})).code == 422
    refused = await client.post("/confirm-password", {"password": PASSWORD})
    assert (refused.code, refused.headers["Retry-After"]) == (429, "300")
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_the_cookie_of_a_known_client_is_signed_bound_to_the_account_and_out_of_scripts_reach(
    client: Client, new_client: NewClient, app: Application
) -> None:
    answer = await client.sign_up(ANN)
    (line,) = [line for line in answer.headers.get_list("Set-Cookie") if line.startswith(COOKIE)]
    cookie = parse_set_cookie(line)
    assert cookie.http_only
    assert (cookie.path, cookie.domain, cookie.same_site) == ("/", "", "Lax")
    assert cookie.expires_at == app.sessions.clock.now() + KNOWN_DAYS * DAY_S
    assert "ann" not in cookie.value
    stranger, bob = new_client(), new_client()
    await bob.sign_up("bob@example.com")
    for _ in range(10):
        await by_json(stranger)
    flipped = cookie.value[:-1] + ("A" if cookie.value[-1] != "A" else "B")
    for forged in (known_client(bob), flipped, cookie.value[1:], "x" * 8000, '"', ".", cookie.value * 2):
        stranger.plant(COOKIE, forged)
        assert (await by_form(stranger, ANN, PASSWORD)).code == 429
    stranger.plant(COOKIE, cookie.value)
    assert (await by_form(stranger, ANN, PASSWORD)).code == 303


@with_settings(public_url="https://www.example.com", cookie_prefix=True)
@pytest.mark.gen_test
async def test_over_https_the_cookie_is_secure_and_belongs_to_the_host(client: Client) -> None:
    client.origin = "https://www.example.com"
    answer = await client.sign_up(ANN)
    (line,) = [line for line in answer.headers.get_list("Set-Cookie") if COOKIE in line]
    assert line.startswith("__Host-sKnownClient=")
    assert parse_set_cookie(line).secure


@pytest.mark.gen_test
async def test_a_wrong_password_makes_no_client_known_and_tokens_in_headers_bring_no_cookie(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up(ANN)
    stranger = new_client()
    await by_json(stranger)
    answer = await stranger.call("/auth/signin", fields(email=ANN, password=PASSWORD), auth_mode="header")
    assert json_of(answer)["status"] == "OK"
    assert stranger.jar.keys() & {(COOKIE, "/", "")} == set()


@pytest.mark.gen_test
async def test_many_sign_ins_cost_one_cookie(client: Client) -> None:
    await client.sign_up(ANN)
    first = known_client(client)
    await client.sign_in(ANN)
    assert known_client(client) == first


def test_a_browser_is_known_for_half_a_year_and_for_several_people(clock: FakeClock) -> None:
    known = KnownClients([b"k" * 32], clock, secure=True, same_site="lax", prefixed=False)
    people = [f"user{number}@example.com" for number in range(MOST_ADDRESSES + 1)]
    cookie: str | None = None
    for person in people:
        cookie = known.after_sign_in(cookie, person)
    assert cookie is not None
    assert known.id_for(cookie, people[0]) is None
    (browser,) = {known.id_for(cookie, person) for person in people[1:]}
    clock.advance(31 * DAY_S)
    renewed = known.after_sign_in(cookie, people[-1])
    assert renewed is not None
    clock.advance(150 * DAY_S)
    assert known.id_for(cookie, people[-1]) is None
    assert known.id_for(renewed, people[-1]) == browser
    other_key = KnownClients([b"x" * 32], clock, secure=True, same_site="lax", prefixed=False)
    assert other_key.id_for(renewed, people[-1]) is None


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_a_new_password_by_mail_ends_a_refusal(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up(ANN)
    stranger = new_client()
    for _ in range(10):
        await by_json(stranger)
    await stranger.post("/forgot-password", {"email": ANN})
    token = await last_token(app)
    changed = await stranger.post("/reset-password", {"token": token, "password": "another long phrase"})
    assert changed.code == 303
    assert (await by_form(stranger, ANN, "another long phrase")).code == 303


@pytest.mark.gen_test
async def test_asking_whether_addresses_are_taken_is_limited_and_so_is_trying_to_take_them(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    await client.sign_up(ANN)
    prober = new_client()
    for number in range(LOOK_UP.most):
        path = ("/auth/emailpassword/email/exists", "/auth/public/signup/email/exists")[number % 2]
        answer = await prober.call(f"{path}?email=user{number}@example.com", method="GET")
        assert json_of(answer) == {"status": "OK", "exists": False}
    refused = await prober.call("/auth/emailpassword/email/exists?email=ann@example.com", method="GET")
    assert (refused.code, refused.headers["Retry-After"]) == (429, "600")
    assert "exists" not in json_of(refused)
    assert (await prober.call("/auth/signup", fields(email=ANN, password=PASSWORD))).code == 429
    assert (await prober.post("/signup", {"email": ANN, "password": PASSWORD})).code == 429
    clock.advance(600)
    assert (await prober.post("/signup", {"email": ANN, "password": PASSWORD})).code == 422


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_mails_for_a_new_password_are_limited_alike_for_known_and_unknown_addresses(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up(ANN)
    asker = new_client()
    for email in (ANN, "bob@example.com"):
        for _ in range(5):
            assert (await asker.post("/forgot-password", {"email": email})).code == 200
    for email in (ANN, "bob@example.com"):
        refused = await asker.post("/forgot-password", {"email": email})
        assert (refused.code, refused.headers["Retry-After"]) == (429, "3600")
        text = refused.body.decode()
        assert "Too many mails were asked for. Please try again in 60 minutes." in text
        assert f'value="{email}"' in text
        by_api = await asker.call("/auth/user/password/reset/token", fields(email=email))
        assert (by_api.code, json_of(by_api)["status"]) == (429, "GENERAL_ERROR")


@with_settings(debug=True, email_verification="optional")
@pytest.mark.gen_test
async def test_mails_to_confirm_an_address_are_limited(client: Client) -> None:
    await client.sign_up(ANN)
    for number in range(10):
        if number % 2:
            assert (await client.post("/verify-email/send")).code == 303
        else:
            assert (await client.call("/auth/user/email/verify/token")).code == 200
    refused = await client.post("/verify-email/send")
    assert refused.code == 429
    assert "Too many mails were asked for." in refused.body.decode()
    assert (await client.call("/auth/user/email/verify/token")).code == 429


@pytest.mark.gen_test
async def test_who_was_refused_is_in_the_journal_and_no_address_is(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(11):
        await by_json(client)
    found = [message for message in caplog.messages if message.startswith("throttled")]
    assert found == ["throttled: from 127.0.0.1, sign-in account"]
    assert ANN not in caplog.text


@with_settings(trusted_proxies=("127.0.0.1",))
@pytest.mark.gen_test
async def test_behind_a_proxy_each_client_has_its_own_budget_and_an_ipv6_network_has_one(
    client: Client,
) -> None:
    async def look_up(address: str) -> int:
        path = "/auth/emailpassword/email/exists?email=bob@example.com"
        return (await client.call(path, method="GET", headers={"X-Forwarded-For": address})).code

    for number in range(LOOK_UP.most):
        assert await look_up(f"198.51.100.{number}, 203.0.113.9") == 200
        assert await look_up(f"2001:db8:1:2:{number:x}::{number:x}") == 200
    assert await look_up("203.0.113.9") == 429
    assert await look_up("::ffff:203.0.113.9") == 429
    assert await look_up("203.0.113.10") == 200
    assert await look_up("2001:db8:1:2:ffff::1") == 429
    assert await look_up("2001:db8:1:3::1") == 200


@with_settings(rate_limits=False)
@pytest.mark.gen_test
async def test_off_means_off(client: Client) -> None:
    await client.sign_up(ANN)
    for _ in range(12):
        assert (await by_form(client)).code == 422
    assert (COOKIE, "/", "") not in client.jar
