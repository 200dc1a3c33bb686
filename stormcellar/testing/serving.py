# SPDX-License-Identifier: MIT
"""`python server.py` as a process of its own, for tests that need the real thing."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar

ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):\d+")
LAST_LINE = "Ctrl+C"  # of what a server says when it is ready
# Who has not started or stopped by then hangs; a good server takes about a second.
START_DEADLINE_S = 60
STOP_DEADLINE_S = 20


def free_port() -> int:
    """A loopback port for a program that must be told one.

    It is from below those that the system gives to outgoing connections: none can take it meanwhile.
    """
    while True:
        port = secrets.randbelow(20_000) + 12_000
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def process_env(**extra: str) -> dict[str, str]:
    """An environment in which nothing of the caller's own sets a setting or leads Python elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, **extra}


Process = TypeVar("Process", bound="ServerProcess")


class ServerProcess:
    """One server; start it again after `stop` or `kill` and it goes on with the same data.

    Args:
        data_dir: the folder that it keeps its secrets and its database in.
        arguments: further settings, such as "--access_token_lifetime_s=5".
        environment: variables beside those of `process_env`.
        program: what to run in place of server.py.

    Attributes:
        folder: the site; None: the current folder.
    """

    folder: ClassVar[Path | None] = None
    base_environment: ClassVar[Callable[..., dict[str, str]]] = staticmethod(process_env)

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "server.py"),
    ) -> None:
        # A whole suite calls from one address; who tests the limits turns them on again.
        self.command = [*program, "--port=0", f"--data_dir={data_dir}", "--no-rate-limits", *arguments]
        self.environment = self.base_environment(**(environment or {}))
        self.url = ""  # http://localhost:PORT, another port at each start
        self.log = ""  # all that it has printed since it was made
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._announced = threading.Event()

    def start(self: Process) -> Process:
        """Run it and wait until it has said where it is and how to stop it."""
        self.url = ""
        self._announced.clear()
        # A session of its own: what it starts can be ended with it.
        self._process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._announced.wait(START_DEADLINE_S)
        if not self.url or not self._announced.is_set():
            self.kill()
            raise AssertionError(f"the server did not start; it said:\n{self.log}")
        return self

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.log += line
            if self._announced.is_set():
                continue
            if found := ADDRESS.search(line):
                self.url = found[0]  # behind a public URL the address that it listens on comes second
            if LAST_LINE in line:
                self._announced.set()
        self._announced.set()  # it has ended; nobody need wait longer

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def stop(self) -> int:
        """Ask it to end (SIGTERM), as a service manager does. Returns its exit code, -9 if it would not."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it at once (SIGKILL), with all that it started, so that it can finish nothing."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if how == signal.SIGTERM:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if self._reader:
            self._reader.join()
        if process.stdout:
            process.stdout.close()
        return code

    def __enter__(self: Process) -> Process:
        return self.start()

    def __exit__(self, *reason: object) -> None:
        self.stop()
