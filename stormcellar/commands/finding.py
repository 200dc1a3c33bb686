# SPDX-License-Identifier: MIT
"""What `check` finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from stormcellar.commands.output import print_json

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        level: error: not fit for production; warning: fit, but something will hurt; note: to know.
        what: a sentence.
        advice: what to do about it; empty if nothing need be done.
    """

    level: Level
    what: str
    advice: str = ""

    def print(self, *, as_json: bool) -> None:
        if as_json:
            print_json(asdict(self))
            return
        print(f"{self.level:<8} {self.what}")
        if self.advice:
            print(f"         -> {self.advice}")


def error(what: str, advice: str) -> Finding:
    return Finding("error", what, advice)


def warning(what: str, advice: str) -> Finding:
    return Finding("warning", what, advice)


def note(what: str, advice: str = "") -> Finding:
    return Finding("note", what, advice)
