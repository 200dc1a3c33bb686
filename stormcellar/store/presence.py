# SPDX-License-Identifier: MIT
"""Which servers use a database at the moment.

Access tokens name their issuer. Without `public_url` the issuer contains the server's port, so two such
servers on one database refuse each other's tokens. A server therefore writes its issuer into the database,
and does not start beside a server with another issuer. Two servers with different public addresses may run
side by side while the address of a site changes.

After a failover of PostgreSQL each server writes again what the promoted replica lacks (feed.py). It notes
the timeline in its row when that is done, and the others wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from stormcellar.clock import Clock
from stormcellar.errors import StoreUnavailableError, UnusableDatabaseError
from stormcellar.store import Connection, Database

log = logging.getLogger("stormcellar.store")

LOCAL_LEASE_S = 30.0
PUBLIC_LEASE_S = 600.0
SETTLE_S, SETTLE_AGAIN_S = 2.0, 0.05

SERVER_TABLES = [
    """
    CREATE TABLE servers (
        server_id TEXT PRIMARY KEY,
        issuer TEXT NOT NULL,
        is_public INTEGER NOT NULL,
        alive_until_ms BIGINT NOT NULL
    )
    """,
    "ALTER TABLE servers ADD COLUMN timeline TEXT NOT NULL DEFAULT ''",
    # The fingerprints of its secrets, separated by spaces, that of the current one first.
    "ALTER TABLE servers ADD COLUMN secrets TEXT NOT NULL DEFAULT ''",
]


class Presence:
    """This process's row in the table `servers`.

    Args:
        issuer: `iss` of the access tokens of this server.
        is_public: whether the issuer comes from public_url.
        secret_fingerprints: of the server's secrets, that of the current one first.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        issuer: str,
        is_public: bool,
        secret_fingerprints: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._issuer = issuer
        self._is_public = is_public
        self._secrets = " ".join(secret_fingerprints)
        self._server_id = secrets.token_hex(8)
        self._lease_s = PUBLIC_LEASE_S if is_public else LOCAL_LEASE_S

    async def open(self) -> None:
        """Bring the table up to date; called once before anything else."""
        await self._database.migrate("servers", SERVER_TABLES)

    async def join(self) -> None:
        """Write the row.

        Raises:
            UnusableDatabaseError: a server with another issuer uses this database.
        """
        other = await self._database.write(self._renew)
        if other is not None:
            await self.leave()
            issuer, left_s = other
            raise UnusableDatabaseError(
                f"another server ({issuer}) uses this database, and this one is {self._issuer}: they would "
                "refuse each other's sessions. Set public_url to the same address on both, or give this "
                f"server another database. If the other server was killed, try again in {left_s:.0f} s"
            )

    async def keep(self) -> None:
        """Renew the row for as long as the server runs."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                other = await self._database.write(self._renew)
            except Exception as error:  # the row ends by itself, nothing else depends on it
                log.info("the table of servers is not up to date: %s", error)
                continue
            if other is not None:
                log.error("another server (%s) uses this database; set public_url on both", other[0])

    async def leave(self) -> None:
        """Remove the row."""
        with contextlib.suppress(StoreUnavailableError):
            await self._database.write(self._remove)

    async def secrets_of_servers(self) -> list[tuple[str, ...]]:
        """Return, for each process that serves this database, the fingerprints of its server secrets."""
        sql = "SELECT secrets FROM servers WHERE alive_until_ms > :now_ms"
        now_ms = int(self._clock.now() * 1000)
        rows = await self._database.read(lambda c: c.execute(sql, {"now_ms": now_ms}).fetchall())
        return [tuple(row[0].split()) for row in rows]

    async def settle(self, timeline: str) -> None:
        """Note that this server has mended this timeline; wait until the others have, for at most SETTLE_S.

        The row of a server that was killed lasts until its lease ends, so the wait needs an end of its own.
        """

        def count_others(connection: Connection) -> int:
            others: int = connection.execute(
                "SELECT count(*) FROM servers WHERE server_id <> :server_id AND timeline <> :timeline"
                " AND alive_until_ms > :now_ms",
                {
                    "server_id": self._server_id,
                    "timeline": timeline,
                    "now_ms": int(self._clock.now() * 1000),
                },
            ).fetchone()[0]
            return others

        def note(connection: Connection) -> None:
            self._renew(connection)  # the promoted replica may lack the row
            connection.execute(
                "UPDATE servers SET timeline = :timeline WHERE server_id = :server_id",
                {"server_id": self._server_id, "timeline": timeline},
            )

        await self._database.write(note)
        end = time.monotonic() + SETTLE_S
        while await self._database.read(count_others) > 0 and time.monotonic() < end:  # noqa: ASYNC110 - these are other processes
            await asyncio.sleep(SETTLE_AGAIN_S)

    def _renew(self, connection: Connection) -> tuple[str, float] | None:
        """Returns the issuer of another server that does not go with this one, and how long its row lasts."""
        now_ms = int(self._clock.now() * 1000)
        mine: dict[str, Any] = {
            "server_id": self._server_id,
            "issuer": self._issuer,
            "is_public": int(self._is_public),
            "secrets": self._secrets,
            "now_ms": now_ms,
            "alive_until_ms": now_ms + int(1000 * self._lease_s),
        }
        connection.execute("DELETE FROM servers WHERE alive_until_ms <= :now_ms", mine)
        connection.execute(
            "INSERT INTO servers (server_id, issuer, is_public, alive_until_ms, secrets)"
            " VALUES (:server_id, :issuer, :is_public, :alive_until_ms, :secrets)"
            " ON CONFLICT (server_id) DO UPDATE SET alive_until_ms = excluded.alive_until_ms",
            mine,
        )
        row = connection.execute(
            "SELECT issuer, alive_until_ms FROM servers WHERE issuer <> :issuer"
            " AND (is_public = 0 OR :is_public = 0) ORDER BY alive_until_ms DESC LIMIT 1",
            mine,
        ).fetchone()
        return (row[0], (row[1] - now_ms) / 1000) if row else None

    def _remove(self, connection: Connection) -> None:
        connection.execute("DELETE FROM servers WHERE server_id = :server_id", {"server_id": self._server_id})
