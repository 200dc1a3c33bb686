# SPDX-License-Identifier: MIT
"""As process 1 of a container, collect the exit status of processes whose parent has ended.

Otherwise each of them stays as a zombie, until the container may start no more processes. Docker's `--init`
does the same; with it the server is not process 1, and this module does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

INTERVAL_S = 2.0
PROC = Path("/proc")


def zombies(parent: int) -> set[int]:
    """Return the children of a process that have ended and whose status no program has collected."""
    found = set()
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it is gone by now
                state, of_parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
                if state == "Z" and int(of_parent) == parent:
                    found.add(int(folder.name))
    return found


async def collect(interval_s: float = INTERVAL_S) -> None:
    """Collect orphans for ever. The event loop collects our own children well within an interval."""
    before: set[int] = set()
    while True:
        await asyncio.sleep(interval_s)
        now = zombies(os.getpid())
        for pid in now & before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended: this does not wait
        before = now - before
