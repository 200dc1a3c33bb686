# SPDX-License-Identifier: MIT
"""Note in the database which server secrets have been in use, by their fingerprints.

The newest one counts. A server that does not know it would refuse the tokens of the others, so it does not
start. Only servers whose current secret is the newest seal values again; otherwise two servers would undo
each other's work while a site changes from one secret to the next.
"""

from __future__ import annotations

from typing import NamedTuple

from stormcellar.clock import Clock
from stormcellar.errors import UnusableDatabaseError
from stormcellar.server_secret import ServerSecret, fingerprint
from stormcellar.store import Connection, Database

SECRET_TABLES = [
    """
    CREATE TABLE server_secrets (
        fingerprint TEXT PRIMARY KEY,
        number BIGINT NOT NULL,
        first_used_at_ms BIGINT NOT NULL
    )
    """,
]


class NewestSecret(NamedTuple):
    """The newest secret that a server has used with a database."""

    fingerprint: str
    first_used_at_ms: int


class SecretRegister:
    """The table `server_secrets`."""

    def __init__(self, database: Database, clock: Clock, secret: ServerSecret) -> None:
        self._database = database
        self._clock = clock
        self._secret = secret

    async def open(self) -> None:
        """Bring the table up to date; called once before anything else."""
        await self._database.migrate("server_secrets", SECRET_TABLES)

    async def newest(self) -> NewestSecret | None:
        """Return the newest secret in use; None before the first start."""
        return await self._database.read(_newest)

    async def check(self) -> None:
        """Refuse a secret that does not go with the database.

        Raises:
            UnusableDatabaseError: the newest secret is none of this server's.
        """
        newest = await self.newest()
        if newest is not None and newest.fingerprint not in self._secret.fingerprints:
            raise UnusableDatabaseError(
                f"the secret of this database has the fingerprint {newest.fingerprint}, and this server's "
                f"has {self._secret.fingerprints[0]}. Give the server that secret, as `secret` or, if a "
                "new one is to replace it, among `old_secrets`. If it is lost, `python manage.py "
                "rotate-secret --lost` makes the database usable again and signs every user out"
            )

    async def note(self) -> None:
        """Enter the current secret as the newest, unless it was entered before."""
        await self._database.write(self._enter)

    async def is_current_newest(self) -> bool:
        """Tell whether the current secret of this server is the newest one in use."""
        newest = await self.newest()
        return newest is not None and newest.fingerprint == self._secret.fingerprints[0]

    async def forget(self) -> None:
        """Forget all entries, so that the next start enters its own secret. For a lost secret."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM server_secrets").rowcount
        )

    def _enter(self, connection: Connection) -> None:
        lock = getattr(connection, "lock_table", "")
        if lock:
            connection.execute(lock.format("server_secrets"), {})
        connection.execute(
            "INSERT INTO server_secrets (fingerprint, number, first_used_at_ms)"
            " SELECT :fingerprint, (SELECT COALESCE(MAX(number), 0) + 1 FROM server_secrets), :now_ms"
            " WHERE NOT EXISTS (SELECT 1 FROM server_secrets WHERE fingerprint = :fingerprint)",
            {"fingerprint": fingerprint(self._secret.current), "now_ms": int(self._clock.now() * 1000)},
        )


def _newest(connection: Connection) -> NewestSecret | None:
    row = connection.execute(
        "SELECT fingerprint, first_used_at_ms FROM server_secrets ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return NewestSecret(*row) if row else None
