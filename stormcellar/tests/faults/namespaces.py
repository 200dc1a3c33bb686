# SPDX-License-Identifier: MIT
"""A machine inside this machine: its own mounts, processes and host name, and the same network."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stormcellar.tests.parts import may_unshare, require
from stormcellar.tests.serving import process_env

DEADLINE_S = 60.0
UNSHARE = [
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--uts",
    "--ipc",
    "--propagation=private",
]


class Machine:
    """Runs a shell script as process 1 of new namespaces. It sees the files of this machine.

    Args:
        folder: takes the script and its output.
        script: ends with `exec`, so that the program becomes process 1.
    """

    def __init__(self, folder: Path, script: str) -> None:
        require("unshare")
        self._root = may_unshare()  # the words that make root of us
        self.output = folder / "boot.log"
        path = folder / "boot.sh"
        path.write_text(f"set -eu\n{script}")
        unshare = shutil.which("unshare") or "unshare"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._root, unshare, *UNSHARE, "--propagation=private", "sh", path],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=process_env(),
            )

    @property
    def pid(self) -> int:
        """The number of process 1, as it is outside."""
        (child,) = _children(self._unshare_pid)
        return child

    @property
    def _unshare_pid(self) -> int:
        pid = self._process.pid
        return _children(pid)[0] if self._root else pid  # sudo waits for what it starts

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        enter = [*self._root, "nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd"]
        words = [*enter, *command]
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": DEADLINE_S}
        return subprocess.run(words, check=check, env=process_env(), **options)

    def wait_until_it_runs(self, program: str) -> None:
        """Wait until process 1 is this program, so that the script has done its work."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                if Path(f"/proc/{self.pid}/comm").read_text().strip() == program:
                    return
            except (OSError, ValueError, IndexError):  # not yet
                assert self._process.poll() is None, self.output.read_text()
            time.sleep(0.02)
        raise AssertionError(f"{program} did not start: {self.output.read_text()}")

    def wait(self) -> int:
        """Wait until process 1 has ended; return its exit code."""
        return self._process.wait(DEADLINE_S)

    def stop(self) -> None:
        """End all of it at once."""
        if self._process.poll() is None:
            subprocess.run([*self._root, "kill", "-KILL", str(self._unshare_pid)], check=False)
        self._process.wait(DEADLINE_S)


def _children(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sh(*commands: Sequence[str | Path]) -> str:
    """Commands as lines of a shell script."""
    return "".join(shlex.join(map(os.fspath, command)) + "\n" for command in commands)
