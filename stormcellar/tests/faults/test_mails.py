# SPDX-License-Identifier: MIT
"""A mail server that is away or silent, while servers are stopped and killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from stormcellar.testing.client import PASSWORD
from stormcellar.tests.serving import SITE_DIR, ServerProcess, free_port, process_env
from stormcellar.tests.smtp import PostOffice

pytestmark = pytest.mark.faults

EMAIL = "ann@example.com"
DEADLINE_S = 60.0


def site(folder: Path, port: int) -> ServerProcess:
    return ServerProcess(folder, f"--smtp_url=smtp://127.0.0.1:{port}", "--mail_from=no-reply@example.com")


def post(server: ServerProcess, path: str, **fields: str) -> None:
    headers = {"Origin": server.url}
    urlopen(Request(server.url + path, urlencode(fields).encode(), headers)).read()


def manage(folder: Path, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "manage.py", *words, f"--data_dir={folder}"],
        cwd=SITE_DIR,
        check=True,
        capture_output=True,
        text=True,
        env=process_env(),
    ).stdout


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_mail_survives_a_mail_server_that_is_away_and_a_killed_server(tmp_path: Path) -> None:
    port = free_port()
    with site(tmp_path, port) as server:
        post(server, "/signup", email=EMAIL, password=PASSWORD)
        post(server, "/forgot-password", email=EMAIL)
        until(lambda: "ConnectionRefusedError" in manage(tmp_path, "list-mails"))
        server.kill()
    office = PostOffice()
    with office.open_in_thread(port=port), site(tmp_path, port):
        assert "attempt 1 mails" in manage(tmp_path, "retry-mails")
        until(lambda: office.taken)
    assert office.message()["To"] == EMAIL
    assert manage(tmp_path, "list-mails") == ""


def test_a_stop_does_not_wait_for_a_silent_mail_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with site(tmp_path, silent.getsockname()[1]) as server:
            post(server, "/signup", email=EMAIL, password=PASSWORD)
            post(server, "/forgot-password", email=EMAIL)
            connection, _ = silent.accept()
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 10
            connection.close()
        (line,) = manage(tmp_path, "list-mails").splitlines()
    assert "the server stopped" in line
