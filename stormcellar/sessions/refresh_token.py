# SPDX-License-Identifier: MIT
"""The refresh token: opaque to clients, unforgeable, never stored, and the same whenever it is made.

A session's tokens form a chain of generations 0, 1, 2, ... If a client asks for the same generation again
after the grace period, the generation gets another branch (engine.py). The token of generation g and branch b
is

    place = g (4 bytes), or g (4 bytes) || b (4 bytes) where b > 0
    body  = kind (1 byte) || place || chain (32 bytes) || session handle (text)
    token = base64url(body || HMAC(mac key, body) (16 bytes))

    chain = SHA-256(session secret || nonce)
    nonce = HMAC(chain key, session handle || place)

The kind says which of the two layouts follows, and whether an anti-CSRF token belongs to the token.

The mac key and the chain key come from the server's secret; the session secret is 32 random bytes that
only the store holds. From this follows what the engine relies on:

- A damaged or forged token fails its HMAC before anything is read from the store.
- Without the store there is no session secret, without the server's secret no nonce: neither a leaked
  database nor a leaked server secret yields a token.
- A token is a function of (session, generation, branch): every server makes the same token for them.
- Given the nonce, a database can check the chain value by itself, so a refresh needs one statement.

Source: RFC 9700, section 4.14.2 (rotation); RFC 2104 (HMAC); RFC 5869 (deriving the keys).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass

from stormcellar.server_secret import derive_key, same_text
from stormcellar.sessions.base64url import decode_base64url, encode_base64url

SESSION_SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 512

_KINDS = {1: (4, False), 2: (4, True), 3: (8, False), 4: (8, True)}  # first byte: bytes of place, anti-CSRF
_KIND_OF = {content: kind for kind, content in _KINDS.items()}
_MAC_BYTES = 16
_CHAIN_BYTES = 32


def new_session_secret() -> bytes:
    return secrets.token_bytes(SESSION_SECRET_BYTES)


def token_hash(token: str) -> str:
    """Lower-case hexadecimal SHA-256, as it stands in access tokens (`refreshTokenHash1`)."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class PresentedToken:
    """A refresh token whose HMAC is right; whether its chain value is, only the session secret can tell."""

    handle: str
    generation: int
    branch: int
    nonce: bytes
    chain: bytes
    anti_csrf: bool

    def matches(self, session_secret: bytes) -> bool:
        return hmac.compare_digest(self.chain, _chain(session_secret, self.nonce))


class Mac:
    """HMAC-SHA256 with one key.

    hmac.digest lets other threads run each time, and then waits for its turn among them: under load twenty
    times as long as it computes.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def of(self, message: bytes) -> bytes:
        mac = self._keyed.copy()
        mac.update(message)
        return mac.digest()


class _Keys:
    """What one server secret has for refresh tokens."""

    def __init__(self, secret: bytes) -> None:
        self.authenticity = Mac(derive_key(secret, "refresh token: authenticity"))
        self.chain = Mac(derive_key(secret, "refresh token: chain"))
        self.anti_csrf = Mac(derive_key(secret, "anti-csrf token"))

    def mac(self, body: bytes) -> bytes:
        return self.authenticity.of(body)[:_MAC_BYTES]

    def nonce(self, handle: str, place: bytes) -> bytes:
        return self.chain.of(handle.encode() + place)


class RefreshTokens:
    """Makes and reads the refresh tokens of a server.

    Args:
        secret: of this server; it makes the tokens.
        others: further secrets, whose tokens are read too.
    """

    def __init__(self, secret: bytes, *others: bytes) -> None:
        self._all_keys = [_Keys(one) for one in (secret, *others)]
        self._keys = self._all_keys[0]

    def make(
        self, handle: str, generation: int, session_secret: bytes, anti_csrf: bool, *, branch: int = 0
    ) -> str:
        """Make the token of this generation and branch: base64url text without padding.

        `anti_csrf` says that an anti-CSRF token belongs to it.
        """
        place = _place(generation, branch)
        chain = _chain(session_secret, self._keys.nonce(handle, place))
        kind = _KIND_OF[len(place), anti_csrf]
        body = bytes([kind]) + place + chain + handle.encode()
        return encode_base64url(body + self._keys.mac(body))

    def read(self, token: str) -> PresentedToken | None:
        """Return the content of a token of ours; None for anything else."""
        raw = decode_base64url(token) if len(token) <= MAX_TOKEN_CHARACTERS else None
        if raw is None:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        keys = next((keys for keys in self._all_keys if hmac.compare_digest(mac, keys.mac(body))), None)
        if keys is None or not body or body[0] not in _KINDS:
            return None
        place_bytes, anti_csrf = _KINDS[body[0]]
        place, rest = body[1 : 1 + place_bytes], body[1 + place_bytes :]
        chain, handle = rest[:_CHAIN_BYTES], rest[_CHAIN_BYTES:].decode()
        generation, branch = int.from_bytes(place[:4], "big"), int.from_bytes(place[4:], "big")
        return PresentedToken(handle, generation, branch, keys.nonce(handle, place), chain, anti_csrf)

    def anti_csrf_token(self, refresh_token: str) -> str:
        """Return the anti-CSRF token that belongs to a refresh token: a UUID, so repeats get the same one."""
        return self._anti_csrf_token(self._keys, refresh_token)

    def is_anti_csrf_token(self, given: str | None, refresh_token: str) -> bool:
        """Tell whether this is the anti-CSRF token that was handed out with a refresh token."""
        expected = [self._anti_csrf_token(keys, refresh_token) for keys in self._all_keys]
        return any(same_text(one, given) for one in expected)

    def _anti_csrf_token(self, keys: _Keys, refresh_token: str) -> str:
        digest = keys.anti_csrf.of(refresh_token.encode())
        return str(uuid.UUID(bytes=digest[:16], version=4))


def _place(generation: int, branch: int) -> bytes:
    """Encode a position in the chain; branch 0 has the layout of tokens from before there were branches."""
    place = generation.to_bytes(4, "big")
    return place + branch.to_bytes(4, "big") if branch else place


def _chain(session_secret: bytes, nonce: bytes) -> bytes:
    return hashlib.sha256(session_secret + nonce).digest()
