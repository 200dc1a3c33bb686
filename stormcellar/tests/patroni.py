# SPDX-License-Identifier: MIT
"""A Patroni cluster on loopback: etcd, and three PostgreSQL servers configured by deploy/patroni.yml.

Each server has a wire of its own to etcd, to the other servers and to the clients, which a test can pull.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stormcellar.tests.parts import ROOT, require, require_patroni
from stormcellar.tests.relay import Network, Relay
from stormcellar.tests.serving import free_port, process_env

CONFIGURATION = ROOT / "deploy" / "patroni.yml"
DEADLINE_S = 90.0
PASSWORD = "only-for-the-tests"
LEADER_KEY = "/service/stormcellar/leader"
FOR_TESTS = """\
  parameters:
    fsync: "off"
    shared_buffers: 32MB
    wal_receiver_status_interval: 1s
"""


class Node:
    """One PostgreSQL server and the Patroni beside it.

    Attributes:
        port: of the server itself.
        for_clients, for_servers, to_etcd: its wires.
    """

    def __init__(self, cluster: PatroniCluster, number: int) -> None:
        network = cluster.network
        self.name = f"pg{number}"
        self.port, self._api_port = free_port(), free_port()
        self.for_clients = network.relay(self.port)
        self.for_servers = network.relay(self.port)
        self.to_etcd = network.relay(cluster.etcd_port)
        self._for_api = network.relay(self._api_port)
        self._folder = cluster.folder / self.name
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder.mkdir()
        (self._folder / "patroni.yml").write_text(self._configuration())
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")

    def _configuration(self) -> str:
        """Return the file of deploy/ with this machine's values in place of the example's."""
        text = CONFIGURATION.read_text(encoding="utf-8")
        for example, value in {
            "name: pg1": f"name: {self.name}",
            # Patroni would ask etcd for its own address, and go past the wire.
            "10.0.0.21:2379,10.0.0.22:2379,10.0.0.23:2379": (
                f"127.0.0.1:{self.to_etcd.port}\n  use_proxies: true"
            ),
            "listen: 10.0.0.11:8008": f"listen: 127.0.0.1:{self._api_port}",
            "connect_address: 10.0.0.11:8008": f"connect_address: 127.0.0.1:{self._for_api.port}",
            "listen: 10.0.0.11:5432": f"listen: 127.0.0.1:{self.port}",
            "connect_address: 10.0.0.11:5432": f"connect_address: 127.0.0.1:{self.for_servers.port}",
            "/var/lib/postgresql/15/stormcellar": str(self._data),
            "/usr/lib/postgresql/15/bin": str(require("postgres")),
            "/var/lib/postgresql/stormcellar.pgpass": str(self._folder / "pgpass"),
            "/var/run/postgresql": str(self._folder),
            "SUPERUSER_PASSWORD": PASSWORD,
            "REPLICATION_PASSWORD": PASSWORD,
            "REWIND_PASSWORD": PASSWORD,
            "10.0.0.0/24": "127.0.0.1/32",
            "local all postgres peer": "local all postgres trust",
            "\n  parameters:\n": f"\n{FOR_TESTS}",
        }.items():
            assert example in text, f"{CONFIGURATION.name} has no {example!r}"
            text = text.replace(example, value)
        return text

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run Patroni, which runs PostgreSQL. It goes on with the data that is there."""
        command = [require_patroni(), "-m", "patroni", self._folder / "patroni.yml"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_server_user(), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder,
                env=process_env(HOME=str(self._folder)), start_new_session=True,
            )  # fmt: skip

    def processes(self) -> list[int]:
        """Return the process numbers of Patroni and PostgreSQL with their children."""
        mains = [self._process.pid] if self._process else []
        with suppress(OSError, ValueError, IndexError):
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
            if str(self._data) in Path(f"/proc/{pid}/cmdline").read_text():
                mains.append(pid)
        return [pid for main in mains for pid in (main, *_children(main))]

    def kill(self) -> None:
        """End all of it at once, as a machine that loses its power."""
        while True:
            processes = self.processes()
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
                self._process.wait(DEADLINE_S)
                self._process = None
            if not processes:
                return
            time.sleep(0.01)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all of its processes, and let them go on afterwards."""
        processes = self.processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def without(self, *wires: Relay) -> Iterator[None]:
        """Pull these wires, or all of them, and plug them in again afterwards."""
        chosen = wires or (self.for_clients, self.for_servers, self.to_etcd, self._for_api)
        for wire in chosen:
            wire.cut()
        try:
            yield
        finally:
            for wire in chosen:
                wire.mend()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    # -- asking ---------------------------------------------------------------------------------------

    def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run one statement as superuser; returns the rows, if it has any."""
        import psycopg

        address = (
            f"host=127.0.0.1 port={self.port} user=postgres password={PASSWORD} dbname={database}"
            " connect_timeout=2 options='-c synchronous_commit=local'"
        )
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def takes_writes(self) -> bool:
        with suppress(Exception):
            return self.execute("SELECT NOT pg_is_in_recovery()") == [(True,)]
        return False

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Ask Patroni's own interface."""
        return _ask(f"http://127.0.0.1:{self._api_port}{path}", method, body)


