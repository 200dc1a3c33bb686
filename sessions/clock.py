# SPDX-License-Identifier: MIT
"""The one source of time: everything that asks "now?" asks a clock it was given."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, UTC."""
        raise NotImplementedError


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()
