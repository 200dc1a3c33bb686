# SPDX-License-Identifier: MIT
"""What users typed, such as addresses and role names, must not steer the terminal that shows it."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from stormcellar.accounts.text import HIDDEN

# Line ends and tabs belong to a command's own layout, and a carriage return to the bar of its progress.
_STEERING = re.compile(f"(?![\t\n])[{HIDDEN}\ud800-\udfff]")
_PROGRESS = "\r["


def visible(text: str) -> str:
    """Return a text in which control characters, marks of direction and hidden characters are escaped.

    The escapes are those of JSON, so JSON stays JSON.
    """
    return text if text.isascii() and text.isprintable() else _STEERING.sub(_escape, text)


class VisibleOutput:
    """A stream that writes only visible characters. Everything else is done by the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        start = "\r" if text.startswith(_PROGRESS) else ""
        self._stream.write(start + visible(text[len(start) :]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """Write only visible characters to standard output and standard error."""
    streams = [
        cast(TextIO, VisibleOutput(stream)) if stream else stream for stream in (sys.stdout, sys.stderr)
    ]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        yield


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
