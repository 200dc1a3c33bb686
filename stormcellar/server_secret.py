# SPDX-License-Identifier: MIT
"""The server secret, and every key that is derived from it.

The secret can be changed while users stay signed in. The new one makes tokens and seals what the database
keeps; the others still open what they made: earlier secrets, and the next one before the servers change over
to it.

Source: RFC 5869 (HKDF); NIST SP 800-38D (AES-GCM, with a random nonce of 12 bytes for each value).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 12
BY_HMAC = frozenset({"rate limits", "kept forms", "proxy check", "developer key"})
"""Purposes whose key is HMAC-SHA256(secret, purpose); the key of every other purpose comes from HKDF."""


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Return the key of 32 bytes that a secret has for one purpose."""
    if purpose in BY_HMAC:
        return hmac.digest(secret, purpose.encode(), "sha256")
    return HKDF(hashes.SHA256(), length=32, salt=None, info=f"stormcellar {purpose}".encode()).derive(secret)


def fingerprint(secret: bytes) -> str:
    """Return 12 hexadecimal digits that tell secrets apart and open nothing."""
    return hashlib.sha256(b"stormcellar fingerprint " + secret).hexdigest()[:12]


def same_text(expected: str, sent: str | None) -> bool:
    """Compare in constant time; what was sent may be any text at all."""
    return hmac.compare_digest(expected.encode(), (sent or "").encode(errors="replace"))


@dataclass(frozen=True)
class ServerSecret:
    """The secrets of a server.

    Attributes:
        current: makes tokens and seals values; at least 32 bytes.
        others: still open what they made.
    """

    current: bytes = field(repr=False)
    others: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every secret once, the current one first."""
        return tuple(dict.fromkeys((self.current, *self.others)))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Return the fingerprint of every secret, that of the current one first."""
        return tuple(map(fingerprint, self.all))

    def key(self, purpose: str) -> bytes:
        """Return the current secret's key for a purpose."""
        return derive_key(self.current, purpose)

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return the keys of all secrets for a purpose, the current one first."""
        return tuple(derive_key(secret, purpose) for secret in self.all)


class UnreadableError(ValueError):
    """No secret of this server opens a value."""


class Sealer:
    """Encrypts values of the database, each bound to the row it belongs to.

    Args:
        keys: 32 bytes each. The first encrypts; each is tried to decrypt.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, value: bytes, bound_to: str) -> bytes:
        """Return the nonce and the encrypted value; it is different each time."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, value, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Decrypt a value.

        Raises:
            UnreadableError: another secret sealed it, or it is damaged.
        """
        return self._open(sealed, bound_to)[0]

    def seal_again(self, sealed: bytes, bound_to: str) -> bytes | None:
        """Return the value sealed with the first key; None if it is already.

        Raises:
            UnreadableError: another secret sealed it, or it is damaged.
        """
        value, number = self._open(sealed, bound_to)
        return self.seal(value, bound_to) if number else None

    def _open(self, sealed: bytes, bound_to: str) -> tuple[bytes, int]:
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        for number, cipher in enumerate(self._ciphers):
            try:
                return cipher.decrypt(nonce, rest, bound_to.encode()), number
            except (InvalidTag, ValueError):  # ValueError: too short to be a sealed value at all
                continue
        raise UnreadableError("no secret of this server opens this value")


class Signer:
    """Signs texts with HMAC-SHA256.

    Args:
        keys: the first signs; a signature by any of them is good.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sign(self, text: bytes) -> bytes:
        """Return 32 bytes."""
        return hmac.digest(self._keys[0], text, "sha256")

    def is_signature(self, signature: bytes, text: bytes) -> bool:
        """Tell whether these bytes are the signature of the text, or the first bytes of it, at least 16."""
        size = len(signature)
        found = [
            hmac.compare_digest(signature, hmac.digest(key, text, "sha256")[:size]) for key in self._keys
        ]
        return size >= 16 and any(found)
