# SPDX-License-Identifier: MIT
"""A primary and a replica of PostgreSQL, for tests that promote, freeze and thaw them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stormcellar.tests.postgres import DATABASE, DEADLINE_S, PASSWORD, PASSWORD_IN_ADDRESS, Cluster

REPLICATION = """
max_wal_senders = 5
wal_level = replica
hot_standby = on
wal_receiver_status_interval = 1s
"""


class Pair:
    """A primary and a replica that streams from it. Both listen on loopback.

    Args:
        programs: the folder of initdb and postgres.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.primary = Cluster(programs, more_settings=REPLICATION)
        self.replica: Cluster | None = None

    def start(self) -> None:
        self.primary.start()
        self.primary.execute(f"CREATE ROLE kit LOGIN PASSWORD '{PASSWORD}'")
        self.primary.execute(f"CREATE DATABASE {DATABASE} OWNER kit")
        self.replica = self.primary.copy()
        self.replica.start()

    @property
    def url(self) -> str:
        """The address with both hosts, the replica first, as Patroni's documentation advises."""
        assert self.replica
        hosts = f"127.0.0.1:{self.replica.port},127.0.0.1:{self.primary.port}"
        return f"postgresql://kit:{PASSWORD_IN_ADDRESS}@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def wait_until_replayed(self) -> None:
        """Wait until the replica has all that the primary has written."""
        assert self.replica
        written = self.primary.execute("SELECT pg_current_wal_lsn()::text")[0][0]
        self._wait_for(self.replica, f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")

    def cut_replication(self) -> None:
        """Let the replica lag: it receives nothing from now on."""
        assert self.replica
        self.replica.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.replica.execute("SELECT pg_reload_conf()")
        self._wait_for(self.replica, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")

    def promote(self) -> None:
        assert self.replica
        self.replica.execute("SELECT pg_promote(true, 60)")
        self._wait_for(self.replica, "SELECT NOT pg_is_in_recovery()")

    def fail_over(self) -> None:
        """Kill the primary and promote the replica; what the replica had not received is lost."""
        self.primary.stop("immediate")
        self.promote()

    @contextmanager
    def frozen_primary(self) -> Iterator[None]:
        """Stop all processes of the primary, and let them go on afterwards."""
        processes = self.primary.processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(processes):
                os.kill(process, signal.SIGCONT)

    def remove(self) -> None:
        for server in (self.replica, self.primary):
            if server is not None:
                server.remove()

    def _wait_for(self, server: Cluster, condition: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while server.execute(condition)[0][0] is not True:
            assert time.monotonic() < deadline, f"{condition}:\n{server.log}"
            time.sleep(0.02)
