# SPDX-License-Identifier: MIT
"""Session claims: facts about a user that travel in the access token, and the rules that judge them.

A claim lies at the root of the payload as `{"<key>": {"v": value, "t": when it was fetched, in ms}}`.
A validator judges by the payload alone; where it would find the claim missing or too old, the claim is
fetched again first. What a failed validator says goes to the browser as it is, in a 403: SuperTokens'
clients know these ids and reasons.

Times are Unix milliseconds (`now_ms`), maximum ages seconds (`max_age_s`; None: any age will do).

Source: SuperTokens documentation, https://supertokens.com/docs/additional-verification/session-verification/claim-validation
(the exact reasons are those of supertokens-node's and supertokens-website's claim classes).
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

T = TypeVar("T")
P = TypeVar("P", bound="str | int | float")  # a JSON primitive; bool is an int

Payload = Mapping[str, Any]
FetchValue = Callable[[str, str, Payload], Awaitable[T | None] | T | None]
"""(user_id, tenant_id, current payload) -> the value as JSON, or None: there is none. Sync or async."""

PROTECTED_CLAIMS = frozenset({
    "iss", "sub", "rsub", "tId", "iat", "nbf", "exp", "stt", "sessionHandle", "antiCsrfToken",
    "refreshTokenHash1", "parentRefreshTokenHash1", "sc-gen", "sc-br", "sc-ver",
})  # fmt: skip
"""Names in the payload that belong to the engine. An application can neither set nor remove them."""


def strip_protected(payload: Payload) -> dict[str, Any]:
    """The application's own part of a payload."""
    return {name: value for name, value in payload.items() if name not in PROTECTED_CLAIMS}


def merge_payload(payload: Payload, update: Payload) -> dict[str, Any]:
    """A copy of `payload` with `update` laid over it, at the root only; None removes a name.

    None for a name of PROTECTED_CLAIMS is ignored, as SuperTokens' backend SDKs do.

    Raises:
        ValueError: the update sets a name of PROTECTED_CLAIMS.
    """
    update = {name: value for name, value in update.items() if not _is_ignored(name, value)}
    if offending := sorted(PROTECTED_CLAIMS & update.keys()):
        raise ValueError(
            f"these names in the access token belong to the session engine: {', '.join(offending)}"
        )
    merged = {**payload, **update}
    return {name: value for name, value in merged.items() if value is not None or name not in update}


def _is_ignored(name: str, value: Any) -> bool:
    return value is None and name in PROTECTED_CLAIMS


@dataclass(frozen=True)
class ValidationResult:
    """What a validator found. `reason` is any JSON or None; the browser sees it if `valid` is False."""

    valid: bool
    reason: Any = None


def _never(payload: Payload, now_ms: int) -> bool:
    return False


@dataclass(frozen=True)
class ClaimValidator:
    """One rule a payload must keep. A rule of one's own is a function and a name for it:

        def adult(payload, now_ms): return ValidationResult(payload.get("age", 0) >= 18, "adults only")
        adults_only = ClaimValidator("adult", adult)

    `claim` is fetched again before judging if `should_refetch` says so. Both functions must not do I/O.
    """

    id: str
    validate: Callable[[Payload, int], ValidationResult]  # (payload, now_ms)
    claim: "SessionClaim[Any] | None" = None
    should_refetch: Callable[[Payload, int], bool] = _never  # (payload, now_ms)


