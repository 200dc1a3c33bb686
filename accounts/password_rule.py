# SPDX-License-Identifier: MIT
"""Which passwords may be chosen.

Length and being unexpected count, not the kinds of characters: any character is allowed, nothing is cut
off, and upper and lower case differ. Source: NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 5.0, 6.2.
"""

from __future__ import annotations

from collections.abc import Container

from accounts.common_passwords import is_common
from accounts.text import is_storable

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
    if len(password) < min_length:
        return f"Password must contain at least {min_length} characters"
    folded = password.casefold()
    if folded in {email.strip().casefold(), email.strip().rpartition("@")[0].casefold()}:
        return "Password must not be your email address"
    if folded == site_name.casefold():
        return "Password must not be the name of this site"
    if folded in extra_common_passwords or is_common(password):
        return "This password is too easy to guess. Please choose another one"
    return None


def check_password_text(password: str) -> str | None:
    """Say why this text cannot be anybody's password, in a sentence for the person; None if it can."""
    if not password:
        return FIELD_MISSING
    if not is_storable(password):
        return "Password contains a character that cannot be used"
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        return f"Password must be at most {MAX_PASSWORD_BYTES:,} bytes long"
    return None
