# SPDX-License-Identifier: MIT
"""Who has which authenticator app, and which codes have been used.

A code counts once: the time step that was last accepted is kept, and no code of that step or an older one is
taken again, by whatever process. Tries are counted with the account, so guessing is as slow from a thousand
addresses as from one: 10 an hour, and 100 in a row. Recovery codes are too long to be guessed and count
always, so nobody who knows a password can keep the account's owner out by guessing.

Source: NIST SP 800-63B, sections 5.1.2.2 and 5.2.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from stormcellar.accounts.text import is_storable
from stormcellar.extras.authenticator.codes import DIGITS, Vault, plain, step_of
from stormcellar.extras.gone_users import DELETE_ROWS_WITHOUT_USER
from stormcellar.extras.proof import UNPROVED, unproved
from stormcellar.sessions.base64url import decode_base64url, encode_base64url
from stormcellar.store import Connection, Database
from stormcellar.store.sealed import SealedColumn

MAX_ATTEMPTS = 10
WINDOW_S = 3600
MAX_IN_A_ROW = 100  # each is right with 3 in a million
MAX_CODE_CHARACTERS = 40

# Times are Unix milliseconds. Without `confirmed_at_ms` the app is only being set up, and asked of nobody.
TABLES = [
    """
    CREATE TABLE authenticators (
        user_id TEXT PRIMARY KEY,
        sealed_secret TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        confirmed_at_ms BIGINT,
        last_step BIGINT NOT NULL DEFAULT -1,
        attempts INTEGER NOT NULL DEFAULT 0,
        attempts_since_ms BIGINT NOT NULL DEFAULT 0,
        in_a_row INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE recovery_codes (
        user_id TEXT NOT NULL,
        code_hash TEXT NOT NULL,
        PRIMARY KEY (user_id, code_hash)
    )
    """,
    # In which session the app is being set up, whether the address was confirmed (extras/proof.py), and for
    # which session the last code was accepted.
    """
    ALTER TABLE authenticators ADD COLUMN begun_in TEXT NOT NULL DEFAULT '';
    ALTER TABLE authenticators ADD COLUMN address_proved INTEGER;
    ALTER TABLE authenticators ADD COLUMN last_step_in TEXT NOT NULL DEFAULT ''
    """,
    # The keys that recovery codes were hashed with under earlier server secrets, sealed with the current one.
    """
    CREATE TABLE recovery_keys (
        key_id TEXT PRIMARY KEY,
        sealed_key TEXT NOT NULL
    )
    """,
]


class CodeRefusedError(Exception):
    """A code does not count; the message says why, in a sentence for people."""


class WrongCodeError(CodeRefusedError):
    def __init__(self) -> None:
        super().__init__("This code is not right, or was used already. Wait for the next one and try again.")


class TooManyAttemptsError(CodeRefusedError):
    """`retry_after_s` is when the next attempt counts."""

    def __init__(self, retry_after_s: int) -> None:
        minutes = -(-retry_after_s // 60)
        wait = f"Try again in {minutes} minute{'s' * (minutes != 1)}, or use a recovery code."
        super().__init__(f"Too many wrong codes. {wait}")
        self.retry_after_s = retry_after_s


class ShutError(CodeRefusedError):
    """Nobody was right for so long that the app's codes count no more."""

    def __init__(self) -> None:
        super().__init__("There were too many wrong codes in a row. Only a recovery code counts now.")


@dataclass(frozen=True)
class App:
    """An authenticator app; `secret` is None if the server's secret has changed since it was set up.

    `begun_in` is the handle of the session that began to set it up. No other session may see the secret or
    confirm the app: it may be another person's.
    """

    secret: bytes | None
    is_confirmed: bool
    last_step: int
    begun_in: str = ""

    def is_being_set_up_in(self, session_handle: str) -> bool:
        return not self.is_confirmed and self.begun_in == session_handle


class Authenticators:
    """The table. Coroutines raise StoreUnavailableError when the database cannot answer."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self.sealed_columns = [
            SealedColumn(table, row_id, column, vault.sealer, decode_base64url, encode_base64url)
            for table, row_id, column in (
                ("authenticators", "user_id", "sealed_secret"),
                ("recovery_keys", "key_id", "sealed_key"),
            )
        ]

    async def open(self) -> None:
        """Bring the tables up to date, and keep the keys of recovery codes beyond a change of the secret."""
        await self._database.migrate("authenticator", TABLES)
        keys = self._vault.hash_keys
        rows = [(_key_id(key), self._vault.seal(key, _key_id(key))) for key in keys[1:]]
        kept = await self._database.read(
            lambda c: c.execute("SELECT key_id, sealed_key FROM recovery_keys ORDER BY key_id").fetchall()
        )
        for key_id, sealed in kept:
            key = self._vault.unseal(sealed, key_id)
            if key is not None and key not in keys:
                keys.append(key)
        missing = [row for row in rows if row[0] not in {key_id for key_id, _ in kept}]
        if missing:
            await self._database.write(lambda connection: _keep_keys(connection, missing))

    async def find(self, user_id: str) -> App | None:
        if not is_storable(user_id):
            return None
        return await self._database.read(lambda connection: self._read(connection, user_id))

    async def is_on(self, user_id: str) -> bool:
        app = await self.find(user_id)
        return app is not None and app.is_confirmed

    async def begin(
        self,
        user_id: str,
        secret: bytes,
        now_ms: int,
        *,
        begun_in: str = "",
        address_proved: int | None = None,
    ) -> bool:
        """Keep a secret that is still to be confirmed; False if an app is confirmed already.

        Args:
            begun_in: the handle of the session, the only one that may confirm the app.
            address_proved: see stormcellar/extras/proof.py.
        """
        sealed = self._vault.seal(secret, user_id)

        def work(connection: Connection) -> bool:
            kept = connection.execute(
                "INSERT INTO authenticators (user_id, sealed_secret, created_at_ms, begun_in, address_proved)"
                " VALUES (:user_id, :sealed, :now_ms, :begun_in, :address_proved)"
                " ON CONFLICT (user_id) DO UPDATE SET sealed_secret = :sealed, created_at_ms = :now_ms,"
                " begun_in = :begun_in, address_proved = :address_proved"
                " WHERE authenticators.confirmed_at_ms IS NULL",
                {
                    "user_id": user_id,
                    "sealed": sealed,
                    "now_ms": now_ms,
                    "begun_in": begun_in,
                    "address_proved": address_proved,
                },
            )
            return kept.rowcount == 1

        return await self._database.write(work)

    async def confirm(
        self, user_id: str, code: str, now_s: float, recovery_codes: Sequence[str], *, begun_in: str = ""
    ) -> None:
        """Switch on the app that is being set up in the session `begun_in`, by a code of it.

        Raises:
            CodeRefusedError: the code is none of this app's, or nothing is being set up.
        """

        def work(connection: Connection) -> CodeRefusedError | None:
            app = self._read(connection, user_id)
            if app is None or app.secret is None or not app.is_being_set_up_in(begun_in):
                return WrongCodeError()
            step = step_of(app.secret, plain(code), now_s)
            if step is None:
                return WrongCodeError()
            confirmed = connection.execute(
                "UPDATE authenticators SET confirmed_at_ms = :now_ms, last_step = :step"
                " WHERE user_id = :user_id AND confirmed_at_ms IS NULL AND begun_in = :begun_in",
                {"now_ms": int(now_s * 1000), "step": step, "user_id": user_id, "begun_in": begun_in},
            )
            if confirmed.rowcount != 1:
                return WrongCodeError()
            self._keep_recovery_codes(connection, user_id, recovery_codes)
            return None

        if refusal := await self._database.write(work):
            raise refusal

    async def check(self, user_id: str, code: str, now_s: float, *, session_handle: str = "") -> None:
        """Accept a code of the app, or a recovery code; neither will be accepted again.

        Args:
            session_handle: a code of the app that was accepted with this handle is accepted with it again,
                for a form that was sent twice.

        Raises:
            WrongCodeError, TooManyAttemptsError, ShutError: it does not count.
        """
        code = plain(code[: MAX_CODE_CHARACTERS + 1])

        def work(connection: Connection) -> CodeRefusedError | None:
            is_app_code = len(code) == DIGITS
            refusal = self._count_attempt(connection, user_id, int(now_s * 1000)) if is_app_code else None
            if refusal is not None:
                return refusal
            if is_app_code:
                is_right = self._accept_app_code(connection, user_id, code, now_s, session_handle)
            else:
                is_right = self._spend_recovery_code(connection, user_id, code)
            if not is_right:
                return WrongCodeError()
            connection.execute(
                "UPDATE authenticators SET attempts = 0, in_a_row = 0 WHERE user_id = :user_id",
                {"user_id": user_id},
            )
            return None

        if refusal := await self._database.write(work):
            raise refusal

    async def replace_recovery_codes(self, user_id: str, codes: Sequence[str]) -> None:
        await self._database.write(lambda connection: self._keep_recovery_codes(connection, user_id, codes))

    async def recovery_codes_left(self, user_id: str) -> int:
        sql = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = :user_id"
        row = await self._database.read(lambda c: c.execute(sql, {"user_id": user_id}).fetchone())
        return int(row[0])

    async def remove(self, user_id: str) -> None:
        def work(connection: Connection) -> None:
            for table in ("authenticators", "recovery_codes"):
                connection.execute(f"DELETE FROM {table} WHERE user_id = :user_id", {"user_id": user_id})  # noqa: S608

        await self._database.write(work)

    async def remove_unproved(self, user_id: str, first_verified_at_ms: int | None) -> None:
        """Remove an app that is only being set up, or was before an address of the account was confirmed."""

        def work(connection: Connection) -> None:
            removed = connection.execute(
                "DELETE FROM authenticators WHERE user_id = :user_id"  # noqa: S608
                f" AND (confirmed_at_ms IS NULL OR {UNPROVED})",
                unproved(user_id, first_verified_at_ms),
            )
            if removed.rowcount == 1:
                connection.execute(
                    "DELETE FROM recovery_codes WHERE user_id = :user_id", {"user_id": user_id}
                )

        await self._database.write(work)

    async def switched_on_since(self, moment_ms: int) -> Sequence[str]:
        """The user IDs of those who confirmed an app from then on."""
        sql = "SELECT user_id FROM authenticators WHERE confirmed_at_ms >= :moment_ms"
        rows = await self._database.read(lambda c: c.execute(sql, {"moment_ms": moment_ms}).fetchall())
        return [user_id for (user_id,) in rows]

    async def forget_strangers(self) -> None:
        """Delete what belonged to users who are gone."""

        def work(connection: Connection) -> None:
            for table in ("authenticators", "recovery_codes"):
                sql = DELETE_ROWS_WITHOUT_USER.format(table)
                connection.execute(sql, {})

        await self._database.write(work)

    def _read(self, connection: Connection, user_id: str) -> App | None:
        row = connection.execute(
            "SELECT sealed_secret, confirmed_at_ms, last_step, begun_in FROM authenticators"
            " WHERE user_id = :user_id",
            {"user_id": user_id},
        ).fetchone()
        return App(self._vault.unseal(row[0], user_id), row[1] is not None, *row[2:]) if row else None

    def _count_attempt(self, connection: Connection, user_id: str, now_ms: int) -> CodeRefusedError | None:
        """Count first, then look: of many guesses at once no more than allowed come through."""
        whose = {"user_id": user_id, "now_ms": now_ms, "over_ms": now_ms - WINDOW_S * 1000}
        connection.execute(
            "UPDATE authenticators SET attempts = 0, attempts_since_ms = :now_ms"
            " WHERE user_id = :user_id AND (attempts = 0 OR attempts_since_ms <= :over_ms)",
            whose,
        )
        counted = connection.execute(
            "UPDATE authenticators SET attempts = attempts + 1, in_a_row = in_a_row + 1"
            " WHERE user_id = :user_id AND confirmed_at_ms IS NOT NULL AND attempts < :most"
            " AND in_a_row < :most_in_a_row",
            {"user_id": user_id, "most": MAX_ATTEMPTS, "most_in_a_row": MAX_IN_A_ROW},
        )
        if counted.rowcount == 1:
            return None
        row = connection.execute(
            "SELECT attempts_since_ms, in_a_row FROM authenticators"
            " WHERE user_id = :user_id AND confirmed_at_ms IS NOT NULL",
            {"user_id": user_id},
        ).fetchone()
        if row is None:
            return WrongCodeError()
        if row[1] >= MAX_IN_A_ROW:
            return ShutError()
        return TooManyAttemptsError(max(1, WINDOW_S - (now_ms - row[0]) // 1000))

    def _accept_app_code(
        self, connection: Connection, user_id: str, code: str, now_s: float, session_handle: str
    ) -> bool:
        app = self._read(connection, user_id)
        step = step_of(app.secret, code, now_s) if app is not None and app.secret is not None else None
        if step is None:
            return False
        accepted = connection.execute(
            "UPDATE authenticators SET last_step = :step, last_step_in = :handle WHERE user_id = :user_id"
            " AND (last_step < :step OR (last_step = :step AND last_step_in = :handle AND :handle <> ''))",
            {"step": step, "user_id": user_id, "handle": session_handle},
        )
        return accepted.rowcount == 1

    def _spend_recovery_code(self, connection: Connection, user_id: str, code: str) -> bool:
        return any(
            connection.execute(
                "DELETE FROM recovery_codes WHERE user_id = :user_id AND code_hash = :code_hash",
                {"user_id": user_id, "code_hash": code_hash},
            ).rowcount
            for code_hash in self._vault.hashes(code, user_id)
        )

    def _keep_recovery_codes(self, connection: Connection, user_id: str, codes: Sequence[str]) -> None:
        connection.execute("DELETE FROM recovery_codes WHERE user_id = :user_id", {"user_id": user_id})
        for code in codes:
            connection.execute(
                "INSERT INTO recovery_codes (user_id, code_hash) VALUES (:user_id, :code_hash)",
                {"user_id": user_id, "code_hash": self._vault.hash(code, user_id)},
            )


def _key_id(key: bytes) -> str:
    """Return a name for a key that does not give it away."""
    return hashlib.sha256(b"recovery key " + key).hexdigest()[:32]


def _keep_keys(connection: Connection, rows: Sequence[tuple[str, str]]) -> None:
    for key_id, sealed in rows:
        connection.execute(
            "INSERT INTO recovery_keys (key_id, sealed_key) VALUES (:key_id, :sealed) ON CONFLICT DO NOTHING",
            {"key_id": key_id, "sealed": sealed},
        )
