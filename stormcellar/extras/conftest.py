# SPDX-License-Identifier: MIT
"""The fixtures of the kit's own tests, for those of the extras."""

from collections.abc import Sequence
from typing import Any

import pytest

from stormcellar.testing.plugin import *  # noqa: F403
from stormcellar.tests.conftest import place  # noqa: F401
from stormcellar.tests.handlers.samples import SAMPLES
from stormcellar.tests.postgres import _cluster, cluster, postgres_url  # noqa: F401


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return SAMPLES
