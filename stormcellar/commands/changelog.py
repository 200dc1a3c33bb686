# SPDX-License-Identifier: MIT
"""Which changes of the kit a clone has to follow by hand: the entries of CHANGELOG.md "For clones".

    ## [0.2.0] - 2027-01-31
    - What changed. Files: `...`.
      **For clones:** what to do by hand.

The file `.kit-version` says how far a clone has come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from stormcellar.commands.check_settings import numbers

MARKER = "**For clones:**"
UNRELEASED = "Unreleased"
VERSION = re.compile(r"\d+\.\d+\.\d+")


def entries_for_clones(changelog: str, since: str) -> Iterator[tuple[str, str]]:
    """(version, entry) for what clones must do that came after version `since`, the newest first."""
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        found = re.match(r"\[([^]]+)\]", section)
        version = found[1] if found else ""
        if version != UNRELEASED and numbers(version) <= numbers(since):
            continue
        for entry in re.split(r"^- ", section, flags=re.MULTILINE)[1:]:
            text = entry.partition("\n#")[0].partition("\n[")[0]
            if MARKER in text:
                yield version, " ".join(text.replace(MARKER, "For clones:").split())


def recorded_version(root: Path) -> str | None:
    """The version of the kit whose changes this clone has, by its own account."""
    file = root / ".kit-version"
    text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return text if VERSION.fullmatch(text) else None
