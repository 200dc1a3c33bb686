# SPDX-License-Identifier: MIT
"""The names that the package offers: one list, documented, and free of charge until a name is used."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import stormcellar
from stormcellar import sessions
from stormcellar.tests.serving import ROOT, SITE_DIR, process_env

NAMES = [name for name in stormcellar.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_the_one_of_its_module(name: str) -> None:
    module = importlib.import_module(f"stormcellar.{stormcellar._WHERE[name]}")
    assert getattr(stormcellar, name) is getattr(module, name)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    source = ast.parse(Path(stormcellar.__file__).read_text(encoding="utf-8"))
    shown = {
        alias.asname: str(node.module).removeprefix("stormcellar.")
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module != "importlib" and node.module != "typing"
        for alias in node.names
    }
    assert shown == stormcellar._WHERE


def test_a_name_that_is_not_public_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="stormcellar has no public name Nonesuch"):
        _ = stormcellar.Nonesuch
    assert dir(stormcellar) == stormcellar.__all__


def test_importing_the_package_imports_none_of_its_modules() -> None:
    """So it takes less than a millisecond, far below the 0.15 s that are allowed."""
    program = "import json, sys, stormcellar; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=process_env(), capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert [name for name in loaded if name.split(".")[0] in ("stormcellar", "tornado", "jwt")] == [
        "stormcellar"
    ]


def test_the_package_and_its_engine_have_one_version() -> None:
    assert stormcellar.__version__ == sessions.__version__


@pytest.mark.parametrize("path", sorted((SITE_DIR / "handlers").glob("*.py")), ids=lambda path: path.name)
def test_handlers_of_a_site_need_public_names_only(path: Path) -> None:
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert {name for name in imported if name and name.startswith("stormcellar")} <= {"stormcellar"}


@pytest.mark.kit
def test_each_public_name_is_documented() -> None:
    page = (ROOT / "docs/package.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
