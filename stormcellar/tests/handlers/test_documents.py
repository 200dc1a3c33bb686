# SPDX-License-Identifier: MIT
"""Documents of other servers are fetched in bounded time and size, whatever the other server does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stormcellar.web.documents import MAX_BYTES, fetch

Answer = Callable[[asyncio.StreamWriter, str], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Serve on loopback; `answer` gets the writer and the path of each request."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await answer(writer, head.split()[1].decode())
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def fetched(answer: Answer, *, path: str = "/keys", time_limit_s: float = 20) -> bytes:
    async def story() -> bytes:
        async with serving(answer) as url:
            return await fetch(url + path, time_limit_s=time_limit_s)

    return asyncio.run(asyncio.wait_for(story(), 30))


def reply(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


def test_a_document_arrives() -> None:
    async def answer(writer: asyncio.StreamWriter, _path: str) -> None:
        writer.write(reply("200 OK", b'{"keys": []}'))

    assert fetched(answer) == b'{"keys": []}'


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_sends_byte_by_byte_is_given_up(part: str) -> None:
    async def answer(writer: asyncio.StreamWriter, _path: str) -> None:
        if part == "body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        await drip(writer, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000)

    with pytest.raises(OSError, match="imeout"):
        fetched(answer, time_limit_s=0.2)


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def answer(_writer: asyncio.StreamWriter, _path: str) -> None:
        await asyncio.sleep(60)

    with pytest.raises(OSError, match="imeout"):
        fetched(answer, time_limit_s=0.2)


def test_a_document_that_is_too_large_is_refused() -> None:
    async def answer(writer: asyncio.StreamWriter, _path: str) -> None:
        writer.write(reply("200 OK", b"x" * (MAX_BYTES + 1)))

    with pytest.raises(OSError):
        fetched(answer)


def test_a_redirect_is_followed_within_the_same_origin_only() -> None:
    async def answer(writer: asyncio.StreamWriter, path: str) -> None:
        targets = {"/keys": "/moved", "/away": "http://other.example/keys", "/circle": "/circle"}
        if path in targets:
            writer.write(reply(f"302 Found\r\nLocation: {targets[path]}"))
        else:
            writer.write(reply("200 OK", b"here"))

    assert fetched(answer) == b"here"
    with pytest.raises(OSError, match="another host"):
        fetched(answer, path="/away")
    with pytest.raises(OSError, match="too often"):
        fetched(answer, path="/circle")


@pytest.mark.parametrize("status", ["404 Not Found", "500 Broken", "204 No Content"])
def test_an_answer_that_is_no_document_is_an_error(status: str) -> None:
    async def answer(writer: asyncio.StreamWriter, _path: str) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    with pytest.raises(OSError, match=status[:3]):
        fetched(answer)
