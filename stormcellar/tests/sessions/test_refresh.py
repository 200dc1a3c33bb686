# SPDX-License-Identifier: MIT
"""The table of refresh: what is answered to a refresh token of generation g when the store is at c.

Each of these rules holds on every database.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from pathlib import Path

import pytest

from stormcellar.server_secret import derive_key
from stormcellar.sessions import Sessions, Tokens, TokenTheftError, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions.events import session_hash
from stormcellar.sessions.refresh_token import RefreshTokens
from stormcellar.sessions.session_store import SessionRow
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import DAY, assert_session_is_dead, refresh, run, sign_in, use
from stormcellar.tests.support import SECRET, running_engine

Place = Path | str


def test_fifty_refreshes_in_a_row_keep_handle_and_user_and_repeat_no_token(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        handle, seen = session.handle, set()
        for _ in range(50):
            assert session.new_tokens
            assert session.new_tokens.refresh_token
            seen |= {session.new_tokens.refresh_token, session.new_tokens.access_token}
            session = await engine.refresh_session(session.new_tokens.refresh_token)
            assert (session.handle, session.user_id) == (handle, "ann")
        assert len(seen) == 100

    run(place, story)


def test_a_lost_answer_may_be_asked_for_again_even_days_later(place: Place) -> None:
    """No token of the new generation was used: the answer was lost, and the client gets another branch."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        lost = await refresh(engine, first)
        clock.advance(5 * DAY)
        again = await refresh(engine, first)
        assert again.refresh_token != lost.refresh_token
        assert again.refresh_token_expires_at == clock.now() + 30 * DAY
        third = await refresh(engine, again)
        await use(engine, third)

    run(place, story)


def test_two_late_repeats_within_the_grace_period_get_the_same_tokens(place: Place) -> None:
    """Two tabs that ask again late, one after the other, both stay signed in."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        await refresh(engine, first)
        clock.advance(40)
        one = await refresh(engine, first)
        await use(engine, one)
        clock.advance(29)
        two = await refresh(engine, first)
        assert two.refresh_token == one.refresh_token
        await use(engine, two)
        await use(engine, await refresh(engine, two))

    run(place, story)


def test_the_grace_period_begins_with_the_last_answer(place: Place) -> None:
    """So no answer can overtake one of another branch, if each arrives within the grace period."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        second = await refresh(engine, first)
        for _ in range(3):
            clock.advance(29)
            assert (await refresh(engine, first)).refresh_token == second.refresh_token
        await use(engine, second)

    run(place, story)


@pytest.mark.parametrize("how", ["page", "refresh"])
def test_a_thief_who_refreshes_first_and_waits_is_caught_at_the_first_use(place: Place, how: str) -> None:
    """The owner asks for the same generation late and gets another branch; two used branches are theft."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        stolen = await refresh(engine, first)
        clock.advance(60)
        owner = await refresh(engine, first)
        await use(engine, owner)
        if how == "refresh":
            with pytest.raises(TokenTheftError):
                await refresh(engine, stolen)
        else:
            await engine.get_session(stolen.access_token)
            await engine.write_notes()
        await assert_session_is_dead(engine, owner, stolen)

    run(place, story)


@pytest.mark.parametrize("how", ["page", "refresh", "late refresh"])
def test_a_thief_is_caught_after_the_owner_has_gone_on(place: Place, how: str) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        stolen = await refresh(engine, first)
        clock.advance(60)
        owner = await refresh(engine, await refresh(engine, first))
        if how == "page":
            await engine.get_session(stolen.access_token)
            await engine.write_notes()
        else:
            clock.advance(60 if how == "late refresh" else 0)
            with pytest.raises(TokenTheftError):
                await refresh(engine, stolen)
        await assert_session_is_dead(engine, owner, stolen)

    run(place, story)


def test_a_thief_who_goes_on_before_the_owner_is_caught_when_the_owner_comes(place: Place) -> None:
    """The thief uses the older branch after the owner's late repeat, but before the owner uses its branch."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        stolen = await refresh(engine, first)
        clock.advance(60)
        owner = await refresh(engine, first)
        thief = await refresh(engine, stolen)
        await engine.get_session(owner.access_token)
        await engine.write_notes()
        await assert_session_is_dead(engine, owner, thief)

    run(place, story)


