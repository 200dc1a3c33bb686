# SPDX-License-Identifier: MIT
"""Our way to fill templates gives the pages that Tornado's gives, in fewer steps."""

from __future__ import annotations

import gc
import linecache
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado import escape
from tornado.template import Loader

from stormcellar.tests.rendering import ROOT
from stormcellar.web import templates as rendering
from stormcellar.web.templates import PageLoader

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
    assert PageLoader(str(folder)).load(name).generate(value=value) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_is_escaped_otherwise(text: str) -> None:
    assert rendering.escaped(text) == escape.utf8(escape.xhtml_escape(text))


def test_every_value_of_our_pages_is_written_in_one_step() -> None:
    """Otherwise Tornado's compiler has changed, and pages cost more than they need."""
    folder = ROOT / "templates"
    loader = PageLoader(str(folder))
    codes = [loader.load(str(path.relative_to(folder))).code for path in folder.rglob("*.html")]
    assert not any("_tt_utf8(xhtml_escape(_tt_tmp))" in code for code in codes)
    assert any("_tt_append(_tt_escaped(" in code for code in codes)


def test_a_template_is_read_and_compiled_once_and_leaves_pythons_cache_of_lines_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = PageLoader(str(folder))
    cleared: list[None] = []
    monkeypatch.setattr(linecache, "clearcache", lambda: cleared.append(None))
    loader.load("page.html").generate(value=1)
    template = loader.load("page.html")
    template.generate(value=2)
    assert loader.load("page.html") is template
    assert cleared == []


def test_a_failing_template_shows_its_own_line_in_the_traceback(folder: Path) -> None:
    (folder / "broken.html").write_text("<p>\n{{ value.missing }}\n</p>")
    with pytest.raises(AttributeError) as caught:
        PageLoader(str(folder)).load("broken.html").generate(value=1)
    frame = caught.traceback[-1]
    assert "value.missing" in linecache.getline(
        str(frame.path), frame.lineno + 1, frame._rawentry.tb_frame.f_globals
    )


def test_a_page_that_was_made_leaves_nothing_to_the_garbage_collector(folder: Path) -> None:
    """What holds on to itself also holds the handler, the request and the connection."""

    class Value:
        def __str__(self) -> str:
            return "x"

    gc.disable()
    try:
        value = Value()
        gone = weakref.ref(value)
        PageLoader(str(folder)).load("page.html").generate(value=value)
        del value
        assert gone() is None
    finally:
        gc.enable()
