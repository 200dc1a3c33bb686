# SPDX-License-Identifier: MIT
"""Several processes: a supervisor that owns the listening sockets and keeps workers alive on them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time

from stormcellar.events.metric_files import MetricFiles
from stormcellar.server import service_manager
from stormcellar.server import worker as workers
from stormcellar.server.listening import addresses_of, inherited_sockets, listen
from stormcellar.server.serving import Announce
from stormcellar.server.worker import Worker
from stormcellar.settings import Settings, SettingsError

log = logging.getLogger("stormcellar.processes")

CHECK_S = 1.0
LONG_START_S = 60.0
GRACE_S = 2.0  # a worker ends itself within drain_s; after this time more it is killed
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class Supervisor:
    """Keeps `options.processes` workers alive on the listening sockets.

    Args:
        command: what starts a worker; it inherits the sockets and says when it is ready.
    """

    def __init__(self, options: Settings, command: list[str]) -> None:
        self._options = options
        self._command = command
        self._workers: set[Worker] = set()
        self._leaving: set[Worker] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._pause_s = FIRST_PAUSE_S
        self._is_ready = self._stopping = self._reload = False
        self._sockets: list[socket.socket] = []
        self._news = asyncio.Event()
        self._metric_files = MetricFiles()

    async def run(self, announce: Announce) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._replace_all)
        self._sockets = inherited_sockets() or listen(self._options)
        self._lifeline, _held_open = os.pipe()
        self._metric_files.open(self._options.data_dir)
        watching = [
            asyncio.ensure_future(self._watch()),
            asyncio.ensure_future(service_manager.report_life(lambda: self._is_ready)),
        ]
        try:
            await self._supervise(announce)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*self._waiting)
            self._metric_files.close()

    async def _supervise(self, announce: Announce) -> None:
        first = await asyncio.gather(*(self._start() for _ in range(self._options.processes)))
        if not all(first) and not self._stopping:
            self._stopping = True
            self._end(self._workers, signal.SIGINT)
            raise SettingsError("the workers do not start; what they said stands above")
        if not self._stopping:
            self._is_ready = True
            announce(addresses_of(self._sockets))
            service_manager.notify("READY=1")
        while not self._stopping:
            await self._news.wait()
            self._news.clear()
            if self._reload:
                self._reload = False
                service_manager.reloading()
                await self._replace()
                service_manager.notify("READY=1")
            await self._fill_up()

    # -- signals ------------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._stopping:
            for worker in self._workers | self._leaving:
                worker.send(signal.SIGKILL)
            return
        self._stopping = True
        service_manager.notify("STOPPING=1")
        # The workers accept what comes until they drain. Later connections are refused, so that a proxy asks
        # another server at once.
        for listening in self._sockets:
            listening.close()
        self._end(self._workers | self._leaving, signal.SIGTERM)
        self._news.set()

    def _replace_all(self) -> None:
        self._reload = True
        self._news.set()

    # -- workers ------------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start a worker and wait until it serves; False if it does not."""
        if self._stopping:
            return False
        try:
            worker = await Worker.spawn(
                self._command, self._sockets, self._lifeline, **self._metric_files.environment
            )
        except OSError as error:  # no memory, no more processes or files: later there may be
            log.error("no worker can be started: %s", error)
            return False
        self._workers.add(worker)
        if self._stopping:  # it came just too late to be told
            self._end({worker}, signal.SIGTERM)
        waiting = asyncio.ensure_future(self._wait_for_end(worker))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        while True:
            ready, _ = await asyncio.wait({worker.ready}, timeout=LONG_START_S)
            if ready:
                return worker.is_ready
            log.warning("worker %d is still starting; a migration of the database can take long", worker.pid)

    async def _wait_for_end(self, worker: Worker) -> None:
        status = await worker.wait()
        if worker in self._workers and not self._stopping:
            log.error("worker %d ended by itself with %d", worker.pid, status)
        self._workers.discard(worker)
        self._leaving.discard(worker)
        self._metric_files.fold(worker.pid)
        self._news.set()

    async def _fill_up(self) -> None:
        while len(self._workers) < self._options.processes and not self._stopping:
            if await self._start():
                self._pause_s = FIRST_PAUSE_S
            else:
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _replace(self) -> None:
        """Start new workers. The old ones stop when all new ones serve."""
        old = set(self._workers)
        self._workers.clear()
        self._leaving |= old
        ready = await asyncio.gather(*(self._start() for _ in range(self._options.processes)))
        if self._stopping:  # the old ones have been told
            return
        if all(ready):
            self._end(old, signal.SIGINT)  # no lame duck: the new workers serve on the same sockets
            log.info("%d workers were replaced", len(old))
            return
        log.error("the new workers do not start; the old ones stay")
        new = set(self._workers)
        self._end(new, signal.SIGINT)
        await asyncio.gather(*(worker.process.wait() for worker in new))
        self._leaving -= old
        self._workers = {worker for worker in old if worker.process.returncode is None}

    def _end(self, ending: set[Worker], number: signal.Signals) -> None:
        lame_duck_s = self._options.lame_duck_s if number == signal.SIGTERM else 0
        for worker in ending:
            worker.end(number, lame_duck_s + self._options.drain_s + GRACE_S)

    # -- signs of life ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Kill workers that give no sign of life: their event loop hangs, so they answer no request."""
        checked_s = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = time.monotonic()
            was_away, checked_s = now_s - checked_s > 2 * CHECK_S, now_s
            for worker in self._workers | self._leaving:
                if was_away:  # the machine or this process was stopped: the workers may have been, too
                    worker.last_sign_s = now_s
                self._check(worker, now_s)

    def _check(self, worker: Worker, now_s: float) -> None:
        limit_s = self._options.watchdog_s if worker.is_ready else workers.SILENT_START_S
        if limit_s and worker.silent_s(now_s) > limit_s:
            log.error("worker %d gave no sign of life for %g s and is killed", worker.pid, limit_s)
            worker.last_sign_s = now_s  # one line a worker
            worker.dump_and_kill()
