# SPDX-License-Identifier: MIT
"""The engine's tables and every statement on them.

    sessions      one row a session; gone when it is revoked
    feed          what other processes must hear of; a row is kept until no token it concerns is valid
    signing_keys  the keys that sign access tokens, their private half encrypted by the engine

Times are Unix seconds. Methods that change a session leave its feed entry in the same transaction, so
neither is ever there without the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stormcellar.store import Connection, Database, one_statement
from stormcellar.store.text import is_storable

TABLES = (
    """
    CREATE TABLE sessions (
        handle TEXT PRIMARY KEY,
        user_id TEXT NOT NULL,
        tenant_id TEXT NOT NULL,
        secret {blob} NOT NULL,
        generation INTEGER NOT NULL,
        used_generation INTEGER NOT NULL,
        rotated_at {double} NOT NULL,
        created_at {double} NOT NULL,
        expires_at {double} NOT NULL,
        payload TEXT NOT NULL,
        payload_version INTEGER NOT NULL,
        data TEXT NOT NULL
    );
    CREATE INDEX sessions_by_user ON sessions (user_id);
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);
    CREATE TABLE feed (
        id {serial_key},
        kind TEXT NOT NULL,
        handle TEXT NOT NULL,
        payload_version INTEGER NOT NULL,
        reason TEXT NOT NULL,
        keep_until {double} NOT NULL
    );
    CREATE INDEX feed_by_end ON feed (keep_until);
    CREATE TABLE signing_keys (
        kid TEXT PRIMARY KEY,
        private_key {blob} NOT NULL,
        created_at {double} NOT NULL,
        active_from {double} NOT NULL
    )
    """,
    """
    ALTER TABLE sessions ADD COLUMN created_from TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN refreshed_from TEXT NOT NULL DEFAULT ''
    """,
    """
    ALTER TABLE sessions ADD COLUMN branch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN parent_branch INTEGER NOT NULL DEFAULT 0
    """,
    """
    ALTER TABLE sessions ADD COLUMN temporary INTEGER NOT NULL DEFAULT 0
    """,
)

AGAIN_AT_ONCE = 200  # revocations in one transaction
_ROW = (
    "handle, user_id, tenant_id, secret, generation, branch, parent_branch, used_generation, rotated_at,"
    " created_at, expires_at, payload, payload_version, temporary"
)
_PAYLOAD = 11  # its place in _ROW
ALIVE = "expires_at > :now AND created_at + :session_lifetime_s > :now"
"""Whether a session is not over. The second half holds at once when the setting becomes shorter."""


_ON_ANOTHER_PATH = "generation = :generation + 1 AND parent_branch <> :branch"
_MARK_USED = (
    "UPDATE sessions SET used_generation = :generation,"
    " branch = CASE WHEN generation = :generation THEN :branch ELSE branch END"
    " WHERE handle = :handle AND used_generation < :generation AND generation >= :generation"
    f" AND NOT ({_ON_ANOTHER_PATH})"
)
_FIND_FORK = (
    f"SELECT user_id FROM sessions WHERE handle = :handle AND (({_ON_ANOTHER_PATH})"
    " OR (generation = :generation AND used_generation = :generation AND branch <> :branch))"
)


class Use(NamedTuple):
    """The first time that a process saw an access token of this generation and branch."""

    handle: str
    generation: int
    branch: int


@dataclass(frozen=True)
class Renewal:
    """What every renewal of a session writes: when, by whom, and until when the session lives then.

    A temporary session lives until the earlier one of the two ends.
    """

    now: float
    expires_at: float
    session_lifetime_s: float
    refreshed_from: str = ""
    temporary_expires_at: float = math.inf


@dataclass(frozen=True)
class SessionRow:
    """A session as it is stored.

    Attributes:
        generation, branch: of the tokens that count now.
        parent_branch: the branch of the generation before whose refresh token was exchanged for this one.
        used_generation: the newest generation whose current branch was used.
        rotated_at: when the tokens of `generation` and `branch` were given to a client for the last time.
        payload: the application's claims, without the engine's own.
        temporary: whether the client keeps its tokens only until the browser is closed.
    """

    handle: str
    user_id: str
    tenant_id: str
    secret: bytes
    generation: int
    branch: int
    parent_branch: int
    used_generation: int
    rotated_at: float
    created_at: float
    expires_at: float
    payload: dict[str, Any]
    payload_version: int
    temporary: bool = False

    def ends_at(self, session_lifetime_s: float) -> float:
        """When it is over unless it is rotated before; what ALIVE asks, for a row that was read."""
        return min(self.expires_at, self.created_at + session_lifetime_s)

    @classmethod
    def from_db(cls, values: Sequence[Any]) -> SessionRow:
        row = cls(*values)
        return replace(
            row,
            secret=bytes(row.secret),
            payload=json.loads(values[_PAYLOAD]),
            temporary=bool(row.temporary),
        )


class StoredSession(NamedTuple):
    """A session with all that is kept of it; see `Sessions.create_new_session` for the last three."""

    row: SessionRow
    data: dict[str, Any]
    created_from: str
    refreshed_from: str


@dataclass(frozen=True)
class FeedEntry:
    """News: `kind` is "revoked", "payload" when a session's claims changed to `payload_version`, "keys" when
    a signing key, named in `handle`, came or went, "settled" when the browser of an ended session was told,
    or "message": `handle` is its topic, `reason` its text.
    """

    id: int
    kind: str
    handle: str
    payload_version: int
    reason: str
    keep_until: float


class FeedCopy(NamedTuple):
    """The feed in one copy of the database: the highest id, and PostgreSQL's timeline or ""."""

    newest_id: int
    timeline: str


