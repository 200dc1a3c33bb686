# SPDX-License-Identifier: MIT
"""One password and one address, whichever keyboard typed them, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stormcellar.accounts import EMAIL_TAKEN, FieldErrors, Users, WrongCredentialsError, check_password
from stormcellar.tests.accounts.parts import EMAIL, OTHER_PASSWORD, PASSWORD, running_users

COMPOSED, APART = "caf\u00e9 au lait \u00e0 neuf", "cafe\u0301 au lait a\u0300 neuf"
WITH_NBSP = COMPOSED.replace(" ", "\u00a0")
MARTIN, MARTIN_APART = "mart\u00edn@m\u00fcller.example", "marti\u0301n@mu\u0308ller.example"
MARTIN_STORED = "mart\u00edn@xn--mller-kva.example"


def run(place: Path | str, story: Callable[[Users], Awaitable[None]], **options: Any) -> None:
    async def tell() -> None:
        async with running_users(place, **options) as users:
            await story(users)

    asyncio.run(tell())


async def change_row(users: Users, **columns: str) -> None:
    """Store what an older version would have stored for the only user."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    await users._database.write(lambda c: c.execute(f"UPDATE users SET {changes}", columns))


async def stored_hash(users: Users) -> str:
    row = await users._database.read(lambda c: c.execute("SELECT password_hash FROM users").fetchone())
    return str(row[0])


@pytest.mark.parametrize("chosen", [COMPOSED, APART, WITH_NBSP])
@pytest.mark.parametrize("typed", [COMPOSED, APART, WITH_NBSP])
def test_a_password_is_the_same_in_every_unicode_form(place: Path | str, chosen: str, typed: str) -> None:
    async def story(users: Users) -> None:
        ann = await users.sign_up(EMAIL, chosen)
        assert await users.sign_in(EMAIL, typed) == ann
        with pytest.raises(WrongCredentialsError):
            await users.sign_in(EMAIL, "cafe au lait a neuf")

    run(place, story)


@pytest.mark.parametrize(("hashed", "typed"), [(APART, APART), (APART, COMPOSED), (WITH_NBSP, WITH_NBSP)])
def test_a_hash_of_an_older_version_still_matches_and_is_replaced(
    place: Path | str, hashed: str, typed: str
) -> None:
    """A hash of the text as it was typed matches that text. It also matches the composed form of a text in
    which accents were apart."""

    async def story(users: Users) -> None:
        ann = await users.sign_up(EMAIL, PASSWORD)
        old_hash = await users._hasher.hash(hashed)
        await change_row(users, password_hash=old_hash)
        assert await users.sign_in(EMAIL, typed) == ann
        assert await stored_hash(users) != old_hash
        for form in (COMPOSED, APART, WITH_NBSP):
            assert await users.sign_in(EMAIL, form) == ann

    run(place, story)


def test_a_new_password_is_normalised_too(place: Path | str) -> None:
    async def story(users: Users) -> None:
        ann = await users.sign_up(EMAIL, PASSWORD)
        await users.set_password(ann.user_id, APART)
        await users.sign_in(EMAIL, COMPOSED)
        token = await users.create_password_reset(EMAIL)
        assert token
        await users.reset_password(token.text, WITH_NBSP)
        await users.sign_in(EMAIL, APART)

    run(place, story)


def test_a_refused_password_costs_the_same_for_unknown_accounts(place: Path | str) -> None:
    """Every form is checked for both, so the time of the answer does not tell them apart."""

    async def story(users: Users) -> None:
        await users.sign_up(EMAIL, PASSWORD)
        checked: list[str] = []
        verify = users._hasher.verify

        async def counting(phc: str | None, password: str) -> Any:
            checked.append(password)
            return await verify(phc, password)

        users._hasher.verify = counting  # type: ignore[method-assign]
        for email in (EMAIL, "nobody@example.com"):
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(email, APART)
        assert len(checked) == 4
        assert checked[:2] == checked[2:]

    run(place, story)


@pytest.mark.parametrize(("first", "second"), [(MARTIN, MARTIN_APART), (MARTIN_APART, MARTIN)])
def test_both_forms_of_an_address_are_one_account(place: Path | str, first: str, second: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(first, PASSWORD)
        assert user.email == MARTIN_STORED
        with pytest.raises(FieldErrors, match=EMAIL_TAKEN):
            await users.sign_up(second, OTHER_PASSWORD)
        for email in (first, second, MARTIN_STORED, f" {first}\n"):
            assert await users.get_by_email(email) == user
        assert await users.sign_in(second, PASSWORD) == user
        token = await users.create_password_reset(second)
        assert token
        assert token.email == MARTIN_STORED
        with pytest.raises(FieldErrors, match="This is your address already"):
            await users.create_email_change(user.user_id, second)

    run(place, story)


def test_an_address_that_an_older_version_stored_still_works(place: Path | str) -> None:
    old = "marti\u0301n@example.com"

    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        await change_row(users, email=old)
        for email in (old, "mart\u00edn@example.com", " Marti\u0301n@Example.com"):
            found = await users.sign_in(email, PASSWORD)
            assert (found.user_id, found.email) == (user.user_id, old)
            with pytest.raises(FieldErrors, match=EMAIL_TAKEN):
                await users.sign_up(email, OTHER_PASSWORD)

    run(place, story)


def test_two_accounts_of_an_older_version_are_both_found_as_typed(place: Path | str) -> None:
    """An older version took two forms of one address for two accounts."""
    apart, composed = "marti\u0301n@example.com", "mart\u00edn@example.com"

    async def story(users: Users) -> None:
        first = await users.sign_up(EMAIL, PASSWORD)
        await change_row(users, email=apart)
        row = {"user_id": "second", "email": composed, "now_ms": 1}
        sql = "INSERT INTO users (user_id, email, created_at_ms) VALUES (:user_id, :email, :now_ms)"
        await users._database.write(lambda c: c.execute(sql, row))
        found = [await users.get_by_email(email) for email in (apart, composed)]
        assert [user.user_id for user in found if user] == [first.user_id, "second"]

    run(place, story)


@pytest.mark.parametrize(
    "search",
    ["mart\u00edn", "marti\u0301n", "m\u00fcller", "mu\u0308ller.example", MARTIN, MARTIN_APART, "xn--mller"],
)
def test_an_administrator_finds_a_user_by_every_form(place: Path | str, search: str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(MARTIN, PASSWORD)
        await users.sign_up(EMAIL, PASSWORD)
        assert await users.list(search=search) == [user]

    run(place, story)


@pytest.mark.parametrize(
    ("password", "refusal"),
    [
        (MARTIN, "email address"),
        (MARTIN_APART.upper(), "email address"),
        (MARTIN_STORED, "email address"),
        ("\uff2d\uff21\uff32\uff34\u00cd\uff2e@m\u00fcller.example", "email address"),
        ("Cafe\u0301 der K\u00fcste", "name of this site"),
        ("CAF\u00c9 DER K\u00dcSTE", "name of this site"),
        ("\uff30\uff21\uff33\uff33\uff37\uff2f\uff32\uff24\uff11", "too easy to guess"),  # full width
        ("e\u0301e\u0302e\u0300e\u0308", "at least 8 characters"),  # four letters, eight code points
    ],
)
def test_the_password_rule_compares_what_people_read(password: str, refusal: str) -> None:
    rule = {"min_length": 8, "email": MARTIN, "site_name": "Caf\u00e9 der K\u00fcste"}
    assert refusal in (check_password(password, **rule) or "")