def test_a_client_may_go_on_with_an_older_answer_that_arrived_late(place: Place) -> None:
    """No token of the current branch was used, so the client kept the older answer: that branch counts."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        for by_page in (True, False):
            first = await sign_in(engine)
            delayed = await refresh(engine, first)
            clock.advance(60)
            lost = await refresh(engine, first)
            if by_page:
                await use(engine, delayed)
            following = await refresh(engine, delayed)
            await use(engine, following)
            with pytest.raises(TokenTheftError):
                await refresh(engine, lost)

    run(place, story)


def test_a_store_that_lost_a_late_repeat_goes_on_from_the_clients_branch(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        await refresh(engine, first)
        clock.advance(60)
        tokens = await refresh(engine, first)
        await engine._store.database.write(
            lambda connection: connection.execute("UPDATE sessions SET branch = 0")
        )
        await use(engine, await refresh(engine, tokens))

    run(place, story)


def test_the_session_events_tell_repeats_late_repeats_and_thefts_apart(place: Place) -> None:
    names: list[str] = []

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        await refresh(engine, first)
        await refresh(engine, first)
        clock.advance(60)
        stolen = await refresh(engine, first)
        clock.advance(60)
        await use(engine, await refresh(engine, first))
        with pytest.raises(TokenTheftError):
            await refresh(engine, stolen)
        expected = ["created", "rotated", "repeated", "repeated_late", "repeated_late", "revoked", "theft"]
        assert names == expected

    run(place, story, options={"on_event": lambda event: names.append(event.name)})


def test_a_revoked_session_is_not_renewed_where_the_store_has_lost_its_revocation(place: Place) -> None:
    """A failover may bring the row of a revoked session back; the process remembers the revocation."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        row = await engine._store.load(session.handle)
        assert session.new_tokens
        assert row
        await session_is_revoked_and_comes_back(engine, row)
        with pytest.raises(UnauthorisedError):
            await refresh(engine, session.new_tokens)

    async def session_is_revoked_and_comes_back(engine: Sessions, row: SessionRow) -> None:
        await engine.revoke_session(row.handle, owner="ann")
        await engine._store.create(row, {})

    run(place, story)


def test_within_the_grace_period_the_previous_token_gets_the_same_answer_again(place: Place) -> None:
    """g == c-1, c in use, less than 30 s after the rotation: two tabs."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        second = await refresh(engine, first)
        await use(engine, second)
        clock.advance(29)
        again = await refresh(engine, first)
        assert again.refresh_token == second.refresh_token
        await use(engine, again)

    run(place, story)


def test_the_previous_token_after_the_grace_period_is_theft_if_its_successor_was_used(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        second = await refresh(engine, first)
        await use(engine, second)
        clock.advance(30)
        with pytest.raises(TokenTheftError):
            await refresh(engine, first)
        await assert_session_is_dead(engine, first, second)

    run(place, story)


def test_an_older_token_is_theft_at_once(place: Place) -> None:
    """RFC 9700, 4.14.2: two parties hold the session's tokens, so neither may keep it."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        other_device = await sign_in(engine)
        first = await sign_in(engine)
        second = await refresh(engine, first)
        third = await refresh(engine, second)
        with pytest.raises(TokenTheftError) as caught:
            await refresh(engine, first)
        assert caught.value.user_id == "ann"
        await assert_session_is_dead(engine, second, third)
        await use(engine, other_device)

    run(place, story)


