# SPDX-License-Identifier: MIT
"""Which passwords may be chosen."""

from typing import Any

import pytest

from stormcellar.accounts import check_password
from stormcellar.accounts.common_passwords import VOCABULARY, is_common

GUESSABLE = "This password is too easy to guess. Please choose another one"
UNUSABLE = "Password contains a character that cannot be used"

EVERYBODYS_FIRST_GUESSES = """
    password password1 Password1 PASSWORD password123 password! P@ssw0rd passw0rd p@$$w0rd1 Passwort1
    12345678 123456789 1234567890 87654321 11111111 00000000 12121212 11223344 123123123 12341234
    qwertyuiop qwerty123 qwertyui qwerty12345 1qaz2wsx zaq12wsx 1q2w3e4r qazwsxedc asdfghjk zxcvbnm1 asdf1234
    abcd1234 abc12345 abcdefgh a1b2c3d4 aaaaaaaa abcabcabc 1234qwer q1w2e3r4 azertyuiop qwertzuiop 147258369
    iloveyou iloveyou1 ILoveYou! lovelove sunshine princess football baseball superman letmein1 welcome1
    Welcome123 trustno1 monkey123 dragon123 1monkey23 master12 shadow12 michael1 Jennifer jordan23 ashley12
    charlie1 liverpool chelsea1 starwars pokemon1 computer internet whatever summer2024 Summer2024! Winter2025
    changeme admin123 administrator letmein123 drowssap liverpoo metallic thunder1 babygirl1 mypassword
    01011990 19900101 12/31/1999 1999-12-31 gfhjkm123 \u043f\u0430\u0440\u043e\u043b\u044c123
"""


def check(password: str, **changes: Any) -> str | None:
    rule = {"min_length": 8, "email": "ann.marten@example.com", "site_name": "Stormcellar", **changes}
    return check_password(password, **rule)


@pytest.mark.parametrize(
    "password",
    [
        "blue kettle drum",
        "qv7xkzrt",  # eight, one kind of character is enough
        "ZZKQ TVXW",
        "48151823",
        "  leading and trailing  ",
        "wörter aus dem süden",
        "密码学是有趣的事",  # eight code points
        "🐙🎷🧊🪁🦔🧵🥨🪐",
        "tab\tand\nnewline",
        "x" * 64,
        "q7" + "x" * 998,  # 1,000 bytes
        "é" * 500,
    ],
)
def test_length_and_being_unexpected_are_enough(password: str) -> None:
    assert check(password) is None


@pytest.mark.parametrize(
    ("password", "refusal"),
    [
        ("", "Field is not optional"),
        ("qv7xkzr", "Password must contain at least 8 characters"),
        ("🐙🎷🧊🪁🦔🧵🥨", "Password must contain at least 8 characters"),
        ("q7" + "x" * 999, "Password must be at most 1,000 bytes long"),
        ("é" * 501, "Password must be at most 1,000 bytes long"),
        ("blue\0kettle drum", UNUSABLE),
        ("blue kettle drum\0", UNUSABLE),
        ("blue kettle \ud83d", UNUSABLE),
        ("\udc00blue kettle", UNUSABLE),
        ("ann.marten@example.com", "Password must not be your email address"),
        ("ANN.Marten@Example.com", "Password must not be your email address"),
        ("ann.marten", "Password must not be your email address"),
        ("Ann.MARTEN", "Password must not be your email address"),
        ("stormcellar", "Password must not be the name of this site"),
        ("STORMcellar", "Password must not be the name of this site"),
    ],
)
def test_a_refusal_says_why(password: str, refusal: str) -> None:
    assert check(password) == refusal


def test_the_shortest_length_is_a_setting() -> None:
    assert check("qv7xkzrt9w2m4h", min_length=15) == "Password must contain at least 15 characters"
    assert check("qv7xkzrt9w2m4hp", min_length=15) is None


@pytest.mark.parametrize("password", EVERYBODYS_FIRST_GUESSES.split())
def test_what_everybody_guesses_first_is_refused(password: str) -> None:
    assert check(password) == GUESSABLE


def test_several_thousand_common_passwords_of_eight_characters_are_refused() -> None:
    """NIST SP 800-63B-4, section 3.1.1.2. All of the 3,000 most used (OWASP ASVS 5.0, 6.2.4) take a list."""
    habits = {word + ending for word in VOCABULARY for ending in ("", "1", "12", "123", "!", "2024")}
    refused = [password for password in habits if len(password) >= 8 and is_common(password)]
    assert len(refused) > 10_000


def test_a_site_can_bring_a_longer_list() -> None:
    leaked = frozenset({"blue kettle drum"})
    assert check("Blue Kettle Drum", extra_common_passwords=leaked) == GUESSABLE
    assert check("green saucer flute", extra_common_passwords=leaked) is None


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "monkeybicycle9",
        "tr0ub4dor&3x",
        "Kx7!pQ2z",
        "jazz-teapot-71",
        "qwerbnmzp7",
    ],
)
def test_a_common_word_inside_something_else_is_fine(password: str) -> None:
    assert not is_common(password)


def test_an_unknown_site_name_or_address_refuses_nothing() -> None:
    assert check("blue kettle drum", site_name="", email="") is None
