# SPDX-License-Identifier: MIT
"""Which passwords may be chosen.

Length and being unexpected count, not the kinds of characters: any character is allowed, nothing is cut
off, and upper and lower case differ. Source: NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0, 6.2.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container

from stormcellar.accounts.common_passwords import is_common
from stormcellar.accounts.emails import normalise_email, shown_email
from stormcellar.accounts.errors import EmailError
from stormcellar.accounts.text import folded, is_storable

MAX_PASSWORD_BYTES = 1000
"""In UTF-8. Far beyond any passphrase; a ceiling on what one request makes the server hash."""

FIELD_MISSING = "Field is not optional"


def check_password(
    password: str,
    *,
    min_length: int,
    email: str,
    site_name: str,
    extra_common_passwords: Container[str] = frozenset(),
) -> str | None:
    """Say why this password may not be chosen, in a sentence for the person; None if it may.

    Args:
        min_length: in characters, each Unicode code point counting as one.
        email: the user's address; neither it nor the part before the @ is a password.
        site_name: what the site calls itself.
        extra_common_passwords: more to refuse, case-folded (`str.casefold`): anything with `in`.
    """
    unusable = check_password_text(password)
    if unusable:
        return unusable
    password = normal_password(password)
    if len(password) < min_length:
        return f"Password must contain at least {min_length} characters"
    key = folded(password)
    if key in _keys_of_address(email):
        return "Password must not be your email address"
    if key == folded(site_name):
        return "Password must not be the name of this site"
    common = {password.casefold(), key}
    if any(text in extra_common_passwords or is_common(text) for text in common):
        return "This password is too easy to guess. Please choose another one"
    return None


def normal_password(password: str) -> str:
    """Return the form of a password that is hashed, the same for every keyboard that typed it.

    A letter with an accent may come as one character or as two. A space may come as U+00A0.

    Source: NIST SP 800-63B-4, section 3.1.1.2; RFC 8265, section 4.2.2 (OpaqueString).
    """
    spaces = ("\x20" if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", "".join(spaces))


def password_forms(password: str) -> tuple[str, ...]:
    """Return the texts whose hash may be stored for a password that was typed, the normal form first.

    The others are those of accounts that were made before passwords were normalised.
    """
    if password.isascii():
        return (password,)
    apart = unicodedata.normalize("NFD", password)
    composed = unicodedata.normalize("NFC", password)
    return tuple(dict.fromkeys([normal_password(password), password, composed, apart]))


def _keys_of_address(email: str) -> set[str]:
    """Return the keys of an address as it was typed and as it is stored, each also without the domain."""
    typed = email.strip()
    spellings = {typed, typed.rpartition("@")[0]}
    try:
        normal = normalise_email(typed)
    except EmailError:
        pass
    else:
        spellings |= {normal, normal.rpartition("@")[0], shown_email(normal)}
    return {folded(spelling) for spelling in spellings}


def check_password_text(password: str) -> str | None:
    """Say why this text cannot be anybody's password, in a sentence for the person; None if it can."""
    if not password:
        return FIELD_MISSING
    if not is_storable(password):
        return "Password contains a character that cannot be used"
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        return f"Password must be at most {MAX_PASSWORD_BYTES:,} bytes long"
    return None
