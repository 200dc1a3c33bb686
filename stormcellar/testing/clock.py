# SPDX-License-Identifier: MIT
"""A clock that a test moves, and signing keys that cost no time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.sessions.keys import generate_private_key


class FakeClock:
    """A clock that stands still until a test moves it. Unix seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


@functools.cache
def _private_key(number: int) -> rsa.RSAPrivateKey:
    return generate_private_key()


def cheap_keys() -> Callable[[], rsa.RSAPrivateKey]:
    """A key generator that gives every engine the same first, second, ... key: making one takes long."""
    numbers = itertools.count()
    return lambda: _private_key(next(numbers))
