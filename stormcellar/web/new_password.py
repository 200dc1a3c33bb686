# SPDX-License-Identifier: MIT
"""A new password, in an order that a power cut or a store out of reach cannot harm.

The sessions that began with the old password end twice: before the change, so that a crash in between leaves
either the old password or none of its sessions, and after it, for sessions that began meanwhile (OWASP Forgot
Password Cheat Sheet). Sessions that began with a newer password never end here, so of two changes at once the
one that wins keeps its session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormcellar.accounts import User
from stormcellar.web import limits

if TYPE_CHECKING:
    from stormcellar.accounts.database import Connection
    from stormcellar.application import Application
    from stormcellar.web.handler import BaseHandler

REASON = "new password"


class _EarlierSessions:
    """The handles of a user's sessions at the moment when the password changes.

    The change holds the user's row, and a sign-in reads that row after its session is stored (see
    `BaseHandler.begin_session`). So a session that began with the old password is among these, or refused.
    """

    def __init__(self, app: Application, user_id: str) -> None:
        self._app = app
        self._user_id = user_id
        self.handles: frozenset[str] = frozenset()

    def note(self, connection: Connection) -> None:
        self.handles = frozenset(self._app.sessions.handles_in(connection, self._user_id))


async def reset_password(app: Application, token: str, password: str) -> User:
    """Spend a token of `Users.create_password_reset` and end all sessions of its user.

    What was added to the account before its address was first confirmed goes too: it may be another person's,
    who signed up with an address that is not theirs.

    Raises:
        FieldErrors, InvalidTokenError: as `Users.reset_password`; nothing has ended then.
        TooBusyError, StoreUnavailableError: to be tried again, with the same link as long as it works.
    """
    before = await app.accounts.check_password_reset(token, password)
    await _end_sessions_of_version(app, before)
    await _forget_unproved(app, before)
    earlier = _EarlierSessions(app, before.user_id)
    user = await app.accounts.reset_password(token, password, within=earlier.note)
    app.journal.record("password reset", user_id=user.user_id)
    await app.limits.forgive(user.email, user.user_id)
    await app.sessions.revoke_all_sessions_for_user(user.user_id, among=earlier.handles, reason=REASON)
    await _forget_unproved(app, before)
    return user


async def mail_reset_link(handler: BaseHandler, email: str) -> None:
    """Mail a link for a new password. For an unknown address the same work is done, and no mail is sent.

    Raises:
        FieldErrors, ThrottledError: nothing was done.
    """
    accounts = handler.app.accounts
    await limits.reset_mail(handler, email)
    token, decoy = await accounts.create_password_reset(email), accounts.decoy_password_reset(email)
    await handler.app.mails.post_link_or_decoy(token, decoy)


async def _forget_unproved(app: Application, user: User) -> None:
    for extra in app.extras:
        await extra.forget_unproved(user.user_id, user.first_verified_at_ms)


async def change_password(handler: BaseHandler, user: User, password: str) -> None:
    """Another password for the user who is signed in here, and whose present one was just checked.

    All other sessions end. This one is replaced by a new one (OWASP ASVS 5.0, 7.2.4), so that copies of its
    tokens end as well.

    Raises:
        FieldErrors, TooBusyError: as `Users.set_password`; the old password still holds.
        WrongCredentialsError: somebody else changed it meanwhile.
    """
    app, session = handler.app, handler.session
    here = session.handle if session else None
    app.accounts.check_new_password(user, password)
    await _end_sessions_of_version(app, user, keep=here)
    earlier = _EarlierSessions(app, user.user_id)
    await app.accounts.set_password(
        user.user_id, password, version=user.password_version, within=earlier.note
    )
    app.journal.record("password changed", user_id=user.user_id)
    await handler.begin_session(
        user.user_id, method=handler.arrived_by, password_version=user.password_version + 1
    )
    await app.sessions.revoke_all_sessions_for_user(user.user_id, among=earlier.handles, reason=REASON)


async def set_password(app: Application, user: User, password: str, *, detail: str) -> int:
    """Give a user a password without asking for the old one; returns how many sessions ended.

    Args:
        detail: who did it, for the audit log.

    Raises:
        FieldErrors, TooBusyError, UnknownUserError: as `Users.set_password`.
    """
    app.accounts.check_new_password(user, password)
    ended = await app.sessions.revoke_all_sessions_for_user(user.user_id, reason=REASON)
    earlier = _EarlierSessions(app, user.user_id)
    await app.accounts.set_password(user.user_id, password, within=earlier.note)
    app.journal.record("password changed", user_id=user.user_id, detail=detail)
    await app.limits.forgive(user.email, user.user_id)
    ended += await app.sessions.revoke_all_sessions_for_user(
        user.user_id, among=earlier.handles, reason=REASON
    )
    return len(ended)


async def _end_sessions_of_version(app: Application, user: User, keep: str | None = None) -> None:
    """End a user's sessions, unless the password has changed since the user was read.

    The handles are read before the version is compared. So no handle is that of a session which began with a
    newer password.
    """
    handles = await app.sessions.get_all_session_handles_for_user(user.user_id)
    now = await app.accounts.get(user.user_id)
    if now is not None and now.password_version == user.password_version:
        await app.sessions.revoke_all_sessions_for_user(
            user.user_id, keep=keep, among=frozenset(handles), reason=REASON
        )
