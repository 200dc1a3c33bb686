# SPDX-License-Identifier: MIT
"""The part of `check` that compiles the site's templates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tornado.template import ParseError

from stormcellar.commands.finding import Finding, error, note, warning
from stormcellar.pages import TEMPLATES
from stormcellar.web.templates import page_loader

HEAD = re.compile(r"\{%\s*include\s+[\"']/?_session\.html[\"']\s*%\}")


def check_templates(folder: Path) -> Iterator[Finding]:
    """Check that each template compiles, and that the base of the pages loads the kit's scripts.

    Args:
        folder: the site's templates.
    """
    replaced = []
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if (TEMPLATES / name).exists() and name != "base.html":
            replaced.append(name)
        try:
            page_loader(folder).load(name)
        except (ParseError, SyntaxError, FileNotFoundError, UnicodeDecodeError) as problem:
            yield error(
                f"The template {name} cannot be used: {problem}.", "Correct it: its page answers 500."
            )
    base = folder / "base.html"
    if base.exists() and not HEAD.search(base.read_text(encoding="utf-8", errors="replace")):
        yield warning(
            "base.html does not include _session.html, so pages do not renew the session by themselves.",
            'Write {% include "_session.html" %} into its head; docs/pages.md says what it does.',
        )
    if replaced:
        yield note(
            f"These templates of the site replace the kit's: {', '.join(replaced)}.",
            "After an update of the kit, compare them with the new ones in stormcellar/pages/templates/.",
        )
