# SPDX-License-Identifier: MIT
"""Keeps a form that arrived when its session was over, until its user has signed in again.

One form per user, for some minutes. What was typed is encrypted. It is bound to the user, and to the browser
that sent it: the browser has a random name in a cookie, and the database has a hash of that name.

Source: OWASP ASVS 5.0, 11.3 and 14.2.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from stormcellar.accounts.database import Connection, Database
from stormcellar.accounts.users import Clock
from stormcellar.server_secret import Sealer, UnreadableError

KEPT_S = 15 * 60
MOST_BYTES = 64 * 1024  # of what was typed; a larger form is not kept
BROWSER_BYTES = 16
PURGE_BATCH = 500

# Times are Unix milliseconds.
KEPT_FORM_TABLES = [
    """
    CREATE TABLE kept_forms (
        user_id TEXT PRIMARY KEY,
        browser_hash TEXT NOT NULL,
        sealed {blob} NOT NULL,
        expires_at_ms BIGINT NOT NULL
    );
    CREATE INDEX kept_forms_by_end ON kept_forms (expires_at_ms)
    """,
]


@dataclass(frozen=True)
class KeptForm:
    """A form that was not taken.

    Attributes:
        address: the path and query to which it was sent.
        fields: names and values, in the order of the form.
        had_files: whether files were sent along; those are not kept.
    """

    address: str
    fields: tuple[tuple[str, str], ...]
    had_files: bool = False

    def to_bytes(self) -> bytes:
        return json.dumps([self.address, self.fields, self.had_files]).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> KeptForm:
        address, fields, had_files = json.loads(text)
        return cls(address, tuple((name, value) for name, value in fields), had_files)


class KeptForms:
    """The kept forms of one application, in its database.

    Args:
        keys: 32 bytes each, derived from the server secrets; the first encrypts.
    """

    def __init__(self, database: Database, clock: Clock, keys: Sequence[bytes]) -> None:
        self._database = database
        self._clock = clock
        self._sealer = Sealer(keys)

    async def open(self) -> None:
        """Bring the table up to date."""
        await self._database.migrate("kept_forms", KEPT_FORM_TABLES)

    async def keep(self, user_id: str, form: KeptForm) -> str | None:
        """Keep a form in place of the one that the user may have had.

        Returns:
            The name by which the browser gets it back; None if the form is too large.
        """
        text = form.to_bytes()
        if len(text) > MOST_BYTES:
            return None
        browser = secrets.token_urlsafe(BROWSER_BYTES)
        row = {
            "user": user_id,
            "browser": _hash(browser),
            "sealed": self._sealer.seal(text, _bound_to(user_id, browser)),
            "end": self._now_ms() + KEPT_S * 1000,
        }
        await self._database.write(lambda connection: _insert(connection, row))
        return browser

    async def get(self, user_id: str, browser: str) -> KeptForm | None:
        """Return the form of this user that this browser sent; None if there is none, or its time is over."""
        found = await self._database.read(lambda connection: self._select(connection, user_id, browser))
        return self._open(found, user_id, browser)

    async def take(self, user_id: str, browser: str) -> KeptForm | None:
        """Return the same form, and forget it."""

        def work(connection: Connection) -> bytes | None:
            found = self._select(connection, user_id, browser)
            if found is not None:
                connection.execute("DELETE FROM kept_forms WHERE user_id = :user", {"user": user_id})
            return found

        return self._open(await self._database.write(work), user_id, browser)

    async def maintain(self) -> None:
        """Remove forms whose time is over."""
        sql = (
            "DELETE FROM kept_forms WHERE user_id IN (SELECT user_id FROM kept_forms"
            " WHERE expires_at_ms <= :now ORDER BY expires_at_ms LIMIT :batch)"
        )
        parameters = {"now": self._now_ms(), "batch": PURGE_BATCH}
        while (await self._database.write(lambda on: on.execute(sql, parameters).rowcount)) == PURGE_BATCH:
            pass

    def _select(self, connection: Connection, user_id: str, browser: str) -> bytes | None:
        row = connection.execute(
            "SELECT sealed FROM kept_forms"
            " WHERE user_id = :user AND browser_hash = :browser AND expires_at_ms > :now",
            {"user": user_id, "browser": _hash(browser), "now": self._now_ms()},
        ).fetchone()
        return bytes(row[0]) if row else None

    def _open(self, sealed: bytes | None, user_id: str, browser: str) -> KeptForm | None:
        """Decrypt a form; None if there is none, or another server secret sealed it."""
        if sealed is None:
            return None
        try:
            return KeptForm.from_bytes(self._sealer.open(sealed, _bound_to(user_id, browser)))
        except UnreadableError:
            return None

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _insert(connection: Connection, row: dict[str, object]) -> None:
    connection.execute(
        "INSERT INTO kept_forms (user_id, browser_hash, sealed, expires_at_ms)"
        " VALUES (:user, :browser, :sealed, :end) ON CONFLICT (user_id) DO UPDATE SET"
        " browser_hash = :browser, sealed = :sealed, expires_at_ms = :end",
        row,
    )


def _hash(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()


def _bound_to(user_id: str, browser: str) -> str:
    return f"{user_id}\n{browser}"
