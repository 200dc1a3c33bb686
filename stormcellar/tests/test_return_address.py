# SPDX-License-Identifier: MIT
"""Where a visitor may be sent: the server's half. tests/browser/test_return_address.py runs the browser's."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stormcellar.web.return_address import LONGEST_ADDRESS, return_address

# Pairs of an address and what it is. One line for each incident; lines are added, never taken away.
TABLE = json.loads(Path(__file__).with_name("return_addresses.json").read_text(encoding="utf-8"))
FALLBACK = "/fallback"


@pytest.mark.parametrize(("address", "what"), TABLE["hostile"])
def test_a_hostile_address_is_replaced(address: str, what: str) -> None:
    assert return_address(address, FALLBACK) == FALLBACK, what


@pytest.mark.parametrize(("address", "what"), TABLE["harmless"])
def test_a_harmless_address_survives_with_query_and_fragment(address: str, what: str) -> None:
    assert return_address(address, FALLBACK) == address, what


def test_without_an_address_the_visitor_goes_to_the_home_page() -> None:
    assert return_address(None) == "/"
    assert return_address("//evil.example") == "/"


def test_an_address_may_be_8192_characters_long_and_no_longer() -> None:
    longest = "/" + "a" * (LONGEST_ADDRESS - 1)
    assert LONGEST_ADDRESS == 8192
    assert return_address(longest, FALLBACK) == longest
    assert return_address(longest + "a", FALLBACK) == FALLBACK


@pytest.mark.parametrize("piece", ["%25", "%41", "%0a", "//", "/..a", "/%2e%2ea", "a", "/session", "%"])
def test_the_work_grows_no_faster_than_the_address(piece: str) -> None:
    """Machine work, not time: four times the text takes at most some five times the work."""

    def work(length: int) -> int:
        address = "/a" + (piece * length)[: length - 2]
        started = time.thread_time_ns()
        for _ in range(20):
            return_address(address, FALLBACK)
        return time.thread_time_ns() - started

    assert min(work(8000) for _ in range(5)) < 12 * max(min(work(2000) for _ in range(5)), 100_000)


@given(st.text() | st.text("/\\.%25cefF?#\t a", max_size=20).map(lambda rest: "/" + rest))
def test_whatever_the_text_the_answer_is_one_path_on_this_site(text: str) -> None:
    answer = return_address(text, FALLBACK)
    assert answer in (text, FALLBACK)
    assert answer.startswith("/")
    assert not answer.startswith(("//", "/\\"))
    assert answer.isascii()
    assert answer.isprintable()


WEBSITE = "https://www.example.com"


@pytest.mark.parametrize("path", ["/", "/reports/7?tab=2&x=%20#end"])
def test_where_another_server_shows_the_pages_addresses_there_are_fine_too(path: str) -> None:
    assert return_address(WEBSITE + path, website=WEBSITE) == WEBSITE + path
    assert return_address(path, website=WEBSITE) == path
    assert return_address(WEBSITE + path) == "/"


@pytest.mark.parametrize(
    "address",
    [
        WEBSITE,
        WEBSITE + "//evil.example",
        WEBSITE + "/\\evil.example",
        WEBSITE + "/a/../b",
        WEBSITE + "/refresh-session",
        WEBSITE + "/signout",
        WEBSITE + "/auth/session/refresh",
        WEBSITE + "?x",
        WEBSITE + ".evil.example/",
        WEBSITE + ":8443/",
        WEBSITE + "@evil.example/",
        WEBSITE.upper() + "/",
        WEBSITE * 2 + "/",
        "http://www.example.com/",
        "https://example.com/",
        "//www.example.com/",
        " " + WEBSITE + "/",
        WEBSITE + "/" + "a" * 8192,
    ],
)
def test_of_that_server_only_the_exact_origin_and_harmless_paths_are_fine(address: str) -> None:
    assert return_address(address, website=WEBSITE) == "/"
