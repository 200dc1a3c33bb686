# SPDX-License-Identifier: MIT
"""How lines of the log look: text for people, or one JSON object a line for programs (setting `log_format`).

    2027-01-15T08:00:00.123Z INFO stormcellar.access [5f0c2d9a41be 9d1f6a3c77e0] 200 GET /dashboard 1.2 ms

In brackets stand the number of the request that was being served when the line was written, and the hash
of its session's handle (`sessions.events.session_hash`), if there were any. Nothing that a client sends can
begin a line or steer a terminal: control characters are escaped.

Source: OWASP ASVS 5.0, 16.2 and 16.4.1; OWASP logging vocabulary.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO, cast

from stormcellar.sessions.events import session_hash

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

    TextHandler = logging.StreamHandler[TextIO]
else:
    TextHandler = logging.StreamHandler  # Python 3.10 cannot write the type of its stream

current_request: ContextVar[BaseHandler | None] = ContextVar("current_request", default=None)
"""The handler of the request that is being served; BaseHandler.prepare sets it."""

MOST_WAITING = 4 * 1024 * 1024  # characters that wait for the log's reader
GATHER_S = 0.01

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure(log_format: str, *, debug: bool) -> None:
    """Write everything that is logged in this process to stderr, in the format of that name."""
    formatter = JsonFormatter() if log_format == "json" else TextFormatter()
    stream = sys.stderr
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr, or none that is a file
        writers.append(BackgroundWriter(sys.stderr.fileno(), formatter))
        stream = cast(TextIO, writers[-1])
    handler = LineHandler(stream)
    handler.setFormatter(formatter)
    logging.root.addHandler(handler)  # beside one of OpenTelemetry's that may be there
    logging.root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.INFO)  # at DEBUG it names its selector, no more
    atexit.register(finish)


def finish(within_s: float = 1.0) -> None:
    """Write the lines that wait, before the process ends or prints to stderr by itself."""
    for writer in writers:
        writer.finish(within_s)


def escaped(text: str) -> str:
    """Text with its control characters, line ends among them, written as \\x0a and the like."""
    return text if text.isprintable() else CONTROLS.sub(_escape, text)


def request_and_session() -> tuple[str, str]:
    """The number of the request that is being served and the hash of its session; "" for none."""
    handler = current_request.get()
    if handler is None:
        return "", ""
    return handler.request_id, session_hash(handler.session.handle) if handler.session else ""


class LineHandler(TextHandler):
    """Writes lines, also those for which nobody made a record.

    A record for each request would cost more than all that is done for its session.
    """

    formatter: TextFormatter

    def write_line(self, level: str, name: str, message: str, fields: dict[str, Any]) -> None:
        """Write at once what a record with this message and these fields would become.

        As with a record, a line that cannot be written is lost, and whoever writes it goes on.
        """
        line = self.formatter.line(time.time(), level, name, message, fields)
        self.acquire()
        try:
            with contextlib.suppress(OSError, ValueError):  # the second: the stream is closed
                self.stream.write(line + self.terminator)
                self.stream.flush()
        finally:
            self.release()


class BackgroundWriter:
    """A text stream for LineHandler whose lines a thread writes.

    The reader of a pipe may stop reading: a write then blocks, and with it would the event loop. The thread
    alone blocks. Up to MOST_WAITING characters wait for it, further lines are dropped, and the next line that
    can be written says how many. The thread gathers lines for GATHER_S, which saves system calls.
    """

    def __init__(self, descriptor: int, formatter: TextFormatter) -> None:
        self._descriptor = descriptor
        self._formatter = formatter
        self._lines: deque[str] = deque()
        self._waiting = self._dropped = 0
        self._lock = threading.Lock()
        self._news, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        threading.Thread(target=self._write_forever, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        with self._lock:
            if self._waiting > MOST_WAITING:
                self._dropped += 1
                return 0
            self._lines.append(text)
            self._waiting += len(text)
            if self._waiting == len(text):
                self._idle.clear()
                self._news.set()
        return len(text)

    def flush(self) -> None:
        """Do nothing: no caller waits for the log."""

    def finish(self, within_s: float) -> None:
        """Wait until all lines are written, but no longer than that."""
        self._idle.wait(within_s)

    def _write_forever(self) -> None:
        while True:
            self._news.wait()
            time.sleep(GATHER_S)
            with self._lock:
                self._news.clear()
                text = "".join(self._lines)
                self._lines.clear()
                self._waiting -= len(text)
                if self._dropped:
                    said = f"{self._dropped} lines were dropped: the log's reader did not keep up"
                    line = self._formatter.line(time.time(), "WARNING", "stormcellar.log", said, {})
                    text += line + "\n"
                    self._dropped = 0
            self._write(text.encode("utf-8", "backslashreplace"))
            with self._lock:
                if not self._lines:
                    self._idle.set()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process has made the pipe non-blocking
                time.sleep(GATHER_S)
            except OSError:  # the reader is gone: the lines are lost
                return


writers: list[BackgroundWriter] = []
"""Of this process: at most one."""


def only_handler(logger: logging.Logger, level: int) -> LineHandler | None:
    """Ours, if all that a logger would do with a record of this level is to hand it over."""
    root = logging.root
    handler = root.handlers[0] if len(root.handlers) == 1 else None
    if not isinstance(handler, LineHandler) or handler.filters or handler.level > level:
        return None
    return handler if logger.propagate and not logger.handlers and not logger.filters else None


class TextFormatter(logging.Formatter):
    """One line for people; an exception's traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        line = self.line(record.created, record.levelname, record.name, record.getMessage(), fields)
        return self.with_trouble(line, self.formatException(record.exc_info)) if record.exc_info else line

    def line(self, created: float, level: str, name: str, message: str, fields: dict[str, Any]) -> str:
        request_id, session = request_and_session()
        place = f"[{request_id} {session}] " if session else f"[{request_id}] " if request_id else ""
        return f"{utc(created)} {level} {name} {place}{escaped(message)}"

    def with_trouble(self, line: str, trouble: str) -> str:
        return line + "".join(f"\n    {escaped(part)}" for part in trouble.split("\n"))


class JsonFormatter(TextFormatter):
    """One JSON object in one line of ASCII. What a record carries as `fields` stands in it too."""

    def line(self, created: float, level: str, name: str, message: str, fields: dict[str, Any]) -> str:
        request_id, session = request_and_session()
        line = {"time": utc(created), "level": level, "logger": name, "message": message}
        if request_id:
            line["request_id"] = request_id
        if session:
            line["session"] = session
        return json.dumps({**line, **fields}, default=str)

    def with_trouble(self, line: str, trouble: str) -> str:
        return json.dumps({**json.loads(line), "exception": trouble})


def utc(moment: float) -> str:
    """Unix seconds as ISO 8601 with milliseconds, in UTC."""
    return f"{_second(int(moment))}.{int(moment % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def _escape(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
