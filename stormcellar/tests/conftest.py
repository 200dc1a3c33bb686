# SPDX-License-Identifier: MIT
"""What holds for every test."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stormcellar.tests.deleted import pytest_make_collect_report  # noqa: F401 - a hook
from stormcellar.tests.figures import figures, pytest_terminal_summary  # noqa: F401 - what a run measured
from stormcellar.tests.postgres import _cluster, cluster, postgres_url  # noqa: F401 - fixtures

# A slow or busy machine is no finding, so neither profile looks at the clock. In CI the examples are the same
# at every run: whoever gets a red result can have it again.
settings.register_profile("quick", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "quick")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is: a test that asks for this runs on each kind (see database_at)."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return tmp_path / "db"
