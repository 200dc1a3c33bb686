# SPDX-License-Identifier: MIT
"""The outbox: mails wait in the database until a mail server has taken them.

A mail contains one-time tokens, of which the database otherwise keeps only hashes. So each row is encrypted
with a key that is derived from the server secret: a copy of the database alone opens no link. A process
claims a row before it sends the mail. The claim ends after `LEASE_S`, so that another process sends the mail
if the first process has died. A mail can then arrive twice, with the same Message-ID.

Source: AES-GCM as in NIST SP 800-38D, with a random nonce for each row.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stormcellar.accounts.database import Connection, Database
from stormcellar.accounts.mail import Mail
from stormcellar.accounts.users import Clock
from stormcellar.server_secret import Sealer, UnreadableError
from stormcellar.store.sealed import SealedColumn

log = logging.getLogger("stormcellar.mail")

LEASE_S = 300  # longer than a delivery may take
MOST_WAITING = 10_000
PURGE_BATCH = 500
END_OF_TIME_MS = 2**62

# Times are Unix milliseconds.
OUTBOX_TABLES = [
    """
    CREATE TABLE outbox (
        mail_id TEXT PRIMARY KEY,
        template TEXT NOT NULL,
        sealed {blob} NOT NULL,
        created_at_ms BIGINT NOT NULL,
        due_at_ms BIGINT NOT NULL,
        leased_until_ms BIGINT NOT NULL,
        expires_at_ms BIGINT NOT NULL,
        attempts BIGINT NOT NULL,
        last_error TEXT NOT NULL
    );
    CREATE INDEX outbox_by_due ON outbox (due_at_ms)
    """
]


@dataclass(frozen=True)
class Claimed:
    """A mail that this process may send until the lease ends.

    Attributes:
        mail: None for a decoy, which is never sent.
        attempts: counts this attempt; a later claim has another number.
    """

    mail_id: str
    template: str
    mail: Mail | None
    attempts: int
    is_expired: bool


class OutboxState(NamedTuple):
    """What waits: how many mails, since when, until when, and the last error among them."""

    waiting: int = 0
    oldest_s: float = 0.0
    due_in_s: float | None = None
    last_error: str = ""


class WaitingMail(NamedTuple):
    """A row of the outbox, without what is encrypted."""

    mail_id: str
    template: str
    age_s: float
    attempts: int
    due_in_s: float
    expires_in_s: float
    last_error: str


class Outbox:
    """The table `outbox` of one site.

    Args:
        database: where the table is.
        clock: tells when a mail is due.
        keys: 32 bytes each. The first key encrypts; every key is tried to decrypt.
    """

    def __init__(self, database: Database, *, clock: Clock, keys: Sequence[bytes]) -> None:
        self._database = database
        self._clock = clock
        self._sealer = Sealer(keys)
        self.sealed_columns = [SealedColumn("outbox", "mail_id", "sealed", self._sealer)]

    async def open(self) -> None:
        """Bring the table up to date; called once before anything else."""
        await self._database.migrate("outbox", OUTBOX_TABLES)

    async def put(
        self, mail: Mail, template: str, *, lifetime_s: float, delay_s: float = 0, is_decoy: bool = False
    ) -> bool:
        """Store a mail; False if the outbox is full.

        Args:
            template: names the mail in the log.
            lifetime_s: for how long it makes sense to send the mail.
            delay_s: when the first attempt is due.
            is_decoy: store a row of the same size that is removed in place of the first attempt.
        """
        mail_id, now_ms = secrets.token_hex(16), self._now_ms()
        content = [mail.to, mail.subject, mail.text, mail.html, int(is_decoy)]
        parameters = {
            "mail_id": mail_id,
            "template": template,
            "sealed": self._seal(content, mail_id),
            "now_ms": now_ms,
            "due_at_ms": now_ms + int(1000 * delay_s),
            "expires_at_ms": now_ms + int(1000 * lifetime_s),
            "most": MOST_WAITING,
        }

        def work(connection: Connection) -> bool:
            stored = connection.execute(
                "INSERT INTO outbox (mail_id, template, sealed, created_at_ms, due_at_ms, leased_until_ms,"
                " expires_at_ms, attempts, last_error)"
                " SELECT :mail_id, :template, :sealed, :now_ms, :due_at_ms, 0, :expires_at_ms, 0, ''"
                " WHERE (SELECT COUNT(*) FROM outbox) < :most",
                parameters,
            )
            return stored.rowcount == 1

        return await self._database.write(work)

    async def claim(self, limit: int, *, not_due_too: bool = False) -> list[Claimed]:
        """Take mails that are due and that no process has claimed.

        Args:
            not_due_too: take also those whose next attempt is later.
        """
        now_ms = self._now_ms()
        parameters = {
            "now_ms": now_ms,
            "due_ms": END_OF_TIME_MS if not_due_too else now_ms,
            "lease_ms": now_ms + 1000 * LEASE_S,
            "limit": limit,
        }

        def work(connection: Connection) -> list[Any]:
            others_aside = getattr(connection, "skip_locked", "")
            return connection.execute(
                "UPDATE outbox SET leased_until_ms = :lease_ms, attempts = attempts + 1"  # noqa: S608
                " WHERE mail_id IN (SELECT mail_id FROM outbox"
                " WHERE due_at_ms <= :due_ms AND leased_until_ms <= :now_ms"
                f" ORDER BY due_at_ms LIMIT :limit{others_aside})"
                " RETURNING mail_id, template, sealed, attempts, expires_at_ms",
                parameters,
            ).fetchall()

        rows = await self._database.write(work)
        return [one for row in rows if (one := await self._opened(now_ms, *row)) is not None]

    async def _opened(
        self, now_ms: int, mail_id: str, template: str, sealed: bytes, attempts: int, expires_at_ms: int
    ) -> Claimed | None:
        is_expired = expires_at_ms <= now_ms
        try:
            to, subject, text, html, is_decoy = self._unseal(bytes(sealed), mail_id)
        except UnreadableError:
            log.error("a mail (%s) is dropped: it was stored with another server secret", template)
            await self.remove(Claimed(mail_id, template, None, attempts, is_expired))
            return None
        mail = None if is_decoy else Mail(to, subject, text, html, mail_id)
        return Claimed(mail_id, template, mail, attempts, is_expired)

    async def remove(self, claimed: Claimed) -> None:
        """The mail was sent, or will never be."""
        await self._settle("DELETE FROM outbox", claimed)

    async def put_back(self, claimed: Claimed, error: str, delay_s: float) -> None:
        """Give up the claim. The next attempt is due after `delay_s`, at the latest when the mail expires."""
        due_at_ms = self._now_ms() + int(1000 * delay_s)
        await self._settle(
            "UPDATE outbox SET leased_until_ms = 0, last_error = :error, due_at_ms ="
            " CASE WHEN expires_at_ms < :due_at_ms THEN expires_at_ms ELSE :due_at_ms END",
            claimed,
            due_at_ms=due_at_ms,
            error=error,
        )

    async def state(self) -> OutboxState:
        """Count what waits."""

        def work(connection: Connection) -> tuple[Any, Any]:
            counts = connection.execute(
                "SELECT COUNT(*), MIN(created_at_ms), MIN(CASE WHEN leased_until_ms > due_at_ms"
                " THEN leased_until_ms ELSE due_at_ms END) FROM outbox"
            ).fetchone()
            error = connection.execute(
                "SELECT last_error FROM outbox WHERE last_error <> '' ORDER BY due_at_ms DESC LIMIT 1"
            ).fetchone()
            return counts, error

        (waiting, oldest_ms, next_ms), error = await self._database.read(work)
        if not waiting:
            return OutboxState()
        now_ms = self._now_ms()
        return OutboxState(
            waiting,
            max(0, now_ms - oldest_ms) / 1000,
            max(0, next_ms - now_ms) / 1000,
            error[0] if error else "",
        )

    async def list(self, limit: int = 100) -> Sequence[WaitingMail]:
        """Return the oldest mails."""
        now_ms = self._now_ms()
        sql = (
            "SELECT mail_id, template, created_at_ms, attempts, due_at_ms, expires_at_ms, last_error"
            " FROM outbox ORDER BY created_at_ms LIMIT :limit"
        )
        rows = await self._database.read(lambda c: c.execute(sql, {"limit": limit}).fetchall())
        return [
            WaitingMail(
                mail_id,
                template,
                (now_ms - created_ms) / 1000,
                attempts,
                (due_ms - now_ms) / 1000,
                (expires_ms - now_ms) / 1000,
                error,
            )
            for mail_id, template, created_ms, attempts, due_ms, expires_ms, error in rows
        ]

    async def retry_all(self) -> int:
        """Make every mail due now; returns how many there are."""
        now_ms = self._now_ms()
        sql = "UPDATE outbox SET due_at_ms = :now_ms"
        return await self._database.write(lambda c: c.execute(sql, {"now_ms": now_ms}).rowcount)

    async def remove_expired(self) -> int:
        """Remove mails that expired while no server could send mail; returns how many."""
        now_ms = self._now_ms()

        def work(connection: Connection) -> int:
            return connection.execute(
                "DELETE FROM outbox WHERE mail_id IN (SELECT mail_id FROM outbox"
                " WHERE expires_at_ms <= :now_ms AND leased_until_ms <= :now_ms LIMIT :limit)",
                {"now_ms": now_ms, "limit": PURGE_BATCH},
            ).rowcount

        removed = total = await self._database.write(work)
        while removed == PURGE_BATCH:
            removed = await self._database.write(work)
            total += removed
        return total

    async def _settle(self, statement: str, claimed: Claimed, **more: object) -> None:
        """Change the row of a claim. If the lease has ended and another process has it, nothing changes."""
        parameters = {"mail_id": claimed.mail_id, "attempts": claimed.attempts, **more}
        sql = f"{statement} WHERE mail_id = :mail_id AND attempts = :attempts"
        await self._database.write(lambda connection: connection.execute(sql, parameters).rowcount)

    # -- encryption ---------------------------------------------------------------------------------

    def _seal(self, content: Sequence[object], mail_id: str) -> bytes:
        return self._sealer.seal(json.dumps(content).encode(), mail_id)

    def _unseal(self, sealed: bytes, mail_id: str) -> Any:
        return json.loads(self._sealer.open(sealed, mail_id))

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)
