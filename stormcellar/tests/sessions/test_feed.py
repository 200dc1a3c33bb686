# SPDX-License-Identifier: MIT
"""The feed: what one process does every other soon knows, and none trusts what it may have missed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from stormcellar.sessions import Sessions, StoreUnavailableError, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions import engine as engine_module
from stormcellar.sessions import feed as feed_module
from stormcellar.sessions.keys import CLOCK_MARGIN_S
from stormcellar.sessions.session_store import FeedEntry
from stormcellar.store import Connection
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import DEADLINE_S, until
from stormcellar.tests.sessions.helpers import (
    FaultyDatabase,
    caught_up,
    engine_on,
    refresh,
    run,
    run_two,
    sign_in,
    use,
)
from stormcellar.tests.support import running_engine


@pytest.fixture(autouse=True)
def _retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "RETRY_S", 0.01)


def next_news(engine: Sessions) -> asyncio.Future[FeedEntry]:
    """The next entry that this engine hears."""
    heard: asyncio.Future[FeedEntry] = asyncio.get_running_loop().create_future()
    engine.feed.listen(lambda entry: None if heard.done() else heard.set_result(entry))
    return heard


async def give_up(database: FaultyDatabase, engine: Sessions) -> None:
    """Break the store and have the engine notice."""
    database.broken = True
    engine.feed._news.set()
    await until(lambda: engine.feed.state == "lost")


# -- two processes ------------------------------------------------------------------------------------


def test_a_revocation_reaches_the_other_process(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        session = await one.create_new_session("ann")
        assert session.new_tokens
        await use(two, session.new_tokens)
        heard = next_news(two)
        await one.revoke_session(session.handle, reason="signed out", owner=None)
        entry = await asyncio.wait_for(heard, DEADLINE_S)
        assert (entry.kind, entry.handle, entry.reason) == ("revoked", session.handle, "signed out")
        with pytest.raises(UnauthorisedError, match="revoked"):
            await two.get_session(session.new_tokens.access_token)

    run_two(tmp_path, story)


def test_a_changed_payload_reaches_the_other_process(tmp_path: Path) -> None:
    """Tokens that carry the old payload must be renewed there too."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        session = await one.create_new_session("ann", access_token_payload={"role": "admin"})
        assert session.new_tokens
        await use(two, session.new_tokens)
        heard = next_news(two)
        await one.merge_into_access_token_payload(session.handle, {"role": None}, owner=None)
        entry = await asyncio.wait_for(heard, DEADLINE_S)
        assert (entry.kind, entry.handle, entry.payload_version) == ("payload", session.handle, 1)
        with pytest.raises(TryRefreshTokenError):
            await two.get_session(session.new_tokens.access_token)
        renewed = await two.get_session((await refresh(two, session.new_tokens)).access_token)
        assert renewed
        assert "role" not in renewed.access_token_payload

    run_two(tmp_path, story)


