# SPDX-License-Identifier: MIT
"""The engine's errors: one subclass wherever a caller would act differently.

    SessionError
      TryRefreshTokenError    the access token is over: renew it, then repeat the request
      UnauthorisedError       there is no session
        TokenTheftError       there was one: it was revoked because a used refresh token came back
      InvalidClaimsError      there is a session, but it may not do this
      StoreUnavailableError   nobody knows: the store, or the news of revocations, is out of reach

`status_hint` is what an HTTP layer may answer; the engine itself speaks no HTTP.
"""

from __future__ import annotations

from typing import Any

from stormcellar.errors import SessionError, StoreUnavailableError, UnusableDatabaseError
from stormcellar.sessions.events import session_hash

__all__ = [
    "InvalidClaimsError",
    "SessionError",
    "StoreUnavailableError",
    "TokenTheftError",
    "TryRefreshTokenError",
    "UnauthorisedError",
    "UnusableDatabaseError",
]


class TryRefreshTokenError(SessionError):
    """The access token is expired, outdated, or signed by a key that is no longer known."""

    message = "try refresh token"


class UnauthorisedError(SessionError):
    """No token, not a token, or a session that ended.

    `clear_tokens` tells whether the client should drop what it holds. It is false where a request
    merely came without a token: it may have started before, and arrive after, a renewal. `session_handle`
    names the session that ended, if the token is genuine; before an answer clears tokens because of it,
    `Sessions.settle` says whether the browser has been told already.
    """

    message = "unauthorised"

    def __init__(
        self, reason: str = "", *, clear_tokens: bool = True, session_handle: str | None = None
    ) -> None:
        super().__init__(reason)
        self.clear_tokens = clear_tokens
        self.session_handle = session_handle


class TokenTheftError(UnauthorisedError):
    """A refresh token came back after its successor had been used (RFC 9700, section 4.14.2).

    Two parties hold the session's tokens, so it is revoked before this is raised.
    """

    message = "token theft detected"

    def __init__(self, session_handle: str, user_id: str) -> None:
        reason = f"an old refresh token of session {session_hash(session_handle)} came back"
        super().__init__(reason, session_handle=session_handle)
        self.user_id = user_id


class InvalidClaimsError(SessionError):
    """The session is good, but claim validators refused it.

    `payload` is a list of `{"id": <validator id>, "reason": <any JSON>}`, as clients parse it.
    """

    status_hint = 403
    message = "invalid claim"

    def __init__(self, payload: list[dict[str, Any]]) -> None:
        super().__init__("refused by " + ", ".join(str(error["id"]) for error in payload))
        self.payload = payload
