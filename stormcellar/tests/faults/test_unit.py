# SPDX-License-Identifier: MIT
"""The shipped unit under a real systemd: everything that the server does works inside its sandbox."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stormcellar.tests.faults.namespaces import Machine
from stormcellar.tests.faults.test_deploy import children, wait_until
from stormcellar.tests.faults.unit import boot
from stormcellar.tests.parts import require
from stormcellar.tests.serving import ServerProcess, free_port
from stormcellar.tests.smtp import PostOffice

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ADDRESS = "127.0.0.3"  # moved away from its default, like the port
HOST = "www.example.com"
PASSWORD = "tall ships sail 27 seas"
SECRET = "VSN7mTkGbZ1Q4xUe0pJdYwLh3CfRaOi9"


KILLS = "SystemCallErrorNumber=\nSystemCallFilter=setpriority\n"
"""A refused system call ends the process, except for the one whose refusal the server expects."""


class Unit:
    """The running unit, and a browser without pages."""

    def __init__(self, folder: Path, mail_server: str, changes: str = "") -> None:
        self.changes = changes
        self.port = free_port()
        self.name = f"stormcellar@{self.port}"
        self.folder = folder
        self.machine: Machine = boot(
            folder,
            self.port,
            {
                "public_url": f"https://{HOST}",
                "address": ADDRESS,
                "processes": 2,
                "data_dir": "/var/lib/stormcellar",
                "secret": SECRET,
                "smtp_url": f"smtp://{mail_server}",
                "mail_from": "no-reply@example.com",
            },
            changes,
        )

    def systemctl(self, *words: str) -> str:
        done = self.machine.run("systemctl", *words, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr, self.log)
        return done.stdout.strip()

    def state(self) -> str:
        return self.systemctl("show", "--property=ActiveState", "--value", self.name)

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return (path.read_text() if path.exists() else "") + self.machine.output.read_text()

    @property
    def main_pid(self) -> int:
        """Of the supervisor, as this machine counts."""
        workers = {pid for pid in children(self.machine.pid) if "server.py" in _command_line(pid)}
        (pid,) = workers
        return pid

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=30)
        sent = {"Host": HOST, "Content-Type": "application/json", "st-auth-mode": "header", "rid": "x"}
        sent.update(headers)
        connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


@pytest.fixture(scope="module")
def post_office() -> Iterator[tuple[str, PostOffice]]:
    """A mail server in a thread."""
    loop, office, address, ready = asyncio.new_event_loop(), PostOffice(), [], threading.Event()

    async def serve(over: asyncio.Event) -> None:
        async with office.open() as where:
            address.append(where)
            ready.set()
            await over.wait()

    over = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(over)), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield address[0], office
    loop.call_soon_threadsafe(over.set)
    thread.join(30)


@pytest.fixture(scope="module", params=["", KILLS], ids=["as shipped", "refused calls kill"])
def unit(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    post_office: tuple[str, PostOffice],
) -> Iterator[Unit]:
    unit = Unit(tmp_path_factory.mktemp("unit"), post_office[0], request.param)
    try:
        yield unit
    finally:
        unit.machine.stop()


def fields(email: str) -> dict[str, object]:
    return {"formFields": [{"id": "email", "value": email}, {"id": "password", "value": PASSWORD}]}


def test_the_unit_starts_and_is_ready_at_its_own_address(unit: Unit) -> None:
    """ExecStartPost asks the address and the port of the settings."""
    wait_until(lambda: unit.state() != "activating", "systemd has started the unit")
    assert unit.state() == "active", unit.log
    assert unit.ask("GET", "/readyz").status == 200


def test_the_sandbox_is_that_of_the_unit(unit: Unit) -> None:
    """Else this file would prove nothing: the filter is on, and no capability and no way to write is left."""
    lines = Path(f"/proc/{unit.main_pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert status["Uid"].split()[0] != "0"
    shown = unit.systemctl("show", unit.name, "--property=SystemCallFilter")
    assert "openat" in shown
    assert ("setpriority" in shown) is bool(unit.changes)
    mounts = Path(f"/proc/{unit.main_pid}/mountinfo").read_text()
    assert [line.split()[5].split(",")[0] for line in mounts.splitlines() if line.split()[4] == "/"] == ["ro"]


def test_people_sign_up_sign_in_refresh_and_sign_out_inside_it(unit: Unit) -> None:
    assert unit.ask("POST", "/auth/signup", fields("ann@example.com")).status == 200, unit.log
    signed_in = unit.ask("POST", "/auth/signin", fields("ann@example.com"))
    assert (signed_in.status, json.loads(signed_in.text)["status"]) == (200, "OK"), unit.log  # type: ignore[attr-defined]
    refresh_token = signed_in.headers["st-refresh-token"]
    refreshed = unit.ask("POST", "/auth/session/refresh", Authorization=f"Bearer {refresh_token}")
    assert refreshed.status == 200, unit.log
    bearer = f"Bearer {refreshed.headers['st-access-token']}"
    assert unit.ask("POST", "/auth/signout", Authorization=bearer).status == 200


def test_a_mail_leaves_it(unit: Unit, post_office: tuple[str, PostOffice]) -> None:
    form = {"formFields": [{"id": "email", "value": "ann@example.com"}]}
    assert unit.ask("POST", "/auth/user/password/reset/token", form).status == 200
    taken = post_office[1].taken
    wait_until(lambda: any("ann@example.com" in one.rcpt_tos for one in taken), "the mail has arrived")


def test_a_reload_replaces_the_workers_and_a_stop_ends_all(unit: Unit) -> None:
    """Last: the unit is stopped."""
    before = children(unit.main_pid)
    assert len(before) == 2
    unit.systemctl("reload", unit.name)
    wait_until(lambda: len(children(unit.main_pid) - before) == 2, "new workers are there")
    wait_until(lambda: not children(unit.main_pid) & before, "the old workers are gone")
    assert unit.ask("GET", "/readyz").status == 200
    unit.systemctl("stop", unit.name)
    assert unit.systemctl("show", unit.name, "--property=Result", "--value") == "success"
    assert "Traceback" not in unit.log
    assert "ended by itself" not in unit.log, "no worker was killed"


def test_passwords_are_hashed_under_the_units_filter_alone(tmp_path: Path) -> None:
    """Where namespaces are refused, as in containers without rights, this much can still be tried."""
    require("systemd")
    program = (sys.executable, "-m", "stormcellar.tests.faults.seccomp", sys.executable, "server.py")
    with ServerProcess(tmp_path, program=program) as server:
        assert "Seccomp:\t2" in Path(f"/proc/{server.pid}/status").read_text()
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {"Content-Type": "application/json", "rid": "x"}
        for path in ("/auth/signup", "/auth/signin"):
            connection.request("POST", path, json.dumps(fields("ann@example.com")), headers)
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["status"]) == (200, "OK"), server.log
        connection.close()
