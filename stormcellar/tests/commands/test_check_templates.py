# SPDX-License-Identifier: MIT
"""`check` compiles the site's templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from stormcellar.commands.check_templates import check_templates
from stormcellar.commands.finding import Finding
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.site import SITE


def only(folder: Path) -> Finding:
    [finding] = check_templates(folder)
    return finding


def test_the_templates_of_a_new_site_have_no_finding() -> None:
    assert list(check_templates(SITE.folder / "templates")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% if session %}", "Missing {% end %}"),
        ("{{ 1 + }}", "invalid syntax"),
        ('{% extends "none.html" %}', "no template none.html"),
    ],
)
def test_a_template_that_cannot_be_used_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "account").mkdir()
    (tmp_path / "account" / "reports.html").write_text(text.replace("none", "../none"))
    finding = only(tmp_path)
    assert finding.level == "error"
    assert finding.what.startswith("The template account/reports.html cannot be used: ")
    assert words in finding.what


@pytest.mark.parametrize("include", ['{% include "_session.html" %}', "{%include '/_session.html'%}"])
def test_a_base_without_the_kits_head_is_a_warning(tmp_path: Path, include: str) -> None:
    (tmp_path / "base.html").write_text("<title>x</title>")
    assert only(tmp_path).level == "warning"
    (tmp_path / "base.html").write_text(f"<title>x</title>{include}")
    assert list(check_templates(tmp_path)) == []


def test_templates_that_replace_the_kits_are_named(tmp_path: Path) -> None:
    (tmp_path / "error.html").write_text("<title>ours</title>")
    finding = only(tmp_path)
    assert (finding.level, "error.html" in finding.what) == ("note", True)


def test_the_command_has_these_findings(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(
        "stormcellar.commands.check.check_templates",
        lambda folder: [seen.append(folder), Finding("note", "it was asked")][1:],
    )
    assert "it was asked" in manage("check").out
    assert seen == [SITE.folder / "templates"]
