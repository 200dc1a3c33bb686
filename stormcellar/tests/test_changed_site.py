# SPDX-License-Identifier: MIT
"""A site that deletes and changes what the documentation allows keeps a green `make check`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.tests.copies import clone as clone  # a fixture
from stormcellar.tests.serving import ROOT, process_env

pytestmark = [pytest.mark.kit, pytest.mark.slow]

QUICK = "not (browser or npm or postgres or faults or fuzz or slow or kit)"
DELETED = (
    "stormcellar/benchmarks",
    "deploy",
    "docs",
    "examples",
    "stormcellar/extras/authenticator",
    "stormcellar/extras/passkeys",
)
SETTING = """
    newsletter: bool = setting(
        False,
        unit="-",
        heading="Ours",
        effect="Whether a newsletter is sent on Mondays.",
        danger="Readers may have too much to read.",
    )
"""
HANDLERS = '''

class ReportsHandler(ProtectedHandler):
    """GET /reports"""

    async def get(self) -> None:
        self.write(f"Reports for {self.session.user_id}")


class VisitorsHandler(BaseHandler):
    """GET /visitors"""

    public = "a number that everyone may know"

    async def get(self) -> None:
        self.write({"visitors": 7})
'''
ROUTES = """        URLSpec(r"/reports", pages.ReportsHandler, name="reports"),
        URLSpec(r"/visitors", pages.VisitorsHandler),
"""
CONCERNED = (
    "stormcellar/tests/test_settings.py",
    "stormcellar/tests/test_return_address.py",
    "stormcellar/tests/handlers/test_routes.py",
    "stormcellar/tests/handlers/test_walk.py",
    "stormcellar/tests/handlers/test_own_account.py",
    "stormcellar/tests/handlers/test_email_api.py",
    "stormcellar/tests/handlers/test_openapi.py",
)


def pytest_in(site: Path, *words: str) -> str:
    """Run tests of a site as `make check` selects them; returns what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", QUICK, *words]
    done = subprocess.run(
        command, cwd=site, env=process_env(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, (file, old)
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_every_test_module_can_be_imported_where_parts_are_deleted(clone: Path) -> None:
    for part in DELETED:
        shutil.rmtree(clone / part)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        (clone / name).unlink()
    shutil.rmtree(clone / "tests")
    for part in ("handlers", "templates", "static"):  # the kit's tests need no file of the site
        shutil.rmtree(clone / part)
    for name in ("server.py", "manage.py"):
        (clone / name).unlink()
    collected = pytest_in(clone, "--collect-only", "stormcellar")
    assert "this site has no stormcellar/benchmarks" in collected
    assert "test_walk.py" in collected
    pytest_in(
        clone,
        "stormcellar/tests/test_settings.py",
        "stormcellar/tests/test_make.py",
        "stormcellar/tests/test_extras.py",
        "stormcellar/tests/commands/test_check.py",
        "stormcellar/tests/handlers/test_walk.py",
        "stormcellar/tests/test_templates.py",
    )


def test_changed_defaults_settings_and_addresses_break_no_test(clone: Path) -> None:
    change(
        clone / "stormcellar/settings.py",
        "\n    port: int = setting(\n        8888,",
        f"{SETTING}\n    port: int = setting(\n        9000,",
    )
    change(clone / "stormcellar/settings.py", '"Stormcellar",', '"Marten and Sons",')
    with (clone / "handlers" / "pages.py").open("a", encoding="utf-8") as pages:
        pages.write(HANDLERS)
    place = "        # For users who are signed in: yours go here\n"
    change(clone / "handlers" / "routes.py", place, place + ROUTES)
    page = (ROOT / "docs" / "pages.md").read_text(encoding="utf-8")
    rename = re.search(r"## Rename the dashboard.*?```sh\n(.*?)```", page, re.DOTALL)
    assert rename
    subprocess.run(["sh", "-ec", rename[1]], cwd=clone, check=True)
    assert 'landing_page="/overview"' in (clone / "server.py").read_text(encoding="utf-8")
    assert '"/overview"' in (clone / "handlers" / "routes.py").read_text(encoding="utf-8")
    pytest_in(clone, "tests")
    pytest_in(clone, *CONCERNED)
