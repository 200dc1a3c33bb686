# SPDX-License-Identifier: MIT
"""The files whose change starts the server again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PAGES = ("templates", "static", "extras")  # in these folders every file counts, elsewhere Python's
ASIDE = {"__pycache__", "node_modules", "var", "tests", "docs", "benchmarks", "examples", "tools"}

Snapshot = dict[str, tuple[int, int]]


def snapshot(folder: Path, more: Sequence[Path] = ()) -> Snapshot:
    """The time of change and the size of each watched file of a site's folder, and of some files more."""
    found: Snapshot = {}
    for path in (*_watched(folder, every_file=False), *map(str, more)):
        try:
            status = os.stat(path)
        except OSError:  # removed meanwhile, or not there yet
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _watched(folder: Path, *, every_file: bool) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in ASIDE:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _watched(Path(entry.path), every_file=every_file or entry.name in PAGES)
        elif every_file or entry.name.endswith(".py"):
            yield entry.path


def changed(before: Snapshot, after: Snapshot) -> str:
    """Return the path of a file that was changed, added or removed; "" if there is none."""
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            return path
    return ""


def config_files(words: Sequence[str], environ: Mapping[str, str]) -> list[Path]:
    """The file of settings that the command line or the environment names."""
    found = [environ.get("STORMCELLAR_CONFIG", "")]
    for number, word in enumerate(words):
        option, equals, path = word.partition("=")
        if option == "--config":
            found.append(path if equals else (words[number + 1 : number + 2] or [""])[0])
    return [Path(os.path.expanduser(path)).resolve() for path in found if path]
