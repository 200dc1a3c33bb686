# SPDX-License-Identifier: MIT
"""What commands print: results on standard output; progress, questions and errors on standard error."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from stormcellar import terminal

BAR_WIDTH = 30
REDRAW_S = 0.1
STEP_PERCENT = 10  # where there is no terminal, one line for each


class CommandError(Exception):
    """A command cannot do what was asked; the message is one sentence for whoever typed it."""


def print_json(record: Mapping[str, Any]) -> None:
    print(json.dumps(record, ensure_ascii=not terminal.takes_unicode()))


def moment(unix_s: float) -> str:
    """A time as people read it, in UTC to the second."""
    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless `yes`.

    Raises:
        CommandError: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("Nobody can be asked here whether this is meant; add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    with until_ctrl_c():
        answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was changed")


@contextlib.contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Around what waits for a person: asyncio would only note Ctrl+C, for when the waiting is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """How far long work has come: a bar that moves on a terminal, now and then a plain line elsewhere.

    Args:
        total: how much there is to do; 0 if there is nothing.
        unit: what is counted, in the plural.
    """

    def __init__(self, total: int, unit: str, stream: TextIO | None = None) -> None:
        self.done = 0
        self._total = max(total, 0)
        self._unit = unit
        self._stream = stream or sys.stderr
        self._moves = self._stream.isatty()
        self._drawn_at = float("-inf")
        self._next_percent = STEP_PERCENT
        self._started_at = time.monotonic()
        self._done_before = 0

    def begin_at(self, done: int) -> None:
        """Some of it was done by an earlier run."""
        self.done = self._done_before = done
        while self._percent >= self._next_percent:
            self._next_percent += STEP_PERCENT

    def advance(self, count: int) -> None:
        self.done += count
        if self._moves and time.monotonic() - self._drawn_at >= REDRAW_S:
            self._draw()
        elif not self._moves and self._percent >= self._next_percent:
            self._next_percent = self._percent - self._percent % STEP_PERCENT + STEP_PERCENT
            print(self._text(), file=self._stream, flush=True)

    def finish(self) -> None:
        """Leave the line as it is at the end."""
        if self._moves:
            self._draw()
            print(file=self._stream, flush=True)

    def per_second(self) -> int:
        """The speed of this run."""
        return int((self.done - self._done_before) / max(time.monotonic() - self._started_at, 1e-6))

    @property
    def _percent(self) -> int:
        return min(100, 100 * self.done // self._total) if self._total else 100

    def _text(self) -> str:
        speed = f"{self.per_second():,}/s"
        return f"{self._percent:3} %  {self.done:,} of {self._total:,} {self._unit}  {speed}"

    def _draw(self) -> None:
        filled = BAR_WIDTH * self._percent // 100
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        self._drawn_at = time.monotonic()
        print(f"\r[{bar}] {self._text()}  ", end="", file=self._stream, flush=True)