def test_a_theft_is_logged_and_told_to_the_hook_whose_failure_changes_nothing(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str]] = []

    async def hook(handle: str, user_id: str) -> None:
        told.append((handle, user_id))
        raise RuntimeError("the hook's own trouble")

    async def story() -> None:
        async with running_engine(place, FakeClock(), {"on_token_theft": hook}) as engine:
            session = await engine.create_new_session("ann")
            assert session.new_tokens
            first = session.new_tokens
            await refresh(engine, await refresh(engine, first))
            with pytest.raises(TokenTheftError):
                await refresh(engine, first)
            assert told == [(session.handle, "ann")]
            thefts = [record for record in caplog.records if record.getMessage().startswith("token theft")]
            assert len(thefts) == 1
            assert session_hash(session.handle) in thefts[0].getMessage()
            assert session.handle not in caplog.text
            assert str(first.refresh_token) not in caplog.text

    with caplog.at_level(logging.INFO):
        asyncio.run(story())


def test_a_store_that_lost_its_latest_writes_goes_on_from_the_clients_token(place: Place) -> None:
    """g > c: a restored backup, or a failover to a replica that lagged behind."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        tokens = session.new_tokens
        assert tokens
        for _ in range(5):
            tokens = await refresh(engine, tokens)
        await engine._store.database.write(
            lambda connection: connection.execute("UPDATE sessions SET generation = 2, used_generation = 2")
        )
        following = await refresh(engine, tokens)
        await use(engine, following)
        assert (await refresh(engine, tokens)).refresh_token == following.refresh_token
        await use(engine, await refresh(engine, following))

    run(place, story)


def test_fifty_parallel_refreshes_with_one_token_get_the_same_next_token(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        answers = await asyncio.gather(*(refresh(engine, first) for _ in range(50)))
        assert len({answer.refresh_token for answer in answers}) == 1
        for answer in answers:
            await use(engine, answer)
        await use(engine, await refresh(engine, random.choice(answers)))

    run(place, story)


def test_an_expired_session_is_over_and_never_theft(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        first = await sign_in(engine)
        second = await refresh(engine, first)
        await use(engine, second)
        clock.advance(30 * DAY)
        for tokens in (second, first):
            with pytest.raises(UnauthorisedError) as caught:
                await refresh(engine, tokens)
            assert not isinstance(caught.value, TokenTheftError)

    run(place, story)


def test_each_refresh_renews_the_session_up_to_its_absolute_lifetime(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        for _ in range(4):
            clock.advance(20 * DAY)
            tokens = await refresh(engine, tokens)
        assert tokens.refresh_token_expires_at == clock.now() + 10 * DAY
        clock.advance(10 * DAY)
        with pytest.raises(UnauthorisedError):
            await refresh(engine, tokens)

    run(place, story)


def test_lifetimes_hold_although_nothing_was_cleaned_up_and_settings_became_shorter(place: Place) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with running_engine(place, clock) as engine:
            tokens = await sign_in(engine)
        clock.advance(DAY + 1)
        async with running_engine(place, clock, session_lifetime_s=DAY) as engine:
            with pytest.raises(UnauthorisedError):
                await refresh(engine, tokens)

    asyncio.run(story())


def test_garbled_tokens_are_refused_without_a_look_into_the_store_and_the_genuine_one_still_works(
    place: Place,
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        genuine = tokens.refresh_token or ""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        garbled = [
            genuine[:at] + other + genuine[at + 1 :]
            for at in range(len(genuine))
            for other in random.Random(at).sample(alphabet, 3)
            if other != genuine[at]
        ]
        garbled += ["", "a", "=", genuine + "A", genuine + "=", genuine[:-1], genuine * 2, "é" * 100, "\x00"]
        garbled += [genuine.swapcase(), genuine + "\n", " " + genuine, "A" * 65536, tokens.access_token]
        database = engine._store.database
        engine._store.database = None  # type: ignore[assignment]
        for token in garbled:
            with pytest.raises(UnauthorisedError):
                await engine.refresh_session(token)
        engine._store.database = database
        await use(engine, await refresh(engine, tokens))

    run(place, story)


def test_the_servers_secret_alone_makes_no_token(place: Place) -> None:
    """A token whose HMAC is right but whose chain value was guessed changes nothing in the store."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        assert session.new_tokens
        forger = RefreshTokens(SECRET)
        for generation in (0, 1, 2, 10_000):
            with pytest.raises(UnauthorisedError):
                await engine.refresh_session(forger.make(session.handle, generation, b"x" * 32, False))
        second = await refresh(engine, session.new_tokens)
        await use(engine, second)
        assert (await refresh(engine, session.new_tokens)).refresh_token == second.refresh_token

    run(place, story)


