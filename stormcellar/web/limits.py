# SPDX-License-Identifier: MIT
"""What handlers do about guessing and flooding: each function stands around, or before, what it limits.

All of them raise ThrottledError, which `BaseHandler.write_error` answers with 429, Retry-After and a
sentence. docs/limits.md has the figures, stormcellar/accounts/limits.py the rules.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from stormcellar.accounts import EmailError, User, normalise_email
from stormcellar.web.proxies import client_network

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler


async def sign_in(handler: BaseHandler, email: str, password: str) -> User:
    """The user to whom these belong.

    Raises:
        FieldErrors, WrongCredentialsError, TooBusyError: as `Users.sign_in`.
        ThrottledError: too many failures, by the account or by the client.
    """
    app = handler.app
    known_client = await _known_client(handler, email)

    async def attempt() -> User:
        async with app.limits.signing_in(email, _client(handler), known_client):
            return await app.accounts.sign_in(email, password)

    kind = "stranger" if known_client is None else "known client"
    return await app.limits.once(["sign-in", kind, email, password], attempt)


async def confirm_password(handler: BaseHandler, user_id: str, email: str, password: str) -> User:
    """The same for somebody who is signed in: strangers who guess at the account do not get in the way.

    Raises:
        FieldErrors, WrongCredentialsError, TooBusyError: as `Users.sign_in`.
        ThrottledError: too many failures of people who were signed in to this account.
    """
    app = handler.app

    async def attempt() -> User:
        async with app.limits.confirming(user_id):
            return await app.accounts.sign_in(email, password)

    return await app.limits.once(["confirmation", user_id, email, password], attempt)


def signing_up(handler: BaseHandler) -> AbstractAsyncContextManager[None]:
    """Around the making of an account.

    Raises:
        ThrottledError: too many accounts were made, or addresses tried, by this client.
    """
    return handler.app.limits.signing_up(_client(handler))


def passkey(handler: BaseHandler) -> AbstractAsyncContextManager[None]:
    """Around the check of a passkey by which somebody signs in.

    Raises:
        ThrottledError: too many passkeys of this client were refused.
    """
    return handler.app.limits.using_passkey(_client(handler))


async def look_up(handler: BaseHandler) -> None:
    """Somebody asks whether an address is taken."""
    await handler.app.limits.look_up(_client(handler))


async def reset_mail(handler: BaseHandler, email: str) -> None:
    """Somebody asks for a link for a new password."""
    await handler.app.limits.reset_mail(email, _client(handler))


async def verification_mail(handler: BaseHandler, user_id: str) -> None:
    """Somebody who is signed in asks for a link to confirm an address."""
    await handler.app.limits.verification_mail(user_id, _client(handler))


def remember_client(handler: BaseHandler, user: User) -> None:
    """A user has signed in: the browser is known for this account from now on.

    Clients that take their tokens in headers keep no cookies.
    """
    in_header = handler.speaks_json and handler.transfer.method_for_new_session() == "header"
    if in_header or not handler.app.options.rate_limits:
        return
    known = handler.app.known_clients
    cookie = handler.transfer.cookie(known.name)
    value = known.after_sign_in(cookie, normalise_email(user.email), user.password_version)
    if value is not None:
        handler.set_cookie(
            known.name,
            value,
            expires=known.expires_at,
            httponly=True,
            secure=known.secure,
            samesite=known.same_site,
        )


def _client(handler: BaseHandler) -> str:
    return client_network(handler.request.remote_ip or "")


async def _known_client(handler: BaseHandler, email: str) -> str | None:
    known = handler.app.known_clients
    cookie = handler.transfer.cookie(known.name)
    if cookie is None:
        return None
    user = await handler.app.accounts.get_by_email(email)
    try:
        return known.id_for(cookie, normalise_email(email), user.password_version if user else 0)
    except EmailError:
        return None
