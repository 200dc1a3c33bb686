# SPDX-License-Identifier: MIT
"""A new password for a mailed link, in an order that a power cut or a store out of reach cannot harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts import User

if TYPE_CHECKING:
    from server import Application


async def reset_password(app: Application, token: str, password: str) -> User:
    """Spend a token of `Users.create_password_reset` and end all sessions of its user.

    They end before the token is spent: whatever breaks off in between, either the link still works or
    nobody who came in with the old password is left. They end once more after it, for whoever signed in
    meanwhile (OWASP Forgot Password Cheat Sheet).

    Raises:
        FieldErrors, InvalidTokenError: as `Users.reset_password`; nothing has ended then.
        TooBusyError, StoreUnavailableError: to be tried again, with the same link as long as it works.
    """
    user = await app.accounts.check_password_reset(token, password)
    await app.sessions.revoke_all_sessions_for_user(user.user_id, reason="new password")
    user = await app.accounts.reset_password(token, password)
    app.journal.record("password reset", user_id=user.user_id)
    await app.limits.forgive(user.email, user.user_id)
    await app.sessions.revoke_all_sessions_for_user(user.user_id, reason="new password")
    return user
