# SPDX-License-Identifier: MIT
"""Signing keys: made, rotated, shared through the store, published as a JWKS (RFC 7517).

A key's life, with R the rotation interval and L the lifetime of an access token:

    created        it appears in the JWKS at once, so that every verifier knows it before it signs
    created + L    it starts to sign (the very first key starts at once)
    ... + R        its successor, created L earlier, takes over
    ... + L        the last token it signed has expired: it leaves the JWKS and the store

Key ids are SuperTokens': `d-<creation time in ms>` for keys that rotate, `s-<uuid>` for permanent ones.
The store holds private keys encrypted with a key from the server's secret, so a leaked database signs
nothing. Key objects stay in memory: parsing one takes longer than signing with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.clock import Clock
from stormcellar.server_secret import Sealer, UnreadableError
from stormcellar.sessions.base64url import encode_base64url
from stormcellar.sessions.config import SessionConfig
from stormcellar.sessions.errors import StoreUnavailableError
from stormcellar.sessions.session_store import SessionStore, StoredKey
from stormcellar.store.sealed import SealedColumn

log = logging.getLogger("stormcellar.sessions")

RELOAD_COOLDOWN_S = 1.0
# Beyond the last token's end, because a clock may be set forward and back again meanwhile, which would bring
# tokens back to life that nobody remembers to be revoked.
CLOCK_MARGIN_S = 900.0


def generate_private_key() -> rsa.RSAPrivateKey:
    """A new RSA key of 2048 bits, as SuperTokens' keys are; takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private_key: rsa.RSAPrivateKey
    public_key: rsa.RSAPublicKey
    created_at: float
    active_from: float

    def as_jwk(self) -> dict[str, str]:
        """The public half (RFC 7518, section 6.3.1)."""
        numbers = self.public_key.public_numbers()
        return {
            "kty": "RSA",
            "kid": self.kid,
            "n": _base64url_integer(numbers.n),
            "e": _base64url_integer(numbers.e),
            "alg": "RS256",
            "use": "sig",
        }


