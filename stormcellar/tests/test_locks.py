# SPDX-License-Identifier: MIT
"""The packages are pinned with their hashes, and the audit of them does not call silence a good answer.

Source: OWASP ASVS 5.0, 15.1 and 15.2; PEP 440; pip's secure installs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stormcellar.tests.serving import ROOT
from stormcellar.tools.known_weaknesses import audit, main

FOLDERS = ("", "requirements", "stormcellar/tools", "stormcellar/benchmarks", "stormcellar/tests/interop")
LISTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.txt"))]
# Environments beside .venv, with other versions of the same packages.
APART = {
    "stormcellar/tools/requirements.txt",
    "stormcellar/tools/requirements-patroni.txt",
    "stormcellar/tests/interop/requirements.txt",
    "stormcellar/benchmarks/requirements-peers.txt",
}
WITH_THE_KIT = [path for path in LISTS if path.relative_to(ROOT).as_posix() not in APART]
ENTRY = re.compile(
    r"^([\w.-]+)==([\w.!+-]+)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)
BY_LIST = pytest.mark.parametrize("path", LISTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def lock_of(path: Path) -> str:
    lock = path.with_suffix(".lock")
    assert lock.exists(), f"{lock.name} is missing: make lock"
    return lock.read_text(encoding="utf-8")


def pins(text: str) -> dict[tuple[str, str], str]:
    """The version by name and condition."""
    return {
        (canonicalize_name(name), marker or ""): version for name, version, marker, _ in ENTRY.findall(text)
    }


def requirements(path: Path) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    for line in lines:
        if line.startswith("-r "):
            found += requirements(path.parent / line.removeprefix("-r "))
    return found


def test_a_release_installs_the_same_list_without_the_test_plugin() -> None:
    everything = {str(requirement) for requirement in requirements(ROOT / "requirements.txt")}
    to_run = {str(requirement) for requirement in requirements(ROOT / "requirements/run.txt")}
    assert {text for text in everything - to_run if not text.startswith("pytest-tornado")} == set()
    assert to_run < everything
    locked = {name for name, _ in pins(lock_of(ROOT / "requirements/run.txt"))}
    assert not {name for name in locked if "pytest" in name}


@pytest.mark.kit
def test_every_program_that_installs_a_lock_resolves_nothing() -> None:
    """With a resolver pip asks the registry for newer versions, and stops when it finds one."""
    for name in ("stormcellar/tools/setup", "deploy/release", "deploy/Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.count("pip install --") == 1, name
        assert text.count("--require-hashes") == text.count("--no-deps --require-hashes") == 1, name


@BY_LIST
def test_every_list_has_a_lock_that_was_made_of_it(path: Path) -> None:
    """If this fails: make lock."""
    name = path.relative_to(ROOT).as_posix()
    command = ["stormcellar/tools/setup", "checksum", name]
    checksum = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    first = lock_of(path).splitlines()[0]
    assert first == f'# Made by "make lock"; do not edit. Of {name}: {checksum}', "make lock"


@BY_LIST
def test_a_lock_pins_whatever_is_listed_in_a_version_that_the_list_allows(path: Path) -> None:
    locked = pins(lock_of(path))
    for requirement in requirements(path):
        versions = [
            version for (name, _), version in locked.items() if name == canonicalize_name(requirement.name)
        ]
        assert versions, requirement.name
        assert all(requirement.specifier.contains(version) for version in versions), requirement


@BY_LIST
def test_a_lock_is_nothing_but_versions_and_hashes_and_names_no_registry(path: Path) -> None:
    text = lock_of(path)
    assert ENTRY.sub("", text.partition("\n")[2]) == ""
    assert "://" not in text


@pytest.mark.parametrize("path", WITH_THE_KIT, ids=lambda path: path.name)
def test_every_lock_has_the_version_that_development_has(path: Path) -> None:
    """So that what was tested is what runs."""
    developed: dict[str, set[str]] = {}
    for (name, _), version in pins(lock_of(ROOT / "requirements/dev.txt")).items():
        developed.setdefault(name, set()).add(version)
    for (name, _), version in pins(lock_of(path)).items():
        assert version in developed.get(name, {version}), name


# -- the audit ----------------------------------------------------------------------------------------


def feigned(tmp_path: Path, output: Any, *, exit_code: int = 0) -> list[str]:
    """A pip-audit that answers this."""
    text = output if isinstance(output, str) else json.dumps(output)
    program = tmp_path / "pip_audit.py"
    program.write_text(
        f"import sys\nprint({text!r})\nprint('it broke', file=sys.stderr)\nsys.exit({exit_code})\n"
    )
    return [sys.executable, str(program)]


GOOD = {"name": "tornado", "version": "6.6.1", "vulns": []}
WEAK = {
    "name": "tornado",
    "version": "6.4.1",
    "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["6.4.2"]}, {"id": "CVE-1", "fix_versions": []}],
}
SKIPPED = {"name": "pyjwt", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("output", "exit_code", "expected", "incomplete", "said"),
    [
        ({"dependencies": [GOOD]}, 0, 0, False, "1 looked up, 0 weaknesses"),
        ({"dependencies": [GOOD, WEAK]}, 1, 1, False, "tornado 6.4.1: PYSEC-2024-1, fixed in 6.4.2"),
        ({"dependencies": [GOOD, WEAK, SKIPPED]}, 1, 1, True, "CVE-1, fixed in no version yet"),
        ({"dependencies": [GOOD, SKIPPED]}, 0, 2, True, "not looked up: pyjwt"),
        ({"dependencies": []}, 0, 2, True, "found none in the file"),
        ("", 1, 2, True, "pip-audit said it broke"),
        ("[]", 0, 2, True, "pip-audit said it broke"),
    ],
    ids=["all well", "weak", "weak and incomplete", "skipped", "empty", "broken off", "nonsense"],
)
def test_the_audit_passes_only_what_was_looked_up_and_is_well(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: Any,
    exit_code: int,
    expected: int,
    incomplete: bool,
    said: str,
) -> None:
    command = feigned(tmp_path, output, exit_code=exit_code)
    assert main([tmp_path / "requirements.lock"], command) == expected
    printed = capsys.readouterr().out
    assert said in printed
    assert ("again where it can be reached" in printed) is incomplete


def test_without_locks_the_audit_does_not_pass() -> None:
    assert main([], []) == 2


def test_the_audit_asks_about_exactly_the_file_and_installs_nothing(tmp_path: Path) -> None:
    program = tmp_path / "pip_audit.py"
    program.write_text(
        "import json, sys\n"
        "asked = {'name': ' '.join(sys.argv[1:]), 'skip_reason': ''}\n"
        "print(json.dumps({'dependencies': [asked]}))\n"
    )
    (asked,) = audit(tmp_path / "a.lock", [sys.executable, str(program)]).not_looked_up
    assert {"--disable-pip", "--require-hashes", f"--requirement={tmp_path / 'a.lock'}"} <= set(asked.split())
