# SPDX-License-Identifier: MIT
"""Users with many sessions: signing out everywhere leaves room for others, and the number has a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from stormcellar.application import Application
from stormcellar.sessions.engine import REVOKED_AT_ONCE
from stormcellar.testing.client import Client
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import AsUser
from stormcellar.tests.handlers.parts import with_settings

NewClient = Callable[..., Client]
MANY = 5000


@with_settings(max_sessions_per_user=3)
@pytest.mark.gen_test
async def test_the_oldest_session_ends_when_a_user_has_too_many(
    app: Application, as_user: AsUser, clock: FakeClock
) -> None:
    browsers = []
    for _ in range(5):
        browsers.append(await as_user())
        clock.advance(1)
    bob = await as_user("bob@example.com")
    living = [(await browser.get("/dashboard")).code == 200 for browser in (*browsers, bob)]
    assert living == [False, False, True, True, True, True]


@with_settings(max_sessions_per_user=1)
@pytest.mark.gen_test
async def test_the_session_that_begins_is_the_one_that_stays(app: Application, as_user: AsUser) -> None:
    """The clock stands still, so the order of the sessions is any."""
    for _ in range(4):
        last = await as_user()
        assert (await last.get("/dashboard")).code == 200
    assert len(await app.sessions.get_all_session_handles_for_user(last.user_id)) == 1


@with_settings(max_sessions_per_user=10)
@pytest.mark.gen_test
async def test_a_user_with_far_too_many_loses_a_batch_at_each_sign_in(
    app: Application, as_user: AsUser
) -> None:
    ann = await as_user()
    for _ in range(2 * REVOKED_AT_ONCE):
        await app.sessions.create_new_session(ann.user_id)
    counts = []
    for _ in range(3):
        await as_user()
        counts.append(len(await app.sessions.get_all_session_handles_for_user(ann.user_id)))
    assert counts == [REVOKED_AT_ONCE + 2, 10, 10]


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    is_postgres = "postgres" in request.keywords
    return {"database": request.getfixturevalue("postgres_url")} if is_postgres else {}


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.gen_test
async def test_others_sign_out_while_a_user_signs_out_of_5000_sessions(
    app: Application, as_user: AsUser
) -> None:
    ann = await as_user()
    bobs = [await as_user(f"bob{number}@example.com") for number in range(10)]
    await _add_sessions(app, ann.session_handle, MANY)
    everywhere = asyncio.ensure_future(ann.post("/account/sessions", {"which": "others"}))
    longest_s = 0.0
    for bob in bobs:
        await asyncio.sleep(0.05)
        assert not everywhere.done()
        began = time.monotonic()
        assert (await bob.post("/signout")).code == 303
        longest_s = max(longest_s, time.monotonic() - began)
    assert (await everywhere).code == 303
    assert await app.sessions.get_all_session_handles_for_user(ann.user_id) == [ann.session_handle]
    assert longest_s < 2, "a write transaction of the database waits for two seconds at most"


async def _add_sessions(app: Application, like: str, count: int) -> None:
    """Copy a session many times, which is faster than to sign in so often."""
    columns = await app.database.read(
        lambda c: [row[0] for row in c.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'sessions'"
        ).fetchall()]
    )  # fmt: skip
    others = ", ".join(column for column in columns if column != "handle")
    sql = (
        f"INSERT INTO sessions (handle, {others}) SELECT 'copy ' || n, {others}"
        " FROM sessions, generate_series(1, :count) AS n WHERE handle = :handle"
    )
    await app.database.write(lambda c: c.execute(sql, {"count": count, "handle": like}).rowcount)
