# SPDX-License-Identifier: MIT
"""Signing keys: how they follow one another, and how every process knows the same ones."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.sessions import (
    Session,
    Sessions,
    StoreUnavailableError,
    Tokens,
    TryRefreshTokenError,
    access_token,
    feed,
)
from stormcellar.sessions.keys import RELOAD_COOLDOWN_S, generate_private_key
from stormcellar.sessions.session_store import StoredKey
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.testing.waiting import until
from stormcellar.tests.sessions.helpers import (
    DAY,
    FaultyDatabase,
    caught_up,
    engine_on,
    refresh,
    run,
    run_two,
    sign_in,
    use,
)
from stormcellar.tests.support import ISSUER, running_engine, session_config

HOUR = 3600
WEEK = 7 * DAY


def kid_of(token: str) -> str:
    kid = jwt.get_unverified_header(token)["kid"]
    assert isinstance(kid, str)
    return kid


def published(engine: Sessions) -> list[str]:
    return [key["kid"] for key in engine.keys.jwks()["keys"]]


def few_keys() -> Callable[[], rsa.RSAPrivateKey]:
    """Three keys in turn: at no time are more in use, and making a hundred would take long."""
    first = cheap_keys()
    return itertools.cycle([first(), first(), first()]).__next__


def forged(kid: str) -> str:
    """A token with all the members of one of ours, signed by a key of the forger's own."""
    payload = {
        "iat": 1, "exp": 2**40, "sub": "ann", "tId": "public", "rsub": "ann", "sessionHandle": "h",
        "refreshTokenHash1": "0" * 64,
    }  # fmt: skip
    return jwt.encode(payload, FORGERS_KEY, algorithm="RS256", headers={"kid": kid, "version": "5"})


FORGERS_KEY = generate_private_key()


@dataclass
class Client:
    """Somebody with a session, who renews when told to and is never signed out."""

    tokens: Tokens
    told_early: list[str] = field(default_factory=list)

    async def visit(self, engine: Sessions, clock: FakeClock) -> None:
        try:
            await self.open(engine)
        except TryRefreshTokenError as error:
            if self.tokens.access_token_expires_at > clock.now():
                self.told_early.append(str(error))
            self.tokens = await refresh(engine, self.tokens)
            await self.open(engine)

    async def open(self, engine: Sessions) -> Session:
        session = await engine.get_session(self.tokens.access_token)
        assert session
        return session


# -- the clock ----------------------------------------------------------------------------------------