@dataclass(frozen=True)
class StoredKey:
    """A signing key. It signs from `active_from` on; `private_key` is encrypted."""

    kid: str
    private_key: bytes
    created_at: float
    active_from: float


class SessionStore:
    """Sessions, feed and keys in a `Database`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def migrate(self) -> None:
        await self.database.migrate("sessions", TABLES)

    async def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        return await self.database.read(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _execute(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """Run one writing statement; returns how many rows it touched."""
        return await self.database.write(lambda connection: connection.execute(sql, parameters).rowcount)

    # -- sessions -----------------------------------------------------------------------------------

    async def create(self, row: SessionRow, data: Mapping[str, Any], created_from: str = "") -> None:
        texts = {"payload": to_json(row.payload), "data": to_json(data), "created_from": created_from}
        await self._execute(
            f"INSERT INTO sessions ({_ROW}, data, created_from) VALUES"
            " (:handle, :user_id, :tenant_id, :secret, :generation, :branch, :parent_branch,"
            " :used_generation, :rotated_at, :created_at, :expires_at, :payload, :payload_version,"
            " :temporary, :data, :created_from)",
            {**vars(row), "temporary": int(row.temporary), **texts},
        )

    async def load(self, handle: str) -> SessionRow | None:
        if not is_storable(handle):
            return None
        return await self.database.read(lambda connection: _load(connection, handle))

    async def rotate(
        self, handle: str, generation: int, branch: int, *, nonce: bytes, chain: bytes, renewal: Renewal
    ) -> SessionRow | None:
        """Go from `generation` to branch 0 of the next one.

        The session must be there, alive, and at this generation. The branch must be the current one, or the
        current one must be unused: then the client kept an older answer.

        `chain` must be SHA-256(secret || nonce) (see refresh_token.py); the database checks it by a
        function of that name, so that the common refresh is a single statement.

        Returns:
            The row afterwards, or None when any of the conditions failed and nothing was written.
        """
        return await self._renew(
            "generation = generation + 1, branch = 0, parent_branch = :branch",
            "generation = :generation AND (branch = :branch OR used_generation < :generation)"
            " AND sha256_of_both(secret, :nonce) = :chain",
            renewal,
            {"handle": handle, "generation": generation, "branch": branch, "nonce": nonce, "chain": chain},
        )

    async def add_branch(self, row: SessionRow, renewal: Renewal) -> SessionRow | None:
        """Go to another branch of the row's generation, if nothing changed since the row was read.

        Returns:
            The row afterwards, or None when it had changed and nothing was written.
        """
        return await self._renew(
            "branch = branch + 1",
            "generation = :generation AND branch = :branch AND used_generation < :generation"
            " AND rotated_at = :rotated_at",
            renewal,
            {
                "handle": row.handle,
                "generation": row.generation,
                "branch": row.branch,
                "rotated_at": row.rotated_at,
            },
        )

    async def _renew(
        self, change: str, condition: str, renewal: Renewal, parameters: Mapping[str, Any]
    ) -> SessionRow | None:
        """Change a living session whose client gets new tokens, by one statement."""

        @one_statement
        def work(connection: Connection) -> SessionRow | None:
            found = connection.execute(
                f"UPDATE sessions SET {change}, rotated_at = :now, refreshed_from = :refreshed_from,"
                " expires_at = CASE WHEN temporary = 1 AND :temporary_expires_at < :expires_at"
                " AND :temporary_expires_at < created_at + :session_lifetime_s THEN :temporary_expires_at"
                " WHEN created_at + :session_lifetime_s < :expires_at"
                " THEN created_at + :session_lifetime_s ELSE :expires_at END"
                f" WHERE handle = :handle AND {ALIVE} AND {condition} RETURNING {_ROW}",
                {**vars(renewal), **parameters},
            ).fetchone()
            return SessionRow.from_db(found) if found else None

        return await self.database.write(work)

    async def note_answer(self, row: SessionRow, now: float) -> None:
        """Record that the tokens of this generation and branch were given to a client again."""
        await self._execute(
            "UPDATE sessions SET rotated_at = :now WHERE handle = :handle"
            " AND generation = :generation AND branch = :branch AND rotated_at < :now",
            {"handle": row.handle, "generation": row.generation, "branch": row.branch, "now": now},
        )

    async def catch_up(self, row: SessionRow, generation: int, branch: int) -> None:
        """Put a session whose latest rotations the store has lost to the place where its client is."""
        await self._execute(
            "UPDATE sessions SET generation = :to_generation, branch = :to_branch"
            " WHERE handle = :handle AND generation = :generation AND branch = :branch",
            {
                "handle": row.handle,
                "generation": row.generation,
                "branch": row.branch,
                "to_generation": generation,
                "to_branch": branch,
            },
        )

    async def mark_used(self, seen: Iterable[Use]) -> list[tuple[str, str]]:
        """Record that access tokens of these sessions, generations and branches were used.

        An older branch that is used before the current one becomes the current one.

        Returns:
            Handle and user id of the sessions of which two branches of one generation were used.
        """
        uses = sorted(seen)

        def work(connection: Connection) -> list[tuple[str, str]]:
            forked = {}
            for use in uses:  # sorted: see _revoke
                parameters = use._asdict()
                if connection.execute(_MARK_USED, parameters).rowcount:
                    continue
                if found := connection.execute(_FIND_FORK, parameters).fetchone():
                    forked[use.handle] = str(found[0])
            return list(forked.items())

        return await self.database.write(work)

    async def revoke(
        self, handles: Iterable[str], *, owner: str | None = None, reason: str, keep_until: float
    ) -> list[tuple[str, str]]:
        """Delete sessions, of this user alone unless `owner` is None, and put each into the feed.

        Returns:
            Handle and user id of those that were there.
        """
        wanted = list(filter(is_storable, handles))
        return await self.database.write(
            lambda connection: _revoke(connection, wanted, reason, keep_until, owner)
        )

    async def all_handles_of_user(self, user_id: str, tenant_id: str | None) -> list[str]:
        """Handles of the user's sessions (None: of every tenant), also of those that have expired."""
        return await self.database.read(lambda connection: handles_in(connection, user_id, tenant_id))

    async def handles_of_user(
        self, user_id: str, tenant_id: str | None, now: float, session_lifetime_s: float
    ) -> list[str]:
        """Handles of the user's living sessions (None: of every tenant), the oldest first."""
        return await self.database.read(
            lambda connection: handles_in(connection, user_id, tenant_id, now, session_lifetime_s)
        )

    async def load_all_of(self, handle: str) -> StoredSession | None:
        """A session with all that is kept of it."""
        found = await self._load_all("handle = :handle", handle=handle) if is_storable(handle) else []
        return found[0] if found else None

    async def sessions_of_user(
        self, user_id: str, tenant_id: str | None, now: float, session_lifetime_s: float, limit: int
    ) -> list[StoredSession]:
        """The user's living sessions (None: of every tenant), those first that were rotated last."""
        if not is_storable(user_id):
            return []
        return await self._load_all(
            f"user_id = :user_id AND {ALIVE} AND (:any_tenant OR tenant_id = :tenant_id)"
            " ORDER BY rotated_at DESC, handle LIMIT :limit",
            user_id=user_id,
            now=now,
            session_lifetime_s=session_lifetime_s,
            any_tenant=tenant_id is None,
            tenant_id=tenant_id or "",
            limit=limit,
        )

    async def _load_all(self, which: str, **parameters: Any) -> list[StoredSession]:
        sql = f"SELECT {_ROW}, data, created_from, refreshed_from FROM sessions WHERE {which}"
        return [
            StoredSession(SessionRow.from_db(row), json.loads(data), created_from, refreshed_from)
            for *row, data, created_from, refreshed_from in await self._fetch(sql, parameters)
        ]

    async def replace_data(
        self,
        handle: str,
        data: Mapping[str, Any],
        now: float,
        session_lifetime_s: float,
        *,
        owner: str | None = None,
    ) -> bool:
        """Replace the session's data; False when there is no such session of this user (None: of any)."""
        replaced = await self._execute(
            f"UPDATE sessions SET data = :data WHERE handle = :handle AND {ALIVE}"
            " AND (:anybodys OR user_id = :owner)",
            {
                "handle": handle,
                "data": to_json(data),
                "now": now,
                "session_lifetime_s": session_lifetime_s,
                "anybodys": owner is None,
                "owner": owner or "",
            },
        )
        return replaced > 0

    async def update_payload(
        self,
        handle: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        now: float,
        session_lifetime_s: float,
        keep_until: float,
        owner: str | None = None,
    ) -> SessionRow | None:
        """Change the claims of a live session of this user (None: of any) and tell the feed.

        Nothing happens if `change` changes nothing.

        Returns:
            The row afterwards, or None when there is no such session.
        """

        def work(connection: Connection) -> SessionRow | None:
            row = _load(connection, handle, lock=True)
            if row is None or now >= row.ends_at(session_lifetime_s) or owner not in (None, row.user_id):
                return None
            payload = change(row.payload)
            if to_json(payload) == to_json(row.payload):
                return row
            version = row.payload_version + 1
            connection.execute(
                "UPDATE sessions SET payload = :payload, payload_version = :version WHERE handle = :handle",
                {"payload": to_json(payload), "version": version, "handle": handle},
            )
            _tell(connection, "payload", handle, version, "", keep_until)
            return replace(row, payload=payload, payload_version=version)

        return await self.database.write(work)

    async def settle(self, handle: str, *, keep_until: float) -> None:
        """Tell every process that the browser which held this session knows that it ended."""
        await self.database.write(lambda connection: _tell(connection, "settled", handle, 0, "", keep_until))

    async def publish(self, topic: str, message: str, *, keep_until: float) -> None:
        """Leave a message in the feed."""
        await self.database.write(
            lambda connection: _tell(connection, "message", topic, 0, message, keep_until)
        )

    # -- feed ---------------------------------------------------------------------------------------

    async def feed_after(self, last_id: int, limit: int = 10_000) -> list[FeedEntry]:
        def work(connection: Connection) -> list[FeedEntry]:  # thousands at once, so not on the event loop
            rows = connection.execute(
                "SELECT id, kind, handle, payload_version, reason, keep_until FROM feed"
                " WHERE id > :last_id ORDER BY id LIMIT :limit",
                {"last_id": last_id, "limit": limit},
            ).fetchall()
            return [FeedEntry(*row) for row in rows]

        return await self.database.read(work)

    async def feed_copy(self) -> FeedCopy:
        """Ask which copy of the database this is, and how far its feed goes."""

        def work(connection: Connection) -> FeedCopy:
            newest = connection.execute("SELECT coalesce(max(id), 0) FROM feed", {}).fetchone()[0]
            timeline = getattr(connection, "timeline_sql", "")
            return FeedCopy(newest, connection.execute(timeline, {}).fetchone()[0] if timeline else "")

        return await self.database.read(work)

    async def revoke_again(self, revocations: Sequence[tuple[str, str, float]]) -> None:
        """Write revocations that the store has lost: each a handle, the reason, and `keep_until`."""

        def work_for(batch: Sequence[tuple[str, str, float]]) -> Callable[[Connection], None]:
            def work(connection: Connection) -> None:
                for handle, _, _ in batch:
                    connection.execute("DELETE FROM sessions WHERE handle = :handle", {"handle": handle})
                for handle, reason, keep_until in batch:
                    _tell(connection, "revoked", handle, 0, reason, keep_until)

            return work

        ordered = sorted(revocations)  # see _revoke
        for start in range(0, len(ordered), AGAIN_AT_ONCE):
            await self.database.write(work_for(ordered[start : start + AGAIN_AT_ONCE]))

    # -- signing keys -------------------------------------------------------------------------------

    async def load_keys(self) -> list[StoredKey]:
        rows = await self._fetch(
            "SELECT kid, private_key, created_at, active_from FROM signing_keys ORDER BY active_from, kid", {}
        )
        return [StoredKey(kid, bytes(key), *times) for kid, key, *times in rows]

    async def add_key(
        self, key: StoredKey, *, if_newest_is: str | None, prefix: str, keep_until: float
    ) -> bool:
        """Add a key unless somebody else has just done so; `prefix` is the kind of key (`d-` or `s-`)."""

        def work(connection: Connection) -> bool:
            _lock_keys(connection)
            newest = connection.execute(
                "SELECT kid FROM signing_keys WHERE kid LIKE :prefix ORDER BY active_from DESC, kid DESC",
                {"prefix": prefix + "%"},
            ).fetchone()
            if (newest[0] if newest else None) != if_newest_is:
                return False
            connection.execute(
                "INSERT INTO signing_keys VALUES (:kid, :private_key, :created_at, :active_from)", vars(key)
            )
            _tell(connection, "keys", key.kid, 0, "added", keep_until)
            return True

        return await self.database.write(work)

    async def delete_keys(self, kids: Iterable[str], *, keep_until: float) -> None:
        wanted = list(kids)

        def work(connection: Connection) -> None:
            _lock_keys(connection)
            for kid in wanted:
                connection.execute("DELETE FROM signing_keys WHERE kid = :kid", {"kid": kid})
                _tell(connection, "keys", kid, 0, "deleted", keep_until)

        await self.database.write(work)

    # -- cleaning -----------------------------------------------------------------------------------

    async def purge(self, now: float, limit: int) -> int:
        """Delete up to `limit` expired sessions and as many feed entries that concern no token any more.

        Returns:
            How many rows went.
        """

        def work(connection: Connection) -> int:
            gone = 0
            others_aside = getattr(connection, "skip_locked", "")
            for table, key, end in (("sessions", "handle", "expires_at"), ("feed", "id", "keep_until")):
                gone += connection.execute(
                    f"DELETE FROM {table} WHERE {key} IN"
                    f" (SELECT {key} FROM {table} WHERE {end} <= :now LIMIT :limit{others_aside})",
                    {"now": now, "limit": limit},
                ).rowcount
            return gone

        return await self.database.write(work)


