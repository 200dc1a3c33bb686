# SPDX-License-Identifier: MIT
"""Many sockets at once: a revocation closes them all, and whoever has gone without a word is noticed.

stormcellar/benchmarks/sockets.py measures the same with thousands.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stormcellar import application
from stormcellar.benchmarks.sockets import HANDSHAKE, Stream, closed_at
from stormcellar.tests.handlers.test_live import Site, site

SOCKETS, SESSIONS = 200, 20
PATIENCE_S = 30.0


async def connect(place: Site, token: str) -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(HANDSHAKE.format(port=place.port, token=token).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


def test_two_hundred_idle_sockets_all_hear_of_a_mass_revocation(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, max_sockets_per_user=1000) as place:
            sessions = [await place.sign_in() for _ in range(SESSIONS)]
            tokens = [session.new_tokens.access_token for session in sessions if session.new_tokens]
            streams = [await connect(place, tokens[number % SESSIONS]) for number in range(SOCKETS)]
            assert len(place.application.live) == SOCKETS
            ends = [asyncio.ensure_future(closed_at(stream)) for stream in streams]
            await place.application.sessions.revoke_all_sessions_for_user("ann")
            await asyncio.wait_for(asyncio.gather(*ends), PATIENCE_S)
            assert len(place.application.live) == 0

    asyncio.run(story())


@pytest.mark.faults
def test_a_peer_that_answers_no_ping_is_cut_off(tmp_path: Path) -> None:
    """With short times here; server.py has those that hold. Tornado waits 5 seconds for a goodbye."""

    async def story() -> None:
        async with site(tmp_path, max_sockets_per_user=1000) as place:
            place.application.settings["websocket_ping_interval"] = 0.1
            place.application.settings["websocket_ping_timeout"] = 0.05
            session = await place.sign_in()
            assert session.new_tokens
            reader, writer = await connect(place, session.new_tokens.access_token)
            assert len(place.application.live) == 1
            assert b"\x89" in await asyncio.wait_for(reader.read(), PATIENCE_S)  # pings, then the end
            while len(place.application.live):
                await asyncio.sleep(0)
            writer.close()

    asyncio.run(story())


def test_a_dead_peer_is_cut_off_within_75_seconds() -> None:
    goodbye_s = 5
    assert application.PING_INTERVAL_S + application.PING_TIMEOUT_S + goodbye_s <= 75
