# SPDX-License-Identifier: MIT
"""The top level is small: what a user owns is not lost among what the kit brings."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stormcellar.tests.serving import ROOT, SITE_DIR

pytestmark = pytest.mark.kit

MOST_ENTRIES = 20
MADE = {"__pycache__", "var", "build", "dist", "stormcellar.egg-info"}
THE_USERS = {"server.py", "handlers", "templates", "static", "tests", "requirements.txt"}


def test_the_top_level_has_few_entries_and_the_users_are_among_them() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - MADE
    assert len(visible) <= MOST_ENTRIES, sorted(visible)
    assert visible >= THE_USERS


def test_the_start_is_short() -> None:
    lines = (ROOT / "server.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 30


SITE_PARTS = ("server.py", "manage.py", "handlers", "templates", "static", "tests")


def files_of(folder: Path, parts: Sequence[str]) -> dict[str, bytes]:
    """The content of each file by its path, without what Python compiled."""
    paths = [path for part in parts for path in (folder / part, *(folder / part).rglob("*"))]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_packaged_site_is_the_one_at_the_top_level() -> None:
    """`python -m stormcellar new` writes it. After a change of the site: `make site`."""
    ours, packaged = files_of(ROOT, SITE_PARTS), files_of(SITE_DIR, SITE_PARTS)
    assert len(ours) > 30
    assert ours.keys() ^ packaged.keys() == set(), "run `make site` and commit"
    assert [name for name in ours if ours[name] != packaged[name]] == [], "run `make site` and commit"


def modules_imported(source: str) -> Iterator[str]:
    """Name what a module imports anywhere in it, for types only included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_the_kit_never_imports_the_site() -> None:
    kit = ROOT / "stormcellar"
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted(kit.rglob("*.py"))
        if path.relative_to(kit).parts[0] not in ("site", "tests") and "node_modules" not in path.parts
        for module in modules_imported(path.read_text(encoding="utf-8"))
        if module.partition(".")[0] in ("server", "manage", "handlers", "tests")
    ]
    assert not wrong