def test_the_first_key_signs_at_once(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        assert published(engine) == [kid_of(tokens.access_token)] == [f"d-{int(clock.now() * 1000)}"]

    run(tmp_path, story)


def test_what_is_published_is_the_public_half_and_nothing_else(tmp_path: Path) -> None:
    """RFC 7517, section 4; RFC 7518, section 6.3.1: what verifiers need and no more."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        await engine.keys.rotate_now()
        token = (await sign_in(engine)).access_token
        document = json.loads(json.dumps(engine.keys.jwks()))
        assert list(document) == ["keys"]
        assert [sorted(key) for key in document["keys"]] == [["alg", "e", "kid", "kty", "n", "use"]] * 2
        for key in document["keys"]:
            assert (key["kty"], key["alg"], key["use"], key["e"]) == ("RSA", "RS256", "sig", "AQAB")
            assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 256
        by_kid = {key.key_id: key for key in jwt.PyJWKSet.from_dict(document).keys}
        jwt.PyJWS().decode(token, by_kid[kid_of(token)], algorithms=["RS256"])

    run(tmp_path, story)


def test_a_new_key_is_published_a_tokens_life_before_it_signs_and_an_old_one_until_its_last_token_expired(
    tmp_path: Path,
) -> None:
    """Both on two processes, so that no verifier ever meets a token whose key it cannot find."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        first_seen: dict[tuple[Sessions, str], float] = {}
        last_expiry: dict[str, int] = {}
        signed: list[str] = []
        for step in range(3 * 12 * 4 + 20):
            for engine in (one, two):
                await engine.maintain()
            await caught_up(one, two)
            now = clock.now()
            for engine in (one, two):
                for kid in published(engine):
                    first_seen.setdefault((engine, kid), now)
                missing = {kid for kid, end in last_expiry.items() if end > now} - set(published(engine))
                assert not missing
            engine = one if step % 2 else two
            tokens = await sign_in(engine)
            kid = kid_of(tokens.access_token)
            if kid not in last_expiry:
                signed.append(kid)
                if len(signed) > 1:
                    assert now - max(first_seen[one, kid], first_seen[two, kid]) >= HOUR
            assert kid == signed[-1]
            last_expiry[kid] = tokens.access_token_expires_at
            clock.advance(HOUR / 4)
        assert len(signed) == 4
        assert len(published(one)) == 1

    run_two(tmp_path, story, options={"generate_key": few_keys()}, signing_key_rotation_s=12 * HOUR)


def test_a_key_signs_for_its_interval(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        started: list[tuple[str, float]] = []
        for _hour in range(3 * 7 * 24 + 2):
            await engine.maintain()
            kid = engine.keys.signing_key().kid
            if not started or started[-1][0] != kid:
                started.append((kid, clock.now()))
            clock.advance(HOUR)
        intervals = [later[1] - earlier[1] for earlier, later in itertools.pairwise(started)]
        assert intervals == [WEEK] * 3

    run(tmp_path, story)


@pytest.mark.slow
def test_a_hundred_rotations_sign_nobody_out(tmp_path: Path) -> None:
    """Nor does any of them cost a client a single early renewal."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        clients = [Client(await sign_in(one, user)) for user in ("ann", "bob", "eve")]
        kids = set()
        for step in range(101 * 4):
            engine = (one, two)[step % 2]
            await engine.maintain()
            await clients[step % 3].visit(engine, clock)
            kids.add(engine.keys.signing_key().kid)
            clock.advance(HOUR / 2)
        assert len(kids) > 100
        assert [client.told_early for client in clients] == [[], [], []]

    options = {"generate_key": few_keys()}
    run_two(tmp_path, story, options=options, signing_key_rotation_s=2 * HOUR)


def test_after_a_long_sleep_the_old_key_signs_until_its_successor_is_known_everywhere(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock) as engine:
            old = engine.keys.signing_key().kid
        clock.advance(10 * WEEK)
        async with running_engine(tmp_path / "db", clock) as engine:
            assert len(published(engine)) == 2
            tokens = await sign_in(engine)
            assert kid_of(tokens.access_token) == old
            clock.advance(HOUR)
            await engine.maintain()
            renewed = await refresh(engine, tokens)
            assert kid_of(renewed.access_token) != old
            await use(engine, renewed)

    asyncio.run(story())


def test_the_time_to_the_next_change_is_when_the_next_key_is_made(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        wait_s = engine.keys.next_change_s()
        assert wait_s == WEEK - HOUR
        clock.advance(wait_s - 1)
        await engine.maintain()
        assert (len(published(engine)), engine.keys.next_change_s()) == (1, 1)
        clock.advance(1)
        await engine.maintain()
        assert (len(published(engine)), engine.keys.next_change_s()) == (2, WEEK)

    run(tmp_path, story)


# -- several processes --------------------------------------------------------------------------------


def test_processes_that_make_the_first_key_at_once_end_with_one(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        databases = [SqliteDatabase(tmp_path / "db") for _ in range(4)]
        for database in databases:
            await database.open()
        engines = [
            Sessions(database, session_config(), clock=clock, generate_key=cheap_keys())
            for database in databases
        ]
        await asyncio.gather(*(engine.start() for engine in engines))
        token = (await sign_in(engines[0])).access_token
        for engine in engines:
            assert published(engine) == [kid_of(token)]
            assert await engine.get_session(token)
            await engine.stop()
        for database in databases:
            await database.close()

    asyncio.run(story())


def test_a_key_made_elsewhere_is_known_before_its_first_token_arrives(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        clock.advance(WEEK - HOUR)
        await one.keys.maintain()
        await until(lambda: published(two) == published(one))
        assert len(published(two)) == 2

    run_two(tmp_path, story)


def test_a_key_the_feed_has_not_told_of_is_found_in_the_store(tmp_path: Path) -> None:
    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db", deaf=True)
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            clock.advance(1)
            await one.keys.rotate_now()
            token = (await sign_in(one)).access_token
            reads = database.reads
            sessions = await asyncio.gather(*(two.get_session(token) for _ in range(20)))
            assert all(sessions)
            assert database.reads == reads + 1

    asyncio.run(story())


def test_two_keys_made_by_hand_at_once_both_exist(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        kids = await asyncio.gather(*(engine.keys.rotate_now() for engine in (one, two, one)))
        await caught_up(one, two)
        assert len(set(kids)) == 3
        assert set(kids) < set(published(one)) == set(published(two))

    run_two(tmp_path, story)


def test_making_a_key_by_hand_while_a_successor_waits_harms_neither(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        clock.advance(WEEK - HOUR)
        await engine.maintain()
        first, successor = published(engine)
        by_hand = [await engine.keys.rotate_now() for _ in range(2)]
        assert len({first, successor, *by_hand}) == 4
        tokens = await sign_in(engine)
        assert kid_of(tokens.access_token) in by_hand
        clock.advance(HOUR)
        await engine.maintain()
        assert engine.keys.signing_key().kid == successor
        await use(engine, await refresh(engine, tokens))

    run(tmp_path, story)


# -- unknown keys -------------------------------------------------------------------------------------


def test_a_flood_of_unknown_keys_asks_the_store_once_per_cool_down(tmp_path: Path) -> None:
    """And a genuine token of a new key that comes in the middle of it is served all the same."""

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db", deaf=True)
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            flood = [forged(f"d-{1_900_000_000_000 + number}") for number in range(50)]

            async def refused(token: str) -> None:
                with pytest.raises(TryRefreshTokenError):
                    await two.get_session(token)

            for _second in range(3):
                clock.advance(1)
                reads = database.reads
                await asyncio.gather(*map(refused, flood))
                await asyncio.gather(*map(refused, flood))
                assert database.reads == reads + 1
            await one.keys.rotate_now()
            genuine = (await sign_in(one)).access_token
            clock.advance(1)
            outcomes = await asyncio.gather(
                *map(refused, flood[:25]), two.get_session(genuine), *map(refused, flood[25:])
            )
            assert any(outcomes)
            assert database.reads == reads + 2

    asyncio.run(story())


def test_a_store_that_answers_slowly_is_not_asked_again_by_all_who_waited(tmp_path: Path) -> None:
    """The cool-down begins with the answer, however long that took, and also if it was none."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        load, asked = engine.keys._store.load_keys, []

        async def slow_load() -> list[StoredKey]:
            asked.append(clock.now())
            clock.advance(RELOAD_COOLDOWN_S)
            if len(asked) == 2:
                raise StoreUnavailableError("for the test")
            return await load()

        engine.keys._store.load_keys = slow_load  # type: ignore[method-assign]
        for count in (1, 2):
            clock.advance(RELOAD_COOLDOWN_S)
            flood = (engine.keys.find_or_reload(f"d-{number}") for number in range(20))
            await asyncio.gather(*flood, return_exceptions=True)
            assert len(asked) == count

    async def tell() -> None:
        clock = FakeClock()
        async with engine_on(FaultyDatabase(tmp_path / "db", deaf=True), clock) as engine:
            await story(engine, clock)

    asyncio.run(tell())


def test_a_clock_that_was_set_back_does_not_hide_new_keys(tmp_path: Path) -> None:
    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db", deaf=True)
        async with running_engine(tmp_path / "db", clock) as one, engine_on(database, clock) as two:
            clock.advance(-600)
            await one.keys.rotate_now()
            assert await two.get_session((await sign_in(one)).access_token)

    asyncio.run(story())


@pytest.mark.parametrize(
    "kid",
    ["x", "d-", "s-", "d-1 OR 1=1", "d-%", "d-../../etc/passwd", "D-1", "d-é", "d-\x00", "http://a/d-1"],
)
def test_an_id_that_no_key_of_ours_can_have_is_not_asked_for(tmp_path: Path, kid: str) -> None:
    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db", deaf=True)
        async with engine_on(database, clock) as engine:
            clock.advance(10)
            reads = database.reads
            with pytest.raises(TryRefreshTokenError):
                await engine.get_session(forged(kid))
            assert database.reads == reads

    asyncio.run(story())


def test_known_keys_serve_while_the_store_is_out_of_reach(tmp_path: Path) -> None:
    """And an unknown one is answered as ever: the client renews, which says what is the matter."""

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with engine_on(database, clock) as engine:
            tokens = await sign_in(engine)
            database.broken = True
            clock.advance(10)
            assert await engine.get_session(tokens.access_token)
            with pytest.raises(TryRefreshTokenError):
                await engine.get_session(forged("d-1900000000000"))
            with pytest.raises(StoreUnavailableError):
                await refresh(engine, tokens)
            database.broken = False
            await refresh(engine, tokens)

    asyncio.run(story())


# -- secrets and kinds --------------------------------------------------------------------------------


def test_another_servers_secret_stops_the_start_and_says_why(tmp_path: Path) -> None:
    async def start(secret: bytes) -> None:
        async with running_engine(tmp_path / "db", FakeClock(), secret=secret) as engine:
            await sign_in(engine)

    asyncio.run(start(b"the first server's own secret ..."))
    with pytest.raises(StoreUnavailableError, match="under another secret: give this server the secret"):
        asyncio.run(start(b"some other secret that is as long"))
    asyncio.run(start(b"the first server's own secret ..."))


def test_a_key_that_was_tampered_with_in_the_store_is_refused(tmp_path: Path) -> None:
    """Also one that was moved to another key's id."""

    async def story(change: str, number: int) -> None:
        path, clock = tmp_path / f"{number}", FakeClock()
        async with running_engine(path, clock) as engine:
            await engine._store.database.write(lambda connection: connection.execute(change, {}))
        with pytest.raises(StoreUnavailableError, match="signing key"):
            async with running_engine(path, clock):
                pass

    for number, change in enumerate(("kid = 'd-1'", "private_key = zeroblob(1300)", "private_key = x'00'")):
        asyncio.run(story(f"UPDATE signing_keys SET {change}", number))


def test_changing_the_kind_of_key_renews_tokens_and_signs_nobody_out(tmp_path: Path) -> None:
    async def story() -> None:
        clock = FakeClock()
        tokens = None
        for dynamic in (True, False, True):
            async with running_engine(tmp_path / "db", clock, use_dynamic_signing_key=dynamic) as engine:
                if tokens:
                    with pytest.raises(TryRefreshTokenError, match="kind of key"):
                        await engine.get_session(tokens.access_token)
                    tokens = await refresh(engine, tokens)
                else:
                    tokens = await sign_in(engine)
                assert kid_of(tokens.access_token)[:2] == ("d-" if dynamic else "s-")
                await use(engine, tokens)
                clock.advance(60)

    asyncio.run(story())


def test_a_permanent_key_does_not_rotate_by_itself(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        kids = published(engine)
        for _ in range(5):
            clock.advance(10 * WEEK)
            await engine.maintain()
        assert published(engine) == kids
        assert engine.keys.next_change_s() == 60

    run(tmp_path, story, use_dynamic_signing_key=False)


# -- a key that leaked --------------------------------------------------------------------------------


@pytest.mark.parametrize("dynamic", [True, False])
def test_forgetting_old_keys_renews_every_token_on_every_process_and_keeps_the_sessions(
    tmp_path: Path, dynamic: bool
) -> None:
    """Whoever holds the leaked key could sign anything, so what was verified with it counts for nothing."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        clients = [Client(await sign_in(engine)) for engine in (one, two, one)]
        for client in clients:
            for engine in (one, two):
                await use(engine, client.tokens)  # remembered now
        leaked = one.keys.signing_key()
        kid = await one.keys.rotate_now(forget_old=True)
        with pytest.raises(TryRefreshTokenError):
            await one.get_session(clients[0].tokens.access_token)  # here at once
        await caught_up(two)
        forgery, _ = access_token.mint(
            leaked, user_id="ann", tenant_id="public", handle="h", refresh_token_hash1="0", issuer=ISSUER,
            anti_csrf_token=None, claims={}, generation=0, payload_version=0,
            issued_at=int(clock.now()), expires_at=int(clock.now()) + 60,
        )  # fmt: skip
        for token in (forgery, *(client.tokens.access_token for client in clients)):
            for engine in (one, two):
                with pytest.raises(TryRefreshTokenError):
                    await engine.get_session(token)
        for client in clients:
            for engine in (two, one):
                assert published(engine) == [kid]
            old = client.tokens
            await client.visit(two, clock)
            assert (await client.open(one)).user_id == "ann"
            assert client.tokens.refresh_token != old.refresh_token

    run_two(tmp_path, story, use_dynamic_signing_key=dynamic)


def test_that_a_key_was_deleted_is_news_of_its_own(tmp_path: Path) -> None:
    """The new key may have been heard of before the old one went."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(one)
        await use(two, tokens)
        delete_keys = one._store.delete_keys

        async def delete_late(kids: Any, **more: Any) -> None:
            await caught_up(two)
            assert len(published(two)) == 2
            await delete_keys(kids, **more)

        one._store.delete_keys = delete_late  # type: ignore[method-assign]
        kid = await one.keys.rotate_now(forget_old=True)
        await until(lambda: published(two) == [kid])
        with pytest.raises(TryRefreshTokenError):
            await two.get_session(tokens.access_token)

    run_two(tmp_path, story)


def test_a_process_that_cannot_read_the_keys_does_not_say_it_has_heard_the_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RETRY_S", 0.01)

    async def story() -> None:
        clock, database = FakeClock(), FaultyDatabase(tmp_path / "db")
        async with (
            running_engine(tmp_path / "db", clock) as one,
            engine_on(database, clock, feed_lost="refuse") as two,
        ):
            token = (await sign_in(one)).access_token
            await use(two, Tokens(token, 0, "", 0))
            load_keys = two._store.load_keys

            async def unreadable() -> Any:
                raise StoreUnavailableError("the keys cannot be read")

            two._store.load_keys = unreadable  # type: ignore[method-assign]
            await one.keys.rotate_now(forget_old=True)
            await until(lambda: two.feed.state == "lost")
            two._store.load_keys = load_keys  # type: ignore[method-assign]
            await until(lambda: two.feed.state == "live")
            with pytest.raises(TryRefreshTokenError):
                await two.get_session(token)

    asyncio.run(story())


def test_a_slow_reader_does_not_put_back_a_key_that_is_gone(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        old = engine.keys.signing_key().kid
        load_keys, let_go = engine._store.load_keys, asyncio.Event()

        async def slow() -> Any:
            engine._store.load_keys = load_keys  # type: ignore[method-assign]
            stored = await load_keys()
            await let_go.wait()
            return stored

        engine._store.load_keys = slow  # type: ignore[method-assign]
        reader = asyncio.create_task(engine.keys.load())
        await asyncio.sleep(0)
        rotation = asyncio.create_task(engine.keys.rotate_now(forget_old=True))
        await engine._store.load_keys()
        let_go.set()
        await asyncio.gather(reader, rotation)
        assert old not in published(engine)

    run(tmp_path, story)
