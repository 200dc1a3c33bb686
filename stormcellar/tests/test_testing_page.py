# SPDX-License-Identifier: MIT
"""Every example of docs/testing.md runs as it stands there, and none of the kit's fixtures is left out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import stormcellar.testing.plugin
from stormcellar.tests.serving import ROOT, process_env

pytestmark = pytest.mark.kit

PAGE = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
AS_USER, BROWSER = "```python\n", "```python browser\n"
TOLD = {"as_user", "expire_access_token", "revoke_elsewhere", "lose_reply", "two_tabs", "skew", "second_node"}
IN_BROWSER = {"as_user", "expire_access_token", "revoke_elsewhere", "lose_reply"}


def blocks(opening: str) -> str:
    """All code blocks that begin with this line."""
    return "\n".join(re.findall(re.escape(opening) + r"(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


def run(tmp_path: Path, code: str, *plugins: str) -> None:
    """Run tests that lie somewhere else, with the kit as a plug-in; all of them must pass."""
    (tmp_path / "test_examples.py").write_text(code, encoding="utf-8")
    loaded = [word for plugin in plugins for word in ("-p", plugin)]
    options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), *loaded]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_examples.py")],
        cwd=ROOT,
        env=process_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    count = len(re.findall(r"^(?:async )?def test_", code, re.MULTILINE))
    assert count > 2
    assert f"{count} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.slow
def test_every_example_passes(tmp_path: Path) -> None:
    run(tmp_path, blocks(AS_USER), "stormcellar.testing.plugin")


@pytest.mark.browser
def test_every_example_for_a_browser_passes(tmp_path: Path) -> None:
    run(tmp_path, blocks(BROWSER), "stormcellar.tests.browser.conftest")


def test_every_fixture_of_the_plugin_is_in_an_example() -> None:
    assert set(stormcellar.testing.plugin.__all__) >= TOLD
    for name in TOLD:
        assert re.search(rf"^async def test_\w+\(.*\b{name}\b", blocks(AS_USER), re.MULTILINE), name
    for name in sorted(IN_BROWSER):
        assert re.search(rf"^def test_\w+\(.*\b{name}\b", blocks(BROWSER), re.MULTILINE), name
