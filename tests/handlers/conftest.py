# SPDX-License-Identifier: MIT
"""The fixtures of tests/kit.py, in applications that have the handlers of samples.py too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.handlers.samples import SAMPLES
from tests.kit import *  # noqa: F403 - the fixtures that it names
from tests.kit import CHEAP, MakeApplication  # noqa: F401


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return SAMPLES
