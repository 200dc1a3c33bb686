# SPDX-License-Identifier: MIT
"""new-page: a page for people who are signed in, with its template, route and test, all of which pass.

Nothing is written unless all of it can be.
"""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stormcellar import pages
from stormcellar.application import Site
from stormcellar.commands.command import JSON, Argument, Call, Command
from stormcellar.commands.output import CommandError, print_json
from stormcellar.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
LONGEST_NAME = 23  # with it the route's line has 109 characters
ROUTES, BASE = "handlers/routes.py", "handlers/base.py"
PLACE = "        # For users who are signed in: yours go here\n"

HANDLER = '''\
"""{title}."""

from __future__ import annotations

from handlers.base import ProtectedHandler


class {handler}(ProtectedHandler):
    """GET {address}"""

    async def get(self) -> None:
        self.render("{module}.html", user_id=self.session.user_id)
'''

TEMPLATE = """\
{{% extends "base.html" %}}
{{% block title %}}{title}{{% end %}}
{{% block content %}}
<div class="page">
  <h1>{title}</h1>
  <p>This page is for <span class="code">{{{{ user_id }}}}</span> alone.</p>
</div>
{{% end %}}
"""

TEST = '''\
"""{title}: for people who are signed in."""

from __future__ import annotations

import pytest

from stormcellar.testing.client import Client
from stormcellar.testing.plugin import AsUser


@pytest.mark.gen_test
async def test_{module}_knows_its_reader(as_user: AsUser) -> None:
    ann = await as_user("ann@example.com")
    assert ann.user_id in await ann.page("{address}")


@pytest.mark.gen_test
async def test_{module}_sends_guests_to_sign_in_and_back(client: Client) -> None:
    response = await client.get("{address}")
    assert response.code == 303
    assert response.headers["Location"] == "/login?redirectBack={address}"
'''


class Page(NamedTuple):
    """The names of a page: /sales-report, sales_report.py, SalesReportHandler, "Sales report"."""

    address: str
    module: str
    handler: str
    title: str

    @property
    def files(self) -> Mapping[str, str]:
        """What is written anew: path and content."""
        words = self._asdict()
        return {
            f"handlers/{self.module}.py": HANDLER.format(**words),
            f"templates/{self.module}.html": TEMPLATE.format(**words),
            f"tests/test_{self.module}.py": TEST.format(**words),
        }


async def new_page(call: Call) -> None:
    page = name_page(call.arguments.page)
    check_is_free(page, call.site)
    write(page, call.site.folder)
    files = [*page.files, ROUTES]
    if call.arguments.json:
        print_json({"address": page.address, "files": files})
        return
    print(f"{page.address} is there for everybody who is signed in:")
    for file in files:
        print(f"  {file}")
    print(f"Test it: make check ARGS=tests/test_{page.module}.py")


def name_page(name: str) -> Page:
    """All names of a page, from one of them: sales-report or sales_report.

    Raises:
        CommandError: it can be no such name.
    """
    module = name.replace("-", "_")
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME or keyword.iskeyword(module):
        raise CommandError(
            f"{name!r} cannot name a page; take small letters, digits and single hyphens between them, at "
            f"most {LONGEST_NAME}, beginning with a letter, and no word of Python's own"
        )
    words = module.split("_")
    handler = "".join(word.capitalize() for word in words) + "Handler"
    return Page("/" + "-".join(words), module, handler, " ".join(words).capitalize())


def check_is_free(page: Page, site: Site) -> None:
    """Raise CommandError if any of the page's names is taken."""
    for file in page.files:
        if (site.folder / file).exists():
            raise CommandError(f"{file} is there already; choose another name")
        if (pages.HERE / file).exists():
            raise CommandError(f"{file} would replace the kit's template; choose another name")
    texts = [(site.folder / file).read_text(encoding="utf-8") for file in (ROUTES, BASE)]
    if any(re.search(rf"\b{page.handler}\b", text) for text in texts):
        raise CommandError(f"{page.handler} is the name of something else already; choose another name")
    for settings in (Settings(debug=True), Settings(api_base_path="")):
        for route in site.route_table(settings):
            if route.regex.match(page.address) or route.name == page.module:
                raise CommandError(f"{page.address} leads to {route.handler_class.__name__} already")


def write(page: Page, root: Path) -> None:
    """Write the files and the route; on a failure remove again what was written."""
    table = root / ROUTES
    changed = with_route(table.read_text(encoding="utf-8"), page)
    written: list[Path] = []
    try:
        for file, content in page.files.items():
            with (root / file).open("x", encoding="utf-8") as new:
                written.append(root / file)
                new.write(content)
        draft = table.with_suffix(".py.new")
        written.append(draft)
        draft.write_text(changed, encoding="utf-8")
        os.replace(draft, table)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise CommandError(
            f"{error.filename} cannot be written: {error.strerror}; nothing was changed"
        ) from error


def with_route(source: str, page: Page) -> str:
    """handlers/routes.py with the page's import and route.

    Raises:
        CommandError: the places for them are not there any more.
    """
    imports = list(re.finditer(r"^from handlers(?:\.(\w+))? import .*\n", source, re.MULTILINE))
    if source.count(PLACE) != 1 or not imports:
        raise CommandError(
            f"{ROUTES} has no place for the route any more; put back the line `{PLACE.strip()}`, and import "
            "handlers with lines that begin with `from handlers`"
        )
    after = [match for match in imports if (match[1] or "") < page.module]
    place = after[-1].end() if after else imports[0].start()
    line = f"from handlers.{page.module} import {page.handler}\n"
    source = source[:place] + line + source[place:]
    route = f'        URLSpec(r"{page.address}", {page.handler}, name="{page.module}"),\n'
    return source.replace(PLACE, PLACE + route)


COMMANDS = (
    Command(
        "new-page",
        new_page,
        "Write a page for people who are signed in: handler, template, route and test, all ready to run. It "
        "refuses a name that is taken, and then writes nothing.",
        "new-page sales-report",
        (
            Argument(
                "page",
                "The last part of its address: small letters, digits and hyphens.",
                {"metavar": "NAME"},
            ),
            JSON,
        ),
    ),
)
