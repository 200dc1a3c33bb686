# SPDX-License-Identifier: MIT
"""No bytes whatever break a parser that strangers reach; the promises are in stormcellar/tests/parsers.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormcellar.tests.parsers import FOUND, PARSERS, SEEDS

Parser = Callable[[bytes], None]


@st.composite
def near(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Something like a seed: pieces cut out, put in, doubled or changed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        new = draw(st.one_of(st.binary(max_size=6), st.sampled_from(seeds), st.just(data[start:end] * 2)))
        data = data[:start] + new + data[end:]
    return data


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_a_parser_keeps_its_promise_whatever_the_bytes(parser: Parser) -> None:
    for seed in SEEDS[parser]:
        parser(seed)

    @given(st.one_of(near(SEEDS[parser]), st.binary(max_size=200)))
    def judge(data: bytes) -> None:
        parser(data)

    judge()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 5000,
        b"." * 65_536,
        b"=" * 65_536,
        b"[" * 65_536,
        b"%25" * 20_000,
        b";" * 65_536,
        b"\xff" * 999,
    ],
    ids=["empty", "NUL", "points", "equals", "brackets", "percent", "semicolons", "bytes"],
)
def test_a_parser_keeps_it_for_much_of_the_same(parser: Parser, data: bytes) -> None:
    parser(data)


@pytest.mark.parametrize(
    ("parser", "data", "what"), FOUND or [pytest.param(PARSERS[0], b"", "nothing was found yet")]
)
def test_what_was_found_once_stays_found(parser: Parser, data: bytes, what: str) -> None:
    parser(data)
