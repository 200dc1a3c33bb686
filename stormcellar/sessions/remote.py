# SPDX-License-Identifier: MIT
"""Verify-only mode: the sessions of another server, known here by its public keys alone.

The other server is this kit or any SuperTokens backend. Nothing is kept here and nothing can be changed
from here: whatever needs a store raises VerifyOnlyError. There is no revocation feed either, so a session
that was revoked over there lasts here until its access token expires.

A token whose key is unknown here, although the keys were asked for again, is answered with

    StoreUnavailableError   while no key was ever fetched: nothing is known, and renewing would not help
    TryRefreshTokenError    afterwards, even if the JWKS address is out of reach just now: the key is most
                            likely an old one, and renewing brings a token whose key is known

Source: RFC 8725, sections 3.8 and 3.10; SuperTokens' access token, versions 3 to 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stormcellar.clock import Clock, SystemClock
from stormcellar.sessions.claims import ClaimValidator, validate_claims
from stormcellar.sessions.config import AntiCsrf, SessionConfig
from stormcellar.sessions.errors import InvalidClaimsError, StoreUnavailableError, TryRefreshTokenError
from stormcellar.sessions.feed import Listener, State
from stormcellar.sessions.remote_keys import RemoteKeys
from stormcellar.sessions.session import Session
from stormcellar.sessions.verifier import ClaimsOverride, Verifier, chosen_validators, compare_anti_csrf


class VerifyOnlyError(AttributeError):
    """What was asked for needs the session store, which is on another server."""


@dataclass(frozen=True)
class RemoteConfig:
    """What the verify-only engine is told when it is made.

    Args:
        jwks_url: where the other server publishes its keys.
        issuer: `iss` of its access tokens. Tokens without the claim, as some of its older versions make
            them, are accepted: the keys are that server's in any case.
        anti_csrf: that server's header check.
        audiences: names of this server. A token with the claim `aud` must name one of them, or the issuer.
    """

    jwks_url: str
    issuer: str
    anti_csrf: AntiCsrf = "NONE"
    audiences: tuple[str, ...] = ()


class SilentFeed:
    """Nobody tells this server of revocations. What is said of a Feed is true of it, but for ever."""

    def __init__(self) -> None:
        self.state: State = "never"
        self.revoked: dict[str, float] = {}
        self.reasons: dict[str, str] = {}
        self.settled: dict[str, float] = {}
        self.payload_versions: dict[str, tuple[int, float]] = {}

    def listen(self, listener: Listener) -> None:
        """There will be nothing to hear."""


class RemoteSessions:
    """The part of Sessions that a server without a store can play: judging access tokens.

    Args:
        config: see RemoteConfig.
        clock: everything here asks this clock for the time.
        global_claim_validators: hold for every `get_session`, unless a caller overrides them. They judge
            by the token's payload alone: nothing is fetched again.
        keys: where the keys come from, if not from `config.jwks_url`.
    """

    def __init__(
        self,
        config: RemoteConfig,
        *,
        clock: Clock | None = None,
        global_claim_validators: Sequence[ClaimValidator] = (),
        keys: RemoteKeys | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.global_claim_validators = tuple(global_claim_validators)
        self.keys = keys or RemoteKeys(config.jwks_url, self.clock)
        self.feed = SilentFeed()
        self._verifier = Verifier(
            self.keys,
            self.clock,
            versions=("3", "4", "5"),
            issuer=config.issuer,
            audiences=config.audiences,
            issuer_may_be_missing=True,
            remembered=SessionConfig.remembered_tokens,
        )

    def __getattr__(self, name: str) -> Any:
        raise VerifyOnlyError(
            f"sessions.{name} needs the session store, but this server only verifies tokens (jwks_url is "
            "set): that is for the API server to do"
        )

    async def start(self) -> None:
        """Fetch the keys; if that fails, it is tried again when the first token comes."""
        await self.keys.load()

    async def stop(self) -> None:
        await self.keys.stop()

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    async def get_session(
        self,
        access_token: str | None,
        *,
        anti_csrf_token: str | None = None,
        anti_csrf_check: bool = False,
        session_required: bool = True,
        check_database: bool | None = None,
        override_global_claim_validators: ClaimsOverride | None = None,
    ) -> Session | None:
        """As Sessions.get_session, by the token alone.

        Raises:
            TryRefreshTokenError, UnauthorisedError, InvalidClaimsError: as there.
            StoreUnavailableError: no key could be fetched yet.
            VerifyOnlyError: `check_database` asks for what cannot be had here.
        """
        if check_database:
            raise VerifyOnlyError("check_database asks the session store, but this server has none")
        self.keys.renew_if_old()
        try:
            token = await self._verifier.living_token(access_token, required=session_required)
        except TryRefreshTokenError:
            if self.keys.is_empty:
                raise StoreUnavailableError(f"no key could be fetched from {self.keys.url} yet") from None
            raise
        if token is None:
            return None
        if anti_csrf_check and self.config.anti_csrf == "VIA_TOKEN":
            compare_anti_csrf(token, anti_csrf_token)
        session = Session(self, token)
        validators = await chosen_validators(
            self.global_claim_validators, override_global_claim_validators, session
        )
        await self.assert_claims(session, validators)
        return session

    def recognises(self, access_token: str) -> bool:
        """Whether this has the form of an access token of the other server."""
        return self._verifier.recognises(access_token)

    async def assert_claims(self, session: Session, validators: Iterable[ClaimValidator]) -> None:
        """See Session.assert_claims; stale claims are not fetched again."""
        _, errors = await validate_claims(
            [replace(validator, claim=None) for validator in validators],
            session.access_token_payload,
            user_id=session.user_id,
            tenant_id=session.tenant_id,
            now_ms=self.now_ms(),
        )
        if errors:
            raise InvalidClaimsError(errors)

    async def renewed_until(self, session_handle: str) -> float | None:
        """Whether the session was renewed is not known here: connections end with their access token."""
        return self.clock.now()
