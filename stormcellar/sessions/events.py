# SPDX-License-Identifier: MIT
"""What happens to sessions, told to whoever wants to know: a log, counters, an audit trail.

Lines of logs name a session by `session_hash`. Whoever reads them can tell which lines belong together, but
cannot name the session to the engine.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

log = logging.getLogger("stormcellar.sessions")

SessionEventName = Literal["created", "rotated", "repeated", "repeated_late", "continued", "theft", "revoked"]

HASH_LENGTH = 12  # hexadecimal digits; handles are random, so nobody finds one by trying

LEVELS = {
    "rotated": logging.DEBUG,
    "repeated": logging.DEBUG,
    "continued": logging.WARNING,
    "theft": logging.ERROR,
}
SENTENCES = {
    "created": "session {session} created for user {user_id}",
    "rotated": "session {session} rotated",
    "repeated": "session {session} was given the same tokens again",
    "repeated_late": "session {session} was given another branch of tokens: an answer was lost",
    "continued": "the store has lost rotations of session {session}: going on from the client's",
    "theft": "token theft: session {session} of user {user_id} is revoked",
    "revoked": "session {session} revoked: {reason}",
}


@lru_cache(maxsize=10_000)
def session_hash(session_handle: str) -> str:
    """What stands for a session in logs: the beginning of its handle's SHA-256, in hexadecimal."""
    return hashlib.sha256(session_handle.encode(errors="replace")).hexdigest()[:HASH_LENGTH]


@dataclass(frozen=True)
class SessionEvent:
    """Something that happened to a session here.

    `rotated`, `repeated`, `repeated_late`, `continued` and `theft` are the rows of the table of refresh
    (engine.py). `time` is in Unix seconds, `reason` that of a revocation. As text it is a sentence for a log.
    """

    name: SessionEventName
    time: float
    session_handle: str = field(repr=False)
    user_id: str
    reason: str = ""

    @property
    def level(self) -> int:
        """How much it matters, as `logging` has it."""
        return LEVELS.get(self.name, logging.INFO)

    def __str__(self) -> str:
        return SENTENCES[self.name].format(
            session=session_hash(self.session_handle), user_id=self.user_id, reason=self.reason
        )


def log_event(event: SessionEvent) -> None:
    """What an engine does with its events unless it is told otherwise."""
    log.log(event.level, "%s", event)
