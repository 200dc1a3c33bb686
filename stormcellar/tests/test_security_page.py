# SPDX-License-Identifier: MIT
"""docs/security.md promises nothing without a test, and names no test that is not there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from stormcellar.tests.serving import ROOT

pytestmark = pytest.mark.kit

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
PROMISES, _, STANDARD = PAGE.partition("## OWASP ASVS 5.0")
TEST_FILE = r"stormcellar/(?:extras/\w+/)?tests/[\w/]+\.py"
NAMED = sorted(
    (path, name)
    for path, name in set(re.findall(rf"`({TEST_FILE})::(\w+)`", PAGE))
    if not path.startswith("stormcellar/extras/")
    or (ROOT / path).parents[1].is_dir()  # a clone may be without it
)


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
        for line in PROMISES.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| promise |"))
    ]
    assert len(rows) > 50
    for row in rows:
        cell = row.strip("|").split("|")[-1].strip()
        assert re.fullmatch(rf"`{TEST_FILE}::test_\w+`(, `{TEST_FILE}::test_\w+`)*", cell), row


def test_every_name_of_a_test_is_written_with_its_file() -> None:
    loose = re.findall(r"(?<!::)\btest_\w+(?!\w*\.py)", re.sub(rf"`{TEST_FILE}::[^`]*`", "", PAGE))
    assert loose == []


def test_every_chapter_of_the_standard_has_an_answer_and_a_reason() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in STANDARD.splitlines()
        if line.startswith("| V")
    ]
    assert [row[0].split()[0] for row in rows] == [f"V{number}" for number in range(1, 18)]
    for chapter, answer, reason in rows:
        assert re.match(r"met\b|not met\b|not applicable$|the site's$", answer), chapter
        assert len(reason) > 10, chapter
        assert ("but for" not in answer) or re.search("Not met|Not done|Left to the site", reason), chapter


def test_whoever_finds_a_weakness_is_told_where_to_report_it() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "in private" in text
    assert "SECURITY.md" in PAGE
