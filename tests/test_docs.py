# SPDX-License-Identifier: MIT
"""The documentation names only what exists, its tables have no empty cell, its links lead somewhere.

docs/coming-from-supertokens.md has SuperTokens' names in the first column of its tables. All other code on
that page is the kit's: a command, a file, a test, an address, something of a class, a setting, an argument,
or else words that stand in the sources as they are (headers, cookies, claims, messages).
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

import accounts
import handlers.account_claims
import handlers.auth_api
import handlers.base
import handlers.mails
import server
import sessions
import sessions.keys
import settings
from handlers.routes import routes
from server import Application
from settings import Settings
from tests.handlers.parts import implements
from tests.serving import ROOT

PAGES = [*sorted(ROOT.glob("docs/*.md")), ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
MAPPING = (ROOT / "docs/coming-from-supertokens.md").read_text(encoding="utf-8")

SOURCES = [
    path for folder in ("handlers", "sessions", "accounts", "static") for path in (ROOT / folder).rglob("*.*")
]
OWNERS = {
    "self": handlers.base.BaseHandler,
    "session": sessions.Session,
    "sessions": sessions.Sessions,
    "sessions.keys": sessions.keys.KeyRing,
    "accounts": accounts.Users,
    "application": server.Application,
    "application.account_claims": handlers.account_claims.AccountClaims,
    "application.mails": handlers.mails.Mails,
    "server": server,
}


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def tables(text: str) -> Iterator[list[list[str]]]:
    """Every table, as rows of cells; the line of dashes is left out."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        yield [rows[0], *rows[2:]]


@EACH_PAGE
def test_no_cell_of_a_table_is_empty_or_missing(page: Path) -> None:
    for table in tables(prose(page)):
        for row in table:
            assert all(row), row
            assert len(row) == len(table[0]), row


