# SPDX-License-Identifier: MIT
"""The errors that every part of the kit may raise."""

from __future__ import annotations


class SessionError(Exception):
    """Base of the engine's errors; never raised itself."""

    status_hint = 401
    message = ""

    def __init__(self, reason: str = "") -> None:
        """`reason` is for logs and developers; `message` is what the wire protocol says."""
        super().__init__(reason or self.message)


class StoreUnavailableError(SessionError):
    """The store does not answer, or this process has never heard the revocation feed.

    Nothing is known about the session, so no token may be cleared because of it.
    """

    status_hint = 503
    message = "temporarily unavailable"
    retry_after_s = 2


class UnusableDatabaseError(StoreUnavailableError):
    """The database cannot be used as it is. Another attempt fails too until the operator changes it."""
