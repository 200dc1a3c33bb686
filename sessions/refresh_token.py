# SPDX-License-Identifier: MIT
"""The refresh token: opaque to clients, unforgeable, never stored, and the same whenever it is made.

A session's tokens form a chain of generations 0, 1, 2, ... The token of generation g is

    body  = kind (1 byte) || g (4 bytes) || chain(g) (32 bytes) || session handle (text)
    token = base64url(body || HMAC(mac key, body) (16 bytes))

    chain(g) = SHA-256(session secret || nonce(g))
    nonce(g) = HMAC(chain key, session handle || g)

The mac key and the chain key come from the server's secret; the session secret is 32 random bytes that
only the store holds. From this follows what the engine relies on:

- A damaged or forged token fails its HMAC before anything is read from the store.
- Without the store there is no session secret, without the server's secret no nonce: neither a leaked
  database nor a leaked server secret yields a token.
- A token is a function of (session, generation), so asking twice, on any server, gives the same one.
- Given nonce(g), a database can check chain(g) by itself, so a refresh needs one statement.

Source: RFC 9700, section 4.14.2 (rotation); RFC 2104 (HMAC); RFC 5869 (deriving the keys).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sessions.base64url import decode_base64url, encode_base64url

SESSION_SECRET_BYTES = 32
MAX_TOKEN_CHARACTERS = 512

_PLAIN, _WITH_ANTI_CSRF = b"\x01", b"\x02"  # the first byte: layout, and whether anti-CSRF goes with it
_MAC_BYTES = 16
_CHAIN_BYTES = 32
_FIXED_BYTES = 1 + 4 + _CHAIN_BYTES + _MAC_BYTES


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose from the server's secret (HKDF-SHA256, RFC 5869)."""
    return HKDF(hashes.SHA256(), length=32, salt=None, info=f"stormcellar {purpose}".encode()).derive(secret)


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


class RefreshTokens:
    """Makes and reads the refresh tokens of one server secret."""

    def __init__(self, secret: bytes) -> None:
        self._authenticity = Mac(derive_key(secret, "refresh token: authenticity"))
        self._chain = Mac(derive_key(secret, "refresh token: chain"))
        self._anti_csrf = Mac(derive_key(secret, "anti-csrf token"))

    def make(self, handle: str, generation: int, session_secret: bytes, anti_csrf: bool) -> str:
        """The token of this generation of a session: base64url text without padding.

        `anti_csrf` says that an anti-CSRF token goes with it.
        """
        chain = _chain(session_secret, self._nonce(handle, generation))
        kind = _WITH_ANTI_CSRF if anti_csrf else _PLAIN
        body = kind + generation.to_bytes(4, "big") + chain + handle.encode()
        return encode_base64url(body + self._mac(body))

    def read(self, token: str) -> PresentedToken | None:
        """The content of a token of ours; None for anything else."""
        raw = decode_base64url(token) if len(token) <= MAX_TOKEN_CHARACTERS else None
        if raw is None:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(raw) <= _FIXED_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            return None
        kind = body[:1]
        if kind not in (_PLAIN, _WITH_ANTI_CSRF):
            return None
        generation = int.from_bytes(body[1:5], "big")
        chain, handle = body[5 : 5 + _CHAIN_BYTES], body[5 + _CHAIN_BYTES :].decode()
        nonce = self._nonce(handle, generation)
        return PresentedToken(handle, generation, nonce, chain, kind == _WITH_ANTI_CSRF)

    def anti_csrf_token(self, refresh_token: str) -> str:
        """The anti-CSRF token that belongs to a refresh token: a UUID, so repeats get the same one."""
        digest = self._anti_csrf.of(refresh_token.encode())
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def _nonce(self, handle: str, generation: int) -> bytes:
        return self._chain.of(handle.encode() + generation.to_bytes(4, "big"))

    def _mac(self, body: bytes) -> bytes:
        return self._authenticity.of(body)[:_MAC_BYTES]


def _chain(session_secret: bytes, nonce: bytes) -> bytes:
    return hashlib.sha256(session_secret + nonce).digest()
