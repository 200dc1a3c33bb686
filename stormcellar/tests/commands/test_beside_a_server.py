# SPDX-License-Identifier: MIT
"""Commands beside a server that runs: it hears of what they did without being asked or told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from stormcellar.sessions import SystemClock
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.figures import Figures
from stormcellar.tests.serving import ServerProcess

pytestmark = pytest.mark.slow

HEARD_WITHIN_S = 1.0
FIELDS = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]


@pytest.fixture
def server(site: list[str], data_dir: Path) -> Iterator[ServerProcess]:
    with ServerProcess(data_dir, *site[1:]) as server:
        yield server


def new_client(server: ServerProcess) -> Client:
    return Client(AsyncHTTPClient(), server.url, SystemClock())  # type: ignore[arg-type]


async def in_a_thread(manage: Manage, *words: str) -> str:
    done = await asyncio.to_thread(manage, *words)
    assert done.code == 0, done.err
    return done.out


async def refused_after_s(client: Client) -> float:
    """How long the page was still served after a command ended; at most about `HEARD_WITHIN_S`."""
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        if (await client.get("/dashboard")).code != 200:
            return asked - began
        assert asked - began < HEARD_WITHIN_S, "the server has not heard of it"


def test_a_running_server_refuses_what_the_command_line_ended_within_a_second(
    server: ServerProcess, manage: Manage, site: list[str], figures: Figures
) -> None:
    async def story() -> None:
        client = new_client(server)
        await client.sign_up()
        assert (await client.get("/dashboard")).code == 200
        (handle,) = (line.split()[0] for line in (await in_a_thread(manage, "list-sessions")).splitlines())
        await in_a_thread(manage, "revoke-session", handle)
        delays_s = [await refused_after_s(client)]

        await client.sign_in()
        assert (await client.get("/dashboard")).code == 200
        await in_a_thread(manage, "lock-user", "ann@example.com")
        delays_s.append(await refused_after_s(client))
        where = "PostgreSQL" if len(site) > 1 else "SQLite"
        figures.times(
            "what a command ended is refused", where, delays_s, most_s=HEARD_WITHIN_S, asserted=False
        )
        answer = await client.call("/auth/signin", {"formFields": FIELDS})
        assert json_of(answer) == {"status": "WRONG_CREDENTIALS_ERROR"}

        await in_a_thread(manage, "unlock-user", "ann@example.com")
        await client.sign_in()

    asyncio.run(story())


def test_new_keys_sign_nobody_out(server: ServerProcess, manage: Manage) -> None:
    async def kids(client: Client) -> set[str]:
        found = json_of(await client.call("/auth/jwt/jwks.json", method="GET"))
        return {key["kid"] for key in found["keys"]}

    async def story() -> None:
        client = new_client(server)
        await client.sign_up()
        before = await kids(client)
        kid = (await in_a_thread(manage, "rotate-keys")).split()[2]
        deadline = time.monotonic() + 30
        while kid not in await kids(client):
            assert time.monotonic() < deadline, "the server has not heard of the key"
        assert await kids(client) == {*before, kid}
        assert (await client.get("/dashboard")).code == 200
        assert (await client.refresh()).code == 200
        assert (await client.get("/dashboard")).code == 200
        assert (await client.refresh()).code == 200
        assert (await client.get("/dashboard")).code == 200

    asyncio.run(story())
