# SPDX-License-Identifier: MIT
"""docs/security.md promises nothing without a test, and names no test that is not there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.serving import ROOT

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@cache
def names_in(path: str) -> set[str]:
    """The names of a file's test functions, in classes too."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_")}


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 50


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), path
    assert name in names_in(path)


def test_every_promise_has_a_test() -> None:
    """Every row of every table ends with names of tests and nothing else."""
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| promise |"))
    ]
    assert len(rows) > 50
    for row in rows:
        cell = row.strip("|").split("|")[-1].strip()
        assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`(, `tests/[\w/]+\.py::test_\w+`)*", cell), row


def test_every_name_of_a_test_is_written_with_its_file() -> None:
    loose = re.findall(r"(?<!::)\btest_\w+(?!\w*\.py)", re.sub(r"`tests/[^`]*`", "", PAGE))
    assert loose == []


def test_whoever_finds_a_weakness_is_told_where_to_report_it() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "in private" in text
    assert "SECURITY.md" in PAGE
