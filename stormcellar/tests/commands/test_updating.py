# SPDX-License-Identifier: MIT
"""What docs/updating.md says about git is true: the kit alone is taken, as a whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from stormcellar.commands.changelog import entries_for_clones
from stormcellar.tests.serving import ROOT, process_env

pytestmark = pytest.mark.kit

PAGE = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
GIT = (
    "git -c user.name=Test -c user.email=test@example.com -c init.defaultBranch=main -c commit.gpgsign=false"
)


def shell(folder: Path, script: str) -> str:
    done = subprocess.run(
        ["sh", "-ec", script], cwd=folder, env=process_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def block_after(words: str) -> str:
    found = re.search(re.escape(words) + r".*?```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found, words
    return found[1]


def test_the_engine_alone_is_taken_as_a_whole(tmp_path: Path) -> None:
    kit, clone = tmp_path / "kit", tmp_path / "clone"
    (kit / "stormcellar/sessions").mkdir(parents=True)
    for name, text in (
        ("stormcellar/sessions/old.py", "1"),
        ("stormcellar/sessions/kept.py", "1"),
        ("mine.py", "1"),
        ("CHANGELOG.md", "1"),
    ):
        (kit / name).write_text(text)
    shell(kit, f"{GIT} init -q; {GIT} add .; {GIT} commit -qm first")
    shell(tmp_path, f"{GIT} clone -q kit clone")
    (clone / "mine.py").write_text("changed")
    shell(clone, f"{GIT} commit -qam mine")
    (kit / "stormcellar/sessions/old.py").unlink()
    for name in ("stormcellar/sessions/kept.py", "stormcellar/sessions/new.py", "mine.py", "CHANGELOG.md"):
        (kit / name).write_text("2")
    shell(kit, f"{GIT} add -A; {GIT} commit -qm second")

    shell(clone, block_after("Keep the kit as a second remote").replace("<the kit's repository>", str(kit)))
    lines = block_after("Take the kit alone").replace("python manage.py check\n", "")
    shell(clone, lines)
    files = [path for path in clone.rglob("*.*") if path.is_file() and ".git" not in path.parts]
    assert {path.name: path.read_text() for path in files} == {
        "kept.py": "2",
        "new.py": "2",
        "mine.py": "changed",
        "CHANGELOG.md": "2",
    }


def test_every_file_that_is_said_to_be_somebodys_is_there() -> None:
    names = re.findall(r"`([\w./]+(?:/|\.\w+))`", PAGE.partition("## How a fix")[0])
    assert len(names) > 10
    assert [name for name in names if name != "var/" and not (ROOT / name).exists()] == []


def test_the_changelog_can_be_read_for_clones() -> None:
    """Its introduction names the words, which is no entry."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(version and entry for version, entry in entries_for_clones(text, "0.0.0"))
