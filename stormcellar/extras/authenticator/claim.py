# SPDX-License-Identifier: MIT
"""The claim that says which factors a session has given, and whether these are all it must give.

It lies in the access token as SuperTokens' clients know it: `"st-mfa": {"c": {factor: when, in Unix seconds},
"v": whether nothing is missing}`.

Source: SuperTokens documentation, "Multi-factor authentication", MultiFactorAuthClaim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stormcellar.sessions import ClaimValidator, SessionClaim, ValidationResult
from stormcellar.sessions.claims import FetchValue, Payload

Value = dict[str, Any]
TOTP = "totp"
KEY = "st-mfa"


class SecondFactorClaim(SessionClaim[Value]):
    """The value is `{"c": ..., "v": ...}`; whatever else is in the token counts as nothing at all."""

    def __init__(self, fetch_value: FetchValue[Value]) -> None:
        super().__init__(KEY, fetch_value)

    def add_to_payload(self, payload: Payload, value: Value, now_ms: int) -> dict[str, Any]:
        return {**payload, self.key: value}

    def get_value(self, payload: Payload) -> Value | None:
        value = payload.get(self.key)
        return dict(value) if isinstance(value, Mapping) else None

    def get_last_refetch_ms(self, payload: Payload) -> int | None:
        return None

    def is_complete(self) -> ClaimValidator:
        """Holds once nothing is missing. A session for which something is asks the store again each time: the
        second factor may have been switched off on another device."""

        def holds(payload: Payload) -> bool:
            return (self.get_value(payload) or {}).get("v") is True

        def validate(payload: Payload, now_ms: int) -> ValidationResult:
            if holds(payload):
                return ValidationResult(True)
            return ValidationResult(False, {"message": "MFA requirement for auth is not satisfied"})

        return ClaimValidator(KEY, validate, self, lambda payload, _now_ms: not holds(payload))


def nothing_is_missing_elsewhere() -> ClaimValidator:
    """The rule for a server that only verifies: holds unless the token says that something is missing.

    Tokens of an API server that asks for no second factor have no such claim.
    """
    asked = SecondFactorClaim(lambda *_: None).is_complete()

    def validate(payload: Payload, now_ms: int) -> ValidationResult:
        return asked.validate(payload, now_ms) if KEY in payload else ValidationResult(True)

    return ClaimValidator(KEY, validate)


def factors_given(payload: Payload) -> dict[str, int]:
    """Each second factor that the session has given, and when (Unix seconds)."""
    value = payload.get(KEY)
    given = value.get("c") if isinstance(value, Mapping) else None
    return dict(given) if isinstance(given, Mapping) else {}
