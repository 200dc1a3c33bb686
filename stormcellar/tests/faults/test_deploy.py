# SPDX-License-Identifier: MIT
"""Workers come and go under a supervisor; nobody who asks them notices."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stormcellar.server import Supervisor, worker
from stormcellar.settings import Settings
from stormcellar.tests.figures import Figures
from stormcellar.tests.serving import ServerProcess

pytestmark = pytest.mark.faults

DEADLINE_S = 60.0
WORKERS, REPLACEMENTS = 5, 20


class Visitors:
    """Threads that ask over and over, on connections that they keep as long as they may.

    Args:
        count: how many ask for a page, 50 times a second each if they may.
        signing_in: how many sign in, with a password that is wrong; an answer takes long.
    """

    def __init__(self, url: str, count: int, signing_in: int = 0) -> None:
        self.address = urlsplit(url)
        self.answers = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._ask, args=("GET", "/"), daemon=True) for _ in range(count)),
            *(
                threading.Thread(target=self._ask, args=("POST", "/auth/signin"), daemon=True)
                for _ in range(signing_in)
            ),
        ]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _ask(self, method: str, path: str) -> None:
        body = json.dumps({"formFields": credentials("nobody@example.com")}) if method == "POST" else None
        headers = {"Content-Type": "application/json", "rid": "emailpassword"} if body else {}
        connection = http.client.HTTPConnection(
            self.address.hostname or "", self.address.port, timeout=DEADLINE_S
        )
        while not self._over.is_set():
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            self.answers += 1
            if answer.status != 200:
                self.failures.append(str(answer.status))
            if answer.getheader("Connection") == "close":
                connection.close()
            time.sleep(0.02)
        connection.close()


def credentials(email: str) -> list[dict[str, str]]:
    return [{"id": "email", "value": email}, {"id": "password", "value": "correct horse battery"}]


def children(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(number) for number in text.split()}


def wait_until(holds: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def test_twenty_replacements_of_all_workers_under_load_fail_no_request(
    tmp_path: Path, figures: Figures
) -> None:
    """A hundred workers are stopped; whoever had sent a request is answered, and so is whoever comes."""
    replaced_s: list[float] = []
    with (
        ServerProcess(tmp_path, f"--processes={WORKERS}") as server,
        Visitors(server.url, 5, signing_in=2) as visitors,
    ):
        for _ in range(REPLACEMENTS):
            before = children(server.pid)
            answers = visitors.answers
            began = time.monotonic()
            os.kill(server.pid, signal.SIGHUP)
            wait_until(lambda: len(children(server.pid) - before) == WORKERS, "new workers are there")  # noqa: B023
            wait_until(lambda: not children(server.pid) & before, "the old workers are gone")  # noqa: B023
            replaced_s.append(time.monotonic() - began)
            wait_until(lambda: visitors.answers > answers, "visitors are answered")  # noqa: B023
    assert visitors.answers > 200
    tried = f"{REPLACEMENTS} times {WORKERS} workers stopped, {visitors.answers} requests"
    figures.none("rolling restarts under load: requests cut or failed", "SQLite", visitors.failures, tried)
    figures.times("rolling restart: until all old workers are gone", "SQLite", replaced_s, most_s=30.0)


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--processes=2") as server:
        victim = min(children(server.pid))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(children(server.pid) - {victim}) == 2, "another worker is there")
        with Visitors(server.url, 2) as visitors:
            wait_until(lambda: visitors.answers > 20, "visitors are answered")
        assert visitors.failures == []


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; where nobody asks, one that has ended is listed on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_do_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """They would hold the port and the old code, and nobody would know of them."""
    with ServerProcess(tmp_path, "--processes=2") as server:
        workers = children(server.pid)
        assert len(workers) == 2
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, workers)), "the workers have ended")
    assert "Traceback" not in server.log


def start_worker(*command: str) -> tuple[bool, Supervisor]:
    """Have a supervisor start one worker, and wait until that has ended if it is not ready."""

    async def start() -> tuple[bool, Supervisor]:
        supervisor = Supervisor(Settings(), list(command))
        supervisor._sockets, (supervisor._lifeline, held_open) = [], os.pipe()
        watching = asyncio.ensure_future(supervisor._watch())
        try:
            ready = await supervisor._start()
            await asyncio.wait_for(asyncio.gather(*supervisor._waiting), DEADLINE_S)
        finally:
            watching.cancel()
            for worker in supervisor._workers:  # only if the test fails
                worker.send(signal.SIGKILL)
            os.close(held_open)
            os.close(supervisor._lifeline)
        return ready, supervisor

    return asyncio.run(start())


def test_a_worker_that_cannot_be_started_leaves_no_file_open(tmp_path: Path) -> None:
    """The supervisor tries again later; it must not end, nor run out of files by trying."""
    before = os.listdir("/proc/self/fd")
    ready, supervisor = start_worker(str(tmp_path / "nothing"))
    assert (ready, supervisor._workers) == (False, set())
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_worker_that_is_never_ready_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ignores SIGTERM, or does not hear it: it would count as a worker for ever."""
    monkeypatch.setattr(worker, "SILENT_START_S", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    ready, supervisor = start_worker(sys.executable, "-c", deaf)
    assert (ready, supervisor._workers) == (False, set())


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_finishes_what_was_begun(tmp_path: Path, processes: int) -> None:
    """The answer to a request that was sent before the signal arrives whole, accepted yet or not."""
    server = ServerProcess(tmp_path, f"--processes={processes}")
    server.start()
    address = urlsplit(server.url)
    connections = []
    for _ in range(20):
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_S)
        connection.request(
            "POST",
            "/auth/signup",
            json.dumps({"formFields": credentials(f"a{len(connections)}@example.com")}),
            {"Content-Type": "application/json", "rid": "emailpassword"},
        )
        connections.append(connection)
    os.kill(server.pid, signal.SIGTERM)
    statuses = []
    for connection in connections:
        statuses.append(connection.getresponse().status)
        connection.close()
    server.stop()
    assert statuses == [200] * len(connections)
