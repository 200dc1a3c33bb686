# SPDX-License-Identifier: MIT
"""Signing up and signing in, on each kind of database."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormcellar.accounts import (
    ARGON2ID,
    EMAIL_TAKEN,
    FieldErrors,
    PasswordHasher,
    TooBusyError,
    UnknownUserError,
    User,
    Users,
    Verdict,
    WrongCredentialsError,
    normalise_email,
)
from stormcellar.sessions.errors import StoreUnavailableError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.accounts.parts import (
    CHEAPEST,
    DEARER,
    EMAIL,
    OTHER_PASSWORD,
    PASSWORD,
    running_users,
)


def run(place: Path | str, story: Callable[[Users], Awaitable[None]], **options: Any) -> None:
    async def tell() -> None:
        async with running_users(place, **options) as users:
            await story(users)

    asyncio.run(tell())


async def field_errors(attempt: Awaitable[Any]) -> dict[str, str]:
    with pytest.raises(FieldErrors) as refused:
        await attempt
    return refused.value.errors


async def stored_hash(users: Users) -> str:
    credentials = await users._by_email(EMAIL)
    assert credentials
    assert credentials.password_hash
    return credentials.password_hash


class TestSignUp:
    def test_makes_an_account_that_can_sign_in(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(" Ann@Example.com ", PASSWORD)
            assert uuid.UUID(user.user_id).version == 4
            assert user == User(user.user_id, EMAIL, 1_800_000_000_250, email_verified=False)
            assert await users.sign_in("ANN@example.com", PASSWORD) == user
            assert await users.get(user.user_id) == user
            assert await users.get_by_email("aNN@example.com ") == user

        run(place, story, clock=FakeClock(1_800_000_000.25))

    def test_keeps_the_account_when_the_server_starts_again(self, place: Path | str) -> None:
        async def first(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)

        async def second(users: Users) -> None:
            assert (await users.sign_in(EMAIL, PASSWORD)).email == EMAIL

        run(place, first)
        run(place, second)

    def test_stores_no_password_in_the_clear(self, tmp_path: Path) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)

        run(tmp_path / "db", story)
        assert all(PASSWORD.encode() not in file.read_bytes() for file in tmp_path.iterdir())

    def test_names_a_taken_address(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            assert await field_errors(users.sign_up("ANN@EXAMPLE.COM", OTHER_PASSWORD)) == {
                "email": EMAIL_TAKEN
            }
            assert EMAIL_TAKEN == "This email already exists. Please sign in instead."
            await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_names_every_bad_field_at_once(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            invalid, missing = "Email is invalid", "Field is not optional"
            short = "Password must contain at least 8 characters"
            assert await field_errors(users.sign_up("ann", "short")) == {"email": invalid, "password": short}
            assert await field_errors(users.sign_up(" ", "")) == {"email": missing, "password": missing}
            assert await field_errors(users.sign_up(EMAIL, "STORMCELLAR")) == {
                "password": "Password must not be the name of this site"
            }
            assert await field_errors(users.sign_up("Annabel.Lee@example.com", "annabel.LEE")) == {
                "password": "Password must not be your email address"
            }
            assert await users.list() == []

        run(place, story)

    def test_refuses_what_the_sites_own_list_holds(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            assert "password" in await field_errors(users.sign_up(EMAIL, PASSWORD.upper()))

        run(place, story, extra_common_passwords=frozenset({PASSWORD}))

    def test_takes_two_addresses_that_only_look_alike_for_two_people(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            emails = ["k@example.com", "\u212a@example.com", "ü@example.com", "Ü@example.com"]
            accounts = [await users.sign_up(email, PASSWORD) for email in emails]
            assert len({user.user_id for user in accounts}) == 4
            for email, user in zip(emails, accounts, strict=True):
                assert await users.get_by_email(email) == user

        run(place, story)

    def test_twenty_at_once_make_one_account(self, place: Path | str) -> None:
        """The unique index decides; the other nineteen are told that the address is taken."""

        async def story(users: Users) -> None:
            spellings = ["ann@example.com", "ANN@example.com", " Ann@Example.Com", "aNn@eXample.com\n"] * 5
            answers = await asyncio.gather(
                *(users.sign_up(email, PASSWORD) for email in spellings), return_exceptions=True
            )
            made = [answer for answer in answers if isinstance(answer, User)]
            refused = [answer.errors for answer in answers if isinstance(answer, FieldErrors)]
            assert len(made) == 1
            assert refused == [{"email": EMAIL_TAKEN}] * 19
            assert await users.list() == made

        run(place, story)

    def test_two_applications_on_one_database_make_one_account(self, place: Path | str) -> None:
        async def story() -> None:
            async with running_users(place) as one, running_users(place) as other:
                attempts = [users.sign_up(EMAIL, PASSWORD) for users in (one, other) * 5]
                answers = await asyncio.gather(*attempts, return_exceptions=True)
                assert sorted(type(answer).__name__ for answer in answers) == ["FieldErrors"] * 9 + ["User"]

        asyncio.run(story())


class TestSignIn:
    def test_refuses_an_unknown_address_and_a_wrong_password_with_the_same_words(
        self, place: Path | str
    ) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            with pytest.raises(WrongCredentialsError) as wrong:
                await users.sign_in(EMAIL, OTHER_PASSWORD)
            with pytest.raises(WrongCredentialsError) as unknown:
                await users.sign_in("bob@example.com", OTHER_PASSWORD)
            assert str(wrong.value) == str(unknown.value)
            assert wrong.value.user_id == user.user_id  # which is for the log
            assert unknown.value.user_id is None

        run(place, story)

    def test_hashes_once_for_an_unknown_address_as_for_a_wrong_password(
        self, place: Path | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        verify = PasswordHasher.verify

        async def counted(self: PasswordHasher, phc: str | None, password: str) -> Verdict:
            calls.append(password)
            return await verify(self, phc, password)

        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            monkeypatch.setattr(PasswordHasher, "verify", counted)
            for email in (EMAIL, "bob@example.com"):
                with pytest.raises(WrongCredentialsError):
                    await users.sign_in(email, OTHER_PASSWORD)
            assert calls == [OTHER_PASSWORD] * 2

        run(place, story)

    def test_asks_for_the_syntax_but_not_for_todays_password_rule(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            assert await field_errors(users.sign_in("ann", "")) == {
                "email": "Email is invalid",
                "password": "Field is not optional",
            }
            assert list(await field_errors(users.sign_in(EMAIL, "nul\0"))) == ["password"]
            assert list(await field_errors(users.sign_in(EMAIL, "\ud800"))) == ["password"]
            assert list(await field_errors(users.sign_in(EMAIL, "x" * 1001))) == ["password"]
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, "short")

        run(place, story)

    def test_does_not_trim_or_fold_the_password(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            for almost in (PASSWORD + " ", " " + PASSWORD, PASSWORD.title()):
                with pytest.raises(WrongCredentialsError):
                    await users.sign_in(EMAIL, almost)

        run(place, story)

    def test_a_user_without_a_password_cannot_sign_in_with_one(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            await users._execute("UPDATE users SET password_hash = NULL")
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_a_password_replaced_while_it_was_being_checked_no_longer_counts(
        self, place: Path | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verify = PasswordHasher.verify

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)

            async def overtaken(self: PasswordHasher, phc: str | None, password: str) -> Verdict:
                verdict = await verify(self, phc, password)
                monkeypatch.setattr(PasswordHasher, "verify", verify)
                await users.set_password(user.user_id, OTHER_PASSWORD)
                return verdict

            monkeypatch.setattr(PasswordHasher, "verify", overtaken)
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_an_account_deleted_while_its_password_was_being_checked_is_not_signed_in(
        self, place: Path | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verify = PasswordHasher.verify

        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)

            async def overtaken(self: PasswordHasher, phc: str | None, password: str) -> Verdict:
                verdict = await verify(self, phc, password)
                await users.delete(user.user_id)
                return verdict

            monkeypatch.setattr(PasswordHasher, "verify", overtaken)
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_too_many_at_once_are_told_so(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            attempts = [users.sign_in(f"ann{number}@example.com", PASSWORD) for number in range(40)]
            answers = await asyncio.gather(*attempts, return_exceptions=True)
            assert {type(answer) for answer in answers} == {WrongCredentialsError, TooBusyError}

        run(place, story, parameters=ARGON2ID, queue=0)


class TestRaisedParameters:
    """A password hashed at an older cost is hashed anew when it is next shown."""

    def test_the_next_sign_in_stores_a_hash_of_todays_cost(self, place: Path | str) -> None:
        async def before(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            assert "$m=8,t=1,p=1$" in await stored_hash(users)

        async def after(users: Users) -> None:
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, OTHER_PASSWORD)
            assert "$m=8,t=1,p=1$" in await stored_hash(users)
            await users.sign_in(EMAIL, PASSWORD)
            renewed = await stored_hash(users)
            assert "$m=64,t=2,p=1$" in renewed
            await users.sign_in(EMAIL, PASSWORD)
            assert await stored_hash(users) == renewed

        run(place, before, parameters=CHEAPEST)
        run(place, after, parameters=DEARER)

    def test_ten_sign_ins_at_once_all_succeed(self, place: Path | str) -> None:
        async def before(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)

        async def after(users: Users) -> None:
            await asyncio.gather(*(users.sign_in(EMAIL, PASSWORD) for _ in range(10)))
            assert "$m=64,t=2,p=1$" in await stored_hash(users)
            await users.sign_in(EMAIL, PASSWORD)

        run(place, before, parameters=CHEAPEST)
        run(place, after, parameters=DEARER)

    @pytest.mark.parametrize("trouble", [TooBusyError(3), StoreUnavailableError("disk full"), MemoryError()])
    def test_a_sign_in_succeeds_even_if_the_new_hash_cannot_be_made_or_stored(
        self,
        trouble: Exception,
        place: Path | str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async def before(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)

        async def fail(*_: object) -> str:
            raise trouble

        async def after(users: Users) -> None:
            place = (
                (users._database, "write")
                if isinstance(trouble, StoreUnavailableError)
                else (users._hasher, "hash")
            )
            monkeypatch.setattr(*place, fail)
            user = await users.sign_in(EMAIL, PASSWORD)
            assert user.user_id in caplog.text
            assert EMAIL not in caplog.text
            assert PASSWORD not in caplog.text

        run(place, before, parameters=CHEAPEST)
        with caplog.at_level(logging.WARNING):
            run(place, after, parameters=DEARER)

    def test_a_password_changed_meanwhile_is_not_overwritten(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            checked = await users._by_email(EMAIL)
            assert checked
            await users.set_password(user.user_id, OTHER_PASSWORD)
            await users._rehash(checked, PASSWORD)
            assert (await users.sign_in(EMAIL, OTHER_PASSWORD)).user_id == user.user_id

        run(place, story)


class TestOneUser:
    def test_set_password_replaces_the_old_one(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            await users.set_password(user.user_id, OTHER_PASSWORD)
            assert (await users.sign_in(EMAIL, OTHER_PASSWORD)).user_id == user.user_id
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)

        run(place, story)

    def test_the_passwords_version_grows_with_each_change_and_with_nothing_else(
        self, place: Path | str
    ) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            versions = [user.password_version]
            await users.set_password(user.user_id, OTHER_PASSWORD)
            versions.append((await users.sign_in(EMAIL, OTHER_PASSWORD)).password_version)
            token = await users.create_password_reset(EMAIL)
            assert token
            versions.append((await users.reset_password(token.text, PASSWORD)).password_version)
            users._hasher = PasswordHasher(1, 1, DEARER)
            for _ in range(2):  # the first one hashes anew
                versions.append((await users.sign_in(EMAIL, PASSWORD)).password_version)
            users._hasher.close()
            assert versions == [0, 1, 2, 2, 2]

        run(place, story)

    def test_set_password_keeps_to_the_password_rule(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up("annabel.lee@example.com", PASSWORD)
            for bad in ("short", "password1", "annabel.lee", "Stormcellar", ""):
                assert list(await field_errors(users.set_password(user.user_id, bad))) == ["password"]
            await users.sign_in("annabel.lee@example.com", PASSWORD)

        run(place, story)

    def test_a_deleted_user_is_gone_and_the_address_free(self, place: Path | str) -> None:
        async def story(users: Users) -> None:
            user = await users.sign_up(EMAIL, PASSWORD)
            assert await users.delete(user.user_id) is True
            assert await users.delete(user.user_id) is False
            assert await users.get(user.user_id) is None
            with pytest.raises(WrongCredentialsError):
                await users.sign_in(EMAIL, PASSWORD)
            with pytest.raises(UnknownUserError):
                await users.set_password(user.user_id, OTHER_PASSWORD)
            assert (await users.sign_up(EMAIL, PASSWORD)).user_id != user.user_id

        run(place, story)

    @pytest.mark.parametrize("user_id", ["", "nobody", "\0", "\ud800", "x" * 100_000, "' OR 1=1 --"])
    def test_no_text_is_a_users_id_by_accident(self, user_id: str, place: Path | str) -> None:
        async def story(users: Users) -> None:
            await users.sign_up(EMAIL, PASSWORD)
            assert await users.get(user_id) is None
            assert await users.delete(user_id) is False
            assert await users.get_by_email(user_id) is None
            with pytest.raises(UnknownUserError):
                await users.set_password(user_id, OTHER_PASSWORD)

        run(place, story)

    def test_a_users_representation_has_no_address_in_it(self) -> None:
        assert EMAIL not in repr(User("id", EMAIL, 0))


class TestList:
    def test_pages_through_all_users_from_the_oldest_on(self, place: Path | str) -> None:
        """Also where several accounts were made in the same millisecond."""
        clock = FakeClock()

        async def story(users: Users) -> None:
            made = []
            for number in range(7):
                made.append(await users.sign_up(f"user{number}@example.com", PASSWORD))
                clock.advance(number // 3)
            seen: list[User] = []
            while page := await users.list(limit=2, after=seen[-1] if seen else None):
                assert len(page) <= 2
                seen += page
            assert seen == sorted(made, key=lambda user: (user.created_at_ms, user.user_id))

        run(place, story, clock=clock)


ANY_TEXT = st.text(st.characters(), max_size=300)
EMAIL_LIKE = st.from_regex(re.compile(r"[^@]{1,20}@[a-z\x00-\x20\ud800.-]{1,20}\.com"), fullmatch=True)
PASSWORD_LIKE = st.sampled_from([PASSWORD, "\ud800" * 9, "nul\0nul\0nul", "x" * 1001, "x" * 1000, ""])


@pytest.mark.slow
def test_no_text_whatever_raises_anything_but_the_named_errors(place: Path | str) -> None:
    """And who could sign up can sign in."""

    async def attempt(users: Users, email: str, password: str) -> None:
        try:
            user = await users.sign_up(email, password)
        except FieldErrors:
            with pytest.raises((FieldErrors, WrongCredentialsError)):
                await users.sign_in(email, password)
        else:
            assert await users.sign_in(f"  {normalise_email(email)}", password) == user
            assert await users.delete(user.user_id)

    async def opened() -> tuple[Any, Users]:
        context = running_users(place)
        return context, await context.__aenter__()

    loop = asyncio.new_event_loop()
    context, users = loop.run_until_complete(opened())

    @given(email=ANY_TEXT | EMAIL_LIKE | st.emails(), password=ANY_TEXT | PASSWORD_LIKE)
    def every_text(email: str, password: str) -> None:
        loop.run_until_complete(attempt(users, email, password))

    try:
        every_text()
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()
