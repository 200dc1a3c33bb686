# SPDX-License-Identifier: MIT
"""The HTTP server: Tornado's, with limits on size and time, and stricter about where a message ends.

    the head of a request     32 KiB, 20 seconds from its first byte
    a body                    as its handler takes (handlers/too_large.py), 30 seconds
    a connection without a request   75 seconds, longer than proxies keep one they may use again

Where a server and a proxy before it disagree about where a message ends, somebody smuggles one request in
another. Tornado refuses much of what can be read in two ways; what it would still take is refused here, all
of it alike: 400, and the connection is closed, so that nothing after it is ever read.

Source: RFC 9112, sections 2.2, 3, 5.1, 5.2, 6.1 and 11.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPMessageDelegate
from tornado.iostream import IOStream, StreamClosedError

if TYPE_CHECKING:
    from server import Application

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_BYTES_READ = 128 * 1024  # up to here a head that is too large is answered, beyond it cut off
HEAD_TIMEOUT_S = 20
BODY_TIMEOUT_S = 30
IDLE_TIMEOUT_S = 75
LOOK_INTERVAL_S = 1.0

IN_HEADS = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])  # field-vchar, whitespace, line ends
is_field_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


def make_http_server(application: Application) -> LimitedServer:
    """The server of this application, which does not listen yet."""
    return LimitedServer(
        application,
        max_header_size=MAX_HEAD_BYTES_READ,
        max_body_size=application.options.max_body_bytes,
        body_timeout=BODY_TIMEOUT_S,
        idle_connection_timeout=IDLE_TIMEOUT_S,
        decompress_request=False,
    )


class LimitedServer(HTTPServer):
    """Tornado's HTTPServer, which has one time-out for idle connections and slow heads, with one for each.

    The second is kept by looking at all connections once a second: that costs a request nothing.
    """

    head_timeout_s: float = HEAD_TIMEOUT_S

    def initialize(self, *args: Any, **options: Any) -> None:
        super().initialize(*args, **options)
        self._unfinished: dict[HTTP1ServerConnection, float] = {}
        self._looking: asyncio.Task[None] | None = None

    def start_request(
        self, server_conn: object, request_conn: Any
    ) -> HTTPMessageDelegate:  # called before each head is read
        request_conn._parse_headers = partial(read_head, request_conn.stream)
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_after_heads())
        return super().start_request(server_conn, request_conn)

    async def close_all_connections(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        await super().close_all_connections()

    async def _look_after_heads(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self.close_slow_heads(asyncio.get_running_loop().time())

    def close_slow_heads(self, now_s: float) -> None:
        """Close the connections on which the head of a request has begun too long ago and has not ended."""
        unfinished = {
            connection: self._unfinished.get(connection, now_s)
            for connection in self._connections
            if _has_begun_a_head(connection.stream)
        }
        for connection, since_s in unfinished.items():
            if now_s - since_s >= self.head_timeout_s - 2 * LOOK_INTERVAL_S:
                connection.stream.close()
        self._unfinished = unfinished


def _has_begun_a_head(stream: IOStream) -> bool:
    """Only heads are read up to a pattern; what has come of one waits in the buffer."""
    return stream._read_regex is not None and stream._read_buffer_size > 0


def read_head(stream: IOStream, head: bytes) -> tuple[str, HTTPHeaders]:
    """The first line of a request and its headers, as HTTP1Connection._parse_headers gives them.

    All bytes are looked at once, and not header by header: the cookies of a session are long.

    Raises:
        HTTPInputError: the head can be read in two ways, or not at all; Tornado answers 400 and closes.
        StreamClosedError: it is too large, which has been answered.
    """
    if len(head) > MAX_HEAD_BYTES:
        with contextlib.suppress(StreamClosedError):
            stream.write(HEAD_TOO_LARGE)
        stream.close()
        raise StreamClosedError
    if not head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n"):
        raise HTTPInputError("a line ends otherwise than by CR LF")
    if head.translate(None, IN_HEADS):
        raise HTTPInputError("there is a control character in the head")
    start_line, *lines = head.lstrip(b"\r\n").decode("latin1").rstrip("\r\n").split("\r\n")
    headers = HTTPHeaders()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not is_field_name(name):
            raise HTTPInputError("a header has no name, or not one that can be a name")
        if name in headers:
            headers.add(name, value.strip(" \t"))
        else:
            headers[name] = value.strip(" \t")
    if "Content-Length" in headers or "Transfer-Encoding" in headers:
        _check_framing(start_line, headers)
    return start_line, headers


def _check_framing(start_line: str, headers: HTTPHeaders) -> None:
    lengths, codings = headers.get_list("Content-Length"), headers.get_list("Transfer-Encoding")
    if len(lengths) + len(codings) > 1:
        raise HTTPInputError("more than one header says where the body ends")
    if lengths and not re.fullmatch("[0-9]{1,15}", lengths[0], re.ASCII):
        raise HTTPInputError("Content-Length is not one number")
    if codings and (codings[0].lower() != "chunked" or not start_line.endswith(" HTTP/1.1")):
        raise HTTPInputError("the only transfer coding is chunked, and it belongs to HTTP/1.1")
