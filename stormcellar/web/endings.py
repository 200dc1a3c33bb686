# SPDX-License-Identifier: MIT
"""Tell users which of their sessions have ended, and why, from the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stormcellar.web.why_ended import word_of

if TYPE_CHECKING:
    from stormcellar.events.audit import AuditEvent, AuditLog

LOOKED_BACK_S = 30 * 86400
MOST = 10
SENTENCES = {
    "device": "You ended this session from another one.",
    "password": "The password of your account was changed.",
    "administrator": "An administrator ended this session.",
    "theft": "Two browsers used this session, so someone may have copied its cookies. It was ended at once. "
    "If this was not you, change your password.",
}
"""For each word of why_ended.py that users ask about. Sessions also end because nobody used them."""


@dataclass(frozen=True)
class Ending:
    """The end of a session.

    Attributes:
        at: when, in Unix seconds.
        sentence: why.
        is_theft: whether another party had its tokens.
        began_at: when it began, in Unix seconds; None if that is not known any more.
        address: the IP address where it began; "" if that is not known.
    """

    at: float
    sentence: str
    is_theft: bool
    began_at: float | None
    address: str


async def recent_endings(audit: AuditLog, user_id: str, now: float) -> Sequence[Ending]:
    """Return the last sessions of a user that ended for a reason that the user should know, the newest first.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    since = now - LOOKED_BACK_S
    thefts = await audit.events(user_id=user_id, name="theft", since=since, limit=MOST)
    revoked = await audit.events(user_id=user_id, name="session revoked", since=since, limit=5 * MOST)
    told = [(event, "theft") for event in thefts]
    told += [(event, word) for event in revoked if (word := word_of(event.detail)) in SENTENCES]
    told.sort(key=lambda one: one[0].event_id, reverse=True)
    return [await _ending(audit, event, word) for event, word in told[:MOST]]


async def _ending(audit: AuditLog, event: AuditEvent, word: str) -> Ending:
    begun = await audit.events(session_handle=event.session_handle, name="signed in", limit=1)
    return Ending(
        event.time,
        SENTENCES[word],
        word == "theft",
        begun[0].time if begun else None,
        begun[0].client_address if begun else "",
    )
