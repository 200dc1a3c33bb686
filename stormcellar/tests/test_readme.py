# SPDX-License-Identifier: MIT
"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.tests.copies import clone as clone  # a fixture
from stormcellar.tests.serving import ROOT, process_env

pytestmark = pytest.mark.kit

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_after(words: str) -> str:
    """The first code block behind these words."""
    match = re.search(re.escape(words) + r".*?```\w*\n(.*?)```", README, re.DOTALL)
    assert match, f"the README has no block after {words!r}"
    return match[1]


def add_the_page(clone: Path) -> None:
    """Do what "Add a page" says."""
    pages, routes = clone / "handlers/pages.py", clone / "handlers/routes.py"
    pages.write_text(pages.read_text() + "\n\n" + block_after("In `handlers/pages.py`"))
    place = "        # For users who are signed in: yours go here\n"
    text = routes.read_text()
    assert place in text
    routes.write_text(text.replace(place, place + block_after("In `handlers/routes.py`")))
    (clone / "templates/reports.html").write_text(block_after("In `templates/reports.html`"))


def run(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=clone, env=process_env(), capture_output=True, text=True
    )


def test_a_page_is_at_most_eight_lines_a_route_and_a_template() -> None:
    assert len(block_after("In `handlers/pages.py`").splitlines()) <= 8
    assert len(block_after("In `handlers/routes.py`").splitlines()) == 1


@pytest.mark.slow
def test_the_page_of_the_readme_passes_the_test_of_the_readme(clone: Path) -> None:
    add_the_page(clone)
    (clone / "tests/test_reports.py").write_text(block_after("In `tests/test_reports.py`"))
    done = run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_reports.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_the_page_of_the_readme_is_protected_and_in_the_list_of_routes(clone: Path) -> None:
    add_the_page(clone)
    done = run(clone, "server.py", "--routes")
    assert re.search(r"^/reports +handlers\.pages\.ReportsHandler +protected$", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_a_page_that_does_not_say_who_may_see_it_does_not_start(clone: Path) -> None:
    """As the README says; the sentence names the class and what to write."""
    add_the_page(clone)
    pages = clone / "handlers/pages.py"
    pages.write_text(
        pages.read_text().replace("ReportsHandler(ProtectedHandler)", "ReportsHandler(BaseHandler)")
    )
    done = run(clone, "server.py", "--port=0", f"--data_dir={clone / 'var'}")
    assert done.returncode != 0
    assert "handlers.pages.ReportsHandler does not say who may use it" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_file_that_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    named += re.findall(r"`((?:tests|handlers|templates|docs)/[\w/.]+)`", README)
    yours = {"templates/reports.html", "tests/test_reports.py"}
    missing = [name for name in named if name not in yours and not (ROOT / name).exists()]
    assert not missing


def test_every_make_target_that_the_readme_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
