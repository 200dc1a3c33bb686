# SPDX-License-Identifier: MIT
"""A private PostgreSQL server for the tests: started when the first test asks for it, gone with the last.

The fixture `cluster` is that server, which a test may stop and start; `postgres_url` is the address of a
database in it, empty at the beginning of each test. tests/conftest.py makes both known everywhere.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.parts import require

PASSWORD = "a private one%@:/?"
PASSWORD_IN_ADDRESS = "a%20private%20one%25%40%3A%2F%3F"
DATABASE = "kit"
DEADLINE_S = 60  # who has not started or stopped by then hangs
STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_permissions = 0777
max_connections = 100
shared_buffers = 32MB
max_wal_senders = 0
wal_level = minimal
log_timezone = UTC
fsync = {fsync}
"""


class Cluster:
    """A PostgreSQL server with a data folder of its own, on a Unix socket and a loopback port.

    Args:
        programs: the folder of initdb and postgres.
        fsync: whether commits wait for the disk. Without, they survive the server's end, not the machine's.
    """

    def __init__(self, programs: Path, *, fsync: bool = False) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="stormcellar-postgres-"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _server_user()
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        if self._user:
            account = pwd.getpwnam(str(self._user["user"]))
            for path in (self.folder, password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        subprocess.run(
            [programs / "initdb", "--pgdata", self.folder / "data", "--no-sync", "--encoding=UTF8",
             "--locale=C.UTF-8", "--username=postgres", f"--pwfile={password_file}",
             "--auth-local=trust", "--auth-host=scram-sha-256"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user,
        )  # fmt: skip
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(fsync="on" if fsync else "off"))

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


def _server_user() -> Mapping[str, Any]:
    """PostgreSQL refuses to run as root, so there it gets the user that its package has made."""
    if getpass.getuser() != "root" and os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
def postgres_url(cluster: Cluster) -> str:
    """The address of a database in which there is nothing."""
    return cluster.url(cluster.empty_database())
