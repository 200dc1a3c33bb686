# SPDX-License-Identifier: MIT
"""How often somebody may try, whatever they try it with, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stormcellar.accounts import FieldErrors, Limits, ThrottledError, TooBusyError, WrongCredentialsError
from stormcellar.accounts.limits import (
    FAILURE_REMEMBERED_S,
    LOOK_UP,
    PURGE_BATCH,
    RESET_ACCOUNT,
    SIGN_IN_ACCOUNT,
    SIGN_IN_CLIENT,
    SIGN_UP,
)
from stormcellar.accounts.users import EMAIL_TAKEN
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.support import database_at

ANN, HERE, KEY = "ann@example.com", "203.0.113.9", b"k" * 32
Story = Callable[[Limits], Awaitable[None]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tell(place: Any, clock: FakeClock) -> Callable[[Story], None]:
    """Tell a story with limits on a fresh database."""

    async def with_limits(story: Story) -> None:
        database = database_at(place)
        await database.open()
        limits = Limits(database, clock=clock, key=KEY)
        try:
            await limits.open()
            await story(limits)
        finally:
            await database.close()

    return lambda story: asyncio.run(with_limits(story))


async def sign_in(
    limits: Limits, email: str = ANN, client: str = HERE, known: str | None = None, *, right: bool = False
) -> str:
    """One attempt; "in", "wrong" or "throttled"."""
    try:
        async with limits.signing_in(email, client, known):
            if not right:
                raise WrongCredentialsError
    except WrongCredentialsError:
        return "wrong"
    except ThrottledError:
        return "throttled"
    return "in"


async def failures_until_throttled(limits: Limits, **attempt: Any) -> int:
    for number in range(1000):
        if await sign_in(limits, **attempt) == "throttled":
            return number
    raise AssertionError("never throttled")


async def rows(limits: Limits) -> list[tuple[Any, ...]]:
    sql = "SELECT * FROM rate_limits ORDER BY bucket"
    return await limits._database.read(lambda connection: connection.execute(sql).fetchall())


def test_after_ten_failures_an_account_takes_no_password_for_five_minutes(
    tell: Any, clock: FakeClock
) -> None:
    async def story(limits: Limits) -> None:
        assert await failures_until_throttled(limits) == 10
        clock.advance(299)
        assert await sign_in(limits, right=True) == "throttled"
        clock.advance(1)
        assert await sign_in(limits, right=True) == "in"

    tell(story)


def test_in_no_five_minutes_are_there_more_than_ten_failures(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        failed_at: list[float] = []
        for _ in range(200):
            if await sign_in(limits) == "wrong":
                failed_at.append(clock.now())
            clock.advance(17)
        assert 60 < len(failed_at) <= 100
        for moment in failed_at:
            assert sum(moment <= other < moment + 300 for other in failed_at) <= 10

    tell(story)


def test_a_refused_attempt_does_not_prolong_the_refusal(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        await failures_until_throttled(limits)
        for _ in range(30):
            clock.advance(10)
            last = await sign_in(limits, right=True)
        assert last == "in"

    tell(story)


def test_a_refusal_says_when_to_try_again(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        await failures_until_throttled(limits)
        clock.advance(100.5)
        with pytest.raises(ThrottledError) as caught:
            async with limits.signing_in(ANN, HERE):
                raise AssertionError("not reached")
        assert caught.value.retry_after_s == 200
        assert (
            str(caught.value)
            == "There were too many failed attempts to sign in. Please try again in 4 minutes."
        )

    tell(story)


def test_a_success_resets_the_account_but_not_the_client(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        for number in range(12):  # of 9 failures and a success each
            for _ in range(9):
                last = await sign_in(limits, f"ann{number % 2}@example.com")
            assert await sign_in(limits, f"ann{number % 2}@example.com", right=True) in ("in", "throttled")
        assert last == "throttled"
        assert await sign_in(limits, "bob@example.com") == "throttled"
        assert await sign_in(limits, "bob@example.com", "198.51.100.1") == "wrong"

    tell(story)


def test_successes_use_nothing_up(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        for _ in range(SIGN_IN_CLIENT.most + 1):
            assert await sign_in(limits, right=True) == "in"

    tell(story)


@pytest.mark.parametrize(
    "spelling", ["ANN@EXAMPLE.COM", "  ann@example.com\t", "Ann@Example.com", "\u00a0ann@example.com\u2003"]
)
def test_the_spelling_of_an_address_gives_no_further_attempts(tell: Any, spelling: str) -> None:
    async def story(limits: Limits) -> None:
        await failures_until_throttled(limits)
        assert await sign_in(limits, spelling) == "throttled"

    tell(story)


def test_a_client_may_fail_a_hundred_times_in_ten_minutes_whatever_the_accounts(
    tell: Any, clock: FakeClock
) -> None:
    async def story(limits: Limits) -> None:
        for number in range(SIGN_IN_CLIENT.most):
            assert await sign_in(limits, f"user{number}@example.com") == "wrong"
        assert await sign_in(limits, "another@example.com") == "throttled"
        assert await sign_in(limits, "another@example.com", "198.51.100.7") == "wrong"
        clock.advance(600)
        assert await sign_in(limits, "another@example.com") == "wrong"

    tell(story)


def test_a_refusal_of_one_budget_takes_nothing_from_the_others(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        await failures_until_throttled(limits)
        before = await rows(limits)
        for _ in range(5):
            assert await sign_in(limits) == "throttled"
        assert await rows(limits) == before

    tell(story)


def test_after_a_hundred_failures_in_a_row_only_a_known_client_or_a_mail_helps(
    tell: Any, clock: FakeClock
) -> None:
    async def story(limits: Limits) -> None:
        failed = 0
        while (answer := await sign_in(limits, client=f"198.51.100.{failed}")) != "throttled" or failed < 100:
            failed += answer == "wrong"
            clock.advance(60)
        assert failed == 100
        clock.advance(7 * 86400)
        assert await sign_in(limits, right=True) == "throttled"
        assert await sign_in(limits, known="a client", right=True) == "in"
        assert await sign_in(limits, right=True) == "throttled"
        await limits.forgive(ANN, "ann's id")
        assert await sign_in(limits, right=True) == "in"

    tell(story)


def test_the_ceiling_ends_by_itself_too_and_its_end_is_told(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        for number in range(100):
            clock.advance(301)
            assert await sign_in(limits, client=f"198.51.100.{number}") == "wrong"
        with pytest.raises(ThrottledError) as caught:
            async with limits.signing_in(ANN, HERE):
                raise AssertionError("not reached")
        assert caught.value.retry_after_s == 300 + 100 * FAILURE_REMEMBERED_S
        assert "in 26 days" in str(caught.value)
        clock.advance(caught.value.retry_after_s)
        assert await sign_in(limits, right=True) == "in"

    tell(story)


def test_the_owner_gets_in_from_a_known_client_while_the_account_is_attacked(tell: Any) -> None:
    """Whatever strangers do, from the same address as well."""

    async def story(limits: Limits) -> None:
        await failures_until_throttled(limits)
        for number in range(SIGN_IN_CLIENT.most):
            await sign_in(limits, f"user{number}@example.com")
        assert await sign_in(limits, known="a client") == "wrong"
        assert await sign_in(limits, known="a client", right=True) == "in"
        assert await sign_in(limits, right=True) == "throttled"

    tell(story)


def test_a_known_client_has_a_budget_of_its_own_and_no_larger_one(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        assert await failures_until_throttled(limits, known="a client") == 10
        assert await sign_in(limits, known="another client") == "wrong"
        assert await sign_in(limits) == "wrong"

    tell(story)


def test_whoever_collected_known_clients_while_they_had_the_password_gets_no_more_guesses_for_it(
    tell: Any, clock: FakeClock
) -> None:
    """Each sign-in without a cookie makes one more of them: all of an account's have one budget, too."""

    async def story(limits: Limits) -> None:
        in_a_row = [await sign_in(limits, known=f"client {number}") for number in range(40)]
        assert in_a_row.count("wrong") == 30
        assert await sign_in(limits, right=True) == "in"  # strangers' budget is another one
        failed = 30
        for number in range(200):
            clock.advance(301)
            failed += await sign_in(limits, known=f"later client {number}") == "wrong"
        assert failed == 100
        await limits.forgive(ANN, "ann's id")
        assert await sign_in(limits, known="ann's own", right=True) == "in"

    tell(story)


