# SPDX-License-Identifier: MIT
"""A worker process as its supervisor sees it: signs of life, orders, and an end in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence

from stormcellar.server import service_manager
from stormcellar.server.listening import SOCKETS_VARIABLE
from stormcellar.server.serving import LIFE_VARIABLE, LIFELINE_VARIABLE, READY

log = logging.getLogger("stormcellar.processes")

SILENT_START_S = 60.0
"""A worker that has given no sign of life by then is killed. A start that gives signs may take longer."""

DUMP_S = 0.5  # for a hanging worker to write its stacks


class Worker:
    """One worker.

    Attributes:
        ready: done when the worker serves (True) or has ended before it did (False).
    """

    def __init__(self, process: asyncio.subprocess.Process, pipe: int) -> None:
        self.process = process
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.last_sign_s = self.started_s = time.monotonic()
        self._pipe = pipe
        self._told = False
        self._killer: asyncio.TimerHandle | None = None
        asyncio.get_running_loop().add_reader(pipe, self._hear)

    @classmethod
    async def spawn(
        cls, command: Sequence[str], sockets: Sequence[socket.socket], lifeline: int, **environment: str
    ) -> Worker:
        """Start a worker that inherits the sockets. Raises OSError if that is impossible now."""
        read_end, write_end = os.pipe()
        numbers = [listening.fileno() for listening in sockets]
        inherited = {k: v for k, v in os.environ.items() if k not in service_manager.VARIABLES}
        environment |= {
            SOCKETS_VARIABLE: " ".join(map(str, numbers)),
            LIFE_VARIABLE: str(write_end),
            LIFELINE_VARIABLE: str(lifeline),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *command, env=inherited | environment, pass_fds=(*numbers, write_end, lifeline)
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(process, read_end)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_ready(self) -> bool:
        return self.ready.done() and self.ready.result()

    def silent_s(self, now_s: float) -> float:
        """How long the worker has given no sign of life."""
        return now_s - self.last_sign_s

    def _hear(self) -> None:
        said = os.read(self._pipe, 4096)
        self.last_sign_s = time.monotonic()
        if not said:  # it has ended, or has closed the pipe
            self._close_pipe()
        elif READY in said and not self.ready.done():
            self.ready.set_result(True)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
        if not self.ready.done():
            self.ready.set_result(False)

    def end(self, number: signal.Signals, within_s: float) -> None:
        """Tell the worker once to stop, and kill it if it has not ended by then."""
        if not self._told:
            self._told = True
            self.send(number)
            self._killer = asyncio.get_running_loop().call_later(within_s, self._kill_late, within_s)

    def _kill_late(self, within_s: float) -> None:
        log.error("worker %d did not stop within %g s and is killed", self.pid, within_s)
        self.dump_and_kill()

    def dump_and_kill(self) -> None:
        """Have the worker write where it hangs, then kill it."""
        self.send(signal.SIGUSR1)
        asyncio.get_running_loop().call_later(DUMP_S, self.send, signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the worker's end, and return its exit status."""
        status = await self.process.wait()
        if self._killer:
            self._killer.cancel()
        self._close_pipe()
        return status
