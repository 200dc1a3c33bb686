# SPDX-License-Identifier: MIT
"""Tornado's templates with what is the same for every page done once. The pages come out byte for byte equal.

Tornado builds a template's namespace anew for each page, clears Python's cache of source lines each time, and
decodes, escapes and encodes every value in steps of their own, although hardly one has a character to escape.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from tornado import escape
from tornado.template import BaseLoader, Loader, Template
from tornado.util import ObjectDict

_must_be_escaped = re.compile("[&<>\"']").search

VALUE = re.compile(
    r"^( *)_tt_tmp = (.*)(  # \S+:\d+.*)\n"
    r" *if isinstance\(_tt_tmp, _tt_string_types\): _tt_tmp = _tt_utf8\(_tt_tmp\)  #.*\n"
    r" *else: _tt_tmp = _tt_utf8\(str\(_tt_tmp\)\)  #.*\n"
    r" *_tt_tmp = _tt_utf8\(xhtml_escape\(_tt_tmp\)\)  #.*\n"
    r" *_tt_append\(_tt_tmp\)  #.*$",
    re.MULTILINE,
)
"""What Tornado's compiler makes of a value. Where it makes something else, that is left as it is."""


def escaped(value: Any) -> bytes:
    """A value as it stands in a page: what those lines of Tornado's do, in one step."""
    if type(value) is int:
        return b"%d" % value
    if type(value) is not str:
        value = escape.to_unicode(value) if isinstance(value, (str, bytes)) else str(value)
    return (escape.xhtml_escape(value) if _must_be_escaped(value) else value).encode()


STANDING = {
    "escape": escape.xhtml_escape,
    "xhtml_escape": escape.xhtml_escape,
    "url_escape": escape.url_escape,
    "json_encode": escape.json_encode,
    "squeeze": escape.squeeze,
    "linkify": escape.linkify,
    "datetime": datetime,
    "_tt_utf8": escape.utf8,
    "_tt_escaped": escaped,
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

    def _generate_python(self, loader: BaseLoader | None) -> str:
        return VALUE.sub(r"\1_tt_append(_tt_escaped(\2))\3", super()._generate_python(loader))

    def generate(self, **kwargs: Any) -> bytes:
        namespace = {**self._standing, **kwargs}
        exec(self.compiled, namespace)  # noqa: S102 - our own templates, compiled by Tornado
        # Left there, it and its namespace would keep each other, and the request, for the collector.
        page: bytes = namespace.pop("_tt_execute")()
        return page


class PageLoader(Loader):
    """Loads PageTemplates from a folder."""

    def _create_template(self, name: str) -> Template:
        return PageTemplate(Path(self.root, name).read_bytes(), name=name, loader=self)