def test_a_fresh_session_is_known_everywhere_at_once(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        for _ in range(10):
            tokens = await sign_in(one)
            await use(two, tokens)
            await use(one, await refresh(two, tokens))

    run_two(tmp_path, story)


def test_a_process_knows_of_its_own_doing_before_the_call_returns(tmp_path: Path) -> None:
    async def story() -> None:
        database, clock = FaultyDatabase(tmp_path / "db", deaf=True), FakeClock()
        async with engine_on(database, clock) as engine:
            for way in range(3):
                session = await engine.create_new_session("ann")
                assert session.new_tokens
                old = session.new_tokens.access_token
                await session.merge_into_access_token_payload({"way": way})
                with pytest.raises(TryRefreshTokenError):
                    await engine.get_session(old)
                new = session.new_tokens.access_token
                if way == 0:
                    await session.revoke()
                elif way == 1:
                    await engine.revoke_multiple_sessions([session.handle], owner=None)
                else:
                    await engine.revoke_all_sessions_for_user("ann")
                for token in (old, new):
                    with pytest.raises(UnauthorisedError):
                        await engine.get_session(token)

    asyncio.run(story())


def test_a_new_process_knows_what_was_revoked_before_it_started(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock) as one:
            gone, stays = await sign_in(one), await sign_in(one, "bob")
            await one.revoke_all_sessions_for_user("ann")
        async with running_engine(tmp_path / "db", clock) as two:
            with pytest.raises(UnauthorisedError):
                await two.get_session(gone.access_token)
            await use(two, stays)

    asyncio.run(story())


# -- never, live, lost --------------------------------------------------------------------------------


def test_an_engine_that_never_heard_the_feed_refuses_to_judge(tmp_path: Path) -> None:
    """A genuine token might be revoked; but without a token, or with rubbish, there is nothing to judge."""

    async def story() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock) as one:
            token = (await sign_in(one)).access_token
            await sign_in(one, "gone")
            database = FaultyDatabase(tmp_path / "db")
            async with engine_on(database, clock) as two:
                two.feed.state = "never"
                with pytest.raises(StoreUnavailableError, match="feed"):
                    await two.get_session(token)
                with pytest.raises(StoreUnavailableError, match="feed"):
                    await two.get_session(token, session_required=False)
                assert await two.get_session(None, session_required=False) is None
                with pytest.raises(UnauthorisedError):
                    await two.get_session("rubbish")
                await two.start()
                assert two.feed.state == "live"
                assert await two.get_session(token)

    asyncio.run(story())


def test_an_engine_whose_store_is_out_of_reach_at_the_start_can_be_started_later(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock) as one:
            token = (await sign_in(one)).access_token
            database = FaultyDatabase(tmp_path / "db")
            await database.open()
            two = Sessions(database, one.config, clock=clock)
            real_feed_after = two._store.feed_after

            async def unreadable(last_id: int, limit: int = 0) -> list[FeedEntry]:
                raise StoreUnavailableError("the feed cannot be read")

            two._store.feed_after = unreadable  # type: ignore[method-assign]
            with pytest.raises(StoreUnavailableError):
                await two.start()
            assert two.feed.state == "never"
            with pytest.raises(StoreUnavailableError):
                await two.get_session(token)
            two._store.feed_after = real_feed_after  # type: ignore[method-assign]
            await two.start()
            assert await two.get_session(token)
            await two.stop()
            await database.close()

    asyncio.run(story())


def test_states_follow_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """live, lost when the store cannot be heard, live again when all was caught up; each change is logged."""

    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db")
        async with engine_on(database, FakeClock()) as engine:
            assert engine.feed.state == "live"
            for _ in range(2):
                await give_up(database, engine)
                database.broken = False
                await until(lambda: engine.feed.state == "live")
            database.on_lost()
            assert engine.feed.state == "lost"

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert caplog.text.count("feed is lost") == 3
    assert caplog.text.count("has caught up") == 2


def test_a_sign_out_of_a_session_that_the_store_has_lost_ends_its_access_token(tmp_path: Path) -> None:
    """As after a failover with asynchronous replication, or with a restored backup."""

    async def story(one: Sessions, two: Sessions, _clock: FakeClock) -> None:
        tokens = await sign_in(one)
        session = await one.get_session(tokens.access_token)
        assert session
        forget = "DELETE FROM sessions WHERE handle = :handle"
        await one._store.database.write(lambda c: c.execute(forget, {"handle": session.handle}))
        await session.revoke()
        assert session.clears_tokens
        await caught_up(one, two)
        for engine in (one, two):
            with pytest.raises(UnauthorisedError):
                await engine.get_session(tokens.access_token)

    run_two(tmp_path, story)


