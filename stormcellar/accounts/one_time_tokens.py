# SPDX-License-Identifier: MIT
"""One-time tokens: what a mailed link carries. Good for one purpose, once, and not for long.

A token is 256 random bits, and the database keeps nothing of it but its SHA-256: whoever reads the database
can open no link. Each is bound to the facts that it was made for, the user's address and for a new password
or address also the present password's hash. Once one of these has changed, the token opens nothing.

The functions work on a connection, so that spending a token and what it is spent on are one transaction.

Source: OWASP ASVS 5.0, 6.4 and 6.5; OWASP Forgot Password Cheat Sheet.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from stormcellar.accounts.database import Connection
from stormcellar.accounts.errors import InvalidTokenError

TOKEN_BYTES = 32
NOBODY = ""  # the user of a token that nobody will get to see

Purpose = Literal["verify_email", "reset_password", "change_email"]

REPEATED_WITHIN_MS = 60_000
"""How long a spent token is remembered. A browser that sends a form twice sends the second within seconds."""

# Times are Unix milliseconds.
TOKEN_TABLE = """
    CREATE TABLE one_time_tokens (
        token_hash TEXT PRIMARY KEY,
        purpose TEXT NOT NULL,
        user_id TEXT NOT NULL,
        bound_to TEXT NOT NULL,
        expires_at_ms BIGINT NOT NULL
    );
    CREATE INDEX one_time_tokens_by_user ON one_time_tokens (user_id, purpose);
    CREATE INDEX one_time_tokens_by_end ON one_time_tokens (expires_at_ms)
"""
NEW_EMAIL_COLUMN = "ALTER TABLE one_time_tokens ADD COLUMN new_email TEXT NOT NULL DEFAULT ''"


@dataclass(frozen=True)
class OneTimeToken:
    """A new token and where to send it. Neither shows in the representation, and so in logs."""

    purpose: Purpose
    email: str = field(repr=False)
    text: str = field(repr=False)
    lifetime_s: int


class StoredToken(NamedTuple):
    """What is known of a token that is good: whose it is, and what of (see `bound_to`).

    `new_email` is the address that it gives its user, in its normal form; "" for other purposes.
    """

    token_hash: str
    purpose: Purpose
    user_id: str
    bound_to: str
    new_email: str


def new_token() -> str:
    """Text that can stand in a URL as it is."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def bound_to(*facts: str) -> str:
    """One text for the facts that a token depends on, none of which can be read from it."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def insert(
    connection: Connection,
    token: str,
    purpose: Purpose,
    user_id: str,
    bound: str,
    expires_at_ms: int,
    new_email: str = "",
) -> None:
    connection.execute(
        "INSERT INTO one_time_tokens (token_hash, purpose, user_id, bound_to, expires_at_ms, new_email)"
        " VALUES (:token_hash, :purpose, :user_id, :bound_to, :expires_at_ms, :new_email)",
        {
            "token_hash": _hash(token),
            "purpose": purpose,
            "user_id": user_id,
            "bound_to": bound,
            "expires_at_ms": expires_at_ms,
            "new_email": new_email,
        },
    )


def find(connection: Connection, token: str, purpose: Purpose, now_ms: int) -> StoredToken | None:
    """Look a token up and spend nothing; None if it is unknown, spent, too old or for something else."""
    return _find(connection, token, purpose, now_ms)


def _find(
    connection: Connection, token: str, purpose: str, now_ms: int, lock: str = ""
) -> StoredToken | None:
    sql = (
        "SELECT token_hash, purpose, user_id, bound_to, new_email FROM one_time_tokens"
        " WHERE token_hash = :token_hash AND purpose = :purpose AND expires_at_ms > :now_ms"
    )
    row = connection.execute(
        sql + lock,
        {"token_hash": _hash(token), "purpose": purpose, "now_ms": now_ms},
    ).fetchone()
    return StoredToken(*row) if row else None


def spend(connection: Connection, stored: StoredToken, now_ms: int, mark: str) -> None:
    """Spend this token, and delete all others that its user has for the same purpose.

    The row stays for a minute under another purpose, so that `find_spent` recognises a form sent twice by its
    `mark` (see `mark_of`).

    Raises:
        InvalidTokenError: somebody else spent it since it was found; the transaction must not go on.
    """
    spent = connection.execute(
        "UPDATE one_time_tokens SET purpose = :spent, expires_at_ms = :until_ms, bound_to = :mark"
        " WHERE token_hash = :token_hash AND purpose = :purpose",
        {
            "spent": _spent(stored.purpose),
            "until_ms": now_ms + REPEATED_WITHIN_MS,
            "mark": mark,
            "token_hash": stored.token_hash,
            "purpose": stored.purpose,
        },
    )
    if spent.rowcount != 1:
        raise InvalidTokenError
    delete_of_user(connection, stored.user_id, stored.purpose)


def find_spent(
    connection: Connection, token: str, purpose: Purpose, now_ms: int, mark: str
) -> StoredToken | None:
    """Look up a token that was spent within the last minute, by a form with the same mark.

    If the mark differs, the row is deleted: of many guesses only the first one counts.
    """
    lock = getattr(connection, "for_update", "")
    found = _find(connection, token, _spent(purpose), now_ms, lock)
    if found is None or hmac.compare_digest(found.bound_to, mark):
        return found
    connection.execute(
        "DELETE FROM one_time_tokens WHERE token_hash = :token_hash", {"token_hash": found.token_hash}
    )
    return None


def mark_of(token: str, text: str) -> str:
    """What is stored of a form's text. It cannot be guessed at without the token, which is not stored."""
    return hmac.digest(token.encode(errors="replace"), text.encode(errors="replace"), "sha256").hex()


def delete_of_user(
    connection: Connection, user_id: str, purpose: Purpose, *, keep_email: str | None = None
) -> None:
    """Delete a user's tokens for a purpose, except those for the new address `keep_email`."""
    connection.execute(
        "DELETE FROM one_time_tokens WHERE user_id = :user_id AND purpose = :purpose"
        " AND (:all = 1 OR new_email <> :keep_email)",
        {
            "user_id": user_id,
            "purpose": purpose,
            "all": int(keep_email is None),
            "keep_email": keep_email or "",
        },
    )


def delete_expired(connection: Connection, now_ms: int, limit: int) -> int:
    """Delete at most `limit` tokens that are too old; returns how many."""
    return connection.execute(
        "DELETE FROM one_time_tokens WHERE token_hash IN"
        " (SELECT token_hash FROM one_time_tokens WHERE expires_at_ms <= :now_ms LIMIT :limit)",
        {"now_ms": now_ms, "limit": limit},
    ).rowcount


def _spent(purpose: Purpose) -> str:
    return f"spent {purpose}"


def _hash(token: str) -> str:
    # Clients may send any text, lone surrogates too.
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
