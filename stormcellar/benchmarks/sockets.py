# SPDX-License-Identifier: MIT
"""What many idle WebSockets cost one process, and how long a mass revocation takes to close them.

    .venv/bin/python stormcellar/benchmarks/sockets.py                 5,000 sockets
    .venv/bin/python stormcellar/benchmarks/sockets.py --sockets=500

The sockets belong to real sessions of one user, some to each, and are opened by this process; the server is
another one. While they idle, pages are fetched. Then all of the user's sessions are revoked. Needs two file
descriptors a socket (`ulimit -n`), one in each process, and ends by itself within two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

SOCKETS_A_SESSION = 10
AT_ONCE = 50  # handshakes under way
PAGES = 200
LONGEST_S = 120
TARGET_KB, TARGET_CLOSED_S, TARGET_PAGE_S = 40, 2.0, 0.05
HANDSHAKE = (
    "GET /ws/session HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: sAccessToken={token}\r\n\r\n"
)
PAGE = "GET /login HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


# -- the server ---------------------------------------------------------------------------------------


async def serve(sessions: int) -> None:
    """Listen, say where and with which tokens, then do what comes in a line: memory, revoke, end."""
    from tornado.netutil import bind_sockets

    from stormcellar.server.http_server import make_http_server
    from stormcellar.settings import Settings
    from stormcellar.tests.site import make_app

    with tempfile.TemporaryDirectory() as folder:
        app = make_app(Settings(data_dir=Path(folder), rate_limits=False, max_sockets_per_user=100_000))
        await app.start()
        server = make_http_server(app)
        (listening,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([listening])
        begun = [await app.sessions.create_new_session("ann") for _ in range(sessions)]
        tokens = [session.new_tokens.access_token for session in begun if session.new_tokens]
        tell(port=listening.getsockname()[1], tokens=tokens)
        while (line := await asyncio.to_thread(sys.stdin.readline)).strip() not in ("", "end"):
            if line.strip() == "revoke":
                await app.sessions.revoke_all_sessions_for_user("ann")
            gc.collect()
            tell(resident_kb=resident_kb(), live=len(app.live))
        server.stop()
        await server.close_all_connections()
        await app.stop()


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


# -- the clients --------------------------------------------------------------------------------------


class Server:
    """The other process, and what it says."""

    async def start(self, sessions: int) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            f"--serve={sessions}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=2**24,
        )
        said = await self._hear()
        self.port, self.tokens = said["port"], said["tokens"]

    async def ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(what.encode() + b"\n")
        return await self._hear()

    async def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except asyncio.TimeoutError:
            self._process.kill()
            await self._process.wait()


async def connect(server: Server, number: int, gate: asyncio.Semaphore) -> Stream:
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        token = server.tokens[number // SOCKETS_A_SESSION]
        writer.write(HANDSHAKE.format(port=server.port, token=token).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no socket: {head[:80]!r}")
        return reader, writer


async def closed_at(stream: Stream) -> float:
    """When the server's close frame came (RFC 6455, section 5.5.1), by time.monotonic()."""
    reader, writer = stream
    while True:
        kind, length = await reader.readexactly(2)
        payload = await reader.readexactly(length)
        if kind == 0x88:
            moment = time.monotonic()
            if int.from_bytes(payload[:2], "big") != 4001:
                raise RuntimeError(f"closed with {payload!r}")
            writer.close()
            return moment


async def page_s(port: int) -> float:
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PAGE.format(port=port).encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"no page: {answer[:80]!r}")
    return time.monotonic() - begun


@dataclass(frozen=True)
class Idle:
    """What idle sockets cost, and how long they took to open and, after a mass revocation, to close."""

    sessions: int
    kb_each: float
    opened_s: float
    pages_s: list[float]
    closed_s: float


async def measure(count: int) -> Idle:
    """Open, look, revoke."""
    server = Server()
    await server.start(-(-count // SOCKETS_A_SESSION))
    try:
        for _ in range(50):
            await page_s(server.port)
        before = await server.ask("memory")
        gate = asyncio.Semaphore(AT_ONCE)
        begun = time.monotonic()
        streams = await asyncio.gather(*(connect(server, number, gate) for number in range(count)))
        opened_s = time.monotonic() - begun
        after = await server.ask("memory")
        if after["live"] != count:
            raise RuntimeError(f"{after['live']} of {count} sockets are open")
        pages = [await page_s(server.port) for _ in range(PAGES)]
        ends = [asyncio.ensure_future(closed_at(stream)) for stream in streams]
        begun = time.monotonic()
        await server.ask("revoke")
        closed_s = max(await asyncio.gather(*ends)) - begun
    finally:
        await server.stop()
    kb_each = (after["resident_kb"] - before["resident_kb"]) / count
    return Idle(len(server.tokens), kb_each, opened_s, pages, closed_s)


def allow_descriptors(count: int) -> int:
    """Have this process and its children open so many sockets; returns how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return min(count, most - 200)


def show(count: int, idle: Idle) -> bool:
    """Print it; returns whether all targets are met."""
    p95_s = statistics.quantiles(idle.pages_s, n=20)[-1]
    rows = [
        ("memory a socket", f"{idle.kb_each:.1f} KB", f"{TARGET_KB} KB", idle.kb_each <= TARGET_KB),
        (
            "page p95 meanwhile",
            f"{1000 * p95_s:.1f} ms",
            f"{1000 * TARGET_PAGE_S:.0f} ms",
            p95_s <= TARGET_PAGE_S,
        ),
        (
            "all closed after a mass revocation",
            f"{idle.closed_s:.2f} s",
            f"{TARGET_CLOSED_S:.0f} s",
            idle.closed_s <= TARGET_CLOSED_S,
        ),
    ]
    print(f"{count} idle WebSockets of {idle.sessions} sessions, opened in {idle.opened_s:.1f} s")
    for what, figure, target, met in rows:
        print(f"  {what:<36} {figure:>10}   target {target:>6}   {'met' if met else 'missed'}")
    return all(met for *_, met in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Idle WebSockets: memory, pages, mass revocation.")
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if allow_descriptors(options.sockets) < options.sockets:
        sys.exit(f"{options.sockets} sockets need as many file descriptors, and fewer are allowed here")
    if options.serve:
        asyncio.run(serve(options.serve))
    else:
        idle = asyncio.run(asyncio.wait_for(measure(options.sockets), LONGEST_S))
        sys.exit(0 if show(options.sockets, idle) else 1)


if __name__ == "__main__":
    main()
