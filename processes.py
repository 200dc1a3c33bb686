# SPDX-License-Identifier: MIT
"""The life of a server's processes: listen, serve, drain, and be replaced without a failed request.

One process serves by itself. With `processes` of two or more a small supervisor owns the listening socket
and starts workers that inherit it; connections wait in the socket's queue, whoever comes and goes.

    SIGTERM, SIGINT   drain and end; a second one ends at once
    SIGHUP            the supervisor starts new workers, then drains the old ones: new code, no failed request
    a worker dies     the supervisor starts another, after a pause that grows if it keeps happening
    it dies itself    its workers drain and end, so that the next one finds the port free

A worker that drains is not ready any more (`/readyz`), takes no new connection, tells its clients not to
reuse theirs, closes WebSockets with 1001, finishes what it has begun, and exits within `drain_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from http_server import make_http_server
from settings import Settings, SettingsError

if TYPE_CHECKING:
    from server import Application

log = logging.getLogger("stormcellar.processes")

LINGER_S = 3.0  # for clients that keep a connection open without asking anything
WORKER_START_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

# From a supervisor to its workers: the listening sockets, the pipe to say "ready" through, and one that
# nothing is ever written to: it ends when the supervisor does, however that came.
SOCKETS_VARIABLE, READY_VARIABLE = "KIT_LISTEN_FDS", "KIT_READY_FD"
LIFELINE_VARIABLE = "KIT_LIFELINE_FD"


def event_loop(options: Settings) -> Callable[[Coroutine[Any, Any, None]], None]:
    """What runs a coroutine to its end, as asyncio.run does, on the event loop that the settings name."""
    if options.event_loop == "asyncio":
        return asyncio.run
    try:
        run: Callable[[Coroutine[Any, Any, None]], None] = importlib.import_module("uvloop").run
    except ImportError as error:
        raise SettingsError(
            f"event_loop is uvloop, but that cannot be used ({error}). Install it with "
            "`.venv/bin/python -m pip install -r requirements-uvloop.txt`, or leave event_loop at asyncio",
            "event_loop",
        ) from error
    return run


# -- one process ------------------------------------------------------------------------------------


async def serve(application: Application, announce: Callable[[int], None]) -> None:
    """Run the application until SIGTERM or SIGINT, then drain."""
    options = application.options
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: sys.exit(1) if stop.is_set() else stop.set())
    if LIFELINE_VARIABLE in os.environ:
        outlive_nobody(int(os.environ[LIFELINE_VARIABLE]), stop)
    await application.start()
    settle()
    sockets = inherited_sockets() or listen(options)
    server = make_http_server(application)
    server.add_sockets(sockets)
    if READY_VARIABLE in os.environ:
        os.write(int(os.environ[READY_VARIABLE]), b"ready")
    else:
        announce(sockets[0].getsockname()[1])
    await stop.wait()
    await drain(application, server)


def settle() -> None:
    """Have the garbage collector pass over what was made at the start: it lives as long as the process."""
    gc.collect()
    gc.freeze()


def outlive_nobody(lifeline: int, stop: asyncio.Event) -> None:
    """Stop when the supervisor has died: nobody would replace this worker, or end it, any more."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(lifeline)
        log.error("the supervisor is gone")
        stop.set()

    loop.add_reader(lifeline, end)


async def drain(application: Application, server: HTTPServer) -> None:
    """Stop taking work, finish what was begun, go."""
    application.begin_draining()
    take_who_waits(server)
    server.stop()
    await application.live.stop()
    end = time.monotonic() + application.options.drain_s
    linger_end = time.monotonic() + LINGER_S
    while time.monotonic() < end:
        idle = application.requests_under_way == 0
        if idle and (not server._connections or time.monotonic() > linger_end):
            break
        await asyncio.sleep(0.02)
    await server.close_all_connections()
    await application.stop()


def take_who_waits(server: HTTPServer) -> None:
    """Accept the connections that wait in the listening sockets: closing those would reset them.

    Where other processes hold a socket too, these serve whoever comes from now on.
    """
    for listening in server._sockets.values():
        with contextlib.suppress(OSError):  # BlockingIOError: nobody is left
            while True:
                server._handle_connection(*listening.accept())


def listen(options: Settings) -> list[socket.socket]:
    try:
        return bind_sockets(options.port, options.address)
    except OSError as error:
        raise SettingsError(
            f"it cannot listen on {options.address} port {options.port} ({error.strerror}); stop what "
            "listens there, or choose another with --port or --address"
        ) from None


def inherited_sockets() -> list[socket.socket]:
    """Listening sockets from the supervisor, or from systemd (sd_listen_fds(3))."""
    numbers = [int(number) for number in os.environ.get(SOCKETS_VARIABLE, "").split()]
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        numbers = list(range(3, 3 + int(os.environ.get("LISTEN_FDS", "0"))))
    sockets = [socket.socket(fileno=number) for number in numbers]
    for inherited in sockets:
        inherited.setblocking(False)
    return sockets