class SessionClaim(Generic[T]):
    """A fact about a user, kept in the payload under `key`.

    A claim with another layout than v and t overrides add_to_payload, get_value and get_last_refetch_ms.

    Raises:
        ValueError: `key` is a protected name.
    """

    def __init__(self, key: str, fetch_value: FetchValue[T]) -> None:
        if key in PROTECTED_CLAIMS:
            raise ValueError(f"a claim cannot be called {key}: the name belongs to the session engine")
        self.key = key
        self.fetch_value = fetch_value

    async def build(self, user_id: str, tenant_id: str, payload: Payload, now_ms: int) -> dict[str, Any]:
        """Fetch the value; returns the update to merge into the payload, empty if there is no value.

        Errors of `fetch_value` pass through: "cannot be fetched" must not be taken for "is absent".
        """
        fetched = self.fetch_value(user_id, tenant_id, payload)
        value = await fetched if inspect.isawaitable(fetched) else fetched
        return {} if value is None else self.add_to_payload({}, value, now_ms)

    def add_to_payload(self, payload: Payload, value: T, now_ms: int) -> dict[str, Any]:
        """A copy of the payload with this value in it; with `{}`, the update that sets it."""
        return {**payload, self.key: {"v": value, "t": now_ms}}

    def remove_from_payload(self) -> dict[str, None]:
        """The update that removes this claim when merged."""
        return {self.key: None}

    def get_value(self, payload: Payload) -> T | None:
        return self._entry(payload).get("v")

    def get_last_refetch_ms(self, payload: Payload) -> int | None:
        fetched_at = self._entry(payload).get("t")
        return fetched_at if type(fetched_at) is int else None  # true is an int in Python

    def _entry(self, payload: Payload) -> Payload:
        entry = payload.get(self.key)
        return entry if isinstance(entry, Mapping) else {}

    def _age_s(self, payload: Payload, now_ms: int) -> float:
        """Seconds since the fetch. Without a time it counts as 1970's: too old for any maximum age."""
        return (now_ms - (self.get_last_refetch_ms(payload) or 0)) / 1000

    def _validator(
        self,
        holds: Callable[[T], bool],
        expected: dict[str, Any],
        max_age_s: float | None,
        id: str | None,
        *,
        expected_if_missing: dict[str, Any] | None = None,
    ) -> ClaimValidator:
        """What all validators share: missing, then too old, then wrong; `expected` is part of the reason."""

        def too_old(payload: Payload, now_ms: int) -> bool:
            return max_age_s is not None and self._age_s(payload, now_ms) > max_age_s

        def should_refetch(payload: Payload, now_ms: int) -> bool:
            return self.get_value(payload) is None or too_old(payload, now_ms)

        def validate(payload: Payload, now_ms: int) -> ValidationResult:
            value = self.get_value(payload)
            reason: dict[str, Any]
            if value is None:
                # Without actualValue: undefined does not appear in the JSON that Node writes.
                reason = {"message": "value does not exist", **(expected_if_missing or expected)}
            elif too_old(payload, now_ms):
                age_s = self._age_s(payload, now_ms)
                reason = {"message": "expired", "ageInSeconds": age_s, "maxAgeInSeconds": max_age_s}
            elif not holds(value):
                reason = {"message": "wrong value", **expected, "actualValue": value}
            else:
                return ValidationResult(True)
            return ValidationResult(False, reason)

        return ClaimValidator(self.key if id is None else id, validate, self, should_refetch)


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does, at every depth: true is not 1, which Python holds equal, but 1.0 is 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class PrimitiveClaim(SessionClaim[P]):
    """A claim whose value is one string, number or boolean."""

    def has_value(self, value: P, max_age_s: float | None = None, id: str | None = None) -> ClaimValidator:
        return self._validator(lambda actual: _same(actual, value), {"expectedValue": value}, max_age_s, id)


class BooleanClaim(PrimitiveClaim[bool]):
    def is_true(self, max_age_s: float | None = None, id: str | None = None) -> ClaimValidator:
        return self.has_value(True, max_age_s, id)

    def is_false(self, max_age_s: float | None = None, id: str | None = None) -> ClaimValidator:
        return self.has_value(False, max_age_s, id)


def _listed(values: Collection[P]) -> list[P]:
    if isinstance(values, str):  # excludes_all("banned") would ask for six letters, and hold
        raise TypeError(f"a list of values is needed, not the single string {values!r}")
    return list(values)