class PatroniCluster:
    """etcd and three servers. All that it starts has ended after `remove`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stormcellar-patroni-"))
        self.folder.chmod(0o755)
        self.network = Network()
        self.etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self.nodes: list[Node] = []

    def start(self) -> None:
        self._start_etcd()
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        for node in self.nodes:
            node.start()
        self.until_whole()
        primary = self.primary
        primary.execute(f"CREATE ROLE stormcellar LOGIN PASSWORD '{PASSWORD}'")
        primary.execute("CREATE DATABASE stormcellar OWNER stormcellar")

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, free_port()))
        with (self.folder / "etcd.log").open("wb") as log:
            self._etcd = subprocess.Popen(
                [require("etcd"), "--name=etcd1", f"--data-dir={self.folder / 'etcd'}",
                 f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                 f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                 f"--initial-cluster=etcd1={peer}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=process_env(ETCD_UNSUPPORTED_ARCH="arm64"),
            )  # fmt: skip
        self._wait("etcd answers", lambda: _ask(f"{client}/health")["health"] == "true")

    def remove(self) -> None:
        for _ in range(2):  # a Patroni that was killed while it started its server may have left one
            for node in self.nodes:
                node.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait(DEADLINE_S)
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The address that the site's servers get, as deploy/patroni.yml gives it."""
        hosts = ",".join(f"127.0.0.1:{node.for_clients.port}" for node in self.nodes)
        return f"postgresql://stormcellar:{PASSWORD}@{hosts}/stormcellar?target_session_attrs=read-write"

    def empty_database(self) -> None:
        self.primary.execute("DROP SCHEMA public CASCADE", "stormcellar")
        self.primary.execute("CREATE SCHEMA public AUTHORIZATION stormcellar", "stormcellar")

    # -- roles ----------------------------------------------------------------------------------------

    @property
    def primary(self) -> Node:
        """The server that holds the leader's key in etcd."""
        value = self._leader_key().get("value", "")
        name = base64.b64decode(value).decode()
        return next(node for node in self.nodes if node.name == name)

    def until_promoted(self, old: Node) -> Node:
        """Wait until another server than `old` takes writes, and return it."""
        others = [node for node in self.nodes if node is not old]
        promoted: list[Node] = []

        def is_there() -> bool:
            promoted[:] = [node for node in others if node.takes_writes()]
            return bool(promoted)

        self._wait("a replica takes over", is_there)
        return promoted[0]

    def until_whole(self) -> None:
        """Wait until one server is the primary and both others stream from it."""

        def is_whole() -> bool:
            found = [
                (member["role"] in ("leader", "primary"), member["state"], member.get("timeline"))
                for member in self.primary.ask("/cluster")["members"]
            ]
            timelines = {timeline for _, _, timeline in found}
            states = sorted(state for _, state, _ in found)
            streams = self.primary.execute(
                "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            )
            leaders = sum(is_leader for is_leader, _, _ in found)
            return (
                (len(found), leaders, len(timelines), streams) == (3, 1, 1, [(2,)])
                and states == ["running", "streaming", "streaming"]
                and self._is_synchronous() in (None, True)
            )

        self._wait("the cluster is whole", is_whole)

    def _is_synchronous(self) -> bool | None:
        """Tell whether a replica is the synchronous one; None where none is wanted."""
        if not self.primary.ask("/config").get("synchronous_mode"):
            return None
        states = self.primary.execute("SELECT sync_state FROM pg_stat_replication")
        roles = [member["role"] for member in self.primary.ask("/cluster")["members"]]
        return ("sync",) in states and "sync_standby" in roles

    def set_synchronous(self, synchronous: bool) -> None:
        """Choose how the cluster replicates."""
        if bool(self.primary.ask("/config").get("synchronous_mode")) != synchronous:
            self.primary.ask("/config", "PATCH", {"synchronous_mode": synchronous})
        self.until_whole()
        names = "SELECT current_setting('synchronous_standby_names') <> ''"
        self._wait("replication is as wanted", lambda: self.primary.execute(names) == [(synchronous,)])

    @contextmanager
    def lag(self, seconds: float) -> Iterator[None]:
        """Let what the primary sends arrive at the replicas so much later."""
        for node in self.nodes:
            node.for_servers.lag_s = seconds
        try:
            yield
        finally:
            for node in self.nodes:
                node.for_servers.lag_s = 0.0

    def switch_over(self) -> Node:
        """Hand the primary's role to a replica as an administrator plans it; returns the new primary."""
        old = self.primary
        members = old.ask("/cluster")["members"]
        wanted = "sync_standby" if self._is_synchronous() else "replica"
        candidate = next(member["name"] for member in members if member["role"] == wanted)
        old.ask("/switchover", "POST", {"leader": old.name, "candidate": candidate})
        return self.until_promoted(old)

    def end_lease(self) -> None:
        """Let the leader's key expire now, as it does `ttl` after the primary's last sign of life."""
        if lease := self._leader_key().get("lease"):
            self._ask_etcd("/v3/lease/revoke", {"ID": lease})

    def _leader_key(self) -> dict[str, str]:
        found = self._ask_etcd("/v3/kv/range", {"key": base64.b64encode(LEADER_KEY.encode()).decode()})
        pairs: list[dict[str, str]] = found.get("kvs", [{}])
        return pairs[0]

    def _ask_etcd(self, path: str, body: object) -> Any:
        return _ask(f"http://127.0.0.1:{self.etcd_port}{path}", "POST", body)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        trouble: Exception | None = None
        while True:
            try:
                trouble = None
                if condition():
                    return
            except Exception as error:
                trouble = error
            assert time.monotonic() < deadline, f"{what}: {trouble}\n" + "\n".join(
                f"--- {node.name}\n{node.log[-3000:]}" for node in self.nodes
            )
            time.sleep(0.05)


def _ask(url: str, method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
        said = response.read()
    return json.loads(said) if said[:1] in (b"{", b"[") else said.decode()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _as_server_user() -> list[str]:
    """Return the words before a command of Patroni's: PostgreSQL refuses to run as root.

    The right to pass over the permissions of files stays, since Python may be in root's own folder.
    """
    if os.getuid() != 0:
        return []
    account = pwd.getpwnam("postgres")
    return [
        "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups",
        "--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override",
    ]  # fmt: skip