def anchors(page: Path) -> set[str]:
    """What can follow # in a link to the page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        address, _, anchor = link.partition("#")
        target = (page.parent / address).resolve() if address else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_example_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "examples/README.md").read_text(), re.MULTILINE)
    folders = [path.name for path in (ROOT / "examples").glob("[a-z]*") if path.is_dir()]
    assert sorted(described) == sorted({*folders} - {"node_modules"})


# -- names ------------------------------------------------------------------------------------------


def own_names() -> list[str]:
    """All code on the page about SuperTokens, but for the first column of its tables and the blocks."""
    text = re.sub(r"^```.*?^```$", "", MAPPING, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\| [^|]*\|", "|", text, flags=re.MULTILINE)
    return sorted(set(re.findall(r"`([^`]+)`", text)))


@cache
def source_text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES if path.suffix in (".py", ".js"))


@cache
def names_of_tests() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"def (test_\w+)", text))


@cache
def argument_names() -> set[str]:
    owners = (sessions.Sessions, sessions.Session, server.Application, handlers.account_claims.AccountClaims)
    functions = [value for owner in owners for value in vars(owner).values() if inspect.isfunction(value)]
    functions += [value.__init__ for value in vars(sessions).values() if inspect.isclass(value)]
    functions += [sessions.PrimitiveClaim.has_value]
    return {name for function in functions for name in inspect.signature(function).parameters}


def choices() -> set[str]:
    """What settings with a choice can be."""
    return {
        choice for entry in fields(Settings) for choice in get_args(entry.type) if isinstance(choice, str)
    }


def has(owner: Any, name: str) -> bool:
    """Whether a class or module has this, be it set in __init__ only."""
    return hasattr(owner, name) or f"self.{name}" in inspect.getsource(owner) or name in annotations_of(owner)


def takes(owner: Any, name: str, arguments: str | None) -> bool:
    """Whether the function has arguments of these names: "user_id, keep=..."."""
    names = re.findall(r"(?:^|, )(\w+)", arguments or "")
    return not names or set(names) <= set(inspect.signature(getattr(owner, name)).parameters)


def annotations_of(owner: Any) -> set[str]:
    return {name for base in getattr(owner, "__mro__", ()) for name in getattr(base, "__annotations__", {})}


def is_route(method: str, path: str) -> bool:
    found = [route for route in routes(Settings(debug=True)) if route.regex.match(path)]
    return any(not method or implements(route.handler_class, method) for route in found)


def find_class(name: str) -> Any:
    modules = (sessions, accounts, handlers.base, handlers.auth_api)
    return next((getattr(module, name) for module in modules if hasattr(module, name)), None)


def exists(code: str) -> bool:
    """Whether what the page names is there; see the top of this file."""
    if command := re.fullmatch(r"make (\w+).*|python (\S+).*", code):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return (ROOT / command[2]).exists() if command[2] else f"\n{command[1]}:" in makefile
    if re.fullmatch(r"[\w.-]+/[\w./-]*", code):
        return (ROOT / code).exists()
    if re.fullmatch(r"test_\w+", code):
        return code in names_of_tests()
    if address := re.fullmatch(r"(?:([A-Z]+) )?(/\S*)", code):
        return is_route(address[1] or "", address[2])
    if member := re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)?)\.([a-z_]+)(?:\((.*)\))?", code):
        owner = OWNERS.get(member[1])
        return owner is not None and has(owner, member[2]) and takes(owner, member[2], member[3])
    if named := re.fullmatch(r"([A-Z][a-z]\w+)(?:\.(\w+))?", code):
        owner = find_class(named[1])
        if owner is not None:
            return named[2] is None or has(owner, named[2])
    if word := re.fullmatch(r"([a-z]+_[a-z_]+|database|secret)(=.*|\(.*\))?", code):
        return word[1] in {*settings.NAMES, *choices(), *argument_names()}
    return code in source_text()


@pytest.mark.parametrize("code", own_names())
def test_what_the_page_about_supertokens_names_exists(code: str) -> None:
    assert exists(code), code


def test_a_name_that_does_not_exist_is_noticed() -> None:
    for code in (
        "make nothing",
        "docs/nothing.md",
        "test_nothing",
        "GET /nothing",
        "PUT /auth/signin",
        "sessions.nothing(user_id)",
        "sessions.revoke_session(nothing)",
        "nothing.revoke()",
        "Sessions.nothing",
        "no_such_setting",
        "no_such_setting=1",
        "x-no-such-header",
        "NoSuchClass",
    ):
        assert not exists(code), code


# -- blocks -----------------------------------------------------------------------------------------


def test_the_settings_of_a_verify_only_server_are_accepted(tmp_path: Path) -> None:
    block = re.search(r"^```\n(public_url = .*?)^```$", MAPPING, re.DOTALL | re.MULTILINE)
    assert block
    file = tmp_path / "config"
    file.write_text(block[1])
    assert settings.load([f"--config={file}"], {}).verify_only


@pytest.fixture
def app(io_loop: IOLoop, tmp_path: Path) -> Iterator[Application]:
    application = server.make_app(Settings(data_dir=tmp_path))
    yield application
    io_loop.run_sync(application.stop)


@pytest.mark.gen_test(timeout=60)
async def test_the_code_for_other_backends_verifies_our_tokens(
    app: Application, http_server: HTTPServer, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands on the page, but for the address."""
    block = re.search(r"^```python\n(.*?)^```$", MAPPING, re.DOTALL | re.MULTILINE)
    assert block
    client, issuer = jwt.PyJWKClient, app.sessions.config.issuer
    monkeypatch.setattr(jwt, "PyJWKClient", lambda url: client(url.replace(issuer, f"{base_url}/auth")))
    await app.start()
    tokens = (await app.sessions.create_new_session("ann")).new_tokens
    assert tokens
    there: dict[str, Any] = {}
    exec(block[1].replace("https://www.example.com/auth", issuer), there)
    assert await asyncio.to_thread(there["user_id_of"], tokens.access_token) == "ann"
    there["ISSUER"] = "https://elsewhere.example/auth"
    with pytest.raises(jwt.InvalidIssuerError):
        await asyncio.to_thread(there["user_id_of"], tokens.access_token)
