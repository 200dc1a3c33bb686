# SPDX-License-Identifier: MIT
"""Processes that hang, stop, run out of descriptors or lose the reader of their log; and who hears of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stormcellar import server as processes
from stormcellar.settings import Settings, SettingsError
from stormcellar.tests.faults.test_deploy import children, credentials, start_worker, wait_until
from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env

pytestmark = pytest.mark.faults

ODD = (sys.executable, str(Path(__file__).with_name("odd_server.py")))
PATIENCE_S = 20.0


def ask(url: str, path: str, **headers: str) -> tuple[int, str]:
    """Ask on a connection of its own."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def send(url: str, data: bytes) -> socket.socket:
    address = urlsplit(url)
    client = socket.create_connection((address.hostname or "", address.port or 80), PATIENCE_S)
    client.sendall(data)
    return client


def hang(url: str) -> socket.socket:
    """Have a worker hang."""
    client = send(url, b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(0.3)  # a worker has taken it
    return client


def stopping_s(server: ServerProcess) -> float:
    began = time.monotonic()
    assert server.stop() == 0
    return time.monotonic() - began


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mail_server_that_is_silent_does_not_delay_a_stop(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail = f"--smtp-url=smtp://127.0.0.1:{silent.getsockname()[1]}"
        more = (mail, "--mail-from=a@example.com", "--drain-s=3", f"--processes={workers}")
        with ServerProcess(tmp_path, *more) as server:
            post(server.url, "/auth/signup", credentials("ann@example.com"))
            post(server.url, "/auth/user/password/reset/token", credentials("ann@example.com")[:1])
            silent.settimeout(PATIENCE_S)
            connection, _ = silent.accept()
            assert stopping_s(server) < 5
            connection.close()


def post(url: str, path: str, fields: list[dict[str, str]]) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
    headers = {"Content-Type": "application/json", "rid": "emailpassword"}
    connection.request("POST", path, json.dumps({"formFields": fields}), headers)
    assert json.loads(connection.getresponse().read())["status"] == "OK"
    connection.close()


def test_an_upload_that_breaks_off_does_not_delay_a_stop(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        send(server.url, b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\na").close()
        assert stopping_s(server) < 5  # drain_s is 20


def test_a_download_that_has_begun_is_finished_within_drain_s(tmp_path: Path) -> None:
    """60 MB at 12 MB a second: longer than idle connections are kept."""
    size = 60_000_000
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file.bin").write_bytes(bytes(size))
    environment = {"LARGE_FILES": str(tmp_path / "large")}
    with ServerProcess(tmp_path / "data", environment=environment, program=ODD) as server:
        client = send(server.url, b"GET /large/file.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = len(client.recv(65536))
        os.kill(server.pid, signal.SIGTERM)
        while data := client.recv(600_000):
            received += len(data)
            time.sleep(len(data) / 12e6)
        assert received > size


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--processes=2", "--watchdog-s=2", program=ODD) as server:
        before = children(server.pid)
        with hang(server.url):
            wait_until(lambda: len(children(server.pid) & before) == 1, "the hanging worker is gone")
        wait_until(lambda: len(children(server.pid)) == 2, "another worker is there")
    assert "gave no sign of life for 2 s and is killed" in server.log
    assert "odd_server.py" in server.log, "it says where the worker hangs"


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
def test_a_worker_that_hangs_does_not_outlive_its_time(tmp_path: Path, how: signal.Signals) -> None:
    more = ("--processes=2", "--watchdog-s=0", "--drain-s=1")
    with ServerProcess(tmp_path, *more, program=ODD) as server:
        before = children(server.pid)
        with hang(server.url):
            os.kill(server.pid, how)
            began = time.monotonic()
            wait_until(lambda: not before & living(server.pid), "the old workers are gone")
            assert time.monotonic() - began < 15


def living(pid: int) -> set[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return children(pid)
    return set()


def test_a_start_that_gives_signs_of_life_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration takes as long as it takes."""
    monkeypatch.setattr(processes.worker, "SILENT_START_S", 1.5)
    monkeypatch.setattr(processes.supervisor, "CHECK_S", 0.1)
    monkeypatch.setattr(processes.supervisor, "LONG_START_S", 1.0)
    slow = (
        "import os, time\n"
        "pipe = int(os.environ['KIT_LIFE_FD'])\n"
        "for _ in range(30): os.write(pipe, b'.'), time.sleep(0.1)\n"
        "os.write(pipe, b'R')\n"
    )
    ready, _ = start_worker(sys.executable, "-c", slow)
    assert ready


def test_without_free_descriptors_accepting_pauses_and_the_log_has_one_line(tmp_path: Path) -> None:
    limited = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "server.py")
    with ServerProcess(tmp_path, program=limited) as server:
        with contextlib.ExitStack() as clients:
            for _ in range(80):
                clients.enter_context(send(server.url, b"GET"))
            wait_until(lambda: "no connection can be accepted" in server.log, "the limit is met")
            time.sleep(1.2)  # two more attempts
        assert ask(server.url, "/login")[0] == 200
        server.stop()
    assert server.log.count("no connection can be accepted") == 1
    assert "Traceback" not in server.log


def test_requests_are_served_while_the_log_has_no_reader(tmp_path: Path) -> None:
    """800 lines of some 120 bytes are more than a pipe holds."""
    command = [sys.executable, "server.py", "--port=0", f"--data_dir={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=SITE_DIR, env=process_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://localhost:\d+", line)))
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
        for number in range(800):
            connection.request("GET", f"/nowhere/{number:050}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 404
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE_S)
        assert log.count("404 GET /nowhere/") == 800
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def service_manager(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A socket as systemd's, and what arrives there."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(folder / "notify"))

        def listen() -> None:
            while data := receiver.recv(4096):
                heard.append(data.decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield str(folder / "notify"), heard
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(folder / "notify"))
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_hears_when_it_is_ready_alive_and_stopping(tmp_path: Path, workers: int) -> None:
    with service_manager(tmp_path) as (place, heard):
        environment = {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "600000"}
        arguments = (f"--processes={workers}",)
        with ServerProcess(tmp_path / "data", *arguments, environment=environment) as server:
            wait_until(lambda: "READY=1" in heard, "it is ready")
            wait_until(lambda: heard.count("WATCHDOG=1") > 3, "it gives signs of life")
            if workers > 1:
                os.kill(server.pid, signal.SIGHUP)
                wait_until(lambda: any(text.startswith("RELOADING=1\n") for text in heard), "it reloads")
                wait_until(lambda: heard.count("READY=1") == 2, "it is ready again")
            server.stop()
        wait_until(lambda: "STOPPING=1" in heard, "it stops")
        assert heard[0].startswith("EXTEND_TIMEOUT_USEC=")
        assert heard.count("STOPPING=1") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lame_duck_serves_while_it_says_that_it_is_not_ready(tmp_path: Path, workers: int) -> None:
    with ServerProcess(tmp_path, "--lame-duck-s=2", f"--processes={workers}") as server:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: ask(server.url, "/readyz")[0] == 503, "it is not ready")
        assert ask(server.url, "/login")[0] == 200
        assert server.stop() in (0, 1)  # a second signal ends one process at once


def requests_counted(url: str) -> float:
    status, text = ask(url, "/metrics")
    assert status == 200
    (line,) = re.findall(r'request_seconds_count\{handler="LoginHandler",status="200"\} (\S+)', text)
    return float(line)


def test_metrics_are_those_of_all_workers_and_never_go_back(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    with ServerProcess(tmp_path, "--processes=2") as server:
        for _ in range(30):
            assert ask(server.url, "/login")[0] == 200
        time.sleep(1.0)  # each worker has written its figures
        assert {requests_counted(server.url) for _ in range(10)} == {30}
        os.kill(min(children(server.pid)), signal.SIGKILL)
        wait_until(lambda: "ended by itself" in server.log, "the supervisor knows of it")
        wait_until(lambda: len(children(server.pid)) == 2, "another worker is there")
        assert requests_counted(server.url) == 30
        before = children(server.pid)
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: not before & children(server.pid), "all workers are new")
        assert {requests_counted(server.url) for _ in range(5)} == {30}
        processes_shown = re.findall(r"^stormcellar_process\{.*\} 1.0$", ask(server.url, "/metrics")[1], re.M)
        assert len(processes_shown) == 2


def test_a_unix_socket_and_an_address_serve_together(tmp_path: Path) -> None:
    """curl asks through the socket; the client address comes from X-Forwarded-For."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    path = tmp_path / "web.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # the file of a server that died
    with ServerProcess(tmp_path / "data", f"--address=unix:{path},127.0.0.1") as server:
        assert ask(server.url, "/login")[0] == 200
        assert path.stat().st_mode & 0o777 == 0o660
        command = [curl, "--silent", "--fail", "--unix-socket", str(path), "http://localhost/login"]
        header = ["--header", "X-Forwarded-For: 203.0.113.9"]
        subprocess.run([*command, *header], check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)
        with pytest.raises(SettingsError, match="cannot listen on unix:"):
            processes.listen(Settings(address=f"unix:{path}"))
    assert re.search(r"200 GET /login \S+ ms 203\.0\.113\.9", server.log)


def test_a_socket_that_systemd_passes_is_announced_as_it_is(tmp_path: Path) -> None:
    activate = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); "
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        program = [sys.executable, "-c", activate, str(number), sys.executable, "server.py"]
        process = subprocess.Popen(
            [*program, f"--data_dir={tmp_path}", "--port=1"],
            cwd=SITE_DIR,
            env=process_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number],
            text=True,
        )
        try:
            assert process.stdout is not None
            url = f"http://localhost:{listening.getsockname()[1]}"
            assert process.stdout.readline().rstrip().endswith(url)
            assert ask(url, "/login")[0] == 200
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            process.stdout.close()


def test_the_address_with_two_colons_is_ipv4_and_ipv6() -> None:
    sockets = processes.listen(Settings(address="::", port=0, debug=True))
    try:
        ports = {listening.getsockname()[1] for listening in sockets}
        assert len(ports) == 1
        if len(sockets) == 1:
            pytest.skip("this machine has no IPv6")
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, *ports), PATIENCE_S).close()
    finally:
        for listening in sockets:
            listening.close()


def catches(pid: int, number: signal.Signals) -> bool:
    (mask,) = re.findall(r"^SigCgt:\s*(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_sigterm_during_the_start_ends_process_1_of_a_container(tmp_path: Path) -> None:
    """As process 1 of a PID namespace, for which the kernel ignores signals without a handler."""
    unshare = shutil.which("unshare")
    if unshare is None or os.getuid() != 0:
        pytest.skip("a PID namespace needs unshare and root")
    data = tmp_path / "data"
    command = [unshare, "--fork", "--pid", sys.executable, "server.py", "--port=0", f"--data_dir={data}"]
    process = subprocess.Popen(
        command, cwd=SITE_DIR, env=process_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: children(process.pid), "the server starts")
        (inner,) = children(process.pid)
        wait_until(lambda: catches(inner, signal.SIGTERM), "the signal has a handler")
        assert not data.exists(), "the start has not come further than the imports"
        os.kill(inner, signal.SIGTERM)
        process.wait(PATIENCE_S)
    finally:
        for pid in living(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
