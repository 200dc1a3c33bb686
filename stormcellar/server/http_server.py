# SPDX-License-Identifier: MIT
"""The HTTP server: Tornado's, with limits on size and time, and stricter about where a message ends.

    the head of a request     32 KiB, 20 seconds from its first byte
    a body                    as its handler takes (stormcellar/web/body_limit.py), 16 KiB in each 30 seconds
    an answer                 60 seconds since the client last took some of it
    a connection without a request   75 seconds, longer than proxies keep one they may use again

Where a server and a proxy before it disagree about where a message ends, somebody smuggles one request in
another. Tornado refuses much of what can be read in two ways; what it would still take is refused here, all
of it alike: 400, and the connection is closed, so that nothing after it is ever read.

What Tornado does for each request and each header is done once for a connection, and for all headers at once:
a timer, two calls of setsockopt, and the look at every line.

`accept` fails while the process has no free file descriptor (EMFILE). The connection stays in the queue, so
the event loop would report it again at once, and each report would be one more error in the log. A Listener
pauses for PAUSE_S instead, and the log gets one line.

Source: RFC 9112, sections 2.2, 3, 5.1, 5.2, 6.1, 6.3, 9.6 and 11.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from tornado.concurrent import future_add_done_callback
from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection, parse_int
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import add_accept_handler

if TYPE_CHECKING:
    from stormcellar.application import Application

log = logging.getLogger("stormcellar.web")

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_BYTES_READ = 128 * 1024  # up to here a head that is too large is answered, beyond it cut off
HEAD_TIMEOUT_S = 20
BODY_TIMEOUT_S = 30
LEAST_BODY_BYTES = 16 * 1024  # of a body that goes on, in each BODY_TIMEOUT_S
ANSWER_TIMEOUT_S = 60
IDLE_TIMEOUT_S = 75
LOOK_INTERVAL_S = 1.0
PAUSE_S = 0.5  # of a listener, while no file descriptor is free
LOG_AGAIN_S = 60.0
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

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
        decompress_request=False,
    )


class LimitedServer(HTTPServer):
    """Tornado's HTTPServer with a time limit for each thing that a client may be slow at.

    The server checks all connections once a second, which costs a request nothing.
    """

    head_timeout_s: float = HEAD_TIMEOUT_S
    body_timeout_s: float = BODY_TIMEOUT_S
    answer_timeout_s: float = ANSWER_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S

    def initialize(self, *args: Any, **options: Any) -> None:
        super().initialize(*args, **options)
        self.conn_params.header_timeout = None
        self._arriving: dict[HTTP1ServerConnection, Arriving] = {}
        self._waiting_since: dict[tuple[HTTP1ServerConnection, float, int, int], float] = {}
        self._looks = PeriodicCallback(
            lambda: self.close_those_that_wait(time.monotonic()), LOOK_INTERVAL_S * 1000
        )

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        listeners = [Listener(listening, self._handle_connection) for listening in sockets]
        super().add_sockets(cast(Iterable[socket.socket], listeners))

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if not self._looks.is_running():
            self._looks.start()
        stream.set_nodelay(True)  # answers are written whole: there is never more to wait for
        stream.set_nodelay = _leave  # type: ignore  # Tornado would switch twice for each
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Called before each head is read."""
        request_conn.__class__ = Exchange  # Tornado makes it by itself, and asks nobody of what class
        arriving = Arriving(super().start_request(server_conn, request_conn))
        self._arriving[cast(HTTP1ServerConnection, server_conn)] = arriving
        return arriving

    def on_close(self, server_conn: object) -> None:
        self._arriving.pop(cast(HTTP1ServerConnection, server_conn), None)
        super().on_close(server_conn)

    async def close_all_connections(self) -> None:
        self._looks.stop()
        await super().close_all_connections()

    def requests_under_way(self) -> int:
        """How many requests have been received in part or in full and not been answered in full.

        The number is derived from the open connections, so it cannot drift: a connection that breaks off is
        gone, whatever its handler was doing. Static files, errors and uploads count like pages.
        """
        return sum(
            connection.stream.writing() or connection.stream._read_regex is None
            for connection in self._connections
        )

    def close_those_that_wait(self, now_s: float) -> None:
        """Close the connections that have waited too long for their clients.

        A connection waits if its state, the bytes written and the steps of its body (LEAST_BODY_BYTES each)
        are the same as at the last check.
        """
        waiting_since = {}
        for connection in list(self._connections):
            stream = connection.stream
            timeout_s = self._timeout_s(stream)
            if timeout_s is None:
                continue
            arriving = self._arriving.get(connection)
            body_steps = arriving.body_bytes // LEAST_BODY_BYTES if arriving else 0
            found = (connection, timeout_s, stream._total_write_done_index, body_steps)
            waiting_since[found] = self._waiting_since.get(found, now_s)
            if now_s - waiting_since[found] >= timeout_s - 2 * LOOK_INTERVAL_S:
                stream.close()
        self._waiting_since = waiting_since

    def _timeout_s(self, stream: IOStream) -> float | None:
        """How long the client may take for what it has to do now; None while the server has to do it."""
        if stream.writing():
            return self.answer_timeout_s
        if stream._read_regex is None:  # only heads are read up to a pattern
            return self.body_timeout_s if stream.reading() else None
        return self.head_timeout_s if stream._read_buffer_size else self.idle_timeout_s


