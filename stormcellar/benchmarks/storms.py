# SPDX-License-Identifier: MIT
"""What pages feel of a storm of sign-ins, and of clients that drip their requests.

    .venv/bin/python stormcellar/benchmarks/storms.py

The server is a process of its own with the default settings and the real cost of passwords. 24 and then 200
people sign in at the same moment, each with an address of their own; then 200 connections send one byte of a
request every half second for ten seconds. All the while pages are fetched, one after the other. It ends by
itself within two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

STORMS = (24, 200)
DRIPPING, DRIP_S, DRIP_EVERY_S = 200, 10.0, 0.5
LONGEST_S = 120
PAGE = b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def serve() -> None:
    """Listen until the other end of standard input is closed; the first line is the port."""
    from tornado.netutil import bind_sockets

    from stormcellar.server.http_server import make_http_server
    from stormcellar.settings import Settings
    from stormcellar.tests.site import make_app

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


@dataclass(frozen=True)
class Felt:
    """What pages felt of one storm: seconds each took, answers that were no page, and what the storm got."""

    what: str
    times_s: list[float]
    failed: list[bytes]
    answers: Counter[str]
    took_s: float
    p95_target_s: float
    worst_target_s: float


async def under(what: str, port: int, *storm: Awaitable[str], p95_s: float, worst_s: float) -> Felt:
    """Let the storm pass, while pages are fetched."""
    times_s: list[float] = []
    failed: list[bytes] = []
    probe = asyncio.ensure_future(pages(port, times_s, failed))
    await asyncio.sleep(0.5)
    times_s.clear()
    begun = time.monotonic()
    answers = Counter(await asyncio.gather(*storm))
    took_s = time.monotonic() - begun
    await asyncio.sleep(0.2)
    probe.cancel()
    return Felt(what, times_s, failed, answers, took_s, p95_s, worst_s)


async def measure() -> AsyncIterator[Felt]:
    """One storm after the other."""
    for count in STORMS:
        async with serving() as port:
            storm = [sign_in(port, number) for number in range(count)]
            yield await under(f"{count} sign-ins at once", port, *storm, p95_s=0.05, worst_s=0.25)
    async with serving() as port:
        dripping = [drip(port) for _ in range(DRIPPING)]
        yield await under(f"{DRIPPING} dripping connections", port, *dripping, p95_s=0.1, worst_s=0.5)


async def show() -> bool:
    """Print what is measured; returns whether all targets are met."""
    all_met = True
    async for felt in measure():
        p95_s, worst_s = statistics.quantiles(felt.times_s, n=20)[-1], max(felt.times_s)
        met = p95_s <= felt.p95_target_s and worst_s <= felt.worst_target_s and not felt.failed
        said = ", ".join(f"{count} {answer}" for answer, count in sorted(felt.answers.items()))
        print(f"{felt.what}: {said} in {felt.took_s:.1f} s")
        print(
            f"  {len(felt.times_s)} pages meanwhile, {len(felt.failed)} failed: "
            f"p95 {1000 * p95_s:.1f} ms (target {1000 * felt.p95_target_s:.0f}), "
            f"worst {1000 * worst_s:.1f} ms (target {1000 * felt.worst_target_s:.0f})   "
            f"{'met' if met else 'missed'}"
        )
        all_met = all_met and met
    return all_met


def main() -> None:
    parser = argparse.ArgumentParser(description="Storms of sign-ins and slow clients: what pages feel.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().serve:
        asyncio.run(serve())
    else:
        sys.exit(0 if asyncio.run(asyncio.wait_for(show(), LONGEST_S)) else 1)


if __name__ == "__main__":
    main()
