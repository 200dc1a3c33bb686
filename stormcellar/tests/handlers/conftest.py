# SPDX-License-Identifier: MIT
"""The fixtures of stormcellar/testing/plugin.py, in applications that have the handlers of samples.py too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stormcellar.application import Site
from stormcellar.testing.plugin import *  # noqa: F403 - the fixtures that it names
from stormcellar.testing.plugin import CHEAP, MakeApplication  # noqa: F401
from stormcellar.tests.handlers.samples import SAMPLES
from stormcellar.tests.site import SITE


@pytest.fixture
def site() -> Site:
    """The packaged site, in the place of the site at the top level."""
    return SITE


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return SAMPLES
