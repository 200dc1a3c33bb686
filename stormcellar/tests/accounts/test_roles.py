# SPDX-License-Identifier: MIT
"""Which roles a user has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stormcellar.accounts import UnknownUserError, Users
from stormcellar.tests.accounts.parts import EMAIL, PASSWORD, running_users


def run(place: Path | str, story: Callable[[Users, str], Awaitable[None]]) -> None:
    async def tell() -> None:
        async with running_users(place) as users:
            await story(users, (await users.sign_up(EMAIL, PASSWORD)).user_id)

    asyncio.run(tell())


def test_roles_are_given_and_taken_one_by_one(place: Path | str) -> None:
    async def story(users: Users, ann: str) -> None:
        assert await users.roles(ann) == []
        assert await users.add_role(ann, "editor")
        assert await users.add_role(ann, "admin")
        assert not await users.add_role(ann, "admin")
        assert await users.roles(ann) == ["admin", "editor"]
        assert await users.remove_role(ann, "admin")
        assert not await users.remove_role(ann, "admin")
        assert await users.roles(ann) == ["editor"]

    run(place, story)


def test_nobody_has_no_roles_and_gets_none(place: Path | str) -> None:
    async def story(users: Users, _ann: str) -> None:
        for nobody in ("nobody", "", "\0"):
            assert await users.roles(nobody) == []
            assert not await users.remove_role(nobody, "admin")
            with pytest.raises(UnknownUserError):
                await users.add_role(nobody, "admin")

    run(place, story)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\0", "\ud800"])
def test_a_role_has_a_short_visible_name(place: Path | str, name: str) -> None:
    async def story(users: Users, ann: str) -> None:
        with pytest.raises(ValueError, match="1 to 64"):
            await users.add_role(ann, name)
        assert not await users.remove_role(ann, name)

    run(place, story)


def test_roles_go_with_the_account(place: Path | str) -> None:
    async def story(users: Users, ann: str) -> None:
        await users.add_role(ann, "admin")
        await users.delete(ann)
        assert await users.roles(ann) == []

    run(place, story)


def test_a_role_given_twenty_times_at_once_is_there_once(place: Path | str) -> None:
    async def story(users: Users, ann: str) -> None:
        added = await asyncio.gather(*(users.add_role(ann, "admin") for _ in range(20)))
        assert sorted(added) == [False] * 19 + [True]
        assert await users.roles(ann) == ["admin"]

    run(place, story)
