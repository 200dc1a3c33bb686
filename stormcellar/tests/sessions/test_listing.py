# SPDX-License-Identifier: MIT
"""Looking at a user's sessions, and ending those of one user only."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stormcellar.sessions import PrimitiveClaim, Sessions
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import (
    DAY,
    FaultyDatabase,
    assert_session_is_dead,
    engine_on,
    refresh,
    run,
    sign_in,
)
from stormcellar.tests.support import running_engine


def test_a_users_living_sessions_are_listed_those_first_that_were_refreshed_last(
    place: Path | str,
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        began_ms = int(clock.now() * 1000)
        first = await sign_in(engine, created_from="here")
        await sign_in(engine, "bob")
        clock.advance(10)
        await sign_in(engine)
        clock.advance(10)
        assert first.refresh_token
        await engine.refresh_session(first.refresh_token, refreshed_from="there")
        old, new = await engine.list_sessions("ann")
        assert (old.created_from, old.refreshed_from) == ("here", "there")
        assert (old.time_created, old.time_refreshed) == (began_ms, began_ms + 20_000)
        assert (new.created_from, new.refreshed_from) == ("", "")
        assert (new.time_created, new.time_refreshed) == (began_ms + 10_000, began_ms + 10_000)
        assert await engine.get_session_information(old.session_handle) == old
        assert await engine.list_sessions("ann", limit=1) == [old]
        assert await engine.list_sessions("nobody") == []
        clock.advance(engine.config.session_lifetime_s)
        assert await engine.list_sessions("ann") == []

    run(place, story)


def test_a_session_that_a_shorter_setting_has_ended_is_over_for_everything_that_takes_its_handle(
    place: Path | str,
) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with running_engine(place, clock) as engine:
            old = await engine.create_new_session("ann")
        clock.advance(DAY)
        async with running_engine(place, clock, session_lifetime_s=DAY) as engine:
            new = await engine.create_new_session("ann")
            assert await engine.get_all_session_handles_for_user("ann") == [new.handle]
            assert [one.session_handle for one in await engine.list_sessions("ann", limit=1)] == [new.handle]
            assert await engine.get_session_information(old.handle) is None
            assert await engine.update_session_data_in_database(old.handle, {"a": 1}, owner=None) is False
            assert await engine.merge_into_access_token_payload(old.handle, {"a": 1}, owner=None) is False
            assert await engine.revoke_all_sessions_for_user("ann", keep=new.handle) == [old.handle]

    asyncio.run(story())


def test_a_handle_of_somebody_elses_session_ends_nothing(place: Path | str) -> None:
    async def story(engine: Sessions, _: FakeClock) -> None:
        anns = await engine.create_new_session("ann")
        for owner in ("bob", ""):
            assert await engine.revoke_session(anns.handle, owner=owner) is False
            assert await engine.revoke_multiple_sessions([anns.handle], owner=owner) == []
        assert await engine.get_session_information(anns.handle) is not None
        assert await engine.revoke_session(anns.handle, owner="ann") is True
        assert anns.new_tokens
        await assert_session_is_dead(engine, anns.new_tokens)

    run(place, story)


def test_a_handle_of_another_users_session_changes_nothing(place: Path | str) -> None:
    claim: PrimitiveClaim[int] = PrimitiveClaim("n", lambda *_: 2)

    async def story(engine: Sessions, _: FakeClock) -> None:
        handle = (await engine.create_new_session("ann")).handle
        for owner, may in (("bob", False), ("", False), ("ann", True), (None, True)):
            assert await engine.merge_into_access_token_payload(handle, {"a": owner}, owner=owner) is may
            assert await engine.update_session_data_in_database(handle, {"d": owner}, owner=owner) is may
            assert await engine.set_claim_value(handle, claim, 1, owner=owner) is may
            assert await engine.fetch_and_set_claim(handle, claim, owner=owner) is may
            assert await engine.remove_claim(handle, claim, owner=owner) is may
            information = await engine.get_session_information(handle)
            assert information
            assert (information.session_data_in_database != {}) is may

    run(place, story)


async def _listing_costs(tmp_path: Path) -> tuple[int, int]:
    database, clock = FaultyDatabase(tmp_path / "db", deaf=True), FakeClock()
    async with engine_on(database, clock) as engine:
        tokens = [await sign_in(engine) for _ in range(5)]
        await refresh(engine, tokens[0])
        before = database.reads
        await engine.list_sessions("ann")
        reads = database.reads - before
        before = database.writes
        await refresh(engine, tokens[1])
        return reads, database.writes - before


def test_listing_costs_one_read_and_a_refresh_one_write(tmp_path: Path) -> None:
    assert asyncio.run(_listing_costs(tmp_path)) == (1, 1)