class Arriving(HTTPMessageDelegate):
    """Passes a request on to Tornado's own delegate, and counts the bytes of its body."""

    def __init__(self, delegate: HTTPMessageDelegate) -> None:
        self.body_bytes = 0
        self._delegate = delegate
        self.headers_received = delegate.headers_received  # type: ignore[method-assign]
        self.finish = delegate.finish  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.body_bytes += len(chunk)
        return self._delegate.data_received(chunk)


class Listener:
    """A listening socket, for Tornado's TCPServer, that pauses while no file descriptor is free."""

    last_shortage_s = -LOG_AGAIN_S  # of all listeners in this process: the log gets one line

    def __init__(self, listening: socket.socket, handle: Callable[[socket.socket, Any], None]) -> None:
        self._listening = listening
        self._handle = handle

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return self._listening.accept()
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            self._pause(error)
            raise BlockingIOError from error  # to Tornado: no connection is waiting

    def _pause(self, error: OSError) -> None:
        now_s = time.monotonic()
        if now_s - Listener.last_shortage_s >= LOG_AGAIN_S:
            log.error(
                "no connection can be accepted (%s); the server tries again every %s s. If this happens "
                "often, raise the limit of open files (LimitNOFILE= in the unit, or ulimit -n)",
                error.strerror,
                PAUSE_S,
            )
        Listener.last_shortage_s = now_s
        loop = IOLoop.current()
        loop.remove_handler(cast(Any, self))
        loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self.fileno() >= 0:  # the server has not closed it meanwhile
            add_accept_handler(cast(socket.socket, self), self._handle)


def _leave(value: bool) -> None:
    """Leave it as it was set for the connection."""


class Exchange(HTTP1Connection):
    """One request on a connection, and its answer: as Tornado's, all headers read and written at once."""

    def _parse_headers(self, data: bytes) -> tuple[str, HTTPHeaders]:
        return read_head(self.stream, data)

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Write the head of an answer, and the first part of its body, with the same bytes as Tornado.

        Raises:
            ValueError: there is a line end in a header.
        """
        start_line = cast(ResponseStartLine, start_line)
        self._response_start_line = start_line
        self._decide_framing(start_line.code, headers)
        lines = [f"{name}: {value}" for name, value in headers.get_all()]
        head = "\r\n".join([f"HTTP/1.1 {start_line.code} {start_line.reason}", *lines, "\r\n"])
        if not head.count("\r") == head.count("\n") == len(lines) + 2:
            raise ValueError("there is a line end in a header")
        data = head.encode("latin1")
        future = self._write_future = asyncio.Future()
        if self.stream.closed():
            future.set_exception(StreamClosedError())
            future.exception()  # nobody has to ask for it
        else:
            self._pending_write = self.stream.write(data + self._format_chunk(chunk) if chunk else data)
            future_add_done_callback(self._pending_write, self._on_write_complete)
        return future

    def _decide_framing(self, status: int, headers: HTTPHeaders) -> None:
        """Say where the body ends, and whether the connection stays (RFC 9112, sections 6.3 and 9.6)."""
        method, _, version = cast(RequestStartLine, self._request_start_line)
        has_length = "Content-Length" in headers
        has_body = method != "HEAD" and status >= 200 and status not in (204, 304)
        if version == "HTTP/1.1":
            if self._disconnect_on_finish:
                headers["Connection"] = "close"
            if has_body and not has_length:
                self._chunking_output = True
                headers["Transfer-Encoding"] = "chunked"
        elif has_body and not has_length:
            self._disconnect_on_finish = True  # nothing else can say where the body ends; Tornado forgets it
        elif version == "HTTP/1.0" and not self._disconnect_on_finish:
            headers["Connection"] = "Keep-Alive"
        if method == "HEAD" or status == 304:
            self._expected_content_remaining = 0
        elif has_length:
            self._expected_content_remaining = parse_int(headers["Content-Length"])


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
