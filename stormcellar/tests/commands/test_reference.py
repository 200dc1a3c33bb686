# SPDX-License-Identifier: MIT
"""docs/commands.md says what the commands say of themselves."""

from __future__ import annotations

import re

import pytest

from stormcellar.commands.cli import all_commands, first_sentence
from stormcellar.commands.reference import markdown
from stormcellar.tests.serving import ROOT

pytestmark = pytest.mark.kit


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert page == markdown(), "run `make docs`"


def test_every_command_and_argument_is_on_the_page() -> None:
    page = markdown()
    for command in all_commands():
        assert f"\n### `{command.name}`\n" in page
        for argument in command.arguments:
            assert f"\n- `{argument.written}`: " in page
    assert max(map(len, page.splitlines())) <= 120


def test_every_command_begins_with_a_sentence_that_stands_alone() -> None:
    for command in all_commands():
        assert re.fullmatch(r"[A-Z][^.]+\.", first_sentence(command).replace(".py", "")), command.name


def test_every_argument_is_a_sentence() -> None:
    for command in all_commands():
        for argument in command.arguments:
            assert argument.about.endswith((".", "?"))
