# SPDX-License-Identifier: MIT
"""What set-up and a release install, with real interpreters, real pip and the package registry.

Source: pip's documentation, "Secure installs" and "Repeatable installs".
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.utils import canonicalize_name

from stormcellar.tests.copies import commit_all, copy_of_the_project
from stormcellar.tests.parts import do_without, find_python
from stormcellar.tests.serving import ROOT, ServerProcess, process_env
from stormcellar.tests.test_locks import ENTRY

OLDEST_PYTHON = "3.10"
# The pip of the first release of each Python, the oldest that a machine with it can have.
OLDEST_PIP = {(3, 10): "21.2.3", (3, 11): "22.3", (3, 12): "23.2.1"}.get(sys.version_info[:2], "24.2")
NEWEST_PIP = "26.3"
# Beside those of process_env: where this machine finds its package registry.
REGISTRY = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "CERT" in name}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program to its end; returns what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**process_env(), **REGISTRY, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where no package registry answers."""
    folder = tmp_path_factory.mktemp("registry")
    words = ["-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, *words, "-d", str(folder), f"pip=={NEWEST_PIP}"]
    environment = {**process_env(), **REGISTRY}
    if subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
        do_without("the package registry does not answer")


def locked(list_name: str) -> dict[str, str]:
    """The packages that a lock has for this interpreter, with their versions."""
    environment = {**default_environment(), "extra": ""}
    text = (ROOT / list_name).with_suffix(".lock").read_text(encoding="utf-8")
    return {
        canonicalize_name(name): version
        for name, version, marker, _ in ENTRY.findall(text)
        if not marker or Marker(marker).evaluate(environment)
    }


def installed(python: Path) -> dict[str, str]:
    found = json.loads(
        run(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check", cwd=ROOT)
    )
    return {canonicalize_name(package["name"]): package["version"] for package in found}


def offer_newer_versions(folder: Path, *names: str) -> None:
    """Make wheels of the version 9999, which pip finds beside those of the registry."""
    folder.mkdir()
    for name in names:
        with zipfile.ZipFile(folder / f"{name}-9999-py3-none-any.whl", "w") as wheel:
            about = f"{name}-9999.dist-info"
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9999\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("pip", [OLDEST_PIP, NEWEST_PIP])
def test_set_up_installs_the_locked_versions_although_newer_ones_exist(tmp_path: Path, pip: str) -> None:
    """`make check` gets exactly its lock. pip's resolver would stop at coverage, wanted with an extra."""
    offer_newer_versions(tmp_path / "newer", "coverage", "tornado", "pytest", "setuptools")
    site = copy_of_the_project(tmp_path / "site")
    run(sys.executable, "-m", "venv", ".venv", cwd=site)
    python = site / ".venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", f"pip=={pip}", cwd=site)
    said = run(
        "stormcellar/tools/setup", "checks", cwd=site, PIP_FIND_LINKS=str(tmp_path / "newer"), CI="true"
    )
    assert "requirements/dev.lock" in said
    found = installed(python)
    assert found.pop("pip") == pip
    found.pop("setuptools", None)  # some interpreters bring theirs
    expected = locked("requirements/dev.txt")
    expected.pop("setuptools", None)
    assert found == expected
    assert run("stormcellar/tools/setup", "checks", cwd=site, PIP_NO_INDEX="1") == "", (
        "the second run installs nothing"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("version", [OLDEST_PYTHON, "this"])
def test_a_release_runs_without_the_tools_of_the_tests(tmp_path: Path, version: str) -> None:
    """deploy/release makes it; its environment has what the lock lists, and the server starts from it."""
    interpreter = Path(sys.executable) if version == "this" else find_python(version)
    if interpreter is None:
        pytest.skip(f"there is no Python {version} here")
    commit_all(copy_of_the_project(tmp_path / "site"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(interpreter.resolve())
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    command = (ROOT / "deploy" / "release", tmp_path / "site", "HEAD", tmp_path / "releases", "metrics")
    release = Path(run(*command, cwd=tmp_path, PATH=path).splitlines()[-1])
    python = release / ".venv" / "bin" / "python"
    names = set(installed(python)) - {"pip", "setuptools"}
    assert names >= {"tornado", "pyjwt", "cryptography", "prometheus-client"}
    assert not {name for name in names if "pytest" in name or name in ("mypy", "ruff", "coverage")}
    data = tmp_path / "data"
    with ServerProcess(data, program=(str(python), str(release / "server.py"))) as server:
        for address in ("/readyz", "/login", "/metrics"):
            with urllib.request.urlopen(server.url + address, timeout=10) as answer:
                assert answer.status == 200
    for program in ("server.py", "manage.py"):
        assert "--" in run(python, program, "--help", cwd=release)
    check = [python, "manage.py", "check", f"--data_dir={data}"]
    found = subprocess.run(check, cwd=release, env=process_env(), capture_output=True, text=True, check=False)
    assert "The engine's version" in found.stdout
    assert "is not installed" not in found.stdout


def modules_that_run() -> list[Path]:
    aside = {"tests", "benchmarks", "tools"}
    found = [
        path
        for folder in ("handlers", "stormcellar")
        for path in (ROOT / folder).rglob("*.py")
        if not aside & {*path.relative_to(ROOT).parts}
    ]
    return [*ROOT.glob("*.py"), *found]


def test_no_class_has_a_base_whose_type_the_oldest_python_cannot_write() -> None:
    """As `StreamHandler[TextIO]`, which mypy accepts for Python 3.10 and which Python 3.10 refuses."""
    modules = modules_that_run()
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in modules}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert len(classes) > 100
    ours = {found.name for found in classes}
    generic = ours | {
        "Generic",
        "Protocol",
        "NamedTuple",
        "dict",
        "list",
        "set",
        "tuple",
        "Mapping",
        "OrderedDict",
    }
    strange = [
        f"{found.name}({ast.unparse(base)})"
        for found in classes
        for base in found.bases
        if isinstance(base, ast.Subscript) and ast.unparse(base.value) not in generic
    ]
    assert strange == []
