# SPDX-License-Identifier: MIT
import json
import re
from pathlib import Path

import pytest

from stormcellar.tests import parts


@pytest.fixture
def missing_part(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(parts.PARTS, "loom", parts.Part("a loom", lambda: None, "loom"))
    return "loom"


def test_a_missing_part_skips_the_test_on_a_developers_machine(
    missing_part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="a loom is missing"):
        parts.require(missing_part)


def test_a_missing_part_fails_the_test_in_ci(missing_part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="a loom is missing"):
        parts.require(missing_part)


def test_a_browser_that_the_environment_names_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "my browser"
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(browser))
    assert parts.require("chromium") == browser


@pytest.mark.parametrize(("version", "found"), [("v12.22.9", False), ("v18.0.0", True), ("v20.20.2", True)])
def test_npm_counts_only_with_a_node_that_is_new_enough(
    version: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (parts.find_npm() is not None) is found


def test_npm_packages_are_pinned_and_the_lock_names_no_registry() -> None:
    """Every machine gets the same bytes (integrity), from whatever registry it is set up to use."""
    package = json.loads((parts.ROOT / "stormcellar/tests/npm/package.json").read_text())
    lock = json.loads((parts.ROOT / "stormcellar/tests/npm/package-lock.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())
    locked = {path: entry for path, entry in lock["packages"].items() if path}
    assert {f"node_modules/{name}" for name in package["dependencies"]} <= locked.keys()
    assert all("integrity" in entry and "resolved" not in entry for entry in locked.values())
