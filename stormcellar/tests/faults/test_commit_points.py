# SPDX-License-Identifier: MIT
"""A process dies right before and right after every commit that the engine makes, each hit for certain.

Before each case ann has a session whose tokens were acknowledged, and so have others: one that is bob's,
one that was signed out. A process (dying_engine.py) dies in one operation. Afterwards the client, who got no
answer, does the same again and goes on, and whatever was acknowledged before is there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stormcellar.sessions import Sessions, Tokens, TryRefreshTokenError, UnauthorisedError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.faults.dying_engine import CLAIMS, DATA, DIED, MIGRATION, OPERATIONS
from stormcellar.tests.figures import Figures
from stormcellar.tests.serving import ROOT, process_env
from stormcellar.tests.support import running_engine

pytestmark = pytest.mark.faults

NOW = 1_800_000_000.0
DAY_S = 86400.0
MOMENTS = ("before", "after")
State = dict[str, Any]


async def tokens_of(made: Awaitable[Any]) -> Tokens:
    tokens = (await made).new_tokens
    assert isinstance(tokens, Tokens)
    return tokens


async def sign_in(engine: Sessions, user_id: str) -> State:
    session = await engine.create_new_session(user_id)
    assert session.new_tokens
    return {
        "handle": session.handle,
        "access_token": session.new_tokens.access_token,
        "refresh_token": session.new_tokens.refresh_token,
        "now": NOW,
    }


async def go_on(engine: Sessions, refresh_token: str) -> None:
    """A client goes on: renews, looks at a page, renews again."""
    first = await tokens_of(engine.refresh_session(refresh_token))
    assert await engine.get_session(first.access_token)
    await engine.write_notes()
    assert first.refresh_token
    second = await tokens_of(engine.refresh_session(first.refresh_token))
    assert await engine.get_session(second.access_token)


async def is_refused(engine: Sessions, state: State) -> bool:
    """Whether a session is over; both of its tokens must say the same."""
    refused = set()
    for attempt in (
        engine.get_session(state["access_token"]),
        engine.refresh_session(state["refresh_token"]),
    ):
        try:
            await attempt
            refused.add(False)
        except TryRefreshTokenError:
            continue  # the key is gone, or the hour is over: that says nothing of the session
        except UnauthorisedError:
            refused.add(True)
    assert len(refused) == 1, "half signed out"
    return refused.pop()


# -- what is there before ---------------------------------------------------------------------------


async def signed_in(engine: Sessions) -> State:
    return await sign_in(engine, "ann")


async def with_an_unanswered_refresh(engine: Sessions) -> State:
    state = await sign_in(engine, "ann")
    await engine.refresh_session(state["refresh_token"])
    return state


async def with_an_unseen_refresh(engine: Sessions) -> State:
    """The answer came, and its access token was not used yet."""
    state = await sign_in(engine, "ann")
    tokens = await tokens_of(engine.refresh_session(state["refresh_token"]))
    return {**state, "access_token": tokens.access_token, "refresh_token": tokens.refresh_token}


async def with_refreshes_that_the_store_has_lost(engine: Sessions) -> State:
    state = await with_an_unseen_refresh(engine)
    await engine.keys._store.database.write(
        lambda connection: connection.execute(
            "UPDATE sessions SET generation = 0 WHERE handle = :handle", {"handle": state["handle"]}
        )
    )
    return state


async def with_an_expired_session(engine: Sessions) -> State:
    """And a key that is to be replaced: as things are when a server was off for long."""
    state = await sign_in(engine, "ann")
    await engine.keys._store.database.write(
        lambda connection: connection.execute(
            "UPDATE sessions SET expires_at = :end WHERE handle = :handle",
            {"end": NOW + 1, "handle": state["handle"]},
        )
    )
    return {**await sign_in(engine, "ann"), "now": NOW + 7 * DAY_S}


# -- what the client does afterwards, and what must be true -----------------------------------------


async def goes_on(engine: Sessions, state: State) -> None:
    await go_on(engine, state["refresh_token"])


async def signs_in_again(engine: Sessions, state: State) -> None:
    await go_on(engine, (await sign_in(engine, "ann"))["refresh_token"])
    await goes_on(engine, state)
    handles = await engine.get_all_session_handles_for_user("ann")
    assert len(handles) in (2, 3), "at most one session that nobody knows of"


async def signs_out_again(engine: Sessions, state: State) -> None:
    refused = await is_refused(engine, state)
    assert await engine.revoke_session(state["handle"], owner=None) is not refused
    assert await is_refused(engine, state)


async def changes_claims_again(engine: Sessions, state: State) -> None:
    information = await engine.get_session_information(state["handle"])
    assert information
    changed = "role" in information.custom_claims_in_access_token_payload
    try:
        await engine.get_session(state["access_token"])
        assert not changed, "a token with the old claims is accepted"
    except TryRefreshTokenError:
        assert changed, "a token with the present claims is refused"
    await engine.merge_into_access_token_payload(state["handle"], CLAIMS, owner=None)
    tokens = await tokens_of(engine.refresh_session(state["refresh_token"]))
    session = await engine.get_session(tokens.access_token)
    assert session
    assert session.access_token_payload["role"] == "cook"


async def changes_data_again(engine: Sessions, state: State) -> None:
    assert await engine.update_session_data_in_database(state["handle"], DATA, owner=None)
    information = await engine.get_session_information(state["handle"])
    assert information
    assert information.session_data_in_database == DATA
    await goes_on(engine, state)


async def has_each_step_once(engine: Sessions, state: State) -> None:
    database = engine.keys._store.database
    await database.migrate("trial", MIGRATION)
    rows = await database.read(
        lambda connection: connection.execute("SELECT name, size FROM trial ORDER BY name").fetchall()
    )
    assert rows == [("from step 1", None), ("from step 2", 2)]
    await goes_on(engine, state)


CASES: dict[
    str, tuple[str, Callable[[Sessions], Awaitable[State]], Callable[[Sessions, State], Awaitable[None]]]
]
CASES = {
    "sign in": ("create", signed_in, signs_in_again),
    "refresh": ("refresh", signed_in, goes_on),
    "repeat a refresh": ("refresh", with_an_unanswered_refresh, goes_on),
    "refresh what the store has lost": ("refresh", with_refreshes_that_the_store_has_lost, goes_on),
    "first use": ("first_use", with_an_unseen_refresh, goes_on),
    "sign out": ("revoke", with_an_unseen_refresh, signs_out_again),
    "sign out everywhere": ("revoke_all", signed_in, signs_out_again),
    "change claims": ("change_claims", signed_in, changes_claims_again),
    "change data": ("change_data", signed_in, changes_data_again),
    "new key": ("new_key", signed_in, goes_on),
    "new key, forgetting the others": ("only_new_key", signed_in, goes_on),
    "keep house": ("keep_house", with_an_expired_session, goes_on),
    "migrate": ("migrate", signed_in, has_each_step_once),
}


def die(database: Path, operation: str, state: State, moment: str, number: int) -> bool:
    """Run the dying engine; whether it came to that commit."""
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "stormcellar.tests.faults.dying_engine",
            database,
            operation,
            json.dumps(state),
            moment,
            str(number),
        ],
        cwd=ROOT,
        env=process_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode in (DIED, 0), process.stderr
    return process.returncode == DIED


@pytest.mark.parametrize("case", CASES)
def test_a_death_at_any_commit_loses_nothing_and_locks_nobody_out(
    case: str, tmp_path: Path, figures: Figures
) -> None:
    operation, prepare, afterwards = CASES[case]
    before = tmp_path / "before"

    async def prepare_all() -> tuple[State, State, State]:
        async with running_engine(before, FakeClock(NOW)) as engine:
            others = await sign_in(engine, "bob"), await sign_in(engine, "bob")
            await engine.revoke_session(others[1]["handle"], owner=None)
            return await prepare(engine), *others

    async def check(database: Path) -> None:
        async with running_engine(database, FakeClock(state["now"])) as engine:
            await go_on(engine, bystander["refresh_token"])
            assert await is_refused(engine, signed_out)
            await afterwards(engine, state)

    state, bystander, signed_out = asyncio.run(prepare_all())
    points = 0
    for number, moment in ((number, moment) for number in itertools.count(1) for moment in MOMENTS):
        database = tmp_path / f"{number}-{moment}"
        shutil.copy(before, database)
        if not die(database, operation, state, moment, number):
            break
        asyncio.run(check(database))
        points += 1
    assert points >= 2, "nothing was written"
    figures.none("death before and after each commit", "SQLite", (), f"{case}: {points} points")


def test_a_death_in_the_very_first_start_is_repaired_by_the_next(tmp_path: Path) -> None:
    async def check(database: Path) -> None:
        async with running_engine(database, FakeClock(NOW)) as engine:
            await go_on(engine, (await sign_in(engine, "ann"))["refresh_token"])

    for number, moment in itertools.product((1, 2), MOMENTS):  # the tables, the first key
        database = tmp_path / f"{number}-{moment}"
        assert die(database, "start", {"now": NOW}, moment, number)
        asyncio.run(check(database))


def test_every_operation_that_can_die_has_a_case() -> None:
    assert {operation for operation, *_ in CASES.values()} == OPERATIONS.keys() - {"start"}
