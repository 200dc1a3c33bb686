# SPDX-License-Identifier: MIT
"""new-page writes a page that works as it stands, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.commands.new_page import LONGEST_NAME, PLACE, name_page, with_route, write
from stormcellar.commands.output import CommandError
from stormcellar.tests.copies import clone as clone  # a fixture
from stormcellar.tests.serving import SITE_DIR, process_env
from stormcellar.tests.site import main

TABLE = "from handlers.b import B\nfrom handlers.d import D\n\n" + PLACE
LONGEST = "a23456789x123456789x123"


def run(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=clone, env=process_env(), capture_output=True, text=True, check=False
    )


def contents(folder: Path) -> dict[Path, bytes]:
    found = [path for part in ("handlers", "templates", "tests") for path in (folder / part).rglob("*.*")]
    return {path: path.read_bytes() for path in found if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.slow
def test_the_page_passes_its_own_test_and_the_house_rules(clone: Path) -> None:
    before = contents(clone)
    done = run(clone, "manage.py", "new-page", "sales-report")
    assert (done.returncode, done.stderr) == (0, "")
    new = sorted(str(path.relative_to(clone)) for path in contents(clone).keys() - before.keys())
    assert new == [
        "handlers/sales_report.py",
        "templates/sales_report.html",
        "tests/test_sales_report.py",
    ]
    python = [new[0], new[2], "handlers/routes.py"]
    assert run(clone, "-m", "ruff", "check", "--no-cache", *python).stdout == "All checks passed!\n"
    style = run(clone, "-m", "ruff", "format", "--no-cache", "--check", *python)
    assert style.returncode == 0, style.stdout
    tested = run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", new[2])
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr


def test_the_longest_name_fits_the_lines() -> None:
    page = name_page(LONGEST)
    assert len(LONGEST) == LONGEST_NAME
    lines = [line for text in (*page.files.values(), with_route(TABLE, page)) for line in text.splitlines()]
    assert max(map(len, lines)) <= 110


def test_imports_stay_in_their_order() -> None:
    assert [with_route(TABLE, name_page(name)).index(f"handlers.{name} ") for name in ("a", "c", "z")] == [
        TABLE.index("handlers.b"),
        TABLE.index("handlers.d"),
        len("from handlers.b import B\nfrom handlers.d import D\nfrom "),
    ]


@pytest.mark.parametrize(
    "name",
    ["", "Reports", "1st", "a b", "a--b", "a-", "_a", "a/b", "../a", "é", "class", "a" * 24, "a.b", "--json"],
)
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="cannot name a page"):
        name_page(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("dashboard", "templates/dashboard.html is there already"),
        ("base", "handlers/base.py is there already"),
        ("refresh-session", "templates/refresh_session.html would replace the kit's template"),
        ("error", "templates/error.html would replace the kit's template"),
        ("healthz", "/healthz leads to HealthHandler already"),
        ("protected", "ProtectedHandler is the name of something else already"),
    ],
)
def test_a_name_that_is_taken_is_refused_without_any_effect(
    name: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(SITE_DIR)
    assert main(["new-page", name]) == 1
    assert complaint in capsys.readouterr().err
    assert contents(SITE_DIR) == before


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    for folder in ("handlers", "templates"):  # that of the tests is missing
        (tmp_path / folder).mkdir()
    table = tmp_path / "handlers/routes.py"
    table.write_text("from handlers.base import x\n\n" + PLACE)
    before = contents(tmp_path)
    with pytest.raises(CommandError, match="nothing was changed"):
        write(name_page("reports"), tmp_path)
    assert contents(tmp_path) == before


def test_a_route_table_without_the_place_is_named() -> None:
    with pytest.raises(CommandError, match="yours go here"):
        with_route("from handlers.base import x\n", name_page("reports"))
