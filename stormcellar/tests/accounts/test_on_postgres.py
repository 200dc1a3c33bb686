# SPDX-License-Identifier: MIT
"""What several writers do to accounts at the same moment: on PostgreSQL their transactions really overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stormcellar.accounts import (
    FieldErrors,
    InvalidTokenError,
    PasswordHasher,
    User,
    Users,
    WrongCredentialsError,
)
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.accounts.parts import CHEAPEST, EMAIL, OTHER_PASSWORD, PASSWORD

pytestmark = pytest.mark.postgres
HOUR_S = 3600


def run(url: str, story: Callable[[Users], Awaitable[None]], clock: FakeClock | None = None) -> None:
    from stormcellar.store.postgres import PostgresDatabase

    async def tell() -> None:
        database, hasher = PostgresDatabase(url), PasswordHasher(2, 100, CHEAPEST)
        await database.open()
        try:
            users = Users(database, hasher, clock=clock or FakeClock())
            await users.open()
            await story(users)
        finally:
            hasher.close()
            await database.close()

    asyncio.run(tell())


async def reset_token(users: Users) -> str:
    token = await users.create_password_reset(EMAIL)
    assert token
    return token.text


def kinds(answers: list[User | BaseException]) -> list[str]:
    return sorted(type(answer).__name__ for answer in answers)


def test_of_twenty_resets_with_one_token_one_wins(postgres_url: str) -> None:
    async def story(users: Users) -> None:
        await users.sign_up(EMAIL, PASSWORD)
        token = await reset_token(users)
        passwords = [f"{OTHER_PASSWORD} {number}" for number in range(20)]
        answers = await asyncio.gather(
            *(users.reset_password(token, password) for password in passwords), return_exceptions=True
        )
        assert kinds(answers) == ["InvalidTokenError"] * 19 + ["User"]
        (winner,) = (number for number, answer in enumerate(answers) if isinstance(answer, User))
        assert (await users.sign_in(EMAIL, passwords[winner])).email_verified

    run(postgres_url, story)


def test_of_twenty_tokens_of_one_user_one_wins_and_nobody_waits_for_another_for_ever(
    postgres_url: str,
) -> None:
    async def story(users: Users) -> None:
        await users.sign_up(EMAIL, PASSWORD)
        tokens = [await reset_token(users) for _ in range(20)]
        answers = await asyncio.gather(
            *(users.reset_password(token, OTHER_PASSWORD) for token in tokens), return_exceptions=True
        )
        assert kinds(answers) == ["InvalidTokenError"] * 19 + ["User"]

    run(postgres_url, story)


def test_of_twenty_verifications_one_wins_with_one_token_or_with_many(postgres_url: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        tokens = [await users.create_email_verification(user.user_id) for _ in range(10)]
        texts = [token.text for token in tokens if token] * 2
        answers = await asyncio.gather(*(users.verify_email(text) for text in texts), return_exceptions=True)
        assert kinds(answers) == ["InvalidTokenError"] * 19 + ["User"]
        assert await users.is_email_verified(user.user_id, EMAIL)

    run(postgres_url, story)


def test_an_account_is_deleted_while_its_tokens_are_spent(postgres_url: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        tokens = [await reset_token(users) for _ in range(5)]
        deleted, *answers = await asyncio.gather(
            users.delete(user.user_id),
            *(users.reset_password(token, OTHER_PASSWORD) for token in tokens),
            return_exceptions=True,
        )
        assert deleted is True
        assert set(kinds(answers)) <= {"InvalidTokenError", "User"}
        with pytest.raises(WrongCredentialsError):
            await users.sign_in(EMAIL, OTHER_PASSWORD)

    run(postgres_url, story)


def test_a_role_given_twenty_times_is_there_once_and_goes_with_the_account(postgres_url: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        added = await asyncio.gather(*(users.add_role(user.user_id, "admin") for _ in range(20)))
        assert sorted(added) == [False] * 19 + [True]
        assert await users.add_role(user.user_id, "editor")
        assert await users.remove_role(user.user_id, "admin")
        assert await users.roles(user.user_id) == ["editor"]
        await users.delete(user.user_id)
        assert await users.roles(user.user_id) == []

    run(postgres_url, story)


def test_expired_tokens_are_deleted_and_the_others_stay(postgres_url: str) -> None:
    clock = FakeClock()

    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        assert await users.create_password_reset("bob@example.com") is None
        to_verify = await users.create_email_verification(user.user_id)
        token = await reset_token(users)
        clock.advance(HOUR_S)
        await users.maintain()
        with pytest.raises(InvalidTokenError):
            await users.reset_password(token, OTHER_PASSWORD)
        with pytest.raises(FieldErrors):
            await users.reset_password("\0", "short")
        assert to_verify
        await users.verify_email(to_verify.text)

    run(postgres_url, story, clock)
