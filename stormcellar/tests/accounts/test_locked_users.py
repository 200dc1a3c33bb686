# SPDX-License-Identifier: MIT
"""A locked user cannot come in by any way, and nobody is told why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stormcellar.accounts import InvalidTokenError, UnknownUserError, Users, WrongCredentialsError
from stormcellar.tests.accounts.parts import EMAIL, OTHER_PASSWORD, PASSWORD, running_users


def run(place: Path | str, story: Callable[[Users], Awaitable[None]]) -> None:
    async def tell() -> None:
        async with running_users(place) as users:
            await story(users)

    asyncio.run(tell())


def test_a_locked_user_is_answered_as_one_with_a_wrong_password(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        assert await users.lock(user.user_id)
        answers = await asyncio.gather(
            users.sign_in(EMAIL, PASSWORD), users.sign_in(EMAIL, OTHER_PASSWORD), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {WrongCredentialsError}
        assert len({str(answer) for answer in answers}) == 1
        found = await users.get(user.user_id)
        assert found
        assert found.locked

    run(place, story)


def test_an_unlocked_user_signs_in_with_the_password_of_before(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        await users.lock(user.user_id)
        assert await users.unlock(user.user_id)
        assert await users.sign_in(EMAIL, PASSWORD) == user

    run(place, story)


def test_locking_twice_and_unlocking_who_is_not_locked_changes_nothing(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        assert not await users.unlock(user.user_id)
        assert await users.lock(user.user_id)
        assert not await users.lock(user.user_id)
        for nobody in ("nobody", "nul \0"):
            with pytest.raises(UnknownUserError):
                await users.lock(nobody)
            with pytest.raises(UnknownUserError):
                await users.unlock(nobody)

    run(place, story)


def test_no_link_opens_a_locked_account_neither_an_old_nor_a_new_one(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        old = await users.create_password_reset(EMAIL)
        confirmation = await users.create_email_verification(user.user_id)
        assert old
        assert confirmation
        await users.lock(user.user_id)
        assert await users.create_password_reset(EMAIL) is None
        with pytest.raises(InvalidTokenError):
            await users.reset_password(old.text, OTHER_PASSWORD)
        with pytest.raises(InvalidTokenError):
            await users.verify_email(confirmation.text)

    run(place, story)
