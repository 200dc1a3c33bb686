# SPDX-License-Identifier: MIT
"""Whose passkeys there are. A passkey here is its public half: nothing in these tables signs anybody in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from stormcellar.accounts.text import is_storable
from stormcellar.extras.gone_users import DELETE_ROWS_WITHOUT_USER
from stormcellar.extras.passkeys import challenges
from stormcellar.extras.proof import UNPROVED, unproved
from stormcellar.sessions.base64url import encode_base64url
from stormcellar.store import Connection, Database

MOST_PASSKEYS = 20
USER_HANDLE_BYTES = 32
PURGE_BATCH = 500

# Times are Unix milliseconds; ids, keys and handles base64url text.
TABLES = [
    """
    CREATE TABLE passkeys (
        credential_id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL,
        public_key TEXT NOT NULL,
        sign_count BIGINT NOT NULL,
        name TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        last_used_at_ms BIGINT
    );
    CREATE INDEX passkeys_by_user ON passkeys (user_id);
    CREATE TABLE passkey_users (user_id TEXT PRIMARY KEY, user_handle TEXT NOT NULL UNIQUE);
    CREATE TABLE passkey_challenges (nonce TEXT PRIMARY KEY, expires_at_ms BIGINT NOT NULL)
    """,
    "ALTER TABLE passkeys ADD COLUMN address_proved INTEGER",  # see stormcellar/extras/proof.py
]
_COLUMNS = "credential_id, user_id, public_key, sign_count, name, created_at_ms, last_used_at_ms"


class PasskeyRefusedError(Exception):
    """A passkey does not count, or cannot be added or deleted; the message says why, for people."""


@dataclass(frozen=True)
class Passkey:
    credential_id: str
    user_id: str
    public_key: str
    sign_count: int
    name: str
    created_at_ms: int
    last_used_at_ms: int | None = None


class PasskeyStore:
    """The tables. Coroutines raise StoreUnavailableError when the database cannot answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        await self._database.migrate("passkeys", TABLES)

    async def user_handle(self, user_id: str) -> str:
        """What authenticators know this user by: random, so that it tells nobody anything."""
        made = encode_base64url(secrets.token_bytes(USER_HANDLE_BYTES))

        def work(connection: Connection) -> str:
            connection.execute(
                "INSERT INTO passkey_users (user_id, user_handle) VALUES (:user_id, :user_handle)"
                " ON CONFLICT (user_id) DO NOTHING",
                {"user_id": user_id, "user_handle": made},
            )
            return str(_user_handle(connection, user_id))

        return await self._database.write(work)

    async def list(self, user_id: str) -> Sequence[Passkey]:
        """A user's passkeys, the oldest first."""
        sql = (
            f"SELECT {_COLUMNS} FROM passkeys WHERE user_id = :user_id ORDER BY created_at_ms, credential_id"  # noqa: S608
        )
        rows = await self._database.read(lambda c: c.execute(sql, {"user_id": user_id}).fetchall())
        return [Passkey(*row) for row in rows]

    async def find(self, credential_id: str) -> tuple[Passkey, str] | None:
        """A passkey and its user's handle."""
        if not is_storable(credential_id):
            return None

        def work(connection: Connection) -> tuple[Passkey, str] | None:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM passkeys WHERE credential_id = :credential_id",  # noqa: S608
                {"credential_id": credential_id},
            ).fetchone()
            handle = _user_handle(connection, row[1]) if row else None
            return (Passkey(*row), handle) if handle else None

        return await self._database.read(work)

    async def add(
        self, passkey: Passkey, *, challenge: bytes | None = None, address_proved: int | None = None
    ) -> bool:
        """Add a passkey and spend its challenge; False if the same request has done so already.

        Args:
            address_proved: see stormcellar/extras/proof.py.

        Raises:
            PasskeyRefusedError: it is known already, or its user has as many as one may have.
        """

        def work(connection: Connection) -> bool | None:
            if challenge is not None and not _spend(connection, challenge):
                of_same_user = connection.execute(
                    "SELECT 1 FROM passkeys WHERE credential_id = :credential_id AND user_id = :user_id",
                    {"credential_id": passkey.credential_id, "user_id": passkey.user_id},
                ).fetchone()
                return False if of_same_user else None
            added = connection.execute(
                f"INSERT INTO passkeys ({_COLUMNS}, address_proved) SELECT :credential_id, :user_id,"  # noqa: S608
                " :public_key, :sign_count, :name, :created_at_ms, NULL, :address_proved"
                " WHERE (SELECT COUNT(*) FROM passkeys WHERE user_id = :user_id) < :most"
                " ON CONFLICT (credential_id) DO NOTHING",
                {**vars(passkey), "most": MOST_PASSKEYS, "address_proved": address_proved},
            )
            return True if added.rowcount == 1 else None

        added = await self._database.write(work)
        if added is None:
            raise PasskeyRefusedError(
                "This passkey could not be added: it is known already, or there are too many."
            )
        return added

    async def note_use(
        self, passkey: Passkey, sign_count: int, now_ms: int, *, challenge: bytes | None = None
    ) -> bool:
        """Keep the counter of a passkey that was used, and spend the challenge that it answered.

        False: the challenge had been spent, or the passkey was used meanwhile, or it was deleted.
        """

        def work(connection: Connection) -> bool:
            if challenge is not None and not _spend(connection, challenge):
                return False
            noted = connection.execute(
                "UPDATE passkeys SET sign_count = :sign_count, last_used_at_ms = :now_ms"
                " WHERE credential_id = :credential_id AND sign_count = :old",
                {
                    "sign_count": sign_count,
                    "now_ms": now_ms,
                    "credential_id": passkey.credential_id,
                    "old": passkey.sign_count,
                },
            )
            return noted.rowcount == 1

        return await self._database.write(work)

    async def rename(self, user_id: str, credential_id: str, name: str) -> None:
        """Give a passkey of this user another name, if there is one."""
        if not is_storable(credential_id):
            return
        sql = "UPDATE passkeys SET name = :name WHERE user_id = :user_id AND credential_id = :credential_id"
        whose = {"name": name, "user_id": user_id, "credential_id": credential_id}
        await self._database.write(lambda connection: connection.execute(sql, whose))

    async def remove(self, user_id: str, credential_id: str) -> bool:
        """Delete a passkey of this user; False if there is none.

        Raises:
            PasskeyRefusedError: the user could not sign in any more.
        """
        if not is_storable(credential_id):
            return False

        def work(connection: Connection) -> bool | None:
            # With the user's row locked, the second of two requests at once sees what the first left.
            lock = getattr(connection, "for_update", "")
            whose = {"user_id": user_id, "credential_id": credential_id}
            password = connection.execute(
                f"SELECT password_hash FROM users WHERE user_id = :user_id{lock}",  # noqa: S608
                whose,
            ).fetchone()
            others = connection.execute(
                "SELECT 1 FROM passkeys WHERE user_id = :user_id AND credential_id <> :credential_id", whose
            ).fetchone()
            if others is None and password is not None and password[0] is None:
                return None
            deleted = connection.execute(
                "DELETE FROM passkeys WHERE user_id = :user_id AND credential_id = :credential_id", whose
            )
            return deleted.rowcount == 1

        removed = await self._database.write(work)
        if removed is None:
            raise PasskeyRefusedError(
                "Without this passkey you could not sign in any more. Choose a password first."
            )
        return removed

    async def remove_unproved(self, user_id: str, first_verified_at_ms: int | None) -> None:
        """Delete the passkeys that a user added before an address of the account was confirmed."""
        sql = f"DELETE FROM passkeys WHERE user_id = :user_id AND {UNPROVED}"  # noqa: S608
        parameters = unproved(user_id, first_verified_at_ms)
        await self._database.write(lambda connection: connection.execute(sql, parameters))

    async def maintain(self, now_ms: int) -> None:
        """Delete challenges that have expired, and what belonged to users who are gone."""

        def work(connection: Connection) -> int:
            for table in ("passkeys", "passkey_users"):
                sql = DELETE_ROWS_WITHOUT_USER.format(table)
                connection.execute(sql, {})
            return connection.execute(
                "DELETE FROM passkey_challenges WHERE nonce IN"
                " (SELECT nonce FROM passkey_challenges WHERE expires_at_ms <= :now_ms LIMIT :limit)",
                {"now_ms": now_ms, "limit": PURGE_BATCH},
            ).rowcount

        while await self._database.write(work) >= PURGE_BATCH:
            pass


def _spend(connection: Connection, challenge: bytes) -> bool:
    """Note that a challenge came back; False if it had already."""
    spent = connection.execute(
        "INSERT INTO passkey_challenges (nonce, expires_at_ms) VALUES (:nonce, :expires_at_ms)"
        " ON CONFLICT (nonce) DO NOTHING",
        {"nonce": challenges.nonce(challenge), "expires_at_ms": challenges.expires_at(challenge) * 1000},
    )
    return spent.rowcount == 1


def _user_handle(connection: Connection, user_id: str) -> str | None:
    row = connection.execute(
        "SELECT user_handle FROM passkey_users WHERE user_id = :user_id", {"user_id": user_id}
    ).fetchone()
    return str(row[0]) if row else None
