# SPDX-License-Identifier: MIT
"""The parent of the development server: starts the child, watches the files, shows what is wrong with them.

    a file is saved          the child ends, another one starts on the same sockets
    the child cannot start   terminal and browser show the exception, until a file is saved
    SIGTERM, SIGINT          the child drains and ends, then the parent; a second signal ends both at once
    the parent is killed     the child notices by its lifeline and ends

The first start is different: if it fails, the program ends, as without `debug`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer

from stormcellar import server as processes
from stormcellar.dev import child, files
from stormcellar.dev.cookie_suffix import file_of
from stormcellar.dev.failures import Failure, failure_application
from stormcellar.settings import Settings

log = logging.getLogger("stormcellar.development")

LOOK_INTERVAL_S = 0.3
GRACE_S = 0.3  # for an old child's answers: its idle connections would go on showing the old pages
KILL_AFTER_S = 5.0


class Parent:
    """Runs server.py in a child until SIGTERM or SIGINT.

    Args:
        command: the command line, with the path of server.py.
    """

    def __init__(self, options: Settings, command: Sequence[str]) -> None:
        self._options = options
        self._command = command
        self._folder = Path(command[0]).resolve().parent
        self._more = [*files.config_files(command[1:], os.environ), file_of(options).absolute()]
        self._stop = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._sockets: list[socket.socket] = []

    async def run(self, announce: processes.Announce) -> None:
        """Serve; `announce` is called once, with the addresses.

        Raises:
            SystemExit: the first child did not start; it has said why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        self._sockets = processes.inherited_sockets() or processes.listen(self._options)
        self._lifeline, _held_open = os.pipe()
        started = False
        while not self._stop.is_set():
            seen = files.snapshot(self._folder, self._more)
            process, reports = await self._spawn()
            failure = await self._ready(process, reports)
            if failure is None and not started:
                started = True
                announce(processes.addresses_of(self._sockets))
            elif failure is None:
                log.info("the server was started again")
            elif not started and not self._stop.is_set():
                sys.exit(await process.wait() or 1)
            if failure is None:
                failure = await self._until_change(seen, process, reports)
            if failure is not None and not self._stop.is_set():
                await self._show(failure, seen)
            await self._end_child(process)

    def _end(self) -> None:
        if self._stop.is_set() and self._child is not None:
            _send(self._child, signal.SIGKILL)
        self._stop.set()

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """A new child, and what it will report."""
        read_end, write_end = os.pipe()
        numbers = [listening.fileno() for listening in self._sockets]
        environment = {
            **os.environ,
            processes.SOCKETS_VARIABLE: " ".join(map(str, numbers)),
            processes.LIFELINE_VARIABLE: str(self._lifeline),
            child.REPORT_VARIABLE: str(write_end),
        }
        command = [sys.executable, child.__file__, *self._command]
        passed = (*numbers, write_end, self._lifeline)
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment, pass_fds=passed)
        finally:
            os.close(write_end)
        reports = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reports), os.fdopen(read_end, "rb", buffering=0)
        )
        self._child = process
        return process, reports

    async def _ready(
        self, process: asyncio.subprocess.Process, reports: asyncio.StreamReader
    ) -> Failure | None:
        """Wait until the child serves; returns why it does not."""
        message = await self._or_stop(_next(reports))
        if message is None:
            return Failure("The server ended before it was ready. Its terminal may say why.")
        return None if "ready" in message else Failure(**message["failure"])

    async def _until_change(
        self, seen: files.Snapshot, process: asyncio.subprocess.Process, reports: asyncio.StreamReader
    ) -> Failure | None:
        """Wait until a file is saved; returns a failure if the child ends before that."""
        change = asyncio.ensure_future(self._change(seen))
        end = asyncio.ensure_future(_next(reports))
        await self._or_stop(asyncio.wait({change, end}, return_when=asyncio.FIRST_COMPLETED))
        change.cancel()
        if not end.done():
            end.cancel()
            return None
        message = end.result()
        if message is not None:
            return Failure(**message["failure"])
        return Failure(f"The server ended with status {await process.wait()}. Its terminal may say why.")

    async def _change(self, seen: files.Snapshot) -> None:
        while not (path := files.changed(seen, files.snapshot(self._folder, self._more))):  # noqa: ASYNC110 - of files
            await asyncio.sleep(LOOK_INTERVAL_S)
        log.info("%s has changed", path)

    async def _show(self, failure: Failure, seen: files.Snapshot) -> None:
        """Answer with the failure until a file is saved."""
        log.error("the server does not run; it starts again when a file is saved")
        server = HTTPServer(failure_application(failure, self._options.origin or ""))
        server.add_sockets([listening.dup() for listening in self._sockets])
        await self._or_stop(self._change(seen))
        server.stop()
        await server.close_all_connections()

    async def _end_child(self, process: asyncio.subprocess.Process) -> None:
        """End the child; at a restart it has less time than at the end."""
        _send(process, signal.SIGTERM)
        if not self._stop.is_set() and not await _ended(process, GRACE_S):
            _send(process, signal.SIGTERM)
        if not await _ended(process, KILL_AFTER_S + self._stop.is_set() * self._options.drain_s):
            _send(process, signal.SIGKILL)
            await process.wait()

    async def _or_stop(self, waiting: Any) -> Any:
        """Wait for something; None if the parent is told to stop before."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()


async def _next(reports: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next report; None if the child has ended without one."""
    line = await reports.readline()
    return json.loads(line) if line else None


async def _ended(process: asyncio.subprocess.Process, within_s: float) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), within_s)
    return process.returncode is not None


def _send(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
