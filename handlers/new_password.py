# SPDX-License-Identifier: MIT
"""A new password, in an order that a power cut or a store out of reach cannot harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts import User

if TYPE_CHECKING:
    from handlers.base import BaseHandler
    from server import Application


async def reset_password(app: Application, token: str, password: str) -> User:
    """Spend a token of `Users.create_password_reset` and end all sessions of its user.

    They end before the token is spent: whatever breaks off in between, either the link still works or
    nobody who came in with the old password is left. They end once more after it, for whoever signed in
    meanwhile (OWASP Forgot Password Cheat Sheet). The same holds for what extras keep, if it is only now that
    the address is proved to be this user's.

    Raises:
        FieldErrors, InvalidTokenError: as `Users.reset_password`; nothing has ended then.
        TooBusyError, StoreUnavailableError: to be tried again, with the same link as long as it works.
    """
    before = await app.accounts.check_password_reset(token, password)
    await _end_what_others_have(app, before)
    user = await app.accounts.reset_password(token, password)
    app.journal.record("password reset", user_id=user.user_id)
    await app.limits.forgive(user.email, user.user_id)
    await _end_what_others_have(app, before)
    return user


async def _end_what_others_have(app: Application, user: User) -> None:
    await app.sessions.revoke_all_sessions_for_user(user.user_id, reason="new password")
    if not user.email_verified:
        for extra in app.extras:
            await extra.address_proved(user.user_id)


async def change_password(handler: BaseHandler, user: User, password: str) -> None:
    """Another password for the user who is signed in here, and whose present one was just checked.

    All other sessions end, before the change and once more after it, for the reasons above. This one is
    replaced by a new one (OWASP ASVS 5.0, 7.2.4), so that copies of its tokens end as well.

    Raises:
        FieldErrors, TooBusyError: as `Users.set_password`; the old password still holds.
        WrongCredentialsError: somebody else changed it meanwhile.
    """
    app, session = handler.app, handler.session
    here = session.handle if session else None
    app.accounts.check_new_password(user, password)
    await app.sessions.revoke_all_sessions_for_user(user.user_id, keep=here, reason="new password")
    await app.accounts.set_password(user.user_id, password, version=user.password_version)
    app.journal.record("password changed", user_id=user.user_id)
    fresh = await handler.begin_session(
        user.user_id, method=handler.arrived_by, password_version=user.password_version + 1
    )
    await app.sessions.revoke_all_sessions_for_user(user.user_id, keep=fresh.handle, reason="new password")
