# SPDX-License-Identifier: MIT
"""Which texts are e-mail addresses, and which two are the same."""

import pytest

from accounts import EmailError, normalise_email


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ann@example.com", "ann@example.com"),
        ("  Ann@Example.COM\t\n", "ann@example.com"),
        ("ann.b+tag@mail.example.co.uk", "ann.b+tag@mail.example.co.uk"),
        ("a@b.co", "a@b.co"),
        ("o'neil_-!#$%&*/=?^`{|}~@example.com", "o'neil_-!#$%&*/=?^`{|}~@example.com"),
        ('"Ann B"@example.com', '"ann b"@example.com'),
        ('"a\\"b@c"@example.com', '"a\\"b@c"@example.com'),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("用户@example.com", "用户@example.com"),
        ("JÜRGEN@example.com", "jÜrgen@example.com"),
        ("İ@example.com", "İ@example.com"),
        ("a" * 242 + "@example.com", "a" * 242 + "@example.com"),
    ],
)
def test_an_address_is_stored_trimmed_and_with_small_ascii_letters(typed: str, stored: str) -> None:
    assert normalise_email(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "ann",
        "ann@",
        "@example.com",
        "ann@example",
        "ann@example.c",
        "ann@example.c0m",
        "ann@.com",
        "ann@example..com",
        "ann@exa mple.com",
        "ann@exämple.com",
        "ann b@example.com",
        ".ann@example.com",
        "ann.@example.com",
        "ann..b@example.com",
        "ann@b@example.com",
        "ann,bob@example.com",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        '""@example.com',
        '"ann@example.com',
        "ann@[192.0.2]",
        "ann@[::1]",
        "ann@192.0.2.1",
        "ann@example.com\nBcc: bob@example.com",
        '"ann\r\nBcc: bob"@example.com',
        "ann\0@example.com",
        "ann@example.com\0",
        '"\x7f"@example.com',
        "ann\x85@example.com",
        "\ud800@example.com",
        "ann\udfff@example.com",
        "a" * 243 + "@example.com",
        "a." * 100_000 + "@",
    ],
)
def test_everything_else_is_refused_with_one_sentence(typed: str) -> None:
    with pytest.raises(EmailError, match=r"^Email is invalid$"):
        normalise_email(typed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jürgen@example.com", "JÜRGEN@example.com"),
        ("k@example.com", "\u212a@example.com"),  # the Kelvin sign
        ("i@example.com", "\u0131@example.com"),  # a dotless i
        ("a@example.com", "\u0430@example.com"),  # a Cyrillic a
        ("caf\u00e9@example.com", "cafe\u0301@example.com"),  # composed and decomposed
        ("a@example.com", "\uff41@example.com"),  # full width
        ("ss@example.com", "ß@example.com"),
    ],
)
def test_letters_outside_ascii_are_compared_by_code_point(one: str, other: str) -> None:
    """Two addresses that only look alike, or fold to the same letters, are two people's."""
    assert normalise_email(one) != normalise_email(other)
