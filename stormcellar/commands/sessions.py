# SPDX-License-Identifier: MIT
"""Commands for sessions and the keys that sign their tokens. Running servers hear of it through the feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from stormcellar.accounts import User
from stormcellar.application import Application
from stormcellar.commands.command import JSON, USER, Argument, Call, Command, find_user
from stormcellar.commands.output import CommandError, Progress, moment, print_json
from stormcellar.sessions.session_store import ALIVE, SessionStore

PAGE = 500
PURGE_BATCH = 500
REASON = "command line"


class LivingSession(NamedTuple):
    """A session as it is listed. Nothing of it opens anything: its secret stays in the database."""

    handle: str
    user_id: str
    tenant_id: str
    created_at: float
    rotated_at: float
    expires_at: float


async def list_sessions(call: Call) -> None:
    async with call.open() as application:
        name = call.arguments.user
        user = await find_user(application, name) if name is not None else None
        async for session in living_sessions(application, user):
            if call.arguments.json:
                print_json(as_record(session))
            else:
                begin, end = moment(session.created_at), moment(session.expires_at)
                print(f"{session.handle:<36}  {begin}  {end}  {session.user_id}")


async def living_sessions(application: Application, user: User | None) -> AsyncIterator[LivingSession]:
    """Those of a user, or all, by handle; a page at a time, so that millions need no memory."""
    sql = (
        f"SELECT {', '.join(LivingSession._fields)} FROM sessions WHERE handle > :after"  # noqa: S608
        f" AND {ALIVE}{' AND user_id = :user_id' if user else ''} ORDER BY handle LIMIT :limit"
    )
    parameters = {
        "now": application.sessions.clock.now(),
        "session_lifetime_s": application.sessions.config.session_lifetime_s,
        "limit": PAGE,
        "after": "",
    }
    if user:
        parameters["user_id"] = user.user_id
    while rows := await application.database.read(lambda c: c.execute(sql, dict(parameters)).fetchall()):
        for row in rows:
            yield LivingSession(*row)
        parameters["after"] = rows[-1][0]


def as_record(session: LivingSession) -> dict[str, object]:
    return {
        "session_handle": session.handle,
        "user_id": session.user_id,
        "tenant_id": session.tenant_id,
        "created_at_ms": int(session.created_at * 1000),
        "renewed_at_ms": int(session.rotated_at * 1000),
        "expires_at_ms": int(session.expires_at * 1000),
    }


async def revoke_session(call: Call) -> None:
    handle = call.arguments.session_handle
    async with call.open() as application:
        if not await application.sessions.revoke_session(handle, owner=None, reason=REASON):
            raise CommandError(f"There is no session {handle}")
    if call.arguments.json:
        print_json({"session_handle": handle, "revoked": True})
    else:
        print(f"The session {handle} is over.")


async def revoke_sessions(call: Call) -> None:
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        revoked = await application.sessions.revoke_all_sessions_for_user(user.user_id, reason=REASON)
    if call.arguments.json:
        print_json({"user_id": user.user_id, "revoked": revoked})
    else:
        print(f"{len(revoked)} sessions of {user.email} are over.")


async def rotate_keys(call: Call) -> None:
    forget_old = call.arguments.forget_old
    async with call.open() as application:
        kid = await application.sessions.keys.rotate_now(forget_old=forget_old)
    if call.arguments.json:
        print_json({"kid": kid, "old_keys_forgotten": forget_old})
    elif forget_old:
        print(f"The key {kid} signs from now on; every access token is renewed at its next use.")
    else:
        print(f"The key {kid} signs from now on; tokens of the keys before it stay good.")


async def purge(call: Call) -> None:
    """Sessions in small batches, so that the writes of running servers go between them."""
    async with call.open() as application:
        store, now = SessionStore(application.database), application.sessions.clock.now()
        progress = Progress(await count_expired(application, now), "expired rows")
        while gone := await store.purge(now, PURGE_BATCH):
            progress.advance(gone)
        progress.finish()
        await application.sessions.maintain()
        for keeper in application.keepers:
            await keeper.maintain()
    if call.arguments.json:
        print_json({"deleted": progress.done})
    else:
        print(f"{progress.done} expired sessions and feed entries are deleted.")


async def count_expired(application: Application, now: float) -> int:
    """How many sessions and feed entries may be deleted."""
    sql = (
        "SELECT (SELECT count(*) FROM sessions WHERE expires_at <= :now)"
        " + (SELECT count(*) FROM feed WHERE keep_until <= :now)"
    )
    row = await application.database.read(lambda c: c.execute(sql, {"now": now}).fetchone())
    return int(row[0])


COMMANDS = (
    Command(
        "list-sessions",
        list_sessions,
        "List the sessions that are alive: handle, begin, end without a renewal (both UTC), user ID.",
        "list-sessions --user ann@example.com --json",
        (
            Argument("--user", "Only those of this user: an e-mail address or a user ID.", USER.options),
            JSON,
        ),
    ),
    Command(
        "revoke-session",
        revoke_session,
        "End one session. Every server refuses it within moments, and its open sockets are closed.",
        "revoke-session 0d9cf5fb-9f3f-4f9a-a4f9-2f8d1c6ad2a5",
        (Argument("session_handle", "As list-sessions shows it.", {"metavar": "HANDLE"}), JSON),
    ),
    Command(
        "revoke-sessions",
        revoke_sessions,
        "End all sessions of a user. The user may sign in again; lock-user keeps one out.",
        "revoke-sessions --user ann@example.com",
        (
            Argument("--user", "Whose: an e-mail address or a user ID.", {**USER.options, "required": True}),
            JSON,
        ),
    ),
    Command(
        "rotate-keys",
        rotate_keys,
        "Make a new signing key that signs at once. Running servers hear of it; nobody is signed out.",
        "rotate-keys",
        (
            Argument(
                "--forget-old",
                "Delete all other keys too, as when one may have leaked: every access token is then renewed "
                "at its next use, which signs nobody out either.",
                {"action": "store_true"},
            ),
            JSON,
        ),
    ),
    Command(
        "purge",
        purge,
        "Delete what has expired: sessions, feed entries, one-time tokens, signing keys, counts of rate "
        "limits, old entries of the audit log. Servers do this by themselves every now and then; after a "
        "long time without one it may be much.",
        "purge",
        (JSON,),
    ),
)