def to_json(value: Any) -> str:
    """Compact JSON, keys in their order, as it also stands in tokens."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _load(connection: Connection, handle: str, *, lock: bool = False) -> SessionRow | None:
    # A transaction that writes must not read a row that another one is about to change. SQLite has one
    # writer at a time and no such clause.
    clause = getattr(connection, "for_update", "") if lock else ""
    found = connection.execute(
        f"SELECT {_ROW} FROM sessions WHERE handle = :handle{clause}",
        {"handle": handle},
    ).fetchone()
    return SessionRow.from_db(found) if found else None


def handles_in(
    connection: Connection,
    user_id: str,
    tenant_id: str | None = None,
    now: float = 0.0,
    session_lifetime_s: float = 0.0,
) -> list[str]:
    """Those of a user's sessions that are alive, the oldest first; without a time all that are there."""
    if not is_storable(user_id):
        return []
    rows = connection.execute(
        f"SELECT handle FROM sessions WHERE user_id = :user_id AND {ALIVE}"
        " AND (:any_tenant OR tenant_id = :tenant_id) ORDER BY created_at, handle",
        {
            "user_id": user_id,
            "now": now,
            "session_lifetime_s": session_lifetime_s,
            "any_tenant": tenant_id is None,
            "tenant_id": tenant_id or "",
        },
    ).fetchall()
    return [row[0] for row in rows]


