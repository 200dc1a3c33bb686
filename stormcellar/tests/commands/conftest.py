# SPDX-License-Identifier: MIT
"""manage.py as a test calls it: in this process, on a database of its own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stormcellar.testing.client import PASSWORD
from stormcellar.tests.site import main


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        """What --json printed, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Manage = Callable[..., Done]


@pytest.fixture(scope="session")
def _first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a secret and a signing key, which take time to make."""
    folder = tmp_path_factory.mktemp("first-run")
    assert main(["list-users", f"--data_dir={folder}"]) == 0
    return folder


@pytest.fixture
def data_dir(_first_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_first_run, tmp_path / "data"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def site(request: pytest.FixtureRequest, data_dir: Path) -> list[str]:
    """The settings of a site; a test that asks for this runs on each kind of database."""
    if request.param == "postgres":
        return [f"--data_dir={data_dir}", f"--database={request.getfixturevalue('postgres_url')}"]
    return [f"--data_dir={data_dir}"]


@pytest.fixture
def manage(site: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Manage:
    """Run a command on the site: `manage("lock-user", "ann@example.com", stdin="")`."""

    def run(*words: str, stdin: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            code = main([*words, *site])
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def ann(manage: Manage) -> str:
    """A user whose password is that of tests.client; her user ID."""
    done = manage("create-user", "ann@example.com", "--json", stdin=PASSWORD)
    assert done.code == 0, done.err
    user_id: str = done.records[0]["user_id"]
    return user_id
