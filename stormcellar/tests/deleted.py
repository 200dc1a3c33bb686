# SPDX-License-Identifier: MIT
"""Test modules that cannot be imported because this site has deleted a part of the kit: they are skipped.

A site may delete the kit's documentation, examples, benchmarks, deploy files and extras. With KIT set in the
environment nothing is skipped, so that a wrong path in a test of the kit is an error.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "stormcellar/benchmarks",
    "deploy",
    "docs",
    "examples",
    "stormcellar/extras/authenticator",
    "stormcellar/extras/passkeys",
)
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")


def deleted_part(error: BaseException) -> str:
    """The part whose absence stopped the import of a module; "" if there is none."""
    text = str(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        path = Path(error.filename)
        if path.suffix == ".md" and path.is_relative_to(ROOT) and path.parent in (ROOT, ROOT / "docs"):
            return str(path.relative_to(ROOT))
    for part in (*FOLDERS, *FILES):
        module = part.replace("/", ".")
        is_named = str(ROOT / part) in text or f"No module named '{module}" in text
        if is_named and not (ROOT / part).exists():
            return part
    return ""


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.outcome != "failed" or os.environ.get("KIT"):
        return
    part = deleted_part(report.call.excinfo.value)
    if part:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), None, f"Skipped: this site has no {part}")
