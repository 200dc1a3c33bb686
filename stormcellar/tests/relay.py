# SPDX-License-Identifier: MIT
"""A network that tests can cut and slow down: TCP relays on loopback, in a thread of their own.

A cut relay behaves as a cable that was pulled: what was on its way is kept back, new connections get no
answer, and no peer is told. The difference to a real cut is that the kernel still completes handshakes and
answers keepalives, so that nothing but a time-out of the programs themselves ends a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

from stormcellar.tests.serving import free_port

CHUNK = 65536


class Relay:
    """Leads from a loopback port of its own to another.

    Args:
        target: the port that it leads to.

    Attributes:
        lag_s: how much later each byte of the target's answers arrives.
    """

    def __init__(self, network: Network, target: int) -> None:
        self.port = free_port()
        self.lag_s = 0.0
        self._target = target
        self._network = network
        self._flows = asyncio.Event()
        self._flows.set()

    def cut(self) -> None:
        self._network.call(self._flows.clear)

    def mend(self) -> None:
        self._network.call(self._flows.set)

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            from_target, to_target = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        there = asyncio.ensure_future(self._pump(reader, to_target))
        back = asyncio.ensure_future(self._pump_late(from_target, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in (there, back):
                direction.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            for end in (writer, to_target):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            await self._flows.wait()

    async def _pump_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the target sends, `lag_s` later; what is late is lost when the target dies."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = await late.get()
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await self._flows.wait()
                    writer.write(data)
                    await writer.drain()
                    late.task_done()

        delivery = asyncio.ensure_future(deliver())
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(CHUNK):
                    late.put_nowait((time.monotonic() + self.lag_s, data))
            if not self.lag_s:
                await late.join()
            await self._flows.wait()
        finally:
            delivery.cancel()


class Network:
    """All relays of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="relays")
        self._thread.start()

    def relay(self, target: int) -> Relay:
        relay = Relay(self, target)
        asyncio.run_coroutine_threadsafe(relay.listen(), self._loop).result()
        return relay

    def call(self, what: object) -> None:
        """Run a function in the relays' thread."""
        self._loop.call_soon_threadsafe(what)  # type: ignore[arg-type]

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
