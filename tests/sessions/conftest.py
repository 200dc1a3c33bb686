# SPDX-License-Identifier: MIT
"""What holds for the engine's tests."""

import functools
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization


@pytest.fixture(scope="package", autouse=True)
def _each_key_is_parsed_once() -> Iterator[None]:
    """Parsing a private key checks it, which takes longer than most tests; they share a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            serialization, "load_der_private_key", functools.cache(serialization.load_der_private_key)
        )
        yield
