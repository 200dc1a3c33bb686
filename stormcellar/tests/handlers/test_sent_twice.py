# SPDX-License-Identifier: MIT
"""Forms that a browser sends twice: both answers show that it worked, on both databases.

A browser shows the answer to the second request and may never see the first one.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import AsUser
from stormcellar.tests.handlers.mailbox import last_token, mails

NewClient = Callable[..., Client]
EMAIL, NEW_EMAIL, NEW_PASSWORD = "ann@example.com", "ann@example.org", "eleven calm wolves hum"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen = {"debug": True, "email_verification": "optional"}
    if request.param == "postgres":
        return {**chosen, "database": request.getfixturevalue("postgres_url")}
    return chosen


@pytest.fixture(params=["at once", "one after the other"])
def twice(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Send a form twice; each request carries the cookies of the moment before, and keeps those it gets."""

    async def send(browser: Client, path: str, body: dict[str, str]) -> list[tuple[Client, HTTPResponse]]:
        tabs = [copy.copy(browser) for _ in range(2)]
        for tab in tabs:
            tab.jar = dict(browser.jar)
        requests = [tab.post(path, body) for tab in tabs]
        if request.param == "at once":
            answers = await asyncio.gather(*requests)
        else:
            answers = [await one for one in requests]
        return list(zip(tabs, answers, strict=True))

    return send


async def is_in(browser: Client) -> bool:
    return (await browser.get("/dashboard")).code == 200


def locations(sent: list[tuple[Client, HTTPResponse]]) -> list[str]:
    return [answer.headers.get("Location", f"{answer.code}") for _, answer in sent]


@pytest.mark.gen_test
async def test_signing_up_twice_makes_one_account_and_two_sessions(
    app: Application, client: Client, twice: Any
) -> None:
    sent = await twice(client, "/signup", {"email": EMAIL, "password": PASSWORD})
    first, second = locations(sent)
    assert first == second
    assert [await is_in(tab) for tab, _ in sent] == [True, True]
    assert len(await app.accounts.list()) == 1
    assert len([mail for mail in await mails(app) if mail.to == EMAIL]) == 1


