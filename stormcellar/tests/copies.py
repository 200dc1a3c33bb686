# SPDX-License-Identifier: MIT
"""Copies of the project in which a test may write, delete and install."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stormcellar.tests.serving import ROOT

KEPT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "var",
    "build",
    "dist",
    "*.egg-info",
    "node_modules",
    "__pycache__",
    ".hypothesis",
    ".*_cache",
    ".artifacts",
    ".coverage",
)


def copy_of_the_project(folder: Path) -> Path:
    """Copy what belongs to the project, and nothing that was made or installed in it."""
    return Path(shutil.copytree(ROOT, folder, ignore=KEPT_OUT))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the project in which a test may write."""
    return copy_of_the_project(tmp_path / "clone")


def commit_all(folder: Path) -> None:
    """Make a git repository of a folder, with one commit that has all of it."""
    ann = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for words in (["init", "-q"], ["add", "-A"], [*ann, "commit", "-q", "-m", "site: all of it"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
