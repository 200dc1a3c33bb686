# SPDX-License-Identifier: MIT
"""How a visitor gets an account, for the page and for the JSON endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormcellar.accounts import EMAIL_TAKEN, FieldErrors, ThrottledError, User, WrongCredentialsError
from stormcellar.web import limits

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

SENT_TWICE_WITHIN_S = 60
CLOSED = "New accounts are not open to everyone here. Please ask the people who run this site."


class RegistrationClosedError(Exception):
    """Visitors cannot make accounts on this site (setting `registration`)."""


def check_open(handler: BaseHandler) -> None:
    """Raise RegistrationClosedError if only operators make accounts."""
    if handler.app.options.registration == "closed":
        raise RegistrationClosedError(CLOSED)


async def sign_up(handler: BaseHandler, email: str, password: str) -> User:
    """Make an account.

    Raises:
        RegistrationClosedError: see `check_open`.
        FieldErrors, ThrottledError, TooBusyError: as `limits.signing_up` and `Users.sign_up`.
    """
    check_open(handler)
    async with limits.signing_up(handler):
        return await _sign_up(handler, email, password)


async def sign_up_once(handler: BaseHandler, email: str, password: str) -> tuple[User, bool]:
    """Make an account, or find that the same form has just made it; returns it, and whether it is new.

    Both answers to a form that is sent twice within a minute show that it worked. The second one is a
    sign-in, with the limits of a sign-in.

    Raises:
        RegistrationClosedError, FieldErrors, ThrottledError, TooBusyError: as `sign_up`.
    """
    check_open(handler)
    async with limits.signing_up(handler):
        try:
            return await _sign_up(handler, email, password), True
        except FieldErrors as error:
            is_taken = error.errors.get("email") == EMAIL_TAKEN
            known = await _just_signed_up(handler, email, password) if is_taken else None
            if known is None:
                raise
            return known, False


async def _sign_up(handler: BaseHandler, email: str, password: str) -> User:
    user = await handler.app.accounts.sign_up(email, password)
    handler.app.journal.record("signed up", user_id=user.user_id)
    return user


async def _just_signed_up(handler: BaseHandler, email: str, password: str) -> User | None:
    user = await handler.app.accounts.get_by_email(email)
    now_ms = handler.app.sessions.now_ms()
    if user is None or now_ms - user.created_at_ms > 1000 * SENT_TWICE_WITHIN_S:
        return None
    try:
        return await limits.sign_in(handler, email, password)
    except (FieldErrors, WrongCredentialsError, ThrottledError):
        return None
