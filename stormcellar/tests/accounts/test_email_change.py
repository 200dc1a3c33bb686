# SPDX-License-Identifier: MIT
"""A new e-mail address: nothing changes before its mail is read, and nobody learns who is registered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stormcellar.accounts import EmailChange, FieldErrors, InvalidTokenError, UnknownUserError, Users
from stormcellar.accounts.errors import WrongCredentialsError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.accounts.parts import EMAIL, OTHER_PASSWORD, PASSWORD, running_users

NEW, BOB = "new@example.com", "bob@example.com"
DAY_S = 86400

Story = Callable[[Users], Awaitable[None]]


def run(place: Path | str, story: Story, **options: Any) -> None:
    async def tell() -> None:
        async with running_users(place, **options) as users:
            await story(users)

    asyncio.run(tell())


async def change_token(users: Users, user_id: str, email: str = NEW) -> str:
    token = await users.create_email_change(user_id, email)
    assert token
    return token.text


def test_the_address_is_the_users_once_its_mail_was_read(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        token = await users.create_email_change(user.user_id, " New@Example.com ")
        assert token
        assert (token.purpose, token.email, token.lifetime_s) == ("change_email", NEW, DAY_S)
        assert await users.check_email_change(token.text) == EmailChange(user, NEW)
        assert (await users.sign_in(EMAIL, PASSWORD)).email == EMAIL, "nothing has changed yet"

        assert await users.change_email(token.text) == EmailChange(user, NEW)
        changed = await users.sign_in(NEW, PASSWORD)
        assert (changed.user_id, changed.email, changed.email_verified) == (user.user_id, NEW, True)
        with pytest.raises(WrongCredentialsError):
            await users.sign_in(EMAIL, PASSWORD)
        with pytest.raises(InvalidTokenError):
            await users.change_email(token.text)

    run(place, story)


def test_a_link_dies_with_a_later_request_a_new_password_and_the_account(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        dead = [await change_token(users, user.user_id, "first@example.com")]
        dead.append(await change_token(users, user.user_id))
        await users.set_password(user.user_id, OTHER_PASSWORD)
        dead.append(await change_token(users, user.user_id))
        await users.delete(user.user_id)
        for token in [*dead, "", "\ud800"]:
            with pytest.raises(InvalidTokenError):
                await users.check_email_change(token)
            with pytest.raises(InvalidTokenError):
                await users.change_email(token)

    run(place, story)


def test_a_link_works_for_a_day(place: Path | str) -> None:
    clock = FakeClock()

    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        token = await change_token(users, user.user_id)
        clock.advance(DAY_S)
        with pytest.raises(InvalidTokenError):
            await users.change_email(token)

    run(place, story, clock=clock)


def test_an_address_that_is_taken_costs_the_same_and_gets_no_link(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        await users.sign_up(BOB, PASSWORD)
        assert await users.create_email_change(user.user_id, BOB) is None

    run(place, story)


def test_whoever_takes_the_address_meanwhile_keeps_it(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        token = await change_token(users, user.user_id)
        other = await users.sign_up(NEW, PASSWORD)
        with pytest.raises(InvalidTokenError):
            await users.change_email(token)
        assert await users.get_by_email(NEW) == other
        assert await users.get_by_email(EMAIL) == user

    run(place, story)


def test_of_two_who_want_the_address_one_gets_it(place: Path | str) -> None:
    async def story(users: Users) -> None:
        both = [await users.sign_up(email, PASSWORD) for email in (EMAIL, BOB)]
        tokens = [await change_token(users, user.user_id) for user in both]
        outcomes = await asyncio.gather(*map(users.change_email, tokens), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {EmailChange, InvalidTokenError}

    run(place, story)


@pytest.mark.parametrize("email", ["", "ann", EMAIL.upper(), "a\0@example.com"])
def test_an_address_that_is_none_or_the_users_own_is_refused(place: Path | str, email: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        with pytest.raises(FieldErrors) as refused:
            await users.create_email_change(user.user_id, email)
        assert list(refused.value.errors) == ["email"]

    run(place, story)


def test_nobody_cannot_change_an_address(place: Path | str) -> None:
    async def story(users: Users) -> None:
        with pytest.raises(UnknownUserError):
            await users.create_email_change("nobody", NEW)

    run(place, story)


def test_of_two_changes_that_knew_the_same_password_one_is_made(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        outcomes = await asyncio.gather(
            *(
                users.set_password(user.user_id, new, version=0)
                for new in (OTHER_PASSWORD, "third harp anvil")
            ),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {type(None), WrongCredentialsError}
        stored = await users.get(user.user_id)
        assert stored
        assert stored.password_version == 1

    run(place, story)


def test_users_are_found_by_a_part_of_their_address_or_by_their_id(place: Path | str) -> None:
    clock = FakeClock()

    async def story(users: Users) -> None:
        made = []
        for email in (EMAIL, BOB, "b%b_!@example.org"):
            made.append(await users.sign_up(email, PASSWORD))
            clock.advance(1)
        for search, found in (
            ("", made),
            ("EXAMPLE.com", made[:2]),
            ("%", made[2:]),
            ("b_!", made[2:]),
            (made[1].user_id, made[1:2]),
            ("nobody", []),
            ("\0", []),
        ):
            assert await users.list(search=search) == found, search
        assert await users.list(search="example", limit=1, after=made[0]) == [made[1]]

    run(place, story, clock=clock)
