# SPDX-License-Identifier: MIT
"""Bytes on the wire: what can be read in two ways gets one refusal, and nothing after it is answered.

Source: RFC 9112; the cases are those of HTTP request smuggling.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from unittest.mock import Mock

import pytest
import tornado
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPOutputError, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application as TornadoApplication
from tornado.web import RequestHandler

from stormcellar.application import Application
from stormcellar.server import http_server
from stormcellar.server.http_server import (
    MAX_HEAD_BYTES,
    Exchange,
    LimitedServer,
    make_http_server,
    read_head,
)
from stormcellar.testing.client import PASSWORD
from stormcellar.tests.handlers.parts import with_settings

MakeApplication = Callable[..., Application]
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
TEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /signout HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
PATIENCE_S = 30.0


@asynccontextmanager
async def listening(app: Application) -> AsyncIterator[tuple[LimitedServer, int]]:
    """The server as it is in production, on a port of its own."""
    await app.start()
    async with running(make_http_server(app)) as server_and_port:
        yield server_and_port


def serving(
    *routes: tuple[str, type[RequestHandler]],
) -> AbstractAsyncContextManager[tuple[LimitedServer, int]]:
    """A server that has these handlers only."""
    return running(LimitedServer(TornadoApplication(list(routes))))


@asynccontextmanager
async def running(server: LimitedServer) -> AsyncIterator[tuple[LimitedServer, int]]:
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_sockets([listener])
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.stop()
        await server.close_all_connections()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, also where it is reset because something was left unread."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    return received


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send these bytes; all that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
        return await asyncio.wait_for(read_all(reader), PATIENCE_S)
    finally:
        writer.close()


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


AMBIGUOUS = {
    "both lengths, chunked first": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "both lengths, number first": POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two different lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n",
    "a length with an underscore": POST + b"Content-Length: 0_0\r\n\r\n",
    "a length with a fraction": POST + b"Content-Length: 0.0\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length of digits beyond ASCII": POST + "Content-Length: \u00b2\r\n\r\n".encode("latin-1"),
    "a length beyond all memory": POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, then something": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, then chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked after a tab that is none": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty coding": POST + b"Transfer-Encoding:\r\n\r\n",
    "a chunk with an extension": POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
    "a chunk with a prefix": POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a chunk with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
    "a chunk with a blank": POST + b"Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    "a trailer": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a bare LF behind a header": TEXT + b"A: b\nC: d\r\n\r\n",
    "bare LFs only": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a bare LF before the body": TEXT + b"A: b\n\r\n",
    "a bare CR within a header": TEXT + b"A: b\rC: d\r\n\r\n",
    "a bare CR behind the request": b"GET /healthz HTTP/1.1\rHost: localhost\r\n\r\n",
    "a folded line": TEXT + b"A: b\r\n c\r\n\r\n",
    "a folded first line": b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a blank before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "a blank before the name": POST + b" Content-Length: 0\r\n\r\n",
    "a name with a blank": TEXT + b"A b: c\r\n\r\n",
    "no name": TEXT + b": c\r\n\r\n",
    "no colon": TEXT + b"abc\r\n\r\n",
    "NUL in a value": TEXT + b"A: b\0c\r\n\r\n",
    "NUL in a name": TEXT + b"A\0b: c\r\n\r\n",
    "NUL in the address": b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": TEXT + b"Host: localhost\r\n\r\n",
    "a blank in the address": b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two blanks behind the method": b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /healthz\r\nHost: localhost\r\n\r\n",
    "version 2": b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "a version in small letters": b"GET /healthz http/1.1\r\nHost: localhost\r\n\r\n",
    "a version with two digits": b"GET /healthz HTTP/1.11\r\nHost: localhost\r\n\r\n",
    "no request": b"\0\0\0\0\r\n\r\n",
    "a TLS handshake": bytes.fromhex("16030100c8010000c4") + b"\r\n\r\n",
}


@pytest.mark.gen_test
async def test_what_can_be_read_in_two_ways_gets_one_refusal_and_the_next_request_no_answer(
    app: Application,
) -> None:
    wrong: list[str] = []
    async with listening(app) as (_, port):
        for name, request in AMBIGUOUS.items():
            answer = await exchange(port, request + HIDDEN)
            found = statuses(answer)
            if (
                found == []
                and tornado.version_info < (6, 6)
                and name == "a chunk that is longer than it says"
            ):
                continue  # Tornado 6.5, the newest for Python 3.10, closes the connection without an answer
            if len(found) != 1 or not 400 <= found[0] < 500:
                wrong.append(f"{name}: {answer[:200]!r}")
        assert statuses(await exchange(port, TEXT + b"Connection: close\r\n\r\n")) == [200]
    assert wrong == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (TEXT + b"\r\n" + TEXT + b"Connection: close\r\n\r\n", [200, 200]),
        (b"\r\n" + TEXT + b"Connection: close\r\n\r\n", [200]),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n" + HIDDEN, [200]),
        (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [200]),
        (POST + b"Content-Length: 0\r\nConnection: close\r\n\r\n", [303]),
        (POST + b"Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n", [303]),
        (TEXT + b"Content-Length: 5\r\nConnection: close\r\n\r\nabcde", [200]),
        (
            TEXT
            + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
            + HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            [200, 200],
        ),
    ],
    ids=["two", "an empty line", "1.0", "1.0 bare", "absolute", "empty", "chunked", "a body", "h2c"],
)
@pytest.mark.gen_test
async def test_what_can_be_read_in_one_way_only_is_served(
    app: Application, request_: bytes, expected: list[int]
) -> None:
    async with listening(app) as (_, port):
        assert statuses(await exchange(port, request_)) == expected


@pytest.mark.gen_test
async def test_the_length_of_a_body_counts_and_not_what_stands_in_it(app: Application) -> None:
    """A request hidden in a body stays a body."""
    length = f"Content-Length: {len(HIDDEN)}\r\nConnection: close\r\n\r\n".encode()
    chunk = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        len(HIDDEN),
        HIDDEN,
    )
    async with listening(app) as (_, port):
        assert statuses(await exchange(port, POST + length + HIDDEN)) == [303]
        assert statuses(await exchange(port, POST + chunk)) == [303]


@pytest.mark.gen_test
async def test_a_head_is_at_most_32_kib(app: Application) -> None:
    async with listening(app) as (_, port):
        fits = b"A: " + b"a" * (MAX_HEAD_BYTES - len(TEXT) - 60)
        assert statuses(await exchange(port, TEXT + fits + b"\r\nConnection: close\r\n\r\n")) == [200]
        too_large = TEXT + b"Cookie: sAccessToken=" + b"a" * 65536 + b"\r\n\r\n" + HIDDEN
        assert statuses(await exchange(port, too_large)) == [431]
        many = TEXT + b"a: b\r\n" * 8000 + b"\r\n"
        assert statuses(await exchange(port, many)) == [431]
        assert await exchange(port, b"a" * 10_000_000) == b""  # cut off
        assert statuses(await exchange(port, TEXT + b"Connection: close\r\n\r\n")) == [200]


def post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n"
    head += "Accept: text/html\r\n"
    return f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MULTIPART = "multipart/form-data; boundary=x"


@with_settings(max_body_bytes=200_000, max_form_bytes=100_000)
@pytest.mark.gen_test
async def test_a_body_is_as_large_as_its_address_takes(app: Application) -> None:
    """The kit's own forms and JSON endpoints take 64 KiB, and so does what needs no body.

    Handlers of a clone take what the settings say. More is dropped, and refused with 413.
    """
    async with listening(app) as (_, port):
        for path, kind, size, expected in (
            ("/auth/signin", JSON, 65536, 400),
            ("/auth/signin", JSON, 65537, 413),
            ("/auth/signin", JSON, 300_000, 413),
            ("/login", FORM, 65536, 422),
            ("/login", FORM, 65537, 413),
            ("/login", MULTIPART, 65537, 413),
            ("/nowhere", FORM, 65536, 404),
            ("/nowhere", FORM, 65537, 413),
            ("/static/style.css", FORM, 65537, 405),
            ("/dashboard", FORM, 65537, 413),
            ("/sample/note", FORM, 100_000, 303),
            ("/sample/note", FORM, 100_001, 413),
            ("/sample/note", MULTIPART, 200_000, 400),
            ("/sample/note", MULTIPART, 200_001, 413),
            ("/auth/session/refresh/return", MULTIPART, 200_000, 303),
            ("/login", FORM, 100_000_000_000, 413),
        ):
            request = post(path, kind, b"")
            request = request.replace(b"Content-Length: 0", b"Content-Length: %d" % size)
            answer = await exchange(port, request + b"a" * min(size, 250_000) + HIDDEN)
            assert statuses(answer) == [expected], (path, size)
            assert (b'{"message"' in answer) == (kind == JSON), (path, size)
        chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        chunked = TEXT.replace(b"GET /healthz", b"POST /login") + b"Transfer-Encoding: chunked\r\n\r\n"
        assert statuses(await exchange(port, chunked + 4 * chunk + b"0\r\n\r\n" + HIDDEN)) == [400]


@pytest.mark.gen_test
async def test_compressed_bodies_are_not_unpacked(app: Application) -> None:
    body = gzip.compress(b"email=ann%40example.com&password=" + PASSWORD.encode())
    request = post("/login", FORM, body).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
    async with listening(app) as (_, port):
        (status,) = statuses(await exchange(port, request))
        assert 400 <= status < 500


@pytest.mark.gen_test
async def test_a_form_has_a_bounded_number_of_parts_and_headers(app: Application) -> None:
    def form(*parts: bytes) -> bytes:
        return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"

    part = b'Content-Disposition: form-data; name="a"\r\n\r\nb'
    kind = "multipart/form-data; boundary=x"
    async with listening(app) as (_, port):
        assert statuses(await exchange(port, post("/sample/note", kind, form(part)))) == [303]
        for body in (
            form(*[part] * 5000),
            form(b"A: " + b"a" * 50_000 + b"\r\n" + part),
            form(b'Content-Disposition: form-data; name="' + b'"; name="a' * 5000 + b'"\r\n\r\nb'),
        ):
            assert statuses(await exchange(port, post("/sample/note", kind, body))) == [400]


@pytest.mark.gen_test
async def test_a_head_that_does_not_end_is_cut_off_and_an_idle_connection_is_not(
    app: Application,
) -> None:
    """By a clock that this test moves."""
    async with listening(app) as (server, port):
        now_s = asyncio.get_running_loop().time()
        slow, idle, kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        slow[1].write(TEXT)
        kept[1].write(TEXT + b"\r\n")
        assert (await kept[0].read(12)) == b"HTTP/1.1 200"
        for _ in range(100):
            server.close_those_that_wait(now_s)
            if http_server.HEAD_TIMEOUT_S in timeouts(server):
                break
            await asyncio.sleep(0.01)
        assert timeouts(server).count(http_server.HEAD_TIMEOUT_S) == 1
        slow[1].write(b"A: b\r\n")  # dripping does not help
        server.close_those_that_wait(now_s + http_server.HEAD_TIMEOUT_S - 3)
        assert len(server._connections) == 3
        server.close_those_that_wait(now_s + http_server.HEAD_TIMEOUT_S)
        assert await asyncio.wait_for(read_all(slow[0]), PATIENCE_S) == b""
        assert len(server._connections) == 2
        idle[1].write(TEXT + b"\r\n")
        assert (await idle[0].read(12)) == b"HTTP/1.1 200"
        for _, writer in (slow, idle, kept):
            writer.close()


@pytest.mark.gen_test
async def test_a_connection_without_a_request_is_closed_after_its_time_and_one_that_waits_for_us_is_not(
    app: Application,
) -> None:
    """By a clock that this test moves."""
    async with listening(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(TEXT + b"\r\n")
        assert (await reader.read(12)) == b"HTTP/1.1 200"
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        while len(server._connections) < 2 or any(c.stream._read_regex is None for c in server._connections):
            await asyncio.sleep(0.001)
        (served,) = [c for c in server._connections if c.stream.socket.getpeername()[1] == port_of(writer)]
        now_s = time.monotonic()
        server.close_those_that_wait(now_s)
        server.close_those_that_wait(now_s + server.idle_timeout_s - 3)
        assert len(server._connections) == 2
        served.stream._read_regex, waiting = None, served.stream._read_regex  # as while its page is made
        later_s = now_s + server.idle_timeout_s
        server.close_those_that_wait(later_s)
        served.stream._read_regex = waiting
        server.close_those_that_wait(later_s)
        while len(server._connections) == 2:
            await asyncio.sleep(0.001)
        assert server._connections == {served}
        server.close_those_that_wait(later_s + server.idle_timeout_s)
        assert len(server._waiting_since) == 1  # nothing is kept of the other
        await asyncio.wait_for(read_all(reader), PATIENCE_S)
        for one in (writer, silent):
            one.close()


@pytest.mark.gen_test
async def test_each_head_has_its_own_time_also_where_every_look_sees_one_that_has_not_ended(
    app: Application,
) -> None:
    """By a clock that this test moves."""
    async with listening(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(TEXT)
        now_s = time.monotonic()
        while timeouts(server) != [http_server.HEAD_TIMEOUT_S]:
            server.close_those_that_wait(now_s)
            await asyncio.sleep(0.001)
        (connection,) = server._connections
        writer.write(b"\r\n" + TEXT)
        assert (await reader.read(65536)).startswith(b"HTTP/1.1 200")
        while connection.stream._read_regex is None or connection.stream._read_buffer_size == 0:
            await asyncio.sleep(0.001)
        server.close_those_that_wait(now_s + http_server.HEAD_TIMEOUT_S)
        assert not connection.stream.closed()
        server.close_those_that_wait(now_s + 2 * http_server.HEAD_TIMEOUT_S)
        assert await asyncio.wait_for(read_all(reader), PATIENCE_S) == b""
        writer.close()


@pytest.mark.gen_test
async def test_the_looks_go_on_after_one_of_them_failed(
    app: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise no connection would be closed any more, and nobody would know."""
    looks: list[float] = []

    def look(server: LimitedServer, now_s: float) -> None:
        looks.append(now_s)
        if len(looks) == 1:
            raise RuntimeError("the first look")
        LimitedServer.close_those_that_wait(server, now_s)

    monkeypatch.setattr(http_server, "LOOK_INTERVAL_S", 0.01)
    async with listening(app) as (server, port):
        server.idle_timeout_s = 0
        monkeypatch.setattr(server, "close_those_that_wait", partial(look, server))
        assert await exchange(port, b"") == b""
        assert not server._connections
    seen = len(looks)
    assert seen >= 2
    assert "the first look" in caplog.text
    await asyncio.sleep(0.05)
    assert len(looks) == seen  # and end with the server