def test_with_the_feed_lost_no_token_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store answers, but what other processes have revoked cannot be known."""

    async def story(engine: Sessions, _clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        assert engine.feed._reader
        engine.feed._reader.cancel()
        engine.feed._lost()
        with pytest.raises(StoreUnavailableError, match="feed is lost"):
            await refresh(engine, tokens)
        await engine.feed.hear_news()
        await use(engine, await refresh(engine, tokens))

    monkeypatch.setattr(feed_module, "LIVE_AGAIN_S", 0.01)
    run(tmp_path, story)


def test_with_the_feed_lost_the_store_is_asked_instead(tmp_path: Path) -> None:
    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db", deaf=True)
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            gone, changed, stays = [await one.create_new_session("ann") for _ in range(3)]
            tokens = [session.new_tokens for session in (gone, changed, stays) if session.new_tokens]
            database.on_lost()
            await one.revoke_session(gone.handle, owner=None)
            await one.merge_into_access_token_payload(changed.handle, {"a": 1}, owner=None)
            with pytest.raises(UnauthorisedError):
                await two.get_session(tokens[0].access_token)
            with pytest.raises(TryRefreshTokenError):
                await two.get_session(tokens[1].access_token)
            assert await two.get_session(tokens[2].access_token)
            assert two.feed.state == "lost"

    asyncio.run(story())


def test_with_the_feed_lost_a_silent_store_delays_one_page_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database swallows packets: nothing refuses, and nothing answers."""
    monkeypatch.setattr(engine_module, "BRIEFLY_S", 0.01)
    monkeypatch.setattr(engine_module, "ASK_AGAIN_S", DEADLINE_S)

    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db", deaf=True)
        async with engine_on(database, FakeClock()) as engine:
            tokens = await sign_in(engine)
            database.on_lost()
            asked: list[str] = []

            async def silent(handle: str) -> None:
                asked.append(handle)
                await asyncio.Event().wait()

            monkeypatch.setattr(engine._store, "load", silent)
            for _ in range(20):
                assert await engine.get_session(tokens.access_token)
            assert len(asked) == 1

    asyncio.run(story())


@pytest.mark.parametrize("policy", ["serve", "refuse"])
def test_with_feed_and_store_out_of_reach_the_operators_choice_decides(tmp_path: Path, policy: str) -> None:
    """ "serve" goes on trusting signatures, "refuse" does not; what is known to be revoked stays refused."""

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with engine_on(database, clock, feed_lost=policy) as engine:
            session = await engine.create_new_session("ann")
            tokens, revoked = await sign_in(engine), session.new_tokens
            assert revoked
            await engine.revoke_session(session.handle, owner=None)
            await give_up(database, engine)
            if policy == "serve":
                assert await engine.get_session(tokens.access_token)
            else:
                with pytest.raises(StoreUnavailableError):
                    await engine.get_session(tokens.access_token)
            with pytest.raises(StoreUnavailableError):
                await engine.get_session(tokens.access_token, check_database=True)
            with pytest.raises(UnauthorisedError):
                await engine.get_session(revoked.access_token)
            clock.advance(3600)
            with pytest.raises(TryRefreshTokenError):
                await engine.get_session(tokens.access_token)
            database.broken = False

    asyncio.run(story())


def test_after_a_loss_nothing_of_what_was_missed_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 revocations while the feed was lost; pages of 64, so that catching up takes several reads."""
    monkeypatch.setattr(feed_module, "PAGE", 64)

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            sessions = await asyncio.gather(*(one.create_new_session("ann") for _ in range(1000)))
            stays = await sign_in(one, "bob")
            await give_up(database, two)
            await asyncio.gather(*(one.revoke_session(session.handle, owner=None) for session in sessions))
            assert not two.feed.revoked
            database.broken = False
            await until(lambda: two.feed.state == "live")
            assert two.feed.revoked.keys() == {session.handle for session in sessions}
            for session in sessions[::50]:
                assert session.new_tokens
                with pytest.raises(UnauthorisedError):
                    await two.get_session(session.new_tokens.access_token)
            await use(two, stays)

    asyncio.run(story())


def test_after_a_loss_news_that_took_ids_already_seen_are_heard_too(tmp_path: Path) -> None:
    """A backup restored or a replica promoted has lost the latest entries, and gives their ids anew."""

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            sessions = [await one.create_new_session("ann") for _ in range(6)]
            for session in sessions[:4]:
                await one.revoke_session(session.handle, owner=None)
            await caught_up(two)
            heard: list[str] = []
            two.feed.listen(lambda entry: heard.append(entry.handle))
            await give_up(database, two)

            def forget_the_latest(connection: Connection) -> None:
                connection.execute("DELETE FROM feed WHERE id > 2", {})
                connection.execute("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'feed'", {})

            await one._store.database.write(forget_the_latest)
            for session in sessions[4:]:
                await one.revoke_session(session.handle, owner=None)
            database.broken = False
            await until(lambda: two.feed.state == "live")
            assert two.feed.revoked.keys() == {session.handle for session in sessions}
            assert heard == [session.handle for session in sessions[4:]]

    asyncio.run(story())


def test_the_reader_survives_whatever_goes_wrong(tmp_path: Path) -> None:
    """Otherwise the feed would stay "live" and hear nothing any more."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        session = await one.create_new_session("ann")
        real = two._store.feed_after

        async def fails_once(last_id: int, limit: int = 0) -> list[FeedEntry]:
            two._store.feed_after = real  # type: ignore[method-assign]
            raise RuntimeError("not an error that anybody expected")

        two._store.feed_after = fails_once  # type: ignore[method-assign]
        await one.revoke_session(session.handle, owner=None)
        await until(lambda: session.handle in two.feed.revoked)
        assert two.feed.state == "live"

    run_two(tmp_path, story)


