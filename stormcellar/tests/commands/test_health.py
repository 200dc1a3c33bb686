# SPDX-License-Identifier: MIT
"""health: asks the server at the address and the port of the settings."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from stormcellar.commands import health
from stormcellar.settings import Settings
from stormcellar.tests.serving import SITE_DIR, free_port, process_env


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("localhost", "localhost"),
    ],
)
def test_it_connects_to_where_the_server_listens(address: str, host: str) -> None:
    options = Settings(address=address, public_url="https://www.example.com")
    assert health.connect_to(options) == host


@pytest.mark.parametrize(("status", "reason"), [(200, ""), (503, "answers 503")])
def test_it_asks_through_a_unix_socket(tmp_path: Path, status: int, reason: str) -> None:
    address = f"unix:{tmp_path}/web.sock"
    with socket.create_server(str(tmp_path / "web.sock"), family=socket.AF_UNIX) as listening:
        thread = threading.Thread(target=answer_once, args=(listening, status))
        thread.start()
        found = health.ask(SimpleNamespace(address=address, port=1), "/healthz")  # type: ignore[arg-type]
        thread.join(30)
    assert reason in found
    assert bool(found) is bool(reason)
    assert address in health.ask(SimpleNamespace(address=address, port=1), "/healthz")  # type: ignore[arg-type]


def answer_once(listening: socket.socket, status: int) -> None:
    connection, _ = listening.accept()
    with connection:
        assert connection.recv(1000).startswith(b"GET /healthz ")
        connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stormcellar.commands.health", *words]
    return subprocess.run(
        command, cwd=SITE_DIR, env=process_env(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_it_reports_a_server_that_does_not_answer() -> None:
    done = ask(f"--port={free_port()}", "--address=127.0.0.5")
    assert done.returncode == 1
    assert done.stderr.startswith("health: no server answers at address 127.0.0.5, port ")


@pytest.mark.slow
def test_it_reports_a_wrong_setting() -> None:
    assert ask("--port=eighty").returncode == 2


def test_it_loads_no_web_server() -> None:
    """It is asked every few seconds."""
    program = (
        "import sys, stormcellar.commands.health; "
        "sys.exit(bool({'tornado', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SITE_DIR, env=process_env(), check=False)
    assert done.returncode == 0