def test_the_database_alone_makes_no_token(place: Place) -> None:
    """Another server secret over a copy of the database refuses the tokens and cannot read the keys."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        row = await engine._store.load(session.handle)
        assert row
        thief = RefreshTokens(derive_key(b"some other secret of the right len", "x"))
        with pytest.raises(UnauthorisedError):
            await engine.refresh_session(thief.make(row.handle, 0, row.secret, False))

    run(place, story)


def test_no_token_stands_in_the_database_file(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        issued = [tokens]
        for _ in range(3):
            issued.append(await refresh(engine, issued[-1]))
        await use(engine, issued[-1])
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        for pair in issued:
            for token in (pair.access_token, pair.refresh_token or ""):
                assert token.encode() not in files
                raw = base64.urlsafe_b64decode(token.split(".")[-1] + "==")
                assert raw not in files
        assert b"PRIVATE KEY" not in files

    run(tmp_path / "db", story)


def test_an_access_token_cannot_refresh_and_a_refresh_token_opens_nothing(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        with pytest.raises(UnauthorisedError):
            await engine.refresh_session(tokens.access_token)
        for other in (tokens.refresh_token, tokens.front_token):
            with pytest.raises(UnauthorisedError):
                await engine.get_session(other)

    run(place, story)


def test_a_refresh_that_races_with_sign_out_never_outlives_it(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        for number in range(100):
            session = await engine.create_new_session("ann")
            assert session.new_tokens
            racers = [
                refresh(engine, session.new_tokens),
                engine.revoke_session(session.handle, owner=None),
                refresh(engine, session.new_tokens),
            ]
            random.Random(number).shuffle(racers)
            outcomes = await asyncio.gather(*racers, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Tokens):
                    await assert_session_is_dead(engine, outcome)
            await assert_session_is_dead(engine, session.new_tokens)

    run(place, story)


def test_two_processes_give_one_answer(place: Place) -> None:
    """Two engines on one file: whoever loses the swap repeats the winner's answer."""

    async def story() -> None:
        clock = FakeClock()
        async with (
            running_engine(place, clock) as one,
            running_engine(place, clock) as two,
        ):
            tokens = await sign_in(one)
            for _ in range(20):
                answers = await asyncio.gather(
                    *(refresh(engine, tokens) for engine in (one, two, one, two, two, one))
                )
                assert len({answer.refresh_token for answer in answers}) == 1
                await use(one, answers[1])
                await use(two, answers[0])
                tokens = random.choice(answers)

    asyncio.run(story())


def test_a_new_access_token_replaces_the_expired_one(place: Place) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        await use(engine, tokens)
        clock.advance(3600)
        with pytest.raises(TryRefreshTokenError):
            await engine.get_session(tokens.access_token)
        await use(engine, await refresh(engine, tokens))

    run(place, story)


def test_a_crowd_does_not_refresh_together(place: Place) -> None:
    """Access tokens live 95 to 100 % of their lifetime, at random."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        ends = {(await sign_in(engine)).access_token_expires_at - int(clock.now()) for _ in range(40)}
        assert len(ends) > 5
        assert 3420 <= min(ends) <= max(ends) <= 3600

    run(place, story, access_token_jitter=0.05)