class LongHandler(RequestHandler):
    """More than the socket's buffers hold."""

    def get(self) -> None:
        self.write(b"a" * 1_000_000)


async def taken(stream: IOStream) -> None:
    """Nothing more goes out: what may be under way has arrived."""
    written, last = stream._total_write_done_index, -1
    while written != last or not stream.writing():
        await asyncio.sleep(0.02)
        written, last = stream._total_write_done_index, written


@pytest.mark.gen_test
async def test_an_answer_that_nobody_takes_is_not_kept_and_one_that_is_taken_slowly_is() -> None:
    """By a clock that this test moves."""
    async with serving(("/", LongHandler)) as (server, port):
        now_s = time.monotonic()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        while not server._connections:
            await asyncio.sleep(0.001)
        (connection,) = server._connections
        stream = connection.stream
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await taken(stream)
        server.close_those_that_wait(now_s)
        written = stream._total_write_done_index
        while stream._total_write_done_index == written:
            assert await asyncio.to_thread(client.recv, 65536)
            await asyncio.sleep(0.001)
        await taken(stream)
        server.close_those_that_wait(now_s + 2 * http_server.ANSWER_TIMEOUT_S)
        assert not stream.closed()
        server.close_those_that_wait(now_s + 3 * http_server.ANSWER_TIMEOUT_S)
        assert stream.closed()
        client.close()