@pytest.mark.gen_test
async def test_an_address_that_is_taken_is_told_to_all_others(
    client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    await client.sign_up(EMAIL)
    refused = await new_client().post("/signup", {"email": EMAIL, "password": NEW_PASSWORD})
    assert refused.code == 422
    assert b"already exists" in refused.body
    clock.advance(61)
    late = await new_client().post("/signup", {"email": EMAIL, "password": PASSWORD})
    assert late.code == 422
    assert b"already exists" in late.body


@pytest.mark.gen_test
async def test_guesses_at_a_new_account_through_sign_up_are_limited(
    app: Application, client: Client, new_client: NewClient
) -> None:
    await client.sign_up(EMAIL)
    for number in range(11):
        await new_client().post("/signup", {"email": EMAIL, "password": f"a wrong guess {number}"})
    late = await new_client().post("/signup", {"email": EMAIL, "password": PASSWORD})
    assert late.code == 422


@pytest.mark.gen_test
async def test_a_mailed_link_takes_the_same_new_password_twice(
    app: Application, client: Client, new_client: NewClient, twice: Any
) -> None:
    await client.sign_up(EMAIL)
    visitor = new_client()
    await visitor.post("/forgot-password", {"email": EMAIL})
    token = await last_token(app)
    sent = await twice(visitor, "/reset-password", {"token": token, "password": NEW_PASSWORD})
    assert locations(sent) == ["/login?after=new-password"] * 2
    await visitor.sign_in(EMAIL, NEW_PASSWORD)
    assert await is_in(visitor)


@pytest.mark.gen_test
async def test_a_used_link_takes_no_other_password(
    app: Application, client: Client, new_client: NewClient
) -> None:
    await client.sign_up(EMAIL)
    await new_client().post("/forgot-password", {"email": EMAIL})
    body = {"token": await last_token(app), "password": NEW_PASSWORD}
    assert (await new_client().post("/reset-password", body)).code == 303
    assert (await new_client().post("/reset-password", body)).code == 303
    for password in ("quite another password", NEW_PASSWORD):  # of many guesses one counts
        other = await new_client().post("/reset-password", {**body, "password": password})
        assert other.code == 422
        assert b"used already" in other.body


@pytest.mark.gen_test
async def test_a_used_link_takes_the_same_password_for_a_minute_only(
    app: Application, client: Client, new_client: NewClient, clock: FakeClock
) -> None:
    await client.sign_up(EMAIL)
    await new_client().post("/forgot-password", {"email": EMAIL})
    body = {"token": await last_token(app), "password": NEW_PASSWORD}
    assert (await new_client().post("/reset-password", body)).code == 303
    clock.advance(61)
    assert (await new_client().post("/reset-password", body)).code == 422


@pytest.mark.parametrize("signed_in", [True, False])
@pytest.mark.gen_test
async def test_a_confirmation_that_is_sent_twice_is_confirmed_twice(
    app: Application, client: Client, new_client: NewClient, twice: Any, signed_in: bool
) -> None:
    await client.sign_up(EMAIL)
    browser = client if signed_in else new_client()
    sent = await twice(browser, "/verify-email", {"token": await last_token(app)})
    for tab, answer in sent:
        if answer.code == 307:  # the first answer has changed the session's claims
            answer = await tab.post("/verify-email", {"token": await last_token(app)}, follow=True)
        assert b"Your e-mail address is confirmed." in answer.body


@pytest.mark.gen_test
async def test_a_used_link_confirms_nothing_in_another_browser(
    app: Application, client: Client, new_client: NewClient
) -> None:
    await client.sign_up(EMAIL)
    token = {"token": await last_token(app)}
    assert (await client.post("/verify-email", token)).code == 200
    other = await new_client().post("/verify-email", token)
    assert other.code == 422
    assert b"has been used already, or it is too old" in other.body


@pytest.mark.gen_test
async def test_a_password_that_is_changed_twice_leaves_a_session_in_the_browser(
    app: Application, client: Client, twice: Any
) -> None:
    await client.sign_up(EMAIL)
    body = {"current-password": PASSWORD, "password": NEW_PASSWORD}
    sent = await twice(client, "/account/password", body)
    assert locations(sent) == ["/account?notice=new-password"] * 2
    last, _ = sent[-1]
    assert await is_in(last)
    told = [mail for mail in await mails(app) if "password" in mail.subject.lower()]
    assert len(told) == 1


@pytest.mark.gen_test
async def test_a_token_of_an_ended_session_changes_no_password(
    app: Application, client: Client, new_client: NewClient
) -> None:
    """Only the password that has just been chosen begins a session, and only for a minute."""
    await client.sign_up(EMAIL)
    thief = copy.copy(client)
    thief.jar = dict(client.jar)
    body = {"current-password": PASSWORD, "password": NEW_PASSWORD}
    assert (await client.post("/account/password", body)).code == 303
    for changes in ({"password": "quite another password"}, {"password": PASSWORD}):
        refused = await thief.post("/account/password", {**body, **changes})
        assert refused.headers["Location"].startswith(("/login", "/refresh-session", "/auth/")), changes
        assert not await is_in(thief)


@pytest.mark.gen_test
async def test_a_new_address_that_is_confirmed_twice_is_shown_twice(
    app: Application, as_user: AsUser, new_client: NewClient, twice: Any
) -> None:
    ann = await as_user(EMAIL)
    assert (await ann.post("/account/email", {"email": NEW_EMAIL})).code == 200
    token = next(link for link in await tokens_for(app, NEW_EMAIL))
    sent = await twice(new_client(), "/account/email/confirm", {"token": token})
    assert all(NEW_EMAIL.encode() in answer.body for _, answer in sent)
    assert [answer.code for _, answer in sent] == [200, 200]


@pytest.mark.gen_test
async def test_both_links_work_if_a_new_address_is_asked_for_twice(
    app: Application, as_user: AsUser, new_client: NewClient, twice: Any
) -> None:
    ann = await as_user(EMAIL)
    await twice(ann, "/account/email", {"email": NEW_EMAIL})
    for token in await tokens_for(app, NEW_EMAIL):
        page = await new_client().get(f"/account/email/confirm?token={token}")
        assert page.code == 200


@pytest.mark.gen_test
async def test_an_account_that_is_deleted_twice_says_goodbye_twice(
    app: Application, as_user: AsUser, twice: Any
) -> None:
    ann = await as_user(EMAIL)
    sent = await twice(ann, "/account/delete", {"email": EMAIL})
    assert locations(sent) == ["/account/deleted"] * 2
    assert len([mail for mail in await mails(app) if mail.to == EMAIL]) == 1


@pytest.mark.gen_test
async def test_signing_out_twice_ends_on_the_same_page(app: Application, as_user: AsUser, twice: Any) -> None:
    sent = await twice(await as_user(EMAIL), "/signout", {})
    assert locations(sent) == ["/", "/"]
    assert not await is_in(sent[-1][0])


async def tokens_for(app: Application, email: str) -> list[str]:
    found = [mail.text.partition("token=")[2].split("&")[0] for mail in await mails(app) if mail.to == email]
    return [token for token in found if token]
