# SPDX-License-Identifier: MIT
"""Tornado's templates with what is the same for every page done once. The pages come out byte for byte equal.

Tornado builds a template's namespace anew for each page, clears Python's cache of source lines each time, and
decodes, escapes and encodes every value, although hardly one has a character to escape.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from tornado import escape
from tornado.template import Loader, Template
from tornado.util import ObjectDict

_must_be_escaped = re.compile(rb"[&<>\"']").search


def xhtml_escape(value: str | bytes) -> str | bytes:
    """As tornado.escape.xhtml_escape; of bytes in ASCII, which pages mostly consist of, only those changed
    that must be."""
    if type(value) is bytes and value.isascii() and not _must_be_escaped(value):
        return value
    return escape.xhtml_escape(value)


def utf8(value: Any) -> bytes | None:
    """As tornado.escape.utf8."""
    return value.encode() if type(value) is str else escape.utf8(value)


STANDING = {
    "escape": escape.xhtml_escape,
    "xhtml_escape": xhtml_escape,
    "url_escape": escape.url_escape,
    "json_encode": escape.json_encode,
    "squeeze": escape.squeeze,
    "linkify": escape.linkify,
    "datetime": datetime,
    "_tt_utf8": utf8,
    "_tt_string_types": (str, bytes),
}
"""What every template may call, as tornado.template.Template.generate has it."""


class PageTemplate(Template):
    """A template that remembers its part of the namespace."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._standing = {
            **STANDING,
            # Tracebacks find the template's lines through these two (PEP 302, get_source).
            "__name__": self.name.replace(".", "_"),
            "__loader__": ObjectDict(get_source=lambda _: self.code),
            **self.namespace,
        }

    def generate(self, **kwargs: Any) -> bytes:
        namespace = {**self._standing, **kwargs}
        exec(self.compiled, namespace)  # noqa: S102 - our own templates, compiled by Tornado
        page: bytes = namespace["_tt_execute"]()
        return page


class PageLoader(Loader):
    """Loads PageTemplates from a folder."""

    def _create_template(self, name: str) -> Template:
        return PageTemplate(Path(self.root, name).read_bytes(), name=name, loader=self)
