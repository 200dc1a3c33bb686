# SPDX-License-Identifier: MIT
"""Imports point one way: handlers know engine and accounts, which know neither them nor each other."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

FORBIDDEN = {
    "sessions": {"tornado", "accounts", "handlers", "server", "settings"},
    "accounts": {"tornado.web", "sessions", "handlers", "server", "settings"},
}
"""What a package must not import, directly or through others: these modules and all below them."""

LIBRARIES = {
    "sessions": {"jwt", "cryptography", "psycopg"},
    "accounts": {"cryptography"},
}
"""What each needs beside Python itself."""


def imports(package: str) -> Iterator[tuple[str, str]]:
    """(file, module) for each import statement in the package, those inside functions too."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                modules = [f"{base}.{alias.name}" for alias in node.names]  # a name may be a module too
            else:
                continue
            yield from ((str(path.relative_to(REPOSITORY)), module) for module in modules)


def is_within(module: str, others: set[str]) -> bool:
    return any(module == other or module.startswith(other + ".") for other in others)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_statement_points_the_wrong_way(package: str) -> None:
    found = list(imports(package))
    assert len(found) > 20
    wrong = [(path, module) for path, module in found if is_within(module, FORBIDDEN[package])]
    assert wrong == []


@pytest.mark.parametrize("package", LIBRARIES)
def test_nothing_is_imported_but_python_the_package_itself_and_its_few_libraries(package: str) -> None:
    allowed = sys.stdlib_module_names | LIBRARIES[package] | {package}
    unknown = [(path, module) for path, module in imports(package) if module.split(".")[0] not in allowed]
    assert unknown == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_all_of_it_loads_nothing_of_the_others(package: str) -> None:
    """In a fresh interpreter, so that it counts what comes along unseen as well."""
    modules = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((REPOSITORY / package).rglob("*.py"))
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
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert package in loaded
    assert [module for module in loaded if is_within(module, FORBIDDEN[package])] == []
