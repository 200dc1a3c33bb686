# SPDX-License-Identifier: MIT
"""Decides which cookies the answer clears when a session has ended, or when no token of ours came.

    the session ended elsewhere, and no answer has told its browser   clear; say why on the sign-in page
    the browser signed out or signed in again, or was told already    clear nothing
    cookies with our names came, and none has our issuer              clear no cookie: they are another site's
    nothing of a session came                                         clear no cookie: a tab may be signing in
    anything else, as a forged token or one whose key is gone         clear

A browser cannot clear a cookie that another host set for a parent domain. So after a refused refresh whose
cookies may stay, the server remembers them in the cookie `sRefreshRefused`: with these cookies the visitor
counts as a guest, and no page asks for another refresh until they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormcellar.sessions import TokenTheftError, UnauthorisedError
from stormcellar.sessions.feed import REPLACED
from stormcellar.web import why_ended

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler


async def hear_news(handler: BaseHandler, error: UnauthorisedError) -> None:
    """Ask what other processes have answered about the session, before an answer clears tokens."""
    if error.clear_tokens and error.session_handle is not None:
        await handler.app.sessions.feed.hear_news()


def clear_tokens(handler: BaseHandler, error: UnauthorisedError) -> bool:
    """Have the client clear its tokens, if this error asks for it. Returns whether it must."""
    if not error.clear_tokens:
        return False
    is_theft = isinstance(error, TokenTheftError)  # two browsers hold the session; the other one must be told
    if error.session_handle is not None and not is_theft:
        if not handler.app.sessions.settle(error.session_handle):
            return False
    elif not is_theft and (
        handler.transfer.holds_nothing()
        or handler.transfer.holds_only_foreign(handler.app.sessions.recognises)
    ):
        handler.transfer.clear("header")
        return False
    handler.transfer.clear()
    if error.session_handle is not None:
        why_ended.remember(handler, error.session_handle)
    return True


async def refuse_refresh(handler: BaseHandler, error: UnauthorisedError) -> None:
    """Prepare the answer to a refused refresh."""
    await hear_news(handler, error)
    is_cleared = clear_tokens(handler, error)
    if not is_cleared or error.session_handle is None:
        handler.transfer.remember_refusal()
    error.clear_tokens = False  # that is decided now


def asks_again(handler: BaseHandler, error: UnauthorisedError) -> bool:
    """Whether the client repeats a refused refresh: the browser has signed in again in the meantime.

    A 401 would make SuperTokens' clients drop what they know of the new session.
    """
    reason = handler.app.sessions.feed.reasons.get(error.session_handle or "")
    return reason == REPLACED and handler.transfer.ask_again()
