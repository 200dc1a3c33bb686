# SPDX-License-Identifier: MIT
"""Several changes of one password at the same moment, on both databases: the winner's session lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.testing.plugin import AsUser

NewClient = Callable[..., Client]
EMAIL = "ann@example.com"
ROUNDS = 20


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen = {"rate_limits": False}
    if request.param == "postgres":
        return {**chosen, "database": request.getfixturevalue("postgres_url")}
    return chosen


async def is_in(browser: Client) -> bool:
    return (await browser.get("/dashboard")).code == 200


async def living_sessions(app: Application, user_id: str) -> list[str]:
    return await app.sessions.get_all_session_handles_for_user(user_id)


@pytest.mark.gen_test
async def test_of_two_password_changes_at_once_the_winners_session_lives(
    app: Application, as_user: AsUser
) -> None:
    current = PASSWORD
    browsers = [await as_user(EMAIL) for _ in range(2)]
    for number in range(ROUNDS):
        wanted = [f"password {number} of browser {name}" for name in "ab"]
        answers = await asyncio.gather(
            *(
                browser.post("/account/password", {"current-password": current, "password": password})
                for browser, password in zip(browsers, wanted, strict=True)
            )
        )
        done = [answer.headers.get("Location", "").startswith("/account?notice") for answer in answers]
        assert sum(done) == 1, [answer.code for answer in answers]
        winner, current = browsers[done.index(True)], wanted[done.index(True)]
        assert await is_in(winner), f"round {number}"
        assert await living_sessions(app, winner.user_id) == [winner.session_handle]
        browsers = [winner, await as_user_with(browsers[done.index(False)], current)]


async def as_user_with(browser: Client, password: str) -> Client:
    browser.jar.clear()
    await browser.sign_in(EMAIL, password)
    return browser


@pytest.mark.gen_test
async def test_of_a_change_and_a_reset_at_once_no_session_of_the_old_password_lives(
    app: Application, as_user: AsUser, new_client: NewClient
) -> None:
    current = PASSWORD
    for number in range(ROUNDS):
        browser, thief = new_client(), new_client()
        await as_user_with(browser, current) if number else await browser.sign_up(EMAIL)
        await as_user_with(thief, current)
        token = await app.accounts.create_password_reset(EMAIL)
        assert token
        changed, was_reset = f"password {number} by change", f"password {number} by mail"
        answers = await asyncio.gather(
            browser.post("/account/password", {"current-password": current, "password": changed}),
            new_client().post("/reset-password", {"token": token.text, "password": was_reset}),
        )
        by_change = answers[0].headers.get("Location", "").startswith("/account?notice")
        assert by_change is not (answers[1].code == 303), [answer.code for answer in answers]
        assert await is_in(browser) is by_change
        assert not await is_in(thief)
        current = changed if by_change else was_reset


@pytest.mark.gen_test
async def test_a_sign_in_with_the_new_password_outlives_the_change(
    app: Application, as_user: AsUser, new_client: NewClient
) -> None:
    """It may begin before the change has ended the sessions of the old password."""
    browser, other = await as_user(EMAIL), new_client()
    old_session = (await as_user(EMAIL)).session_handle
    revoke_all = app.sessions.revoke_all_sessions_for_user
    calls = 0

    async def sign_in_meanwhile(*arguments: Any, **options: Any) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 2:
            await other.sign_in(EMAIL, "brand new words 27")
        return await revoke_all(*arguments, **options)

    app.sessions.revoke_all_sessions_for_user = sign_in_meanwhile  # type: ignore[method-assign]
    body = {"current-password": PASSWORD, "password": "brand new words 27"}
    assert (await browser.post("/account/password", body)).code == 303
    assert calls == 2
    assert await is_in(browser)
    assert await is_in(other)
    assert not await app.sessions.revoke_session(old_session, owner=browser.user_id)


@pytest.mark.gen_test
async def test_a_session_of_the_old_password_is_ended_or_refused(
    app: Application, as_user: AsUser, new_client: NewClient
) -> None:
    ann = await as_user(EMAIL)
    current = PASSWORD
    for number in range(ROUNDS):
        password = f"brand new words {number}"
        thieves = [new_client() for _ in range(3)]
        await asyncio.gather(
            ann.post("/account/password", {"current-password": current, "password": password}),
            *(thief.post("/login", {"email": EMAIL, "password": current}) for thief in thieves),
        )
        assert [await is_in(thief) for thief in thieves] == [False] * 3
        assert await living_sessions(app, ann.user_id) == [ann.session_handle]
        current = password
