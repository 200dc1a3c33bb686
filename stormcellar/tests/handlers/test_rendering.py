# SPDX-License-Identifier: MIT
"""Templates are found in the site first, and their pages are those that Tornado's own loader makes."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado import escape
from tornado.template import Loader

from stormcellar.pages import TEMPLATES
from stormcellar.web import templates as rendering
from stormcellar.web.templates import page_loader, text_loader

HOSTILE = ["<script>", "a&b", "\"'>", "ünï", "", "\0", "plain", 17, None, b"bytes <b>", b"bytes", 1.5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.html").write_text(
        "<title>{% block title %}none{% end %}</title>{% block body %}{% end %}"
    )
    (tmp_path / "part.html").write_text("[{{ value }}]")
    (tmp_path / "page.html").write_text(
        '{% extends "base.html" %}{% block title %}{{ value }}{% end %}{% block body %}{% from html import'
        ' unescape %}{{ value }}{% raw "<hr>" %}<a title="{{ value }}">{{ escape(str(value)) }}</a>'
        '{{ url_escape(str(value)) }}{{ json_encode({"a": str(value)}) }}{% include "part.html" %}'
        "{% apply xhtml_escape %}<i>{{ value }}</i>{% end %}{{ datetime.date(2026, 1, 2) }}{% end %}"
    )
    (tmp_path / "unescaped.html").write_text("{% autoescape None %}{{ value }}{{ xhtml_escape(str(value)) }}")
    return tmp_path


@pytest.mark.parametrize("name", ["page.html", "unescaped.html"])
@pytest.mark.parametrize("value", HOSTILE)
def test_every_page_is_byte_for_byte_the_one_that_tornado_makes(folder: Path, name: str, value: Any) -> None:
    expected = Loader(str(folder)).load(name).generate(value=value)
    assert page_loader(folder).load(name).generate(value=value) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_escaped_as_tornado_escapes_it(text: str) -> None:
    assert rendering.escaped(text.encode()) == escape.utf8(escape.xhtml_escape(text))


def test_a_failing_template_shows_its_own_line_in_the_traceback(folder: Path) -> None:
    (folder / "broken.html").write_text("<p>\n{{ value.missing }}\n</p>")
    with pytest.raises(AttributeError) as caught:
        page_loader(folder).load("broken.html").generate(value=1)
    frame = caught.traceback[-1]
    assert "value.missing" in linecache.getline(
        str(frame.path), frame.lineno + 1, frame._rawentry.tb_frame.f_globals
    )


# -- two folders --------------------------------------------------------------------------------------


def test_a_template_of_the_site_replaces_the_kits_of_that_name(folder: Path) -> None:
    (folder / "part.html").unlink()
    page = page_loader(folder).load("dev/mailbox.html")
    assert page.generate(mails=[]).startswith(b"<title>Mailbox</title>")
    (folder / "error.html").write_text("ours")
    assert page_loader(folder).load("error.html").generate() == b"ours"


def test_a_part_of_the_site_replaces_the_kits_in_the_kits_own_pages(folder: Path) -> None:
    (folder / "mail").mkdir()
    (folder / "mail" / "_layout.html").write_text("ours: {% block content %}{% end %}")
    page = page_loader(folder).load("mail/verify_email.html")
    assert page.generate(site_name="S", link="L", lifetime="1 hour", subject="T").startswith(b"ours: ")


def test_a_leading_slash_names_a_template_from_any_folder(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "page.html").write_text('{% extends "/base.html" %}{% block title %}t{% end %}')
    assert page_loader(folder).load("deep/er/page.html").generate() == b"<title>t</title>"


def test_a_template_outside_the_folders_extends_a_page_of_a_subfolder(folder: Path) -> None:
    (folder.parent / "outside.html").write_text('{% extends "/account/deleted.html" %}')
    (folder / "account").mkdir()
    (folder / "account" / "deleted.html").write_text(
        '{% extends "../base.html" %}{% block title %}d{% end %}'
    )
    assert page_loader(folder).load("../outside.html").generate() == b"<title>d</title>"


def test_plain_text_is_not_escaped(folder: Path) -> None:
    (folder / "note.txt").write_text("{{ value }}")
    assert text_loader(folder).load("note.txt").generate(value="a & b") == b"a & b"


def test_a_template_that_no_folder_has_is_named_with_the_folders(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no template none\.html in ") as caught:
        page_loader(folder).load("none.html")
    assert str(folder) in str(caught.value)
    assert str(TEMPLATES) in str(caught.value)
