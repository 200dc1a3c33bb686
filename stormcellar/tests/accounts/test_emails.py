# SPDX-License-Identifier: MIT
"""Which texts are e-mail addresses, and which two are the same."""

import pytest

from stormcellar.accounts import EmailError, normalise_email, shown_email
from stormcellar.accounts.emails import email_spellings


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
        ("ann@B\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),
        ("ann@b\u00fccher\u3002example", "ann@xn--bcher-kva.example"),  # the dot of Chinese keyboards
        ("ann@\uff45xample.com", "ann@example.com"),  # full width
        ("ann@stra\u00dfe.example", "ann@xn--strae-oqa.example"),  # another domain than strasse.example
        ("ann@\u03a3\u0391\u03a3.example", "ann@xn--mxa9ab.example"),
        ("a@example.xn--p1ai", "a@example.xn--p1ai"),
        ("a@example.\u0440\u0444", "a@example.xn--p1ai"),
        ("cafe\u0301@example.com", "caf\u00e9@example.com"),
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
        "ann\u202egro.elpmaxe@example.com",  # right to left from here
        "ann\u2066@example.com",
        "ann\u061c@example.com",
        "a\u200bnn@example.com",  # a space without width
        "a\u200dnn@example.com",
        "\ufeffann@example.com",
        "ann\u00ad@example.com",  # a soft hyphen
        "ann\u3164@example.com",  # a letter that nobody sees
        "ann\U000e0041@example.com",
        "ann@exam\u200cple.com",
        "ann@ex\u00e4m_ple.com",
        "ann@-\u00e4.com",
        "ann@-example.com",
        "ann@example-.com",
        "ann@www.-.com",
        f"ann@{'a' * 64}.com",
        f"ann@example.{'a' * 64}",
        "ann@\u0308a.com",
        "ann@\u00e4..com",
        "ann@" + "\u00e4" * 64 + ".com",
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
        ("a@example.com", "\uff41@example.com"),  # full width
        ("ss@example.com", "ß@example.com"),
    ],
)
def test_letters_outside_ascii_are_compared_by_code_point(one: str, other: str) -> None:
    """Two addresses that only look alike, or fold to the same letters, are two people's."""
    assert normalise_email(one) != normalise_email(other)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("j\u00f6rg@xn--mller-kva.de", "j\u00f6rg@m\u00fcller.de"),
        ("ann@example.com", "ann@example.com"),
        ("ann@xn--0.example", "ann@xn--0.example"),  # decodes to nothing that a label may be
        ("ann@xn--\u00e4.example", "ann@xn--\u00e4.example"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
    ],
)
def test_an_address_is_shown_with_its_domain_in_its_own_script(stored: str, shown: str) -> None:
    assert shown_email(stored) == shown


def test_an_address_is_found_under_the_spellings_of_older_versions() -> None:
    assert email_spellings("ann@example.com") == ("ann@example.com",)
    composed, apart = "caf\u00e9@example.com", "cafe\u0301@example.com"
    assert email_spellings(composed) == (composed, apart)
    assert email_spellings(apart) == (apart, composed)
