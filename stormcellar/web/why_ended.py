# SPDX-License-Identifier: MIT
"""Tells on the sign-in page in one sentence why a session ended, if it ended elsewhere.

The answer that clears the tokens leaves a cookie with one of the words below, for some minutes. A browser
gets it only for a genuine token of the session. For each word the page has a sentence of its own, so no text
from outside is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

KEPT_S = 300
SENTENCES = {
    "device": "You were signed out on another device.",
    "password": "You were signed out because the password of your account was changed.",
    "theft": "You were signed out because someone else may have used your session. "
    "If you see anything unusual, change your password.",
    "administrator": "You were signed out by an administrator.",
    "over": "Your session has ended: it was not used for a long time, or it was ended elsewhere.",
}
_WORDS = {
    "ended by its user": "device",
    "new password": "password",
    "locked or new password": "password",
    "theft": "theft",
    "command line": "administrator",
}


def remember(handler: BaseHandler, session_handle: str) -> None:
    """Leave the reason for the sign-in page."""
    reason = handler.app.sessions.feed.reasons.get(session_handle, "")
    handler.transfer.leave_notice(word_of(reason), KEPT_S)


def word_of(reason: str) -> str:
    """Return the word for the reason of a revocation."""
    return "administrator" if reason.startswith("by administrator") else _WORDS.get(reason, "over")


def sentence(handler: BaseHandler) -> str:
    """The sentence for this visitor; "" if there is none."""
    return SENTENCES.get(handler.transfer.cookie(handler.app.jar.notice) or "", "")


def forget(handler: BaseHandler) -> None:
    """Remove the reason: the visitor has signed in again."""
    if handler.transfer.cookie(handler.app.jar.notice):
        handler.transfer.clear_notice()
