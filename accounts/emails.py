# SPDX-License-Identifier: MIT
"""E-mail addresses as accounts store and compare them."""

from __future__ import annotations

import re
import string
import unicodedata

from accounts.errors import EmailError
from accounts.text import is_storable

MAX_EMAIL_CHARACTERS = 254
"""The longest address that fits into SMTP's path (RFC 5321, section 4.5.3.1.3, erratum 1690)."""

_ATOM = r'[^\s<>()\[\]\\.,;:@"]+'
_QUOTED = r'"(?:[^"\\]|\\.)+"'
_IPV4_LITERAL = r"\[[0-9]{1,3}(?:\.[0-9]{1,3}){3}\]"
_HOST_NAME = r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_ADDRESS = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?:{_IPV4_LITERAL}|{_HOST_NAME})")

_ENCODED_WORD = re.compile(r"=\?.*\?=")

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def normalise_email(text: str) -> str:
    """Return the one spelling under which an address is stored, looked up and unique.

    Blanks around it go and ASCII letters become small. Other scripts stay as they are and are compared
    by code point: lower-casing them can turn one person's address into another's (U+212A, the Kelvin
    sign, becomes `k`).

    Raises:
        EmailError: bad syntax, control characters, lone surrogates, or more than 254 characters.

    Source: the syntax is what SuperTokens' clients check before they send, a subset of RFC 5321 with
    local parts in any script (RFC 6531); international host names come as A-labels (RFC 5890).
    """
    email = text.strip().translate(_ASCII_LOWER)
    if len(email) > MAX_EMAIL_CHARACTERS or not is_storable(email) or _has_control(email):
        raise EmailError
    # An encoded word (RFC 2047) in an address can become more lines of a mail's head (CVE-2024-6923).
    if _ENCODED_WORD.search(email) or not _ADDRESS.fullmatch(email):
        raise EmailError
    return email


def _has_control(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)
