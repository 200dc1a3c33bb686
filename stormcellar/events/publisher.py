# SPDX-License-Identifier: MIT
"""Hand events to those who have subscribed to their type.

    events.subscribe(SessionEvent, live.hear)
    events.publish(SessionEvent("revoked", now, handle, user_id, reason))

An event is a frozen dataclass. What publishes it does not know its subscribers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E")


class Publisher:
    """The events of one application, and their subscribers."""

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Callable[[Any], object]]] = {}

    def subscribe(self, kind: type[E], hear: Callable[[E], object]) -> None:
        """Have a function called with each event of exactly this type, after those that subscribed before."""
        self._subscribers.setdefault(kind, []).append(hear)

    def publish(self, event: object) -> None:
        """Call the subscribers of the event's type, one after the other. What one raises ends the round."""
        for hear in self._subscribers.get(type(event), ()):
            hear(event)
