# SPDX-License-Identifier: MIT
"""The server secret changes beneath running servers, one of which is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stormcellar.tests.faults.test_deploy import children, wait_until
from stormcellar.tests.serving import ROOT, ServerProcess, process_env

pytestmark = pytest.mark.faults

PASSWORD = "Heather-brooks-7"


class Visitor:
    """A caller with tokens in headers, as a native app of SuperTokens' clients has them."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.server = server
        fields = [{"id": "email", "value": f"{name}@example.com"}, {"id": "password", "value": PASSWORD}]
        self._take(self._ask("/auth/signup", {"formFields": fields}, {"st-auth-mode": "header", "rid": "x"}))

    def renew(self) -> None:
        headers = {"authorization": f"Bearer {self.refresh_token}", "st-auth-mode": "header", "rid": "x"}
        self._take(self._ask("/auth/session/refresh", {}, headers))

    def is_signed_in(self) -> bool:
        request = urllib.request.Request(self.server.url + "/session-alive")
        request.add_header("authorization", f"Bearer {self.access_token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status < 300)
        except urllib.error.HTTPError:
            return False

    def _ask(self, path: str, body: object, headers: dict[str, str]) -> dict[str, str]:
        request = urllib.request.Request(self.server.url + path, json.dumps(body).encode())
        for name, value in {"content-type": "application/json", **headers}.items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return {name.lower(): value for name, value in answer.getheaders()}

    def _take(self, headers: dict[str, str]) -> None:
        self.access_token, self.refresh_token = headers["st-access-token"], headers["st-refresh-token"]


def reload(server: ServerProcess) -> None:
    before = children(server.pid)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: len(children(server.pid)) == 2 and not before & children(server.pid), "it reloads")


def rotate(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "rotate-secret", *words, f"--data_dir={data_dir}"],
        cwd=ROOT,
        env=process_env(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_user_is_signed_out_by_a_new_secret(tmp_path: Path) -> None:
    settings = ("--processes=2", "--token_transfer_method=any", "--refresh_grace_s=0")
    with ServerProcess(tmp_path, *settings) as server:
        visitors = [Visitor(server, f"visitor{number}") for number in range(4)]
        assert rotate(tmp_path).returncode == 0
        early = rotate(tmp_path)
        assert (early.returncode, "2 of 2 server processes" in early.stderr) == (1, True)
        reload(server)
        for visitor in visitors:
            visitor.renew()
        changed = rotate(tmp_path)
        assert changed.returncode == 0, changed.stderr
        os.kill(server.pid, signal.SIGHUP)  # workers of before and after serve side by side
        for visitor in visitors * 5:
            visitor.renew()
        os.kill(min(children(server.pid)), signal.SIGKILL)
        wait_until(lambda: len(children(server.pid)) == 2, "another worker is there")
        for visitor in visitors:
            visitor.renew()
            assert visitor.is_signed_in()
        # The killed worker is on the list of servers until its lease ends, hence --force.
        wait_until(lambda: rotate(tmp_path, "--finish", "--yes", "--force").returncode == 0, "it is finished")
        status = json.loads(rotate(tmp_path, "--status", "--json").stdout)
        assert (len(status["secrets"]), status["sealed"]["earlier"], status["sealed"]["unreadable"]) == (
            1,
            0,
            0,
        )
        reload(server)
        for visitor in visitors:
            visitor.renew()
            assert visitor.is_signed_in()
