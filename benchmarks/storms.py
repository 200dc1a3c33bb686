# SPDX-License-Identifier: MIT
"""What pages feel of a storm of sign-ins, and of clients that drip their requests.

    .venv/bin/python benchmarks/storms.py

The server is a process of its own with the default settings and the real cost of passwords. 24 and then 200
people sign in at the same moment, each with an address of their own; then 200 connections send one byte of a
request every half second for ten seconds. All the while pages are fetched, one after the other. It ends by
itself within two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

STORMS = (24, 200)
DRIPPING, DRIP_S, DRIP_EVERY_S = 200, 10.0, 0.5
LONGEST_S = 120
PAGE = b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def serve() -> None:
    """Listen until the other end of standard input is closed; the first line is the port."""
    from tornado.netutil import bind_sockets

    from http_server import make_http_server
    from server import make_app
    from settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = make_app(Settings(data_dir=Path(folder)))
        await app.start()
        server = make_http_server(app)
        (listening,) = bind_sockets(0, "127.0.0.1", backlog=1024)
        server.add_sockets([listening])
        print(listening.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.stop()
        await server.close_all_connections()
        await app.stop()


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a fresh server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def sign_in(port: int, number: int) -> str:
    """A sign-in with a wrong password, which costs what a right one does; returns the status."""
    fields = {"email": f"user{number}@example.com", "password": "not the password"}
    body = json.dumps({"formFields": [{"id": name, "value": value} for name, value in fields.items()]})
    head = (
        "POST /auth/signin HTTP/1.1\r\nHost: localhost\r\nrid: emailpassword\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await ask(port, (head + body).encode())
    status = answer[9:12].decode()
    return status if status == "200" or b"\r\nRetry-After: " in answer else f"{status} without Retry-After"


async def drip(port: int) -> str:
    """Send a request byte by byte, for as long as the time lasts or the server listens."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    end = time.monotonic() + DRIP_S
    try:
        for byte in PAGE:
            if time.monotonic() > end:
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(DRIP_EVERY_S)
        return "open" if not writer.is_closing() else "cut"
    finally:
        writer.close()


async def pages(port: int, times_s: list[float], failed: list[bytes]) -> None:
    while True:
        begun = time.monotonic()
        answer = await ask(port, PAGE)
        times_s.append(time.monotonic() - begun)
        if not answer.startswith(b"HTTP/1.1 200"):
            failed.append(answer[:80])
        await asyncio.sleep(0.02)


async def under(what: str, port: int, *storm: Awaitable[str], p95_ms: float, worst_ms: float) -> bool:
    """Let the storm pass and print what pages felt of it."""
    times_s: list[float] = []
    failed: list[bytes] = []
    probe = asyncio.ensure_future(pages(port, times_s, failed))
    await asyncio.sleep(0.5)
    times_s.clear()
    begun = time.monotonic()
    answers = collections.Counter(await asyncio.gather(*storm))
    took_s = time.monotonic() - begun
    await asyncio.sleep(0.2)
    probe.cancel()
    p95, worst = 1000 * statistics.quantiles(times_s, n=20)[-1], 1000 * max(times_s)
    met = p95 <= p95_ms and worst <= worst_ms and not failed
    said = ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
    print(f"{what}: {said} in {took_s:.1f} s")
    print(
        f"  {len(times_s)} pages meanwhile, {len(failed)} failed: p95 {p95:.1f} ms (target {p95_ms:.0f}), "
        f"worst {worst:.1f} ms (target {worst_ms:.0f})   {'met' if met else 'missed'}"
    )
    return met


async def measure() -> bool:
    met = []
    for count in STORMS:
        async with serving() as port:
            storm = [sign_in(port, number) for number in range(count)]
            met.append(await under(f"{count} sign-ins at once", port, *storm, p95_ms=50, worst_ms=250))
    async with serving() as port:
        dripping = [drip(port) for _ in range(DRIPPING)]
        met.append(await under(f"{DRIPPING} dripping connections", port, *dripping, p95_ms=100, worst_ms=500))
    return all(met)


def main() -> None:
    parser = argparse.ArgumentParser(description="Storms of sign-ins and slow clients: what pages feel.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().serve:
        asyncio.run(serve())
    else:
        sys.exit(0 if asyncio.run(asyncio.wait_for(measure(), LONGEST_S)) else 1)


if __name__ == "__main__":
    main()
