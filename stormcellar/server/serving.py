# SPDX-License-Identifier: MIT
"""One process: start the application, serve, and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from stormcellar.packages import install_command
from stormcellar.server import service_manager
from stormcellar.server.deadlines import exit_after, run_steps
from stormcellar.server.http_server import LimitedServer, make_http_server
from stormcellar.server.listening import addresses_of, inherited_sockets, listen
from stormcellar.settings import Settings, SettingsError

if TYPE_CHECKING:
    from stormcellar.application import Application

log = logging.getLogger("stormcellar.processes")

Announce = Callable[[list[str]], None]
"""Is given the addresses that the server listens on, as `http://host:port` or `unix:path`."""

LINGER_S = 3.0  # for clients that keep a connection open without asking anything
LEAST_CLOSE_S = 2.0  # of drain_s, for closing the database and the like
BEAT_S = 1.0

# From a supervisor to its workers: the pipe for signs of life, and a pipe that nothing is ever written to.
# The second one ends when the supervisor does, for whatever reason.
LIFE_VARIABLE, LIFELINE_VARIABLE = "KIT_LIFE_FD", "KIT_LIFELINE_FD"
ALIVE, READY = b".", b"R"


def event_loop(options: Settings) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return what runs a coroutine to its end, like asyncio.run, on the event loop that the settings name."""
    if options.event_loop == "asyncio":
        return asyncio.run
    try:
        run: Callable[[Coroutine[Any, Any, None]], None] = importlib.import_module("uvloop").run
    except ImportError as error:
        raise SettingsError(
            f"event_loop is uvloop, but that cannot be used ({error}). Install it with "
            f"{install_command('uvloop')}, or leave event_loop at asyncio",
            "event_loop",
        ) from error
    return run


def is_worker() -> bool:
    """Whether a supervisor started this process."""
    return LIFE_VARIABLE in os.environ


class Orders:
    """What this process has been told.

    SIGTERM: stop, after lame_duck_s. SIGINT: stop without that wait. A second signal ends a process without
    supervisor at once. In a worker it only ends the wait: a terminal sends SIGINT to the supervisor too,
    which then sends SIGTERM.
    """

    def __init__(self, options: Settings) -> None:
        self.stop, self.stop_now = asyncio.Event(), asyncio.Event()
        self.end_s = float("inf")  # by when the process must have ended, on time.monotonic()
        self._options = options
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.heard, False)
        loop.add_signal_handler(signal.SIGINT, self.heard, True)

    def heard(self, now: bool) -> None:
        if self.stop.is_set():
            if not is_worker():
                os._exit(1)
        else:
            within_s = self._options.drain_s + (0 if now else self._options.lame_duck_s)
            self.end_s = time.monotonic() + within_s
            exit_after(within_s)
            if not is_worker():
                service_manager.notify("STOPPING=1")
            self.stop.set()
        if now:
            self.stop_now.set()


async def serve(application: Application, announce: Announce) -> None:
    """Run the application until SIGTERM or SIGINT, then drain."""
    options = application.options
    orders = Orders(options)
    reporting = asyncio.ensure_future(report_life(lambda: application.started))
    if LIFELINE_VARIABLE in os.environ:
        stop_with_supervisor(int(os.environ[LIFELINE_VARIABLE]), orders)
    try:
        if not await started(application, orders):
            log.info("told to stop during the start")
            await application.stop(orders.end_s)
            return
        settle()
        sockets = inherited_sockets() or listen(options)
        server = make_http_server(application)
        server.add_sockets(sockets)
        if is_worker():
            os.write(int(os.environ[LIFE_VARIABLE]), READY)
        else:
            announce(addresses_of(sockets))
            service_manager.notify("READY=1")
        await orders.stop.wait()
        await be_a_lame_duck(application, orders)
        await drain(application, server, orders.end_s)
    finally:
        reporting.cancel()


async def started(application: Application, orders: Orders) -> bool:
    """Start the application; False if the process is told to stop before that is done."""
    starting = asyncio.ensure_future(application.start())
    stopping = asyncio.ensure_future(orders.stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    return False


async def report_life(is_ready: Callable[[], bool]) -> None:
    """Give signs of life: a worker to its supervisor, any other process to systemd."""
    if not is_worker():
        await service_manager.report_life(is_ready)
        return
    faulthandler.register(signal.SIGUSR1)  # a supervisor asks a hanging worker where it hangs
    pipe = int(os.environ[LIFE_VARIABLE])
    os.set_blocking(pipe, False)
    while True:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(pipe, ALIVE)
        await asyncio.sleep(BEAT_S)


def settle() -> None:
    """Make the garbage collector skip what was made at the start, since that lives as long as the process."""
    gc.collect()
    gc.freeze()


def stop_with_supervisor(lifeline: int, orders: Orders) -> None:
    """Stop when the supervisor has died: no other process would replace this worker, or end it."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(lifeline)
        log.error("the supervisor is gone")
        orders.heard(True)

    loop.add_reader(lifeline, end)


async def be_a_lame_duck(application: Application, orders: Orders) -> None:
    """Serve on for lame_duck_s while `/readyz` says 503, so that load balancers send requests elsewhere."""
    if application.options.lame_duck_s:
        application.draining = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(orders.stop_now.wait(), application.options.lame_duck_s)


async def drain(application: Application, server: LimitedServer, end_s: float) -> None:
    """Take no more connections, answer the requests that have begun, then close everything.

    Args:
        end_s: by when all must be done, on time.monotonic(). Requests get all of this time except
            LEAST_CLOSE_S, or a quarter of drain_s.
    """
    application.begin_draining()
    accept_waiting_connections(server)
    server.stop()
    await run_steps([("live connections", application.live.stop)], end_s)
    cut_s = end_s - min(LEAST_CLOSE_S, application.options.drain_s / 4)
    linger_end_s = time.monotonic() + LINGER_S
    while (now_s := time.monotonic()) < cut_s:
        if not server.requests_under_way() and (not server._connections or now_s > linger_end_s):
            break
        await asyncio.sleep(0.02)
    await run_steps([("connections", server.close_all_connections)], cut_s)
    await application.stop(end_s)


def accept_waiting_connections(server: LimitedServer) -> None:
    """Accept the connections that wait in the listening sockets: closing the sockets would reset them.

    If other processes hold a socket too, these accept later connections.
    """
    for listening in server._sockets.values():
        with contextlib.suppress(OSError):  # BlockingIOError: no connection is waiting
            while True:
                server._handle_connection(*listening.accept())