def _revoke(
    connection: Connection, handles: Iterable[str], reason: str, keep_until: float, owner: str | None = None
) -> list[tuple[str, str]]:
    """Delete sessions and tell the feed; returns handle and user id of those that were there.

    All who change several sessions take them in one order, and the feed comes last, for its writers wait
    for one another too: so no two transactions can each hold what the other waits for.
    """
    gone = []
    whose = {"anybodys": owner is None, "owner": owner or ""}
    for handle in sorted(handles):
        cursor = connection.execute(
            "DELETE FROM sessions WHERE handle = :handle AND (:anybodys OR user_id = :owner)"
            " RETURNING user_id",
            {"handle": handle, **whose},
        )
        gone += [(handle, user_id) for (user_id,) in cursor.fetchall()]
    for handle, _ in gone:
        _tell(connection, "revoked", handle, 0, reason, keep_until)
    return gone


def _lock_keys(connection: Connection) -> None:
    """Let nobody else change the keys until this transaction ends. SQLite has one writer at a time."""
    statement = getattr(connection, "lock_table", "")
    if statement:
        connection.execute(statement.format("signing_keys"), {})


def _tell(
    connection: Connection, kind: str, handle: str, version: int, reason: str, keep_until: float
) -> None:
    connection.execute(
        "INSERT INTO feed (kind, handle, payload_version, reason, keep_until)"
        " VALUES (:kind, :handle, :version, :reason, :keep_until)",
        {"kind": kind, "handle": handle, "version": version, "reason": reason, "keep_until": keep_until},
    )
