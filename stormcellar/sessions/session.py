# SPDX-License-Identifier: MIT
"""A session, as a handler holds it, and the tokens that go to its client."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from stormcellar.sessions.access_token import AccessToken
from stormcellar.sessions.claims import ClaimValidator, SessionClaim
from stormcellar.sessions.session_store import to_json

if TYPE_CHECKING:
    from stormcellar.sessions.engine import Sessions
    from stormcellar.sessions.remote import RemoteSessions

T = TypeVar("T")


@dataclass(frozen=True)
class Tokens:
    """What a client must be given after a session was created, refreshed or changed.

    `refresh_token` and `anti_csrf_token` are None where only the access token was issued anew. Times are
    Unix seconds. A session's cookies live until `refresh_token_expires_at`, those of a `temporary` session
    until the browser is closed.
    """

    access_token: str = field(repr=False)
    access_token_expires_at: int
    front_token: str = field(repr=False)
    refresh_token_expires_at: float
    refresh_token: str | None = field(default=None, repr=False)
    anti_csrf_token: str | None = field(default=None, repr=False)
    temporary: bool = False


@dataclass(frozen=True)
class SessionInformation:
    """A session as the store knows it. `expiry` and the times are in Unix milliseconds.

    `time_refreshed` is that of the last rotation, or of the beginning; for `created_from` and
    `refreshed_from` see `Sessions.create_new_session`.
    """

    session_handle: str
    user_id: str
    recipe_user_id: str
    tenant_id: str
    session_data_in_database: dict[str, Any]
    custom_claims_in_access_token_payload: dict[str, Any]
    expiry: int
    time_created: int
    time_refreshed: int
    created_from: str
    refreshed_from: str


def front_token(payload: Mapping[str, Any]) -> str:
    """What scripts may read of a session: padded standard base64 of JSON, `ate` in milliseconds.

    Source: SuperTokens' frontend driver interface; its clients read no other alphabet.
    """
    content = {"uid": payload["sub"], "ate": payload["exp"] * 1000, "up": payload}
    return base64.b64encode(to_json(content).encode()).decode()


def copy_of_json(value: Any) -> Any:
    """A copy of what came from JSON, all the way down; much faster than copy.deepcopy."""
    if type(value) is dict:
        return {name: copy_of_json(part) for name, part in value.items()}
    return [copy_of_json(part) for part in value] if type(value) is list else value


class Session:
    """The session of one request.

    What needs no I/O is an attribute and comes from the verified access token; whatever asks the store is
    a coroutine. Coroutines that ask for this session raise `UnauthorisedError` when it is gone.

    Attributes:
        user_id, handle, tenant_id: whose session, which one, and of which tenant.
        access_token_payload: all claims of the access token, the engine's own among them.
        issued_at, expires_at: of the access token, Unix seconds.
        new_tokens: tokens that the client has not got yet; the HTTP layer sends them.
        repeated: whether a refresh gave the same tokens before: to another tab, in an answer that was lost,
            or to a browser that did not keep them.
        revoked: whether it was revoked through this object.
        clears_tokens: whether the answer must clear the client's tokens, because it was revoked here.
        token: the verified token behind this object, for the engine.
    """

    __slots__ = ("_engine", "_payload", "clears_tokens", "new_tokens", "repeated", "revoked", "token")

    def __init__(
        self, engine: Sessions | RemoteSessions, token: AccessToken, new_tokens: Tokens | None = None
    ) -> None:
        self._engine = engine
        self.token = token
        self._payload: dict[str, Any] | None = None
        self.new_tokens = new_tokens
        self.repeated = False
        self.revoked = False
        self.clears_tokens = False

    @property
    def user_id(self) -> str:
        return self.token.user_id

    @property
    def recipe_user_id(self) -> str:
        return str(self.token.payload.get("rsub", self.token.user_id))

    @property
    def handle(self) -> str:
        return self.token.handle

    @property
    def tenant_id(self) -> str:
        return self.token.tenant_id

    @property
    def access_token_payload(self) -> dict[str, Any]:
        if self._payload is None:  # a copy: the token is remembered, and serves other requests too
            self._payload = copy_of_json(self.token.payload)
        return self._payload

    @property
    def issued_at(self) -> int:
        return self.token.issued_at

    @property
    def expires_at(self) -> int:
        return self.token.expires_at

    async def revoke(self, *, reason: str = "revoked") -> None:
        """End this session, here and everywhere. Ending an ended one does no harm."""
        self.clears_tokens |= await self._engine.end_in_browser(self.handle, reason=reason)
        self.revoked = True
        self.new_tokens = None

    async def merge_into_access_token_payload(self, update: Mapping[str, Any]) -> None:
        """Lay `update` over the claims; None removes one. The client gets a new access token.

        Raises:
            ValueError: the update names a claim of the engine's own, or makes the token too large for a
                cookie; nothing is stored then.
        """
        await self._engine.change_payload_of(self, update)

    async def fetch_and_set_claim(self, claim: SessionClaim[Any]) -> None:
        update = await claim.build(
            self.user_id, self.tenant_id, self.access_token_payload, self._engine.now_ms()
        )
        await self.merge_into_access_token_payload(update)

    async def set_claim_value(self, claim: SessionClaim[T], value: T) -> None:
        await self.merge_into_access_token_payload(claim.add_to_payload({}, value, self._engine.now_ms()))

    async def remove_claim(self, claim: SessionClaim[Any]) -> None:
        await self.merge_into_access_token_payload(claim.remove_from_payload())

    def get_claim_value(self, claim: SessionClaim[T]) -> T | None:
        """The value in this request's token."""
        return claim.get_value(self.access_token_payload)

    async def assert_claims(self, validators: Iterable[ClaimValidator]) -> None:
        """Fetch again what is stale, then judge.

        Raises:
            InvalidClaimsError: with every validator that refused.
        """
        await self._engine.assert_claims(self, validators)

    async def get_session_data_from_database(self) -> dict[str, Any]:
        return (await self._information()).session_data_in_database

    async def update_session_data_in_database(self, data: Mapping[str, Any]) -> None:
        """Replace the data that the store keeps with this session; it never reaches the client."""
        if not await self._engine.update_session_data_in_database(self.handle, data, owner=self.user_id):
            raise self._engine.session_is_gone(self.handle)

    async def get_time_created(self) -> int:
        """Unix milliseconds."""
        return (await self._information()).time_created

    async def get_expiry(self) -> int:
        """When the session ends unless it is refreshed, in Unix milliseconds."""
        return (await self._information()).expiry

    async def _information(self) -> SessionInformation:
        information = await self._engine.get_session_information(self.handle)
        if information is None:
            raise self._engine.session_is_gone(self.handle)
        return information

    def replace_token(self, token: AccessToken) -> None:
        """For the engine: what this object says from now on."""
        self.token = token
        self._payload = None