class PrimitiveArrayClaim(SessionClaim[list[P]]):
    """A claim whose value is a list of strings, numbers or booleans; any other value counts as missing."""

    def get_value(self, payload: Payload) -> list[P] | None:
        value = super().get_value(payload)
        return value if isinstance(value, list) else None

    def add_to_payload(self, payload: Payload, value: Collection[P], now_ms: int) -> dict[str, Any]:
        return super().add_to_payload(payload, _listed(value), now_ms)

    def includes(self, value: P, max_age_s: float | None = None, id: str | None = None) -> ClaimValidator:
        return self._validator(_has_all([value]), {"expectedToInclude": value}, max_age_s, id)

    def excludes(self, value: P, max_age_s: float | None = None, id: str | None = None) -> ClaimValidator:
        return self._validator(_has_none([value]), {"expectedToNotInclude": value}, max_age_s, id)

    def includes_all(
        self, values: Collection[P], max_age_s: float | None = None, id: str | None = None
    ) -> ClaimValidator:
        wanted = _listed(values)
        return self._validator(_has_all(wanted), {"expectedToInclude": wanted}, max_age_s, id)

    def excludes_all(
        self, values: Collection[P], max_age_s: float | None = None, id: str | None = None
    ) -> ClaimValidator:
        unwanted = _listed(values)
        return self._validator(_has_none(unwanted), {"expectedToNotInclude": unwanted}, max_age_s, id)

    def includes_any(
        self, values: Collection[P], max_age_s: float | None = None, id: str | None = None
    ) -> ClaimValidator:
        wanted = _listed(values)
        return self._validator(
            lambda actual: not _has_none(wanted)(actual),
            {"expectedToIncludeAtLeastOneOf": wanted},
            max_age_s,
            id,
            # For a missing claim supertokens-node says expectedToNotInclude, the opposite of what is meant;
            # their frontend says expectedToInclude, and so do we.
            expected_if_missing={"expectedToInclude": wanted},
        )


def _has_all(wanted: list[Any]) -> Callable[[list[Any]], bool]:
    return lambda actual: all(any(_same(item, value) for item in actual) for value in wanted)


def _has_none(unwanted: list[Any]) -> Callable[[list[Any]], bool]:
    return lambda actual: not any(_same(item, value) for item in actual for value in unwanted)


class EmailVerificationClaim(BooleanClaim):
    """Is the user's e-mail address verified? On this id SuperTokens' clients show their verification page."""

    def __init__(self, fetch_value: FetchValue[bool]) -> None:
        super().__init__("st-ev", fetch_value)

    def is_verified(
        self, refetch_time_on_false_s: float = 10, max_age_s: float | None = None
    ) -> ClaimValidator:
        """As is_true, but false is believed for `refetch_time_on_false_s` only.

        The address may have been verified in another browser, which changes nothing in this one's token.
        """
        is_true = self.is_true(max_age_s)

        def should_refetch(payload: Payload, now_ms: int) -> bool:
            unverified = self.get_value(payload) is not True
            doubtful = unverified and self._age_s(payload, now_ms) > refetch_time_on_false_s
            return doubtful or is_true.should_refetch(payload, now_ms)

        return replace(is_true, should_refetch=should_refetch)


class UserRoleClaim(PrimitiveArrayClaim[str]):
    """The names of the user's roles."""

    def __init__(self, fetch_value: FetchValue[list[str]]) -> None:
        super().__init__("st-role", fetch_value)


class PermissionClaim(PrimitiveArrayClaim[str]):
    """The names of all that the user's roles permit."""

    def __init__(self, fetch_value: FetchValue[list[str]]) -> None:
        super().__init__("st-perm", fetch_value)


async def validate_claims(
    validators: Iterable[ClaimValidator], payload: Payload, *, user_id: str, tenant_id: str, now_ms: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fetch again what the validators ask for, each claim at most once, then let every one of them judge.

    `payload` itself is not changed. Errors of a claim's `fetch_value` or of a validator pass through.

    Returns:
        An update of the payload, which must be merged and stored whatever they found, and `{"id"}` or
        `{"id", "reason"}` of every validator that refused; if none did, the session may pass.

    Raises:
        ValueError: a claim's update contains a protected name.
    """
    validators = list(validators)
    working, update, fetched = payload, dict[str, Any](), set[str]()
    for validator in validators:
        claim = validator.claim
        if claim and claim.key not in fetched and validator.should_refetch(working, now_ms):
            fetched.add(claim.key)
            built = await claim.build(user_id, tenant_id, working, now_ms)
            working = merge_payload(working, built)
            update |= built
    errors = [
        {"id": validator.id} if result.reason is None else {"id": validator.id, "reason": result.reason}
        for validator in validators
        if not (result := validator.validate(working, now_ms)).valid
    ]
    changes = {name: value for name, value in update.items() if _json(value) != _json(payload.get(name))}
    return changes, errors


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
