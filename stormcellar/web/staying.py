# SPDX-License-Identifier: MIT
"""Decides whether a new session ends with the browser: the setting and the checkbox at sign-in say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

FIELD = "keep_signed_in"
"""A hidden field "no", then the checkbox "yes". Callers that send neither stay signed in."""


def asks(handler: BaseHandler) -> bool:
    """Whether the sign-in form has the checkbox."""
    return handler.app.options.keep_signed_in == "ask"


def is_checked(handler: BaseHandler) -> bool:
    """Whether the checkbox is checked, at first and when the form is shown again."""
    return handler.get_body_argument(FIELD, "yes") != "no"


async def is_temporary(handler: BaseHandler, user_id: str) -> bool:
    """Whether the session that begins now is a temporary one.

    A form without the checkbox, such as that for a new password, goes on as the user's present session does.
    """
    mode, session = handler.app.options.keep_signed_in, handler.session
    if mode != "ask":
        return mode == "never"
    if FIELD in handler.request.body_arguments:
        return not is_checked(handler)
    if session is not None and session.user_id == user_id:
        return await handler.app.sessions.is_temporary(session.handle)
    return False
