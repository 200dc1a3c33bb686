# SPDX-License-Identifier: MIT
"""Links that are mailed: forgotten passwords and addresses to verify, on a real SQLite file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stormcellar.accounts import (
    FieldErrors,
    InvalidTokenError,
    OneTimeToken,
    UnknownUserError,
    User,
    Users,
    WrongCredentialsError,
)
from stormcellar.accounts.one_time_tokens import TOKEN_BYTES
from stormcellar.accounts.users import PURGE_BATCH
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.accounts.parts import EMAIL, OTHER_PASSWORD, PASSWORD, running_users

BOB = "bob@example.com"
THIRD_PASSWORD = "purple anvil harp"
HOUR_S, DAY_S = 3600, 86400

Story = Callable[[Users], Awaitable[None]]


def run(place: Path | str, story: Story, **options: Any) -> None:
    async def tell() -> None:
        async with running_users(place, **options) as users:
            await story(users)

    asyncio.run(tell())


async def reset_token(users: Users, email: str = EMAIL) -> str:
    token = await users.create_password_reset(email)
    assert token
    return token.text


async def verify_token(users: Users, user: User) -> str:
    token = await users.create_email_verification(user.user_id)
    assert token
    return token.text


async def opens_nothing(attempt: Awaitable[object]) -> None:
    with pytest.raises(InvalidTokenError):
        await attempt


async def stored_tokens(users: Users) -> list[tuple[Any, ...]]:
    """The tokens that are not spent yet."""
    sql = "SELECT * FROM one_time_tokens WHERE purpose NOT LIKE 'spent %'"
    return await users._database.read(lambda connection: connection.execute(sql).fetchall())


class TestAToken:
    def test_has_at_least_128_bits_that_nobody_can_guess(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            tokens = {await reset_token(users) for _ in range(50)}
            assert len(tokens) == 50
            for token in tokens:
                assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
                assert len(base64.urlsafe_b64decode(token + "=")) == TOKEN_BYTES >= 16

        run(place, story)

    def test_is_in_the_database_as_a_hash_only(self, tmp_path: Path) -> None:
        texts: list[str] = []

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            texts.extend([await reset_token(users), await verify_token(users, user)])
            hashes = {hashlib.sha256(text.encode()).hexdigest() for text in texts}
            assert {row[0] for row in await stored_tokens(users)} == hashes
            check_files()

        def check_files() -> None:
            for file in tmp_path.iterdir():
                content = file.read_bytes()
                for text in texts:
                    assert text.encode() not in content
                    assert base64.urlsafe_b64decode(text + "=") not in content

        run(tmp_path / "db", story)
        check_files()

    def test_shows_neither_itself_nor_the_address_when_printed(self) -> None:
        token = OneTimeToken("reset_password", EMAIL, "the-token", 3600)
        assert "the-token" not in f"{token} {token!r}"
        assert EMAIL not in f"{token} {token!r}"

    def test_never_gets_into_the_log(self, place: Path | str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        texts: list[str] = []

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            texts.extend([await reset_token(users), await verify_token(users, user)])
            await users.verify_email(texts[1])
            await users.reset_password(texts[0], OTHER_PASSWORD)
            await opens_nothing(users.reset_password(texts[0], OTHER_PASSWORD))

        run(place, story)
        assert all(text not in caplog.text for text in (*texts, EMAIL))

    @pytest.mark.parametrize("text", ["", "x", "\0", "\ud800", "ä" * 100, "A" * 100_000, "' OR 1=1 --"])
    def test_may_be_any_text_at_all(self, place: Path | str, text: str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            await reset_token(users)
            await opens_nothing(users.reset_password(text, OTHER_PASSWORD))
            await opens_nothing(users.verify_email(text))

        run(place, story)

    def test_outlives_a_restart_of_the_server(self, place: Path | str) -> None:
        texts: list[str] = []

        async def first(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            texts.append(await reset_token(users))

        async def second(users: Users) -> None:
            await users.reset_password(texts[0], OTHER_PASSWORD)

        run(place, first)
        run(place, second)


class TestAForgottenPassword:
    def test_is_replaced_by_the_one_who_has_the_token(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await users.create_password_reset(" ANN@example.com ")
            assert token
            assert (token.purpose, token.email, token.lifetime_s) == ("reset_password", EMAIL, HOUR_S)
            assert (await users.reset_password(token.text, OTHER_PASSWORD)).user_id == user.user_id
            assert (await users.sign_in(EMAIL, OTHER_PASSWORD)).user_id == user.user_id
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_reset_proves_the_address(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            assert not await users.is_email_verified(user.user_id, EMAIL)
            assert (await users.reset_password(await reset_token(users), OTHER_PASSWORD)).email_verified
            assert await users.is_email_verified(user.user_id, EMAIL)

        run(place, story)

    def test_an_unknown_address_gets_no_token_and_costs_the_same_work(self, place: Path | str) -> None:
        """One look-up and one write of one row, be there an account or not."""

        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            work = count_work(users)
            await users.create_password_reset(EMAIL)
            known, work[:] = list(work), []
            assert await users.create_password_reset(BOB) is None
            assert work == known == ["read", "write"]
            mine, nobodys = await stored_tokens(users)
            (_, *mine_has), (_, *nobodys_has) = ((row[2], *row[:2], *row[3:]) for row in (mine, nobodys))
            assert [len(str(value)) for value in mine_has] == [len(str(value)) for value in nobodys_has]

        run(place, story)

    def test_an_invalid_address_is_named_as_such(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            for email, message in [("ann", "Email is invalid"), (" ", "Field is not optional")]:
                with pytest.raises(FieldErrors) as refused:
                    await users.create_password_reset(email)
                assert refused.value.errors == {"email": message}

        run(place, story)

    def test_a_weak_password_is_refused_and_the_token_stays_good(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            token = await reset_token(users)
            for weak in ("", "short", "password1", EMAIL, "stormcellar", "x" * 1001, "\ud800" * 8):
                with pytest.raises(FieldErrors) as refused:
                    await users.reset_password(token, weak)
                assert set(refused.value.errors) == {"password"}
            await users.reset_password(token, OTHER_PASSWORD)

        run(place, story)

    def test_a_weak_password_is_named_before_a_token_that_opens_nothing(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            with pytest.raises(FieldErrors):
                await users.reset_password("unknown", "short")
            await opens_nothing(users.reset_password("unknown", OTHER_PASSWORD))

        run(place, story)

    def test_works_once(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            token = await reset_token(users)
            await users.reset_password(token, OTHER_PASSWORD)
            await opens_nothing(users.reset_password(token, THIRD_PASSWORD))
            await users.sign_in(EMAIL, OTHER_PASSWORD)

        run(place, story)

    def test_of_twenty_at_once_one_wins(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            token = await reset_token(users)
            passwords = [f"{OTHER_PASSWORD} {number}" for number in range(20)]
            answers = await asyncio.gather(
                *(users.reset_password(token, password) for password in passwords), return_exceptions=True
            )
            won = [number for number, answer in enumerate(answers) if isinstance(answer, User)]
            assert len(won) == 1
            assert sum(isinstance(answer, InvalidTokenError) for answer in answers) == 19
            await users.sign_in(EMAIL, passwords[won[0]])

        run(place, story)

    def test_of_two_tokens_at_once_one_wins(self, place: Path | str) -> None:
        """Both were mailed before either was spent; the one who comes second has an outdated mail."""

        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            tokens = [await reset_token(users) for _ in range(2)]
            answers = await asyncio.gather(
                *(users.reset_password(token, OTHER_PASSWORD) for token in tokens), return_exceptions=True
            )
            assert sorted(type(answer).__name__ for answer in answers) == ["InvalidTokenError", "User"]

        run(place, story)

    def test_using_one_token_deletes_all_others_for_a_new_password(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            ann = await users.sign_up(EMAIL, PASSWORD)
            await users.sign_up(BOB, PASSWORD)
            older, newer = await reset_token(users), await reset_token(users)
            bobs, to_verify = await reset_token(users, BOB), await verify_token(users, ann)
            await users.reset_password(newer, OTHER_PASSWORD)
            await opens_nothing(users.reset_password(older, THIRD_PASSWORD))
            assert len(await stored_tokens(users)) == 2
            await users.reset_password(bobs, THIRD_PASSWORD)
            await users.verify_email(to_verify)

        run(place, story)

    def test_a_token_dies_with_the_password_that_it_replaces(self, place: Path | str) -> None:
        """Whoever remembers the password and changes it has no use for a mail from before."""

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await reset_token(users)
            await users.set_password(user.user_id, OTHER_PASSWORD)
            await opens_nothing(users.reset_password(token, THIRD_PASSWORD))
            await users.sign_in(EMAIL, OTHER_PASSWORD)

        run(place, story)

    def test_a_password_changed_while_the_new_one_is_hashed_wins(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await reset_token(users)
            hash_password = users._hasher.hash

            async def slow_hash(password: str) -> str:
                users._hasher.hash = hash_password  # type: ignore[method-assign]
                await users.set_password(user.user_id, OTHER_PASSWORD)
                return await hash_password(password)

            users._hasher.hash = slow_hash  # type: ignore[method-assign]
            await opens_nothing(users.reset_password(token, THIRD_PASSWORD))
            await users.sign_in(EMAIL, OTHER_PASSWORD)

        run(place, story)

    def test_a_token_dies_with_the_address_it_was_mailed_to(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            tokens = await reset_token(users), await verify_token(users, user)
            await change_email(users, user, BOB)
            await opens_nothing(users.reset_password(tokens[0], OTHER_PASSWORD))
            await opens_nothing(users.verify_email(tokens[1]))

        run(place, story)

    def test_a_token_dies_with_the_account(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            tokens = await reset_token(users), await verify_token(users, user)
            await users.delete(user.user_id)
            assert await stored_tokens(users) == []
            await opens_nothing(users.reset_password(tokens[0], OTHER_PASSWORD))
            await opens_nothing(users.verify_email(tokens[1]))

        run(place, story)

    @pytest.mark.parametrize("lifetime_s", [60, 600, 3600])
    def test_a_token_works_up_to_the_end_of_its_life_and_no_longer(
        self, place: Path | str, lifetime_s: int
    ) -> None:
        clock = FakeClock()

        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            in_time, late = await reset_token(users), await reset_token(users)
            clock.advance(lifetime_s - 1)
            assert await users._database.read(lambda c: users._look_up(c, in_time, "reset_password"))
            clock.advance(1)
            await opens_nothing(users.reset_password(late, OTHER_PASSWORD))
            clock.advance(-1)
            await users.reset_password(in_time, OTHER_PASSWORD)

        run(place, story, clock=clock, password_reset_lifetime_s=lifetime_s)


class TestAnAddress:
    def test_is_verified_by_the_one_who_has_the_token(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await users.create_email_verification(user.user_id)
            assert token
            assert (token.purpose, token.email, token.lifetime_s) == ("verify_email", EMAIL, DAY_S)
            verified = await users.verify_email(token.text)
            assert (verified.user_id, verified.email_verified) == (user.user_id, True)
            assert await users.get(user.user_id) == verified
            assert await users.is_email_verified(user.user_id, " ANN@example.com")
            assert not await users.is_email_verified(user.user_id, BOB)
            assert not await users.is_email_verified(user.user_id, "nonsense")
            assert not await users.is_email_verified("nobody", EMAIL)

        run(place, story)

    def test_that_is_verified_needs_no_token(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            await users.verify_email(await verify_token(users, user))
            assert await users.create_email_verification(user.user_id) is None
            assert await stored_tokens(users) == []

        run(place, story)

    def test_of_nobody_needs_none_either(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            for user_id in ("nobody", "", "\0"):
                with pytest.raises(UnknownUserError):
                    await users.create_email_verification(user_id)

        run(place, story)

    def test_of_twenty_at_once_one_wins(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await verify_token(users, user)
            answers = await asyncio.gather(
                *(users.verify_email(token) for _ in range(20)), return_exceptions=True
            )
            assert sum(isinstance(answer, User) for answer in answers) == 1
            assert sum(isinstance(answer, InvalidTokenError) for answer in answers) == 19

        run(place, story)

    def test_a_new_password_leaves_its_token_good(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await verify_token(users, user)
            await users.set_password(user.user_id, OTHER_PASSWORD)
            await users.verify_email(token)

        run(place, story)

    def test_a_token_lives_for_a_day(self, place: Path | str) -> None:
        clock = FakeClock()

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            token = await verify_token(users, user)
            clock.advance(DAY_S)
            await opens_nothing(users.verify_email(token))
            clock.advance(-1)
            await users.verify_email(token)

        run(place, story, clock=clock)


def test_a_token_for_one_purpose_opens_nothing_else(place: Path | str) -> None:
    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        to_reset, to_verify = await reset_token(users), await verify_token(users, user)
        await opens_nothing(users.verify_email(to_reset))
        await opens_nothing(users.reset_password(to_verify, OTHER_PASSWORD))
        await users.verify_email(to_verify)
        await users.reset_password(to_reset, OTHER_PASSWORD)

    run(place, story)


def test_a_token_touches_its_own_account_only(place: Path | str) -> None:
    async def story(users: Users) -> None:
        await users.sign_up(EMAIL, PASSWORD)
        bob = await users.sign_up(BOB, PASSWORD)
        await users.reset_password(await reset_token(users), OTHER_PASSWORD)
        assert await users.sign_in(BOB, PASSWORD) == bob
        assert not bob.email_verified

    run(place, story)


def test_expired_tokens_are_deleted_in_batches_and_the_others_stay(place: Path | str) -> None:
    clock = FakeClock()

    async def story(users: Users) -> None:
        user = await users.sign_up(EMAIL, PASSWORD)
        for _ in range(PURGE_BATCH + 1):
            await users.create_password_reset(BOB)
        token = await verify_token(users, user)
        clock.advance(HOUR_S)
        work = count_work(users)
        await users.maintain()
        assert work == ["write", "write"]
        assert len(await stored_tokens(users)) == 1
        await users.verify_email(token)

    run(place, story, clock=clock)


def test_accounts_from_before_there_were_tokens_are_brought_up_to_date(place: Path | str) -> None:
    async def story(users: Users) -> None:
        await users.sign_up(EMAIL, PASSWORD)

        def go_back(connection: Any) -> None:
            connection.execute("DROP TABLE one_time_tokens")
            connection.execute("DROP TABLE user_roles")
            added = ("password_version", "locked_at_ms", "first_verified_at_ms", "password_changed_at_ms")
            for column in added:
                connection.execute(f"ALTER TABLE users DROP COLUMN {column}")
            connection.execute("UPDATE schema_version SET version = 1 WHERE component = 'accounts'")

        await users._database.write(go_back)
        await users.open()
        await users.reset_password(await reset_token(users), OTHER_PASSWORD)

    run(place, story)


def count_work(users: Users) -> list[str]:
    """From now on, which coroutines of the database are called."""
    database, calls = users._database, []

    class Counting:
        async def read(self, work: Any) -> Any:
            calls.append("read")
            return await database.read(work)

        async def write(self, work: Any) -> Any:
            calls.append("write")
            return await database.write(work)

    users._database = Counting()  # type: ignore[assignment]
    return calls


async def change_email(users: Users, user: User, email: str) -> None:
    await users._execute(
        "UPDATE users SET email = :email WHERE user_id = :user_id", email=email, user_id=user.user_id
    )