class KeyRing:
    """The signing keys of one deployment, as this process knows them.

    Args:
        store: where the keys are kept.
        config: of the engine that signs with them.
        generate: makes a private key; replaced in tests that need many.
    """

    def __init__(
        self,
        store: SessionStore,
        config: SessionConfig,
        clock: Clock,
        *,
        generate: Callable[[], rsa.RSAPrivateKey] = generate_private_key,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sealer = Sealer(config.server_secret.keys("signing keys"))
        self.sealed_column = SealedColumn("signing_keys", "kid", "private_key", self._sealer)
        self._rotation_s = config.signing_key_rotation_s
        self._token_lifetime_s = config.access_token_lifetime_s
        self._rotates = config.use_dynamic_signing_key
        self._prefix = "d-" if self._rotates else "s-"
        self._generate = generate
        self._keys: dict[str, SigningKey] = {}
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._load_lock = asyncio.Lock()

    def find(self, kid: str) -> SigningKey | None:
        """The key of exactly this id, if this process knows it."""
        return self._keys.get(kid)

    def is_ours(self, kid: str) -> bool:
        """Whether tokens signed by this kind of key are accepted (the setting may have changed)."""
        return kid.startswith(self._prefix)

    async def find_or_reload(self, kid: str) -> SigningKey | None:
        """As `find`, asking the store for a key made elsewhere, at most once per cool-down."""
        async with self._load_lock:  # who comes while another asks gets the same answer
            since_s = self._clock.now() - self._asked_at
            if kid not in self._keys and not 0 <= since_s < RELOAD_COOLDOWN_S:
                await self._load()
        return self._keys.get(kid)

    def signing_key(self) -> SigningKey:
        """The newest key that is old enough to sign; the oldest there is, if none is."""
        usable, now = self._usable(), self._clock.now()
        candidates = [key for key in usable if key.active_from <= now] or usable[:1]
        if not candidates:
            raise StoreUnavailableError("this process has no signing key yet")
        return candidates[-1]

    def can_sign(self) -> bool:
        return bool(self._usable())

    async def load(self) -> None:
        """Read the keys from the store."""
        async with self._load_lock:  # a slow reader must not put back what a later one found gone
            await self._load()

    async def _load(self) -> None:
        try:
            keys: dict[str, SigningKey] = {}
            for entry in await self._store.load_keys():
                key = self._keys.get(entry.kid)
                keys[entry.kid] = key if key else await asyncio.to_thread(self._decrypt, entry)
            self._keys = keys
        finally:  # not before: after a slow answer all who waited for it would ask once more, one by one
            self._asked_at = self._clock.now()

    async def maintain(self) -> None:
        """Load the keys, make the next one when it is time, and drop those no token needs.

        To be called at the start and then from time to time.
        """
        async with self._lock:
            await self.load()
            if self._clock.now() >= self._next_key_at():
                await self._add()
                await self.load()
            await self._drop_old()

    async def rotate_now(self, *, forget_old: bool = False) -> str:
        """Make a new key that signs at once, and return its id.

        `forget_old` also deletes every other key, so that all access tokens out there are renewed: what
        to do when a private key may have leaked. Sessions live on.
        """
        async with self._lock:
            await self.load()
            while (kid := await self._add(at_once=True)) is None:
                await self.load()  # another process was quicker; its key is not the one asked for
            if forget_old:
                await self._delete([old for old in self._keys if old != kid])
            await self.load()
            return kid

    def jwks(self) -> dict[str, Any]:
        """Every key that may still verify a token (RFC 7517, section 5)."""
        return {"keys": [key.as_jwk() for key in self._keys.values()]}

    def next_change_s(self) -> int:
        """Seconds until the next key will be made, at least 1: how long a JWKS may be cached."""
        due_at = self._next_key_at()
        return max(1, int(due_at - self._clock.now())) if math.isfinite(due_at) else 60

    # -- making and dropping ------------------------------------------------------------------------

    def _usable(self) -> list[SigningKey]:
        """The keys of our kind, the newest last."""
        usable = [key for key in self._keys.values() if self.is_ours(key.kid)]
        return sorted(usable, key=lambda key: (key.active_from, key.kid))

    def _newest(self) -> SigningKey | None:
        usable = self._usable()
        return usable[-1] if usable else None

    def _next_key_at(self) -> float:
        """When the next key is to be made: at once for the first one, never after a permanent one."""
        newest = self._newest()
        if newest is None:
            return -math.inf
        return newest.active_from + self._rotation_s - self._token_lifetime_s if self._rotates else math.inf

    async def _add(self, *, at_once: bool = False) -> str | None:
        """Make and store the key that follows the newest; None if another process has just done so."""
        now, newest = self._clock.now(), self._newest()
        active_from = now if newest is None or at_once else now + self._token_lifetime_s
        kid = f"d-{self._created_ms(now)}" if self._rotates else f"s-{uuid.uuid4()}"
        private_key = await asyncio.to_thread(self._generate)
        entry = StoredKey(kid, self._encrypt(kid, private_key), now, active_from)
        added = await self._store.add_key(
            entry,
            if_newest_is=newest.kid if newest else None,
            prefix=self._prefix,
            keep_until=self._tokens_end(),
        )
        if not added:
            return None
        log.info("new signing key %s, signing from %d", kid, active_from)
        return kid

    def _created_ms(self, now: float) -> int:
        """The time for a new key's id, later than every other key's even within one millisecond."""
        others = (int(kid[2:]) + 1 for kid in self._keys if kid.startswith("d-"))
        return max(int(now * 1000), *others, 0)

    async def _delete(self, kids: list[str]) -> None:
        await self._store.delete_keys(kids, keep_until=self._tokens_end())

    def _tokens_end(self) -> float:
        """When no token that exists now can matter any more, nor the news about its key."""
        return self._clock.now() + self._token_lifetime_s + CLOCK_MARGIN_S

    async def _drop_old(self) -> None:
        """Delete rotating keys whose last token has expired."""
        now = self._clock.now()
        dynamic = sorted(
            (key for key in self._keys.values() if key.kid.startswith("d-")), key=lambda key: key.active_from
        )
        over = [
            key.kid
            for key, successor in itertools.pairwise(dynamic)
            if successor.active_from + self._token_lifetime_s + CLOCK_MARGIN_S < now
        ]
        if over:
            await self._delete(over)
            self._keys = {kid: key for kid, key in self._keys.items() if kid not in over}

    # -- at rest ------------------------------------------------------------------------------------

    def _encrypt(self, kid: str, private_key: rsa.RSAPrivateKey) -> bytes:
        plain = private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._sealer.seal(plain, kid)

    def _decrypt(self, entry: StoredKey) -> SigningKey:
        try:
            plain = self._sealer.open(entry.private_key, entry.kid)
        except UnreadableError:
            raise StoreUnavailableError(
                f"signing key {entry.kid} was stored under another secret: give this server the secret that "
                "belongs to its database, as `secret` or among `old_secrets`. If that secret is lost, "
                "`python manage.py rotate-secret --lost` makes the database usable again and signs every "
                "user out"
            ) from None
        # Sealed by a server of this database, so these numbers make a key. To prove it again would take
        # longer than all the rest of a start.
        private_key = serialization.load_der_private_key(
            plain, password=None, unsafe_skip_rsa_key_validation=True
        )
        if not isinstance(private_key, rsa.RSAPrivateKey):
            raise StoreUnavailableError(f"signing key {entry.kid} is not an RSA key")
        return SigningKey(
            entry.kid, private_key, private_key.public_key(), entry.created_at, entry.active_from
        )


def _base64url_integer(number: int) -> str:
    return encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
