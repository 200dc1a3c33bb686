# SPDX-License-Identifier: MIT
"""E-mail addresses as accounts store and compare them."""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Literal

from stormcellar.accounts.errors import EmailError
from stormcellar.accounts.text import has_hidden, is_storable

MAX_EMAIL_CHARACTERS = 254
"""The longest address that fits into SMTP's path (RFC 5321, section 4.5.3.1.3, erratum 1690)."""

_ATOM = r'[^\s<>()\[\]\\.,;:@"]+'
_QUOTED = r'"(?:[^"\\]|\\.)+"'
_IPV4_LITERAL = r"\[[0-9]{1,3}(?:\.[0-9]{1,3}){3}\]"
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # RFC 1123, section 2.1
_HOST_NAME = rf"(?:{_LABEL}\.)+(?:[A-Za-z]{{2,63}}|(?=xn--){_LABEL})"
_ADDRESS = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?:{_IPV4_LITERAL}|{_HOST_NAME})")

_ENCODED_WORD = re.compile(r"=\?.*\?=")

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_OTHER_DOTS = str.maketrans("\u3002\uff0e\uff61", "...")  # UTS 46, section 2.3
_NEVER_ASCII = "\u1fef\u212a\u037e"  # NFC turns them into a grave accent, a K and a semicolon
_APART = re.compile(f"([{_NEVER_ASCII}])")
_IN_LABELS = ("Ll", "Lo", "Lm", "Mn", "Mc", "Nd")  # RFC 5892, section 2.1
_MAX_LABEL = 63  # RFC 1035, section 2.3.4


def normalise_email(text: str) -> str:
    """Return the one spelling under which an address is stored, looked up and unique.

    Blanks around it go, ASCII letters become small, and letters with accents become one character (NFC). A
    domain in another script becomes the ASCII name that the DNS knows. Other letters keep their case and
    script, because changing them can turn one person's address into another's (U+212A, the Kelvin sign,
    becomes `k`).

    Raises:
        EmailError: bad syntax, characters that nobody sees, lone surrogates, or more than 254 characters.

    Source: the syntax is what SuperTokens' clients check before they send, a subset of RFC 5321 with
    local parts in any script (RFC 6531, RFC 6532 section 3.1) and international host names (RFC 5890).
    """
    email = text.strip()
    if len(email) > MAX_EMAIL_CHARACTERS or not is_storable(email) or has_hidden(email):
        raise EmailError
    local, _, domain = email.rpartition("@")
    email = f"{_composed(local).translate(_ASCII_LOWER)}@{ascii_domain(domain)}"
    if len(email) > MAX_EMAIL_CHARACTERS:
        raise EmailError
    # An encoded word (RFC 2047) in an address can become more lines of a mail's head (CVE-2024-6923).
    if _ENCODED_WORD.search(email) or not _ADDRESS.fullmatch(email):
        raise EmailError
    return email


def email_spellings(text: str) -> tuple[str, ...]:
    """Return every spelling under which the account of an address may be stored.

    The first one is the spelling that was typed. All but the normal form are those of accounts that were
    made before letters outside ASCII were normalised.

    Raises:
        EmailError: as `normalise_email`.
    """
    normal = normalise_email(text)
    local = text.strip().rpartition("@")[0].translate(_ASCII_LOWER)
    domain = normal.rpartition("@")[2]
    return tuple(dict.fromkeys([f"{local}@{domain}", f"{_composed(local, 'NFD')}@{domain}", normal]))


def ascii_domain(domain: str) -> str:
    """Return a host name as the DNS knows it, in small ASCII letters; other text comes back unchanged.

    Python's own codec is not used: it follows the rules of 2003, by which two domains of today are one.

    Raises:
        EmailError: a label has characters that no domain has, or is too long.

    Source: RFC 5891, section 4; UTS 46, section 4, with the mapping for NFKC and small letters.
    """
    if domain.isascii():
        return domain.translate(_ASCII_LOWER)
    mapped = unicodedata.normalize("NFKC", domain.translate(_OTHER_DOTS))
    small = "".join(character.lower() for character in mapped)  # letter by letter: a final sigma is a sigma
    return ".".join(map(_ascii_label, unicodedata.normalize("NFC", small).split(".")))


def shown_email(email: str) -> str:
    """Return a stored address with its domain in the script of its owner, as people write it."""
    local, _, domain = email.rpartition("@")
    return f"{local}@{'.'.join(map(_shown_label, domain.split('.')))}"


def _shown_label(label: str) -> str:
    try:
        shown = label.removeprefix("xn--").encode().decode("punycode") if label.startswith("xn--") else label
    except ValueError:
        return label
    try:
        return shown if _ascii_label(shown) == label else label
    except EmailError:
        return label


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    inside = all(character == "-" or unicodedata.category(character) in _IN_LABELS for character in label)
    starts_with_mark = unicodedata.category(label[0]).startswith("M")
    encoded = f"xn--{label.encode('punycode').decode()}"
    if not inside or starts_with_mark or label[2:4] == "--" or label[0] == "-" or label[-1] == "-":
        raise EmailError
    if len(encoded) > _MAX_LABEL:
        raise EmailError
    return encoded


def _composed(text: str, form: Literal["NFC", "NFD"] = "NFC") -> str:
    """Return a text in a normal form of Unicode, except that no character becomes an ASCII character."""
    parts = _APART.split(text)
    return "".join(part if part in _NEVER_ASCII else unicodedata.normalize(form, part) for part in parts)
