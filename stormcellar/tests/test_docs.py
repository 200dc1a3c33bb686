# SPDX-License-Identifier: MIT
"""The documentation names only what exists, its tables have no empty cell, its links lead somewhere.

Of every page: files, routes, settings, commands and make targets exist, and words of code stand in the
sources or in the page's own code blocks. That code is run by tests/handlers/test_documentation.py.

docs/coming-from-supertokens.md has SuperTokens' names in the first column of its tables. All other code on
that page is the kit's: a command, a file, a test, an address, something of a class, a setting, an argument,
or else words that stand in the sources as they are (headers, cookies, claims, messages).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

import stormcellar.api.credentials
import stormcellar.sessions.keys
import stormcellar.web.account_claims
import stormcellar.web.handler
import stormcellar.web.mails
from stormcellar import accounts, sessions, settings
from stormcellar.application import Application
from stormcellar.commands.cli import all_commands, make_parser, split
from stormcellar.settings import Settings
from stormcellar.tests import site as server
from stormcellar.tests.handlers.parts import implements
from stormcellar.tests.serving import ROOT
from stormcellar.tests.site import SITE

pytestmark = pytest.mark.kit

README = ROOT / "README.md"
OTHERS = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "examples/README.md"]
PAGES = [*sorted(ROOT.glob("docs/*.md")), *OTHERS]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
MAPPING = (ROOT / "docs/coming-from-supertokens.md").read_text(encoding="utf-8")

SOURCES = [
    path
    for folder in ("handlers", "static", "stormcellar")
    for path in (ROOT / folder).rglob("*.*")
    if not {"tests", "benchmarks", "tools", "node_modules"} & {*path.relative_to(ROOT).parts}
]
OWNERS = {
    "self": stormcellar.web.handler.BaseHandler,
    "session": sessions.Session,
    "sessions": sessions.Sessions,
    "stormcellar.sessions.keys": stormcellar.sessions.keys.KeyRing,
    "accounts": accounts.Users,
    "application": server.Application,
    "application.account_claims": stormcellar.web.account_claims.AccountClaims,
    "application.mails": stormcellar.web.mails.Mails,
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
    pictures = re.findall(r'src(?:set)?="([^"]+)"', prose(page))
    for link in [*pictures, *re.findall(r"\]\(([^)\s]+)\)", prose(page))]:
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
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "stormcellar").rglob("test_*.py"))
    return set(re.findall(r"def (test_\w+)", text))


@cache
def argument_names() -> set[str]:
    owners = (
        sessions.Sessions,
        sessions.Session,
        server.Application,
        stormcellar.web.account_claims.AccountClaims,
    )
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
    found = [route for route in SITE.route_table(Settings(debug=True)) if route.regex.match(path)]
    return any(not method or implements(route.handler_class, method) for route in found)


def find_class(name: str) -> Any:
    modules = (sessions, accounts, stormcellar.web.handler, stormcellar.api.refresh)
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


# -- every page ---------------------------------------------------------------------------------------


MADE = {"settings.md", "commands.md"}  # by `make docs`, from what they tell of
GUIDES = [page for page in PAGES if page.name not in {*MADE, "coming-from-supertokens.md"}]
EACH_GUIDE = pytest.mark.parametrize("page", GUIDES, ids=[str(page.relative_to(ROOT)) for page in GUIDES])
OPTIONAL = [ROOT / "stormcellar" / "extras" / name for name in ("passkeys", "authenticator")]
FOLDERS = ("handlers", "static", "stormcellar", "examples", "deploy")
FILE = re.compile(
    r"(?:[\w.-]+/)*[\w.-]+\.(?:py|md|js|css|html|txt|lock|toml|yaml|conf|json|png)|(?:[\w.-]+/)+"
)
MAY_BE_MISSING = re.compile(
    r"var/|\.venv|stormcellar/tests/\.artifacts|.*\b(test_)?reports?[/._]|templates/(note|prices)\.html|title\.html"
)
"""What a run makes, and what readers make by following a page."""
OF_THE_MACHINE = re.compile(r"/(etc|srv|var|root|home|usr|dev/shm|dev/\.\.\.)")
PROGRAMS = """
    adduser apt-get caddy cat cd certbot chmod chown cp createdb createuser curl docker done dropdb
    editor export for git grep install journalctl ln mkdir mv nginx pg_dump pg_restore psql readlink rm sed
    sqlite3 sudo systemctl tail tar xargs
