# SPDX-License-Identifier: MIT
"""The top level is small: what a user owns is not lost among what the kit brings."""

from __future__ import annotations

import pytest

from stormcellar.testing.serving import ROOT

pytestmark = pytest.mark.kit

MOST_ENTRIES = 20
MADE = {"__pycache__", "var"}
THE_USERS = {"server.py", "handlers", "templates", "static", "tests", "requirements.txt"}


def test_the_top_level_has_few_entries_and_the_users_are_among_them() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - MADE
    assert len(visible) <= MOST_ENTRIES, sorted(visible)
    assert visible >= THE_USERS


def test_the_start_is_short() -> None:
    lines = (ROOT / "server.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
