# SPDX-License-Identifier: MIT
"""What happens to accounts and sessions, published once.

The log, the counters (metrics.py), the audit log (audit.py) and the developer tools subscribe to `Event`.

    application.journal.record("password changed", user_id=user.user_id)

Who calls, from where and for which request is added by itself while a request is being served.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

from stormcellar.clock import Clock
from stormcellar.events.logs import current_request, escaped
from stormcellar.events.publisher import Publisher
from stormcellar.sessions.events import SessionEvent, session_hash

log = logging.getLogger("stormcellar.events")

EventName = Literal[
    "signed up",
    "signed in",
    "sign-in failed",
    "signed out",
    "session revoked",
    "session continued",
    "session renewed late",
    "theft",
    "password changed",
    "password reset",
    "reset link made",
    "factor added",
    "factor removed",
    "second factor given",
    "e-mail verified",
    "e-mail changed",
    "account locked",
    "account unlocked",
    "account deleted",
    "roles changed",
    "cross-site request refused",
    "throttled",
]

LEVELS = {
    "sign-in failed": logging.WARNING,
    "cross-site request refused": logging.WARNING,
    "throttled": logging.WARNING,
    "session continued": logging.WARNING,
    "theft": logging.ERROR,
}
MOST_DETAIL = 200  # characters
SIGNED_OUT = "signed out"  # the reason of a revocation by whose session it is


@dataclass(frozen=True)
class Event:
    """Something that happened to an account or a session. "" stands where there is nothing.

    `time` is in Unix seconds; `request_id` stands in the request's lines of the log too; `detail` is a few
    words for the operator.
    """

    name: EventName
    time: float
    user_id: str = ""
    session_handle: str = field(default="", repr=False)
    client_address: str = ""
    request_id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        known = (
            self.user_id and f"user {escaped(self.user_id)}",
            self.session_handle and f"session {session_hash(self.session_handle)}",
            self.client_address and f"from {self.client_address}",
            self.detail,
        )
        return f"{self.name}: {', '.join(filter(None, known))}"

    def fields(self) -> dict[str, str]:
        """What stands in a JSON line of the log."""
        found = {"event": self.name, "user_id": self.user_id, "detail": self.detail}
        if self.session_handle:
            found["session"] = session_hash(self.session_handle)
        if self.client_address:
            found["client_address"] = self.client_address
        return {name: text for name, text in found.items() if text}


class Journal:
    """Publishes what happens to accounts and sessions as an `Event`, with what the request adds to it."""

    def __init__(self, clock: Clock, events: Publisher) -> None:
        self._clock = clock
        self._events = events

    def record(
        self,
        name: EventName,
        *,
        user_id: str | None = None,
        session_handle: str | None = None,
        client_address: str | None = None,
        detail: str = "",
    ) -> None:
        """Note that something happened. This neither waits nor fails.

        While a request is being served, its client's address and its number are noted too, and nothing of
        them has to be given; session and user are only what the caller says.

        Args:
            name: what happened; the list is EventName, to which a new kind is added.
            user_id: whose account. For a refused sign-in, the account that was tried, if there is one.
            session_handle: which session, in clear: logs get its hash.
            client_address: IP address; None: that of the request being served.
            detail: a few words for the operator, such as a reason or the name of a limit. Never a token, a
                password, an e-mail address or a session handle. Cut to 200 characters, control characters
                escaped.
        """
        self._take(name, user_id or "", session_handle or "", client_address, detail)

    def session_event(self, event: SessionEvent) -> None:
        """Publish what the engine tells as an event of an account.

        Renewals are logged for debugging only: an active session has one an hour, so that keeping them for 90
        days would outgrow everything else.
        """
        name, detail = _named(event)
        if name is None:
            log.debug("%s", event)
        else:
            self._take(name, event.user_id, event.session_handle, None, detail)

    def _take(
        self, name: EventName, user_id: str, session_handle: str, client_address: str | None, detail: str
    ) -> None:
        handler = current_request.get()
        if client_address is None:
            client_address = handler.request.remote_ip if handler else ""
        self._events.publish(
            Event(
                name,
                self._clock.now(),
                user_id,
                session_handle,
                client_address or "",
                handler.request_id if handler else "",
                escaped(detail[:MOST_DETAIL]),
            )
        )


def log_event(event: Event) -> None:
    """Write an event to the log, as a subscriber."""
    log.log(LEVELS.get(event.name, logging.INFO), "%s", event, extra={"fields": event.fields()})


def _named(event: SessionEvent) -> tuple[EventName | None, str]:
    """What the journal calls an event of the engine, and the detail; None: it is not kept."""
    if event.name == "created":
        return "signed in", ""
    if event.name == "continued":
        return "session continued", "the store had lost its rotations"
    if event.name == "theft":
        return "theft", "two parties held tokens of the session; it is revoked"
    if event.name == "repeated_late":
        return "session renewed late", "an answer was lost, or another party has received it"
    if event.name == "revoked" and event.reason == SIGNED_OUT:
        return "signed out", ""
    if event.name == "revoked" and event.reason != "theft":  # a theft is told as such
        return "session revoked", event.reason
    return None, ""
