# SPDX-License-Identifier: MIT
"""Clocks that disagree by a minute, and clocks that are set ten minutes forward and back.

Two engines on one database, each with a clock of its own, are what two machines are to each other. Nobody is
signed out or accused of theft for it, a sign-out stays one, and no access token is served after its end by
the clock of whoever serves it, so never more than a minute after its end by the other clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stormcellar.sessions import Sessions, Tokens, TryRefreshTokenError, UnauthorisedError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.figures import Figures
from stormcellar.tests.sessions.helpers import caught_up, refresh, sign_in, use
from stormcellar.tests.support import running_engine

pytestmark = pytest.mark.faults

MINUTE_S = 60.0
STEP_S = 600.0
STEPS = 400
CLIENTS = 6
LONGEST_PAUSE_S = 1500.0  # so that access tokens, which live for an hour, expire now and then


@dataclass
class Client:
    """Somebody signed in, with every access token they ever got."""

    tokens: Tokens
    earlier: list[Tokens] = field(default_factory=list)

    async def go_on(self, engine: Sessions) -> None:
        """Look at a page, renewing first if need be. Whoever is refused fails the test."""
        try:
            await engine.get_session(self.tokens.access_token)
        except TryRefreshTokenError:
            await self.renew(engine)

    async def renew(self, *engines: Sessions) -> None:
        """Renew; with several engines all answers but the last are lost."""
        for engine in engines:
            renewed = await refresh(engine, self.tokens)
        self.earlier.append(self.tokens)
        self.tokens = renewed


@dataclass
class Pair:
    """Two engines whose clocks differ by `skew_s`."""

    engines: tuple[Sessions, Sessions]
    clocks: tuple[FakeClock, FakeClock]

    def pass_time(self, seconds: float) -> None:
        for clock in self.clocks:
            clock.advance(seconds)

    async def assert_none_is_served_after_its_end(self, tokens: Tokens) -> None:
        """`tokens` are of a session that is alive."""
        for engine in self.engines:
            try:
                await engine.get_session(tokens.access_token)
            except TryRefreshTokenError:
                continue
            assert engine.clock.now() < tokens.access_token_expires_at
            assert max(clock.now() for clock in self.clocks) <= tokens.access_token_expires_at + MINUTE_S

    async def sign_in_and_out(self, engine: Sessions) -> Client:
        """Somebody who has left, and whose tokens somebody kept."""
        session = await engine.create_new_session("ann")
        assert session.new_tokens
        client = Client(session.new_tokens)
        await session.revoke()
        await caught_up(*self.engines)
        return client

    async def assert_is_over(self, client: Client) -> None:
        for engine in self.engines:
            with pytest.raises(UnauthorisedError):
                await refresh(engine, client.tokens)
            with pytest.raises((UnauthorisedError, TryRefreshTokenError)):
                await engine.get_session(client.tokens.access_token)


@asynccontextmanager
async def pair(path: Path, skew_s: float = 0.0, **config: Any) -> AsyncIterator[Pair]:
    clocks = FakeClock(), FakeClock()
    clocks[1].advance(skew_s)
    async with (
        running_engine(path, clocks[0], **config) as one,
        running_engine(path, clocks[1], **config) as two,
    ):
        yield Pair((one, two), clocks)


def run(story: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(asyncio.wait_for(story(), 120))
    assert "theft" not in caplog.text


@pytest.mark.parametrize("skew_s", [-MINUTE_S, MINUTE_S])
def test_clocks_that_differ_by_a_minute_sign_nobody_out(
    tmp_path: Path, skew_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with pair(tmp_path / "db", skew_s) as two:
            clients = [Client(await sign_in(random.choice(two.engines))) for _ in range(CLIENTS)]
            for _ in range(STEPS):
                client, engine = random.choice(clients), random.choice(two.engines)
                choice = random.random()
                if choice < 0.4:
                    await client.go_on(engine)
                elif choice < 0.6:
                    await client.renew(engine)
                elif choice < 0.8:
                    await client.renew(*random.choices(two.engines, k=3))
                else:
                    two.pass_time(random.uniform(0, LONGEST_PAUSE_S))
                    await random.choice(two.engines).maintain()
                for tokens in random.sample(client.earlier, min(2, len(client.earlier))):
                    await two.assert_none_is_served_after_its_end(tokens)

    run(story, caplog)


@pytest.mark.parametrize("skew_s", [-25.0, 25.0])
def test_tabs_on_two_machines_are_served_while_clocks_differ_by_less_than_the_grace_period(
    tmp_path: Path, skew_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The one who judges a repeated token compares its clock with that of the one who rotated it."""

    async def story() -> None:
        async with pair(tmp_path / "db", skew_s) as two:
            for one, other in (two.engines, two.engines[::-1]):
                both_tabs = await sign_in(one)
                first = await refresh(one, both_tabs)
                await use(other, first)
                second = await refresh(other, both_tabs)
                assert second.refresh_token == first.refresh_token

    run(story, caplog)


@pytest.mark.parametrize("skew_s", [-MINUTE_S, MINUTE_S])
def test_a_sign_out_holds_until_its_last_token_has_expired_on_either_clock(
    tmp_path: Path, skew_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with pair(tmp_path / "db", skew_s) as two:
            for engine in two.engines:
                client = await two.sign_in_and_out(engine)
                for _ in range(80):
                    two.pass_time(MINUTE_S)
                    for each in two.engines:
                        await each.maintain()
                    await two.assert_is_over(client)

    run(story, caplog)


@pytest.mark.parametrize("stepped", [(0,), (1,), (0, 1)], ids=["one", "the other", "both"])
@pytest.mark.parametrize("access_token_lifetime_s", [60, 300, 3600])
def test_a_clock_that_is_set_forward_and_back_ends_nothing_and_revives_nothing(
    tmp_path: Path,
    stepped: tuple[int, ...],
    access_token_lifetime_s: int,
    caplog: pytest.LogCaptureFixture,
    figures: Figures,
) -> None:
    async def live(two: Pair, clients: list[Client]) -> None:
        """Everything that people and the engines do in ordinary times."""
        for engine in two.engines:
            await engine.maintain()
        for client in clients:
            await client.go_on(random.choice(two.engines))
            await client.renew(*random.sample(two.engines, 2))
            await client.go_on(random.choice(two.engines))

    async def story() -> None:
        async with pair(tmp_path / "db", access_token_lifetime_s=access_token_lifetime_s) as two:
            clients = [Client(await sign_in(two.engines[0])) for _ in range(CLIENTS)]
            left: list[Client] = []
            for step_s in (STEP_S, -STEP_S, -STEP_S, STEP_S):
                await live(two, clients)
                left.append(await two.sign_in_and_out(random.choice(two.engines)))
                for number in stepped:
                    two.clocks[number].advance(step_s)
                await live(two, clients)
                for leaver in left:
                    await two.assert_is_over(leaver)

    run(story, caplog)
    tried = f"{len(stepped)} of 2 clocks, tokens of {access_token_lifetime_s} s"
    figures.none("clocks set 10 min forward and back: sessions lost or revived", "SQLite", (), tried)
