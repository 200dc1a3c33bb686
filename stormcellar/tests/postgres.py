# SPDX-License-Identifier: MIT
"""A private PostgreSQL server for the tests: started when the first test asks for it, gone with the last.

The fixture `cluster` is that server, which a test may stop and start; `postgres_url` is the address of a
database in it, empty at the beginning of each test. tests/conftest.py makes both known everywhere. A `Wire`
between the two shows how a server fares whose database is far away, slow or cut off.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from stormcellar.tests.parts import require
from stormcellar.tests.serving import free_port

PASSWORD = "a private one%@:/?"
PASSWORD_IN_ADDRESS = "a%20private%20one%25%40%3A%2F%3F"
DATABASE = "kit"
DEADLINE_S = 60  # who has not started or stopped by then hangs
STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

PROTOCOL_3 = b"\0\x03\0\0"

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_permissions = 0777
max_connections = 100
shared_buffers = 32MB
max_wal_senders = 0
wal_level = minimal
log_timezone = UTC
deadlock_timeout = 50ms
fsync = {fsync}
"""


class Cluster:
    """A PostgreSQL server with a data folder of its own, on a Unix socket and a loopback port.

    Args:
        programs: the folder of initdb and postgres.
        fsync: whether commits wait for the disk. Without, they survive the server's end, not the machine's.
        more_settings: further lines of postgresql.conf.
        source: the server that this one begins as a streaming replica of.
    """

    def __init__(
        self,
        programs: Path,
        *,
        fsync: bool = False,
        more_settings: str = "",
        source: Cluster | None = None,
    ) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="stormcellar-postgres-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _server_user()
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        if self._user:
            account = pwd.getpwnam(str(self._user["user"]))
            for path in (self.folder, password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        if source is not None:
            self._copy(source)
            return
        subprocess.run(
            [programs / "initdb", "--pgdata", self.folder / "data", "--no-sync", "--encoding=UTF8",
             "--locale=C.UTF-8", "--username=postgres", f"--pwfile={password_file}",
             "--auth-local=trust", "--auth-host=scram-sha-256"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user,
        )  # fmt: skip
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(fsync="on" if fsync else "off") + more_settings)

    def _copy(self, source: Cluster) -> None:
        subprocess.run(
            [self._programs / "pg_basebackup", "--pgdata", self.folder / "data", "--no-sync",
             "--checkpoint=fast", "--write-recovery-conf", "--host", source.folder,
             "--port", str(source.port), "--username=postgres"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user,
        )  # fmt: skip

    def copy(self) -> Cluster:
        """Make a server that streams from this one, and that can be started."""
        return Cluster(self._programs, source=self)

    def processes(self) -> list[int]:
        """Return the process numbers of the server and of its children."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the server until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder,
                 "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + DEADLINE_S
        while not self._is_ready():
            assert self._process.poll() is None, f"PostgreSQL ended:\n{self.log}"
            assert time.monotonic() < deadline, f"PostgreSQL does not start:\n{self.log}"
            time.sleep(0.01)

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """End it and all its connections; "immediate" without finishing anything, as a crash does."""
        if self._process is not None:
            self._process.send_signal(STOP[how])
            self._process.wait(DEADLINE_S)
            self._process = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def _is_ready(self) -> bool:
        probe = [self._programs / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)]
        return subprocess.run(probe, check=False).returncode == 0

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    # -- databases ----------------------------------------------------------------------------------

    def execute(self, sql: str, database: str = "postgres", parameters: Any = None) -> list[Any]:
        """Run one statement as superuser; the rows, if it has any."""
        import psycopg

        address = f"host={self.folder} port={self.port} user=postgres dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def empty_database(self) -> str:
        """Empty the database of the tests, which is quicker than making another; returns its name."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", parameters=[DATABASE]
        )
        self.execute("DROP SCHEMA public CASCADE", DATABASE)
        self.execute("CREATE SCHEMA public AUTHORIZATION kit", DATABASE)
        return DATABASE

    def url(self, database: str) -> str:
        """The address for an ordinary role with a password, over TCP."""
        return f"postgresql://kit:{PASSWORD_IN_ADDRESS}@127.0.0.1:{self.port}/{database}"


class Wire:
    """Stands between clients and the server, counts answers, and misbehaves when it is told to.

    Attributes:
        answers: how many requests the server has answered (its ReadyForQuery messages).
        deaf: keeps notifications back, as transaction poolers do.
        pools: refuses options in the greeting and announces a process number of its own, as poolers do.
        refuses_options: refuses them as a proxy that gives each client a connection of its own.
        flows: while it is not set, nothing gets through, and nobody is told.
        delay_s: how much later each statement arrives.
        mute: no answer gets through, while statements do.
        cut: what happens to the next statement: "before" it reaches the server, or "after" it was executed,
            the connection breaks.
        cut_at: that statement is the next one in which this stands.

    Source: PostgreSQL documentation, "Frontend/Backend Protocol", message formats.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._server_port = cluster.port
        self.answers = 0
        self.deaf = self.pools = self.mute = self.refuses_options = False
        self.flows = asyncio.Event()
        self.flows.set()
        self.delay_s = 0.0
        self.cut: Literal["", "before", "after"] = ""
        self.cut_at = b""
        self._port = 0

    @asynccontextmanager
    async def between(self, url: str) -> AsyncIterator[str]:
        """An address that leads to the server's `url` through this wire, on the running event loop."""
        relay = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._port = relay.sockets[0].getsockname()[1]
        try:
            yield self.address(url)
        finally:
            relay.close()

    def address(self, url: str) -> str:
        """Where another of the server's addresses is, while this wire is in between."""
        there = url.replace(f":{self._server_port}/", f":{self._port}/")
        return f"{there}{'&' if '?' in there else '?'}sslmode=disable&gssencmode=disable"

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.close()
            return
        doomed = asyncio.Event()
        directions = {
            asyncio.ensure_future(self._requests(reader, to_server, writer, doomed)),
            asyncio.ensure_future(self._answers(from_server, writer, doomed)),
        }
        _, other = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for task in other:
            task.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        writer.close()
        to_server.close()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        doomed: asyncio.Event,
    ) -> None:
        while data := await reader.read(65536):
            await self.flows.wait()
            if data[4:8] == PROTOCOL_3 and b"\0options\0" in data and (self.pools or self.refuses_options):
                said = b"unsupported startup parameter: options"
                if self.refuses_options:
                    said = b"this proxy currently doesn't support command-line options"
                client.write(message(b"E", b"SFATAL\0VFATAL\0C08P01\0M" + said + b"\0\0"))
                return
            is_statement = data[:1] in (b"Q", b"P", b"B")  # not the greeting
            if is_statement and self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.cut and is_statement and self.cut_at in data:
                when, self.cut = self.cut, ""
                if when == "before":
                    return
                doomed.set()
            writer.write(data)

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while head := await reader.readexactly(5):
            kind, size = struct.unpack("!cI", head)
            body = await reader.readexactly(size - 4)
            await self.flows.wait()
            self.answers += kind == b"Z"
            if kind == b"K" and self.pools:
                body = b"\x7f\xff\xff\xff" + body[4:]
            if doomed.is_set():
                if kind == b"Z":
                    return
            elif not (self.mute or (kind == b"A" and self.deaf)):
                writer.write(message(kind, body))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _server_user() -> Mapping[str, Any]:
    """PostgreSQL refuses to run as root, so there it gets the user that its package has made."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    cluster = Cluster(require("postgres"))
    try:
        cluster.start()
        cluster.execute(f"CREATE ROLE kit LOGIN PASSWORD '{PASSWORD}'")
        cluster.execute(f"CREATE DATABASE {DATABASE} OWNER kit")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """The server, running whatever the test before did to it."""
    if not _cluster.is_running:
        _cluster.start()
    return _cluster


@pytest.fixture
def postgres_url(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a database in which there is nothing.

    On a busy machine nobody is given up on; a test of time limits sets its own.
    """
    set_limits(monkeypatch, answer_s=DEADLINE_S)
    return cluster.url(cluster.empty_database())


def set_limits(monkeypatch: pytest.MonkeyPatch, *, answer_s: float, **server_ms: int) -> None:
    """How long this process waits, and how long the server lets things take (`lock_timeout=50`)."""
    from stormcellar.store import postgres, postgres_connect

    limits = {name: str(value) for name, value in server_ms.items()}
    monkeypatch.setattr(postgres, "ANSWER_S", answer_s)
    monkeypatch.setattr(postgres_connect, "LIMITS", limits)