def test_a_success_of_a_known_client_forgets_what_known_clients_failed(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        for number in range(29):
            assert await sign_in(limits, known=f"client {number}") == "wrong"
        assert await sign_in(limits, known="ann's own", right=True) == "in"
        assert await sign_in(limits, known="one more") == "wrong"
        assert await sign_in(limits, known="and one more") == "wrong"

    tell(story)


@pytest.mark.parametrize(
    "error", [TooBusyError(3), FieldErrors({"password": "too long"}), OSError("no disk")]
)
def test_an_attempt_that_tried_no_password_is_not_counted(tell: Any, error: Exception) -> None:
    async def story(limits: Limits) -> None:
        for _ in range(20):
            with pytest.raises(type(error)):
                async with limits.signing_in(ANN, HERE):
                    raise error
        assert await failures_until_throttled(limits) == 10

    tell(story)


def test_attempts_are_counted_before_the_password_is_looked_at(tell: Any) -> None:
    """So a flood at one moment costs ten hashes."""

    async def story(limits: Limits) -> None:
        looked_at = 0
        go_on = asyncio.Event()

        async def attempt() -> str:
            nonlocal looked_at
            try:
                async with limits.signing_in(ANN, HERE):
                    looked_at += 1
                    await go_on.wait()
                    raise WrongCredentialsError
            except WrongCredentialsError:
                return "wrong"
            except ThrottledError:
                refused.append(1)
                if len(refused) == 40:
                    go_on.set()
                return "throttled"

        refused: list[int] = []
        answers = await asyncio.gather(*(attempt() for _ in range(50)))
        assert looked_at == 10
        assert sorted(answers) == ["throttled"] * 40 + ["wrong"] * 10

    tell(story)


def test_wrong_passwords_of_somebody_signed_in_are_limited_apart_from_signing_in(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        async def confirm() -> None:
            async with limits.confirming("ann's id"):
                raise WrongCredentialsError

        for _ in range(10):
            with pytest.raises(WrongCredentialsError):
                await confirm()
        with pytest.raises(ThrottledError):
            await confirm()
        assert await sign_in(limits, right=True) == "in"

    tell(story)


async def sign_up(limits: Limits, error: Exception | None = None, client: str = HERE) -> None:
    async with limits.signing_up(client):
        if error:
            raise error


def test_looking_addresses_up_by_signing_up_is_limited_together_with_asking(
    tell: Any, clock: FakeClock
) -> None:
    async def story(limits: Limits) -> None:
        for _ in range(10):
            await limits.look_up(HERE)
        for _ in range(15):
            with pytest.raises(FieldErrors):
                await sign_up(limits, FieldErrors({"email": EMAIL_TAKEN}))
        with pytest.raises(ThrottledError):
            await limits.look_up(HERE)
        with pytest.raises(ThrottledError):
            await sign_up(limits)
        await limits.look_up("198.51.100.1")
        clock.advance(LOOK_UP.window_s)
        await limits.look_up(HERE)

    tell(story)


def test_a_client_may_make_a_hundred_accounts_an_hour(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        for number in range(SIGN_UP.most):
            await sign_up(limits)
            if not number % 5:
                with pytest.raises(FieldErrors):
                    await sign_up(limits, FieldErrors({"password": "too short"}))
        with pytest.raises(ThrottledError):
            await sign_up(limits)
        clock.advance(SIGN_UP.window_s)
        await sign_up(limits)

    tell(story)


def test_mails_are_limited_by_the_address_they_go_to_and_by_the_client(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        for number in range(RESET_ACCOUNT.most):
            await limits.reset_mail(ANN, f"198.51.100.{number}")
        with pytest.raises(ThrottledError):
            await limits.reset_mail(" Ann@Example.com", HERE)
        for number in range(50):
            await limits.reset_mail(f"user{number}@example.com", HERE)
        with pytest.raises(ThrottledError):
            await limits.reset_mail("bob@example.com", HERE)
        for _ in range(10):
            await limits.verification_mail("bob's id", HERE)
        with pytest.raises(ThrottledError):
            await limits.verification_mail("bob's id", "198.51.100.1")
        clock.advance(3600)
        await limits.reset_mail(ANN, HERE)
        await limits.verification_mail("bob's id", HERE)

    tell(story)


def test_what_is_no_address_is_left_to_those_who_say_so(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        for _ in range(30):
            await limits.reset_mail("no address", HERE)
            assert await sign_in(limits, "no\0address\ud800") == "wrong"
        assert await rows(limits) == []

    tell(story)


def test_two_servers_on_one_database_have_one_budget_which_a_restart_does_not_empty(
    place: Any, clock: FakeClock
) -> None:
    async def story() -> None:
        async def attempts(count: int) -> list[str]:
            database = database_at(place)
            await database.open()
            try:
                limits = Limits(database, clock=clock, key=KEY)
                await limits.open()
                return [await sign_in(limits) for _ in range(count)]
            finally:
                await database.close()

        both = await asyncio.gather(attempts(7), attempts(7))
        assert sorted(both[0] + both[1]) == ["throttled"] * 4 + ["wrong"] * 10
        assert await attempts(1) == ["throttled"]

    asyncio.run(story())


def test_the_table_names_nobody(tell: Any) -> None:
    async def story(limits: Limits) -> None:
        await sign_in(limits)
        await limits.reset_mail(ANN, HERE)
        await limits.verification_mail("ann's id", HERE)
        text = repr(await rows(limits))
        assert text.count("sign-in") == 2
        assert not any(part in text for part in ("ann", "example", HERE))

    tell(story)


def test_rows_go_when_they_mean_nothing_any_more(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        for number in range(PURGE_BATCH + 20):
            await limits.look_up(f"client {number}")
        await sign_in(limits)
        await limits.maintain()
        assert len(await rows(limits)) == PURGE_BATCH + 22
        clock.advance(LOOK_UP.window_s)
        await limits.maintain()
        assert [bucket.split(" ")[:2] for bucket, *_ in await rows(limits)] == [["sign-in", "account"]]
        clock.advance(FAILURE_REMEMBERED_S)
        await limits.maintain()
        assert await rows(limits) == []

    tell(story)


def test_a_clock_that_was_wrong_for_a_while_shuts_nobody_out(tell: Any, clock: FakeClock) -> None:
    async def story(limits: Limits) -> None:
        clock.advance(86400)
        await failures_until_throttled(limits)
        clock.advance(-86400)
        assert await sign_in(limits, right=True) == "in"

    tell(story)


def test_off_means_without_limits_and_without_traces(place: Any, clock: FakeClock) -> None:
    async def story() -> None:
        database = database_at(place)
        await database.open()
        try:
            limits = Limits(database, clock=clock, key=KEY, enabled=False)
            await limits.open()
            for _ in range(SIGN_IN_ACCOUNT.ceiling + 1):
                assert await sign_in(limits) == "wrong"
            assert await rows(limits) == []
        finally:
            await database.close()

    asyncio.run(story())