"""


@cache
def all_text() -> str:
    """Everything that is not documentation, and what handlers inherit from Tornado."""
    kinds = {".py", ".js", ".mjs", ".jsx", ".html", ".css", ".txt", ".toml", ".conf", ".yaml", ".service", ""}
    found = [*ROOT.glob("*.*"), ROOT / "Makefile"]
    for folder in (*FOLDERS, "templates"):
        found += (path for path in (ROOT / folder).rglob("*") if "node_modules" not in path.parts)
    texts = [path for path in found if path.is_file() and path.suffix in kinds]
    own = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in texts)
    return own + inspect.getsource(tornado.web)


def code_blocks(page: Path, language: str = r"\w*") -> str:
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def is_file(name: str) -> bool:
    """Whether a file is there, named from where one would look for it, or by the end of its path."""
    if MAY_BE_MISSING.match(name):
        return True
    if name.startswith("stormcellar/extras/") and not all(folder.exists() for folder in OPTIONAL):
        return True
    if any((place / name).exists() for place in (ROOT, ROOT / "docs", ROOT / "examples")):
        return True
    folders = (ROOT / folder for folder in (*FOLDERS, "templates"))
    return any(path.match(name) for folder in folders for path in folder.rglob(Path(name).name))


def is_address(method: str, path: str, page: Path) -> bool:
    """Whether a route of the kit begins with this, or the page's own code or that of the examples has it."""
    if OF_THE_MACHINE.match(path) or is_route(method, path):
        return True
    examples = (ROOT / "examples/run.py").read_text(encoding="utf-8") if "examples" in page.parts else ""
    if f'"{path}"' in code_blocks(page) + code_blocks(README) or f'"{path}' in examples:
        return True
    return not method and any(
        route.regex.pattern.startswith(f"{path}/") for route in SITE.route_table(Settings())
    )


def is_known(code: str, page: Path) -> bool:
    """Whether what a page names in its text is there."""
    if page.name == "passkeys-and-codes.md" and not all(folder.exists() for folder in OPTIONAL):
        return True  # this clone is without one
    if command := re.fullmatch(r"make (\w+)\b.*", code):
        return f"\n{command[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    if command := re.fullmatch(r"(?:\.venv/bin/)?python3? (?:-m )?(\S+)\s?(.*)", code):
        return is_command(command[1], command[2])
    if FILE.fullmatch(code):
        return is_file(code)
    if address := re.fullmatch(r"(?:(GET|POST) )?(/[\w/-]*[\w-])(\?.*)?", code):
        return is_address(address[1] or "", address[2], page)
    if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", code):
        return code.removeprefix("stormcellar_") in all_text() + code_blocks(page)
    return True


def is_command(program: str, words: str) -> bool:
    """Whether manage.py or server.py take these words; of other programs, whether they are there."""
    if program == "manage.py":
        own = split(shlex.split(words.replace(" ...", "")))[1]
        if len(own) < 2:
            return not own or own[0] in {
                "COMMAND",
                "...",
                "--help",
                *(entry.name for entry in all_commands()),
            }
        with contextlib.suppress(SystemExit):
            return "--help" in own or bool(make_parser().parse_args(own))
        return False
    if program == "server.py":
        given = [word for word in shlex.split(words) if not re.match("--(help|routes|openapi|config)", word)]
        return settings.load(given, {}) is not None
    return FILE.fullmatch(program) is None or (ROOT / program).exists()


@EACH_GUIDE
def test_what_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([^`\n]+)`", prose(page)))
    assert not [code for code in sorted(named) if not is_known(code, page)]


@EACH_GUIDE
def test_commands_in_a_page_are_known(page: Path) -> None:
    lines = code_blocks(page, "sh").replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r" (?:&&|\|\|?|;) |^\w+=\$\(", line.strip())]
    assert not [part for part in parts if not is_known_command(part, page)]


def is_known_command(command: str, page: Path) -> bool:
    command = re.sub(r"^runuser -u \S+ -- ", "", command).partition(" #")[0].strip().rstrip(")")
    program = command.partition(" ")[0]
    if not program or program.startswith("#") or "=" in program:
        return True
    if program == "make" or re.search(r"\bpython3?$", program):
        return is_known(re.sub(r"^\S*python3?", "python", command), page)
    return program in PROGRAMS.split() or program.startswith(".venv/") or (ROOT / program).exists()


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"^\| \[[^]]+\]\((\S+\.md)\)", index, re.MULTILINE))
    assert linked == {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}


@pytest.mark.parametrize(
    "code",
    [
        "make nothing",
        "python manage.py nothing",
        "python manage.py list-users --nothing",
        "python nothing.py",
        "handlers/nothing.py",
        "nothing/",
        "/nothing/here",
        "POST /dashboard",
        "_".join(("surely", "unknown", "word")),
    ],
)
def test_what_is_missing_is_noticed(code: str) -> None:
    assert not is_known(code, ROOT / "docs/pages.md")


def test_an_unknown_command_is_noticed() -> None:
    for command in ("make nothing", "nothing --at-all", "python manage.py nothing", "cd x && rm"):
        assert is_known_command(command, README) == command.startswith("cd")


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
