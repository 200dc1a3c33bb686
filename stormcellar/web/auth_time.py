# SPDX-License-Identifier: MIT
"""When somebody last proved who they are: what `recent_sign_in_within_s` of a handler asks.

    class SecretsHandler(ProtectedHandler):
        recent_sign_in_within_s = 15 * 60

The time travels in the access token as `auth_time`. Signing in sets it, and so does confirming the password
at /confirm-password; renewing the session does not, however long it goes on.

Source: OpenID Connect Core 1.0, section 2 (auth_time); OWASP ASVS 5.0, 7.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stormcellar.sessions import ClaimValidator, PrimitiveClaim

CONFIRM_PASSWORD = "/confirm-password"
SENSITIVE_WITHIN_S = 15 * 60
"""How recent a sign-in must be for what can cost people their account."""


class SignInTimeClaim(PrimitiveClaim[int]):
    """Unix seconds, as a plain number."""

    def __init__(self) -> None:
        super().__init__("auth_time", lambda *_: None)

    def add_to_payload(self, payload: Mapping[str, Any], value: int, now_ms: int) -> dict[str, Any]:
        return {**payload, self.key: value}

    def get_value(self, payload: Mapping[str, Any]) -> int | None:
        value = payload.get(self.key)
        return value if isinstance(value, int) else None

    def get_last_refetch_ms(self, payload: Mapping[str, Any]) -> int | None:
        value = self.get_value(payload)
        return None if value is None else value * 1000

    def within(self, seconds: float) -> ClaimValidator:
        """A rule that holds until so long after the last proof; nothing is fetched for it."""
        return replace(self._validator(lambda _: True, {}, seconds, None), claim=None)

    def set_now(self, now_s: float) -> dict[str, Any]:
        """The update for somebody who has just proved it."""
        return self.add_to_payload({}, int(now_s), 0)


SIGN_IN_TIME = SignInTimeClaim()
