# SPDX-License-Identifier: MIT
"""Judging the access token of a request, whoever signed it: verify each token once, then remember it.

What is remembered is bounded, and never used past a token's expiry, or without its key.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stormcellar.clock import Clock
from stormcellar.server_secret import same_text
from stormcellar.sessions import access_token as jwt
from stormcellar.sessions.access_token import AccessToken
from stormcellar.sessions.claims import ClaimValidator
from stormcellar.sessions.errors import StoreUnavailableError, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions.keys import CLOCK_MARGIN_S

if TYPE_CHECKING:
    from stormcellar.sessions.session import Session

K = TypeVar("K")
V = TypeVar("V")
SIGNATURES_PER_TOKEN = 10

ClaimsOverride = Callable[
    [Sequence[ClaimValidator], "Session"],
    "Sequence[ClaimValidator] | Awaitable[Sequence[ClaimValidator]]",
]


class PublicKeys(Protocol):
    """Where the keys come from. A key has an attribute `public_key`."""

    def find(self, kid: str) -> Any:
        """The key of exactly this id, if it is known here."""

    async def find_or_reload(self, kid: str) -> Any:
        """As `find`, asking for keys made elsewhere first, though not too often."""


class Verifier:
    """Verifies access tokens, and remembers those that are good.

    Args:
        versions: the token layouts that are accepted.
        issuer: what `iss` must equal.
        audiences: names of this server, beside the issuer, that `aud` may have.
        issuer_may_be_missing: accept tokens without `iss`.
        objection: why a genuine token is not accepted here; "" if it is.
        first_seen: called with each token whose signature was checked here.
        remembered: how many tokens are kept in memory. Of SIGNATURES_PER_TOKEN times as many only a hash is
            kept: such a token is parsed again, but its signature is not checked again.
    """

    def __init__(
        self,
        keys: PublicKeys,
        clock: Clock,
        *,
        versions: Sequence[str],
        issuer: str,
        audiences: Sequence[str] = (),
        issuer_may_be_missing: bool = False,
        objection: Callable[[AccessToken], str] = lambda _: "",
        first_seen: Callable[[AccessToken], None] = lambda _: None,
        remembered: int,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._versions = tuple(versions)
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._issuer_may_be_missing = issuer_may_be_missing
        self._objection = objection
        self._first_seen = first_seen
        self._most = remembered
        self._remembered: OrderedDict[str, AccessToken] = OrderedDict()
        self._signatures: OrderedDict[bytes, None] = OrderedDict()  # hashes of tokens that were genuine

    def recognises(self, text: str) -> bool:
        """Whether this has the form and the issuer of an access token of ours; no key is asked."""
        unverified = jwt.read(text, self._versions)
        return unverified is not None and unverified.resembles_ours(self._issuer)

    async def living_token(self, text: str | None, *, required: bool) -> AccessToken | None:
        """A genuine token that has not expired; None without one, if none is required.

        Raises:
            TryRefreshTokenError: it has expired, or it has our issuer without being genuine.
            UnauthorisedError: one is required, and none came, or one of another issuer, or something else.
        """
        token = await self.read(text) if text else None
        if token is None:
            if required:
                raise UnauthorisedError("no access token", clear_tokens=False)
            return None
        if token.expires_at <= self._clock.now():
            raise TryRefreshTokenError("the access token has expired")
        if token.not_before > self._clock.now() + CLOCK_MARGIN_S:
            raise TryRefreshTokenError("the access token is not valid yet")
        return token

    async def read(self, text: str) -> AccessToken | None:
        """The token, remembered or verified anew; it may have expired. None if it is not one of ours."""
        token = self._remembered.get(text)
        if token is None or not self._keys.find(token.kid):  # a key that is gone takes its tokens with it
            self._remembered.pop(text, None)
            return await self._verify(text)
        self._remembered.move_to_end(text)
        return token

    async def _verify(self, text: str) -> AccessToken | None:
        unverified = jwt.read(text, self._versions)
        if unverified is None:
            return None
        key = self._keys.find(unverified.kid) or await self._find_new_key(unverified.kid)
        text_hash = hashlib.blake2b(text.encode(), digest_size=16).digest()
        is_known = text_hash in self._signatures
        token = self._genuine(unverified, None if is_known else key.public_key) if key else None
        if token is None:
            if unverified.resembles_ours(self._issuer):
                raise TryRefreshTokenError("the access token's key, signature or audience is not ours")
            return None
        if objection := self._objection(token):
            raise TryRefreshTokenError(f"the access token {objection}")
        if token.expires_at > self._clock.now():
            _add(self._remembered, text, token, most=self._most)
            _add(self._signatures, text_hash, None, most=self._most * SIGNATURES_PER_TOKEN)
            if not is_known:
                self._first_seen(token)
        return token

    def _genuine(self, token: jwt.UnverifiedToken, public_key: Any) -> AccessToken | None:
        return jwt.verify(
            token,
            public_key,
            self._issuer,
            audiences=self._audiences,
            issuer_may_be_missing=self._issuer_may_be_missing,
        )

    async def _find_new_key(self, kid: str) -> Any:
        # Only an id of the right form is worth asking for.
        if not (kid[:2] in ("d-", "s-") and kid[2:].replace("-", "").isalnum() and kid.isascii()):
            return None
        with contextlib.suppress(StoreUnavailableError):
            return await self._keys.find_or_reload(kid)
        return None


def _add(known: OrderedDict[K, V], key: K, value: V, *, most: int) -> None:
    """Add an entry as the newest one, and drop the oldest one if there are too many."""
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)


def compare_anti_csrf(token: AccessToken, sent: str | None) -> None:
    """Raise TryRefreshTokenError unless the `anti-csrf` header is the one that belongs to the token."""
    if token.anti_csrf_token is None or not same_text(token.anti_csrf_token, sent):
        raise TryRefreshTokenError("the anti-csrf header does not belong to the access token")


async def chosen_validators(
    everywhere: Sequence[ClaimValidator], override: ClaimsOverride | None, session: Session
) -> Sequence[ClaimValidator]:
    """The claim validators for one `get_session`."""
    if override is None:
        return everywhere
    chosen = override(everywhere, session)
    return await chosen if inspect.isawaitable(chosen) else chosen