# -- memory -------------------------------------------------------------------------------------------


def test_entries_end_with_the_last_token_they_concern(tmp_path: Path) -> None:
    """What is held is bounded by one access-token lifetime, and so are the rows of the table."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        sizes = []
        for _ in range(8):
            for _ in range(10):
                session = await one.create_new_session("ann")
                await one.merge_into_access_token_payload(session.handle, {"a": 1}, owner=None)
                await one.revoke_session(session.handle, owner=None)
            await caught_up(one, two)
            clock.advance(1800)
            await one.maintain()
            await two.maintain()
            sizes.append([len(engine.feed.revoked) for engine in (one, two)])
            assert len(one.feed.payload_versions) == len(two.feed.payload_versions) == sizes[-1][0]
        assert sizes[-1] == [20, 20]
        assert max(max(pair) for pair in sizes) == 20
        kept = await one._store.feed_after(0)
        assert sum(entry.kind == "revoked" for entry in kept) == 20

    run_two(tmp_path, story)


def test_a_revocation_is_remembered_until_the_last_token_has_expired(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        assert session.new_tokens
        await engine.revoke_session(session.handle, owner=None)
        for _ in range(12):
            with pytest.raises(UnauthorisedError):
                await engine.get_session(session.new_tokens.access_token)
            clock.advance(300)
            await engine.maintain()
        with pytest.raises(TryRefreshTokenError):
            await engine.get_session(session.new_tokens.access_token)
        clock.advance(CLOCK_MARGIN_S + 1)
        await engine.maintain()
        assert not engine.feed.revoked

    run(tmp_path, story)


# -- listeners ----------------------------------------------------------------------------------------


def test_a_listener_hears_each_entry_once_and_in_order(tmp_path: Path) -> None:
    """Its own process' doings and others', across a loss of the feed and although a neighbour fails."""

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            heard: list[tuple[str, str]] = []
            expected: list[tuple[str, str]] = []

            def failing(entry: FeedEntry) -> None:
                raise LookupError("the listener's own trouble")

            two.feed.listen(failing)
            two.feed.listen(lambda entry: heard.append((entry.kind, entry.handle)))

            async def change_and_revoke(engine: Sessions) -> None:
                session = await engine.create_new_session("ann")
                await session.merge_into_access_token_payload({"a": 1})
                await session.revoke()
                expected.extend([("payload", session.handle), ("revoked", session.handle)])

            for engine in (one, two, two, one):
                await change_and_revoke(engine)
            await caught_up(two)
            await give_up(database, two)
            await change_and_revoke(one)
            database.broken = False
            for engine in (one, two):
                await change_and_revoke(engine)
            await caught_up(two)
            assert heard == expected

    asyncio.run(story())


def test_two_readers_at_once_tell_no_listener_twice(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        heard: list[str] = []
        two.feed.listen(lambda entry: heard.append(entry.handle))
        handles = []
        for _ in range(10):
            session = await one.create_new_session("ann")
            await one.revoke_session(session.handle, owner=None)
            handles.append(session.handle)
            await asyncio.gather(*(two.feed._catch_up() for _ in range(5)))
        assert heard == handles

    run_two(tmp_path, story)
