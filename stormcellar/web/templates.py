# SPDX-License-Identifier: MIT
"""Find templates: the site's first, then the kit's, then those of the extras.

    templates/account/login.html                      a file of the site replaces
    stormcellar/pages/templates/account/login.html    the kit's of the same name

A name is relative to the folder of the template that uses it. A name with a leading slash, such as
"/base.html", is relative to the folders of the lookup.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tornado.escape import xhtml_escape
from tornado.template import DictLoader

from stormcellar.pages import EXTRAS, TEMPLATES

must_be_escaped = re.compile(rb"[&<>\"']").search


def escaped(value: bytes) -> bytes:
    """Return a value as it stands in a page.

    Most values have nothing to escape. Tornado's own function takes twice the time, because it decodes and
    encodes each value.
    """
    return xhtml_escape(value).encode() if must_be_escaped(value) else value


class TemplateFiles(dict[str, str]):
    """The texts of templates by name. Each is read when it is asked for, from the first folder that has it.

    Args:
        folder: the site's templates.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folders = (Path(folder), TEMPLATES, *sorted(EXTRAS.glob("*/templates")))

    def __missing__(self, name: str) -> str:
        for folder in self.folders:
            path = folder / name
            if path.is_file():
                return path.read_text(encoding="utf-8")
        raise FileNotFoundError(f"no template {name} in {', '.join(map(str, self.folders))}")


class SlashLoader(DictLoader):
    """Loads templates; a name with a leading slash is not relative to the template that uses it."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        return super().resolve_path(name, parent_path).lstrip("/")


def page_loader(folder: str | Path) -> DictLoader:
    """Return a loader of pages; `folder` has the site's templates. It compiles each template once."""
    return SlashLoader(TemplateFiles(folder), autoescape="escaped", namespace={"escaped": escaped})


def text_loader(folder: str | Path) -> DictLoader:
    """Return a loader of plain text, in which nothing is escaped."""
    options: dict[str, Any] = {"autoescape": None}
    return SlashLoader(TemplateFiles(folder), **options)
