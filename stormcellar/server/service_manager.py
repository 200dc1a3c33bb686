# SPDX-License-Identifier: MIT
"""What systemd is told: the server is ready, it reloads, it stops, it is alive.

A message is one datagram with lines of `NAME=value`, sent to the socket that `NOTIFY_SOCKET` names. Without
that variable there is no service manager that listens, and nothing is sent.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the main process alone: workers do not get them."""

START_BEAT_S = 10.0
EXTENSION_S = 60


def notify(*lines: str) -> None:
    """Send one message. A message that cannot be sent is dropped: the service manager does not listen."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), address)


def reloading() -> None:
    """Say that the workers are being replaced; READY=1 ends that state."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_s() -> float | None:
    """The time after which systemd kills a process that gave no sign of life; None if it does not watch."""
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(text) / 1e6


async def report_life(is_ready: Callable[[], bool]) -> None:
    """Give signs of life for as long as the event loop runs.

    A start may take longer than TimeoutStartSec, for example for a migration. Until the server is ready, each
    message extends that time.
    """
    watchdog = watchdog_s()
    while True:
        if not is_ready():
            notify(f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1_000_000}")
        elif watchdog is None:
            return
        else:
            notify("WATCHDOG=1")
        beat = START_BEAT_S if watchdog is None else min(START_BEAT_S, watchdog / 3)
        await asyncio.sleep(beat)
