# SPDX-License-Identifier: MIT
"""The files whose change starts the server again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("templates", "static", "extras")  # here every file counts, elsewhere Python's
ASIDE = {"__pycache__", "node_modules", "var", "tests", "docs", "benchmarks", "examples"}

Snapshot = dict[str, tuple[int, int]]


def snapshot(more: Sequence[Path] = ()) -> Snapshot:
    """The time of change and the size of each watched file."""
    found: Snapshot = {}
    for path in (*_watched(ROOT, every_file=False), *map(str, more)):
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
            at_the_top = folder == ROOT
            pages = every_file or (at_the_top and entry.name in PAGES)
            yield from _watched(Path(entry.path), every_file=pages)
        elif every_file or entry.name.endswith(".py"):
            yield entry.path


def changed(before: Snapshot, after: Snapshot) -> str:
    """The name of a file that was changed, added or removed; "" if there is none."""
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            return os.path.relpath(path, ROOT)
    return ""


def config_files(words: Sequence[str], environ: Mapping[str, str]) -> list[Path]:
    """The file of settings that the command line or the environment names."""
    found = [environ.get("STORMCELLAR_CONFIG", "")]
    for number, word in enumerate(words):
        option, equals, path = word.partition("=")
        if option == "--config":
            found.append(path if equals else (words[number + 1 : number + 2] or [""])[0])
    return [Path(os.path.expanduser(path)).resolve() for path in found if path]