def timeouts(server: LimitedServer) -> list[float]:
    """By which the connections that the last look saw will be closed, if nothing more comes."""
    return [timeout_s for _, timeout_s, *_ in server._waiting_since]


def port_of(writer: asyncio.StreamWriter) -> int:
    port: int = writer.get_extra_info("sockname")[1]
    return port


@pytest.mark.gen_test
async def test_an_answer_is_never_held_back_to_be_sent_with_more(app: Application) -> None:
    """For the whole connection, so that requests need not switch it."""
    async with listening(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(TEXT + b"\r\n")
            assert (await reader.read(65536)).startswith(b"HTTP/1.1 200")
            (connection,) = server._connections
            assert connection.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


def test_the_time_outs_are_within_their_bounds(app: Application) -> None:
    server = make_http_server(app)
    assert server.head_timeout_s <= 20
    assert server.body_timeout_s <= 30
    assert server.conn_params.body_timeout is None  # it is no limit for the whole body
    assert 60 < server.idle_timeout_s - 2 * http_server.LOOK_INTERVAL_S < server.idle_timeout_s <= 75
    assert server.answer_timeout_s <= 60
    assert server.conn_params.header_timeout is None  # the two of heads are in its place
    assert not server.conn_params.decompress


@pytest.mark.gen_test
async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_its_time(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock that this test moves."""
    caplog.set_level(logging.CRITICAL)
    async with listening(app) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 5\r\n\r\nab")
        now_s = await look_until(server, http_server.BODY_TIMEOUT_S)
        writer.write(b"c")  # dripping does not help
        await asyncio.sleep(0.01)
        server.close_those_that_wait(now_s + http_server.BODY_TIMEOUT_S)
        assert await asyncio.wait_for(read_all(reader), PATIENCE_S) == b""
        writer.close()


class HugeHandler(RequestHandler):
    """More than the largest buffers of the loopback hold."""

    def get(self) -> None:
        self.write(bytes(20_000_000))


class UploadHandler(RequestHandler):
    def post(self) -> None:
        self.finish(str(len(self.request.body)))


@pytest.mark.gen_test
async def test_a_slow_steady_upload_arrives_however_long_it_takes() -> None:
    """30 kB a second for 50 seconds, by a clock that this test moves."""
    size, piece = 1_500_000, 30_000
    async with serving(("/", UploadHandler)) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        now_s = await look_until(server, http_server.BODY_TIMEOUT_S)
        (arriving,) = server._arriving.values()
        for second in range(1, size // piece + 1):
            writer.write(bytes(piece))
            while arriving.body_bytes < second * piece:
                await asyncio.sleep(0.001)
            server.close_those_that_wait(now_s + second)
        assert (await asyncio.wait_for(reader.read(65536), PATIENCE_S)).endswith(b"1500000")
        writer.close()


@pytest.mark.gen_test
async def test_requests_under_way_are_those_that_have_no_full_answer() -> None:
    """An upload counts until it breaks off, a long answer until its last byte is taken."""
    async with serving(("/", HugeHandler), ("/up", UploadHandler)) as (server, port):
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        _, upload = await asyncio.open_connection("127.0.0.1", port)
        upload.write(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\na")
        reader, download = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        download.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        async def until(count: int) -> None:
            while len(server._connections) != 3 - closed or server.requests_under_way() != count:
                await asyncio.sleep(0.001)

        closed = 0
        await asyncio.wait_for(until(2), PATIENCE_S)
        upload.close()
        closed = 1
        await asyncio.wait_for(until(1), PATIENCE_S)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        while server.requests_under_way():
            assert await asyncio.wait_for(reader.read(65536), PATIENCE_S)
        for writer in (idle, download):
            writer.close()


async def look_until(server: LimitedServer, timeout_s: float) -> float:
    """Have the server look at its connections until one waits by this timeout; the time of that look."""
    now_s = time.monotonic()
    while timeout_s not in timeouts(server):
        server.close_those_that_wait(now_s)
        await asyncio.sleep(0.001)
    return now_s


heads = st.lists(
    st.sampled_from(
        [b"GET / HTTP/1.1", b"Host: a", b"host:b", b" folded", b"X:", b"No colon", b"B\xe9: c", b":v"]
    )
    | st.binary(max_size=12)
    | st.builds(lambda name, value: name + b":" + value, st.binary(max_size=5), st.binary(max_size=9)),
    min_size=1,
    max_size=5,
).map(lambda lines: b"\r\n".join(lines) + b"\r\n\r\n")


@given(heads)
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nCookie:\t a=1 \r\nCookie: b=\xe9\r\n\r\n")
def test_a_head_is_read_as_tornado_reads_it_or_refused(head: bytes) -> None:
    """Read faster, and stricter, but never otherwise."""
    try:
        start_line, headers = read_head(Mock(), head)
    except HTTPInputError:
        return
    expected_line, expected = HTTP1Connection._parse_headers(Mock(), head)
    assert (start_line, list(headers.get_all())) == (expected_line, list(expected.get_all()))


@given(st.sampled_from([b"Host", b"X-Y", b"Cookie"]), st.binary(max_size=30))
@example(b"Cookie", b"sAccessToken=a.b.c; sFrontToken=x=")
def test_a_header_that_tornado_reads_is_read(name: bytes, value: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nAccept: x\r\n" + name + b": " + value + b"\r\n\r\n"
    if not head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == 4:
        return
    try:
        expected = HTTP1Connection._parse_headers(Mock(), head)
    except HTTPInputError:
        with pytest.raises(HTTPInputError):
            read_head(Mock(), head)
    else:
        assert list(read_head(Mock(), head)[1].get_all()) == list(expected[1].get_all())


class EventsHandler(RequestHandler):
    """An answer whose length nobody knows when it begins, or one without a body."""

    async def get(self, status: str) -> None:
        self.set_status(int(status))
        if status == "200":
            self.write("one,")
            await self.flush()
            self.write("two")

    head = get


@pytest.mark.parametrize(
    ("request_", "body"),
    [(b"GET /200", b"one,two"), (b"HEAD /200", None), (b"GET /204", None), (b"GET /304", None)],
    ids=["events", "head", "204", "304"],
)
@pytest.mark.gen_test
async def test_the_connection_ends_where_nothing_else_says_where_the_body_ends(
    request_: bytes, body: bytes | None
) -> None:
    """RFC 9112, section 6.3, rule 8: HTTP/1.0 has no chunks, even if the client would keep the connection."""
    kept = b" HTTP/1.0\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\n"
    last = b"GET /204 HTTP/1.0\r\nHost: localhost\r\n\r\n"
    async with serving(("/([0-9]+)", EventsHandler)) as (_, port):
        answer = await exchange(port, request_ + kept + (last if body is None else b""))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert (b"\r\nConnection: Keep-Alive" in head) == (body is None)
    if body is None:
        assert statuses(rest) == [204]  # the connection was kept
    else:
        assert rest == body


def written(
    kind: type[HTTP1Connection],
    request: tuple[str, str, str],
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
) -> tuple[object, ...]:
    """What a connection of this kind makes of an answer: bytes, or an error; and what it then expects."""
    stream = Mock(closed=lambda: False, write=Mock(side_effect=lambda _: asyncio.Future()))
    connection = kind(stream, is_client=False)
    method, version, kept = request
    start_line = connection._request_start_line = RequestStartLine(method, "/", version)
    asked = connection._request_headers = HTTPHeaders({"Connection": kept} if kept else {})
    if method == "POST":
        asked["Content-Length"] = "0"
    connection._disconnect_on_finish = not connection._can_keep_alive(start_line, asked)
    fields = HTTPHeaders()
    for name, value in headers:
        if name == "Content-Length":
            fields[name] = value
        else:
            fields._as_list.setdefault(name, []).append(value)  # `add` would look at it
    try:
        connection.write_headers(ResponseStartLine("HTTP/1.1", status, "Reason"), fields, body or None)
    except (ValueError, HTTPOutputError):
        return "refused", stream.write.call_args_list
    return stream.write.call_args_list, connection._chunking_output, connection._expected_content_remaining


@given(
    st.tuples(
        st.sampled_from(["GET", "HEAD", "POST"]),
        st.sampled_from(["HTTP/1.0", "HTTP/1.1"]),
        st.sampled_from(["", "keep-alive", "Keep-Alive", "close"]),
    ),
    st.sampled_from([101, 200, 204, 206, 303, 304, 404, 500]),
    st.lists(
        st.just(("Content-Length", "5"))
        | st.tuples(
            st.sampled_from(["Vary", "Set-Cookie", "X-Y", "Connection"]),
            st.text(st.characters(max_codepoint=0x17F), max_size=5),
        ),
        max_size=4,
    ),
    st.sampled_from([b"", b"hello", b"longer than said"]),
)
@example(("GET", "HTTP/1.1", ""), 200, [("X-Y", "a\r\nSet-Cookie: b")], b"")
@example(("GET", "HTTP/1.1", ""), 200, [("X-Y", "a\nb\rc")], b"")
def test_the_head_of_an_answer_is_written_as_tornado_writes_it(
    request: tuple[str, str, str], status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    """But for the one answer of the test before, whose end Tornado leaves open."""
    method, version, kept = request
    says_its_end = ("Content-Length", "5") in headers or method == "HEAD" or status in (101, 204, 304)
    assume(says_its_end or version == "HTTP/1.1" or kept.lower() != "keep-alive")

    async def compare() -> None:
        answer = (request, status, headers, body)
        assert written(Exchange, *answer) == written(HTTP1Connection, *answer)

    asyncio.run(compare())


@pytest.mark.gen_test
async def test_nothing_is_written_to_a_client_that_has_gone() -> None:
    connection = Exchange(Mock(closed=lambda: True), is_client=False)
    connection._request_start_line = RequestStartLine("GET", "/", "HTTP/1.1")
    connection._request_headers = HTTPHeaders()
    with pytest.raises(StreamClosedError):
        await connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"hello")
