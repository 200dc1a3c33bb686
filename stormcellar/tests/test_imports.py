# SPDX-License-Identifier: MIT
"""Imports point one way: each package of the kit knows only those below it, and the kit never the site."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stormcellar.tests.serving import ROOT

KIT = "stormcellar"
SITE = {"server", "handlers", "manage"}
OURS = {*(path.stem for path in (ROOT / KIT).glob("[a-z]*"))}

GROUND = {"clock", "errors", "server_secret"}
MAY_IMPORT = {
    "store": {"store", *GROUND},
    "sessions": {"sessions", "store", *GROUND},
    "accounts": {"accounts", "store", "machine", *GROUND},
}
FORBIDDEN = {
    package: {
        "tornado.web" if package == "accounts" else "tornado",
        *(f"{KIT}.{name}" for name in OURS - allowed),
    }
    for package, allowed in MAY_IMPORT.items()
}
"""What a package must not import, directly or through others: these modules and all below them."""

LIBRARIES = {
    "store": {"psycopg", "cryptography"},
    "sessions": {"jwt", "cryptography"},
    "accounts": {"cryptography"},
}
"""What each needs beside Python itself."""


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, module) for each import statement below the folder, those inside functions too."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                modules = [f"{base}.{alias.name}" for alias in node.names]  # a name may be a module too
            else:
                continue
            yield from ((str(path.relative_to(ROOT)), module) for module in modules)


def is_within(module: str, others: set[str]) -> bool:
    return any(module == other or module.startswith(other + ".") for other in others)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_statement_points_the_wrong_way(package: str) -> None:
    found = list(imports(ROOT / KIT / package))
    assert len(found) > 20
    wrong = [(path, module) for path, module in found if is_within(module, FORBIDDEN[package])]
    assert wrong == []


@pytest.mark.parametrize("package", LIBRARIES)
def test_nothing_is_imported_but_python_the_kit_and_its_few_libraries(package: str) -> None:
    allowed = sys.stdlib_module_names | LIBRARIES[package] | {KIT}
    found = imports(ROOT / KIT / package)
    unknown = [(path, module) for path, module in found if module.split(".")[0] not in allowed]
    assert unknown == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_all_of_it_loads_nothing_of_the_others(package: str) -> None:
    """In a fresh interpreter, so that it counts what comes along unseen as well."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / KIT / package).rglob("*.py"))
    ]
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        if error.name != 'psycopg': raise\n"  # only those who use PostgreSQL have it
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, json.dumps(modules)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert f"{KIT}.{package}" in loaded
    assert [module for module in loaded if is_within(module, FORBIDDEN[package])] == []


def test_the_kit_never_imports_the_site() -> None:
    aside = {f"{KIT}/{name}" for name in ("tests", "benchmarks", "tools", "site")}
    wrong = [
        (path, module)
        for path, module in imports(ROOT / KIT)
        if is_within(module, SITE) and "/tests/" not in path and not any(path.startswith(a) for a in aside)
    ]
    assert wrong == []


def test_the_kits_tests_import_the_packaged_site_only() -> None:
    """stormcellar/tests/site.py has it. A user may change or delete each file of the top-level site."""
    wrong = [
        (path, module)
        for path, module in imports(ROOT / KIT)
        if is_within(module, SITE) and not path.startswith(f"{KIT}/site/")
    ]
    assert wrong == []
