# SPDX-License-Identifier: MIT
"""The kit works through a real PgBouncer in transaction mode, where no notification arrives."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stormcellar.sessions import UnauthorisedError
from stormcellar.store import postgres as postgres_module
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.parts import require
from stormcellar.tests.postgres import DATABASE, DEADLINE_S, PASSWORD, Cluster
from stormcellar.tests.serving import free_port
from stormcellar.tests.sessions.helpers import refresh, sign_in
from stormcellar.tests.support import running_engine

pytestmark = pytest.mark.postgres

CONFIGURATION = """
[databases]
{database} = host=127.0.0.1 port={server_port} user=kit password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {connections}
"""


@contextmanager
def pgbouncer(cluster: Cluster, folder: Path, connections: int) -> Iterator[str]:
    """Run PgBouncer before a database; yield its address."""
    program, port = require("pgbouncer"), free_port()
    folder.chmod(0o755)
    (folder / "users").write_text('"kit" ""\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(
            database=DATABASE,
            server_port=cluster.port,
            password=PASSWORD,
            port=port,
            folder=folder,
            connections=connections,
        )
    )
    libraries = ":".join(map(str, program.parents[1].glob("lib/*-linux-gnu*")))
    process = subprocess.Popen(
        [program, *(["-u", "postgres"] if os.geteuid() == 0 else []), folder / "pgbouncer.ini"],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "PgBouncer does not start"
            time.sleep(0.01)
        yield f"postgresql://kit@127.0.0.1:{port}/{DATABASE}?sslmode=disable&gssencmode=disable"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)


@pytest.mark.parametrize("connections", [2, 10])
@pytest.mark.parametrize("said_by", ["the address", "nothing"])
def test_sessions_are_renewed_and_revoked_through_it(
    cluster: Cluster,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connections: int,
    said_by: str,
) -> None:
    """Two servers share few connections of the role, and each hears what the other revokes."""
    monkeypatch.setattr(postgres_module, "HEAR_ITSELF_S", 0.3)
    monkeypatch.setattr(postgres_module, "POLL_INTERVAL_S", 0.02)

    async def story(url: str) -> None:
        clock = FakeClock()
        async with running_engine(url, clock) as one, running_engine(url, clock) as two:
            kept, gone = await sign_in(one, "ann"), await sign_in(two, "bob")
            for engine in (two, one) * 5:
                kept = await refresh(engine, kept)
            session = await one.get_session(gone.access_token)
            assert session is not None
            await two.revoke_session(session.handle, owner="bob")
            await until(lambda: session.handle in one.feed.revoked)
            with pytest.raises(UnauthorisedError):
                await one.get_session(gone.access_token)
            with pytest.raises(UnauthorisedError):
                await one.refresh_session(gone.refresh_token or "")
            at_once = await asyncio.gather(*(sign_in(one, f"user{number}") for number in range(20)))
            assert len({tokens.refresh_token for tokens in at_once}) == 20
            await until(lambda: (one.feed.state, two.feed.state) == ("live", "live"))

    with pgbouncer(cluster, tmp_path, connections) as url:
        asyncio.run(story(url + ("&stormcellar_feed=poll" if said_by == "the address" else "")))
