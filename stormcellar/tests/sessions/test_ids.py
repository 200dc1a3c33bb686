# SPDX-License-Identifier: MIT
"""Ids that no store can keep: NUL, which PostgreSQL's text has no room for, and lone surrogates."""

from __future__ import annotations

from pathlib import Path

import pytest

from stormcellar.sessions import Sessions
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import run

UNSTORABLE = ["ann\0", "\0", "ann\ud800", "\udfff"]


def test_no_session_begins_with_an_id_that_a_store_cannot_keep(place: Path | str) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        for wrong in UNSTORABLE:
            with pytest.raises(ValueError, match="NUL or lone surrogates"):
                await engine.create_new_session(wrong)
            with pytest.raises(ValueError, match="NUL or lone surrogates"):
                await engine.create_new_session("ann", tenant_id=wrong)
        assert await engine.get_all_session_handles_for_user("ann") == []

    run(place, story)


def test_ids_that_cannot_be_are_unknown_ids(place: Path | str) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        for wrong in UNSTORABLE:
            assert await engine.get_session_information(wrong) is None
            assert not await engine.revoke_session(wrong, owner=None)
            assert await engine.revoke_multiple_sessions([wrong, wrong], owner=None) == []
            assert await engine.revoke_all_sessions_for_user(wrong) == []
            assert await engine.get_all_session_handles_for_user(wrong) == []
        assert await engine.get_session_information(session.handle) is not None

    run(place, story)
