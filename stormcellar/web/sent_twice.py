# SPDX-License-Identifier: MIT
"""Forms that a browser sends twice, as by a double click. The second answer shows that the first one worked.

The second request proves that it is the same as the first: it carries the same mailed token and comes from
the same browser, or it carries the password that has just become the account's. It gets nothing that its
sender could not get by signing in. The JSON endpoints have no such rule: a script knows what it has sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormcellar.accounts import FieldErrors, InvalidTokenError, ThrottledError, User, WrongCredentialsError
from stormcellar.web import limits
from stormcellar.web.new_password import reset_password

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

WITHIN_S = 60


async def reset_password_once(handler: BaseHandler, token: str, password: str) -> User:
    """Reset a password, or find that the same form has just done so; returns the user.

    If the user is signed in here, the browser drops the tokens of that session, which has ended.

    Raises:
        FieldErrors, InvalidTokenError, TooBusyError: as `reset_password`.
    """
    try:
        user = await reset_password(handler.app, token, password)
    except InvalidTokenError:
        known = await handler.app.accounts.just_spent(token, "reset_password", password)
        if known is None:
            raise
        user = known
    if handler.session is not None and handler.session.user_id == user.user_id:
        handler.session = None
        handler.transfer.clear()
    return user


async def verify_email_once(handler: BaseHandler, token: str) -> User:
    """Verify an address, or find that the same form has just done so; returns the user.

    Raises:
        InvalidTokenError: as `Users.verify_email`.
    """
    accounts, browser = handler.app.accounts, await browser_of(handler)
    try:
        user = await accounts.verify_email(token, sent_from=browser)
    except InvalidTokenError:
        known = await accounts.just_spent(token, "verify_email", browser)
        if known is None:
            raise
        return known
    handler.app.journal.record("e-mail verified", user_id=user.user_id)
    return user


async def change_email_once(handler: BaseHandler, token: str) -> tuple[str, str]:
    """Change an address, or find that the same form has just done so; returns user ID and new address.

    Raises:
        InvalidTokenError: as `Users.change_email`.
    """
    accounts, browser = handler.app.accounts, await browser_of(handler)
    try:
        change = await accounts.change_email(token, sent_from=browser)
    except InvalidTokenError:
        known = await accounts.just_spent(token, "change_email", browser)
        if known is None:
            raise
        return known.user_id, known.email
    handler.app.journal.record("e-mail changed", user_id=change.user.user_id)
    await handler.app.mails.post(change.user.email, "email_changed", new_email=change.new_email)
    return change.user.user_id, change.new_email


async def tell_session_of_email(handler: BaseHandler, user_id: str) -> bool:
    """Write into the session of this browser that the address is confirmed; False: it is not this user's."""
    if handler.session is None or handler.session.user_id != user_id:
        return False
    if handler.app.options.email_verification != "off":
        await handler.session.fetch_and_set_claim(handler.app.account_claims.email_verified)
    return True


async def browser_of(handler: BaseHandler) -> str:
    """Name the browser that sent a form, by the session that it has or had; "" for a browser without one."""
    token = handler.transfer.cookie(handler.app.jar.access)
    return (await handler.app.sessions.handle_of(token) if token else None) or ""


async def has_just_changed_password(handler: BaseHandler, password: str) -> User | None:
    """Return the user of the access token that came, if this is the password since less than a minute.

    The session may be over: the first of two equal forms has replaced it.
    """
    user_id = await _owner_of_token(handler)
    user = await handler.app.accounts.get(user_id) if user_id is not None else None
    changed_at_ms = user.password_changed_at_ms if user else None
    if user is None or changed_at_ms is None:
        return None
    if handler.app.sessions.now_ms() - changed_at_ms > 1000 * WITHIN_S:
        return None
    return user if await _is_password_of(handler, user, password) else None


async def has_just_been_deleted(handler: BaseHandler) -> bool:
    """Tell whether a genuine access token came whose account is gone."""
    user_id = await _owner_of_token(handler)
    return user_id is not None and await handler.app.accounts.get(user_id) is None


async def _owner_of_token(handler: BaseHandler) -> str | None:
    token = handler.transfer.cookie(handler.app.jar.access)
    return await handler.app.sessions.user_of(token) if token else None


async def _is_password_of(handler: BaseHandler, user: User, password: str) -> bool:
    try:
        found = await limits.sign_in(handler, user.email, password)
    except (FieldErrors, WrongCredentialsError, ThrottledError):
        return False
    return found.user_id == user.user_id
