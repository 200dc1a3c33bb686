# SPDX-License-Identifier: MIT
"""What several tests of handlers say."""

from __future__ import annotations

from typing import Any

import pytest

LIFETIME_S = 3600
"""Of an access token, by default."""


def with_settings(**settings: Any) -> pytest.MarkDecorator:
    """Run a test with an application of these settings; the key `engine` goes to the session engine."""
    return pytest.mark.parametrize("settings", [settings], ids=[""])