# -- several processes ------------------------------------------------------------------------------


class Supervisor:
    """Keeps `options.processes` workers alive on one listening socket.

    Args:
        command: what starts a worker; it inherits the sockets and says when it is ready.
    """

    def __init__(self, options: Settings, command: list[str]) -> None:
        self._options = options
        self._command = command
        self._workers: set[asyncio.subprocess.Process] = set()
        self._leaving: set[asyncio.subprocess.Process] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._pause_s = FIRST_PAUSE_S
        self._stopping = False
        self._sockets: list[socket.socket] = []
        self._news = asyncio.Event()
        self._reload = False

    async def run(self, announce: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._replace_all)
        self._sockets = inherited_sockets() or listen(self._options)
        self._lifeline, _held_open = os.pipe()
        first = await asyncio.gather(*(self._start() for _ in range(self._options.processes)))
        if not all(first):
            self._stopping = True
            await self._end(self._workers)
            raise SettingsError("the workers do not start; what they said stands above")
        announce(self._sockets[0].getsockname()[1])
        while not self._stopping:
            await self._news.wait()
            self._news.clear()
            if self._reload:
                self._reload = False
                await self._replace()
            await self._fill_up()
        # They have been told: a second SIGTERM would end them at once, whatever they are in the middle of.
        await asyncio.gather(*(worker.wait() for worker in self._workers | self._leaving))

    # -- signals ------------------------------------------------------------------------------------

    def _stop(self) -> None:
        number = signal.SIGKILL if self._stopping else signal.SIGTERM
        self._stopping = True
        # Whoever comes now would wait in a queue that nobody empties; refused, a proxy asks another server.
        for listening in self._sockets:
            listening.close()
        for worker in self._workers | self._leaving:
            _send(worker, number)
        self._news.set()

    def _replace_all(self) -> None:
        self._reload = True
        self._news.set()

    # -- workers ------------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start a worker and wait until it is ready; False if it is not to be."""
        if self._stopping:
            return False
        try:
            worker, read_end = await self._spawn()
        except OSError as error:  # no memory, no more processes or files: later there may be
            log.error("no worker can be started: %s", error)
            return False
        self._workers.add(worker)
        if self._stopping:  # it came just too late to be told
            _send(worker, signal.SIGTERM)
        waiting = asyncio.ensure_future(self._wait_for_end(worker))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(_read_ready(read_end), WORKER_START_S)
        log.error("worker %d is not ready after %d s", worker.pid, WORKER_START_S)
        _send(worker, signal.SIGKILL)
        return False

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, int]:
        """A new worker, and the end of a pipe through which it will say that it is ready."""
        read_end, write_end = os.pipe()
        numbers = [listening.fileno() for listening in self._sockets]
        environment = {
            **os.environ,
            SOCKETS_VARIABLE: " ".join(map(str, numbers)),
            READY_VARIABLE: str(write_end),
            LIFELINE_VARIABLE: str(self._lifeline),
        }
        try:
            worker = await asyncio.create_subprocess_exec(
                *self._command, env=environment, pass_fds=(*numbers, write_end, self._lifeline)
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return worker, read_end

    async def _wait_for_end(self, worker: asyncio.subprocess.Process) -> None:
        status = await worker.wait()
        if worker in self._workers and not self._stopping:
            log.error("worker %d ended by itself with %d", worker.pid, status)
        self._workers.discard(worker)
        self._leaving.discard(worker)
        self._news.set()

    async def _fill_up(self) -> None:
        while len(self._workers) < self._options.processes and not self._stopping:
            if await self._start():
                self._pause_s = FIRST_PAUSE_S
            else:
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _replace(self) -> None:
        """New workers first; the old ones leave only when all of them are ready."""
        old = set(self._workers)
        self._workers.clear()
        self._leaving |= old
        ready = await asyncio.gather(*(self._start() for _ in range(self._options.processes)))
        if self._stopping:  # the old ones have been told
            return
        if all(ready):
            for worker in old:
                _send(worker, signal.SIGTERM)
            log.info("%d workers were replaced", len(old))
            return
        log.error("the new workers do not start; the old ones stay")
        await self._end(self._workers)
        self._leaving -= old
        self._workers = {worker for worker in old if worker.returncode is None}

    async def _end(self, workers: set[asyncio.subprocess.Process]) -> None:
        for worker in workers:
            _send(worker, signal.SIGTERM)
        await asyncio.gather(*(worker.wait() for worker in workers))


async def _read_ready(read_end: int) -> bool:
    """Whether a worker says that it is ready; it closes the pipe without a word if it dies."""
    loop = asyncio.get_running_loop()
    said: asyncio.Future[None] = loop.create_future()
    loop.add_reader(read_end, _settle, said)
    try:
        await said
        return bool(os.read(read_end, 16))
    finally:
        loop.remove_reader(read_end)
        os.close(read_end)


def _send(worker: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.send_signal(number)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
