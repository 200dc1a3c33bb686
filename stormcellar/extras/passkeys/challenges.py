# SPDX-License-Identifier: MIT
"""Challenges that need no place to be kept until they come back.

    challenge = expiry (8 bytes, Unix seconds) || nonce (16 bytes) || HMAC(key, purpose, browser, both)

So each is good for one purpose, in the browser that asked, for a short time. That it is good only once is
what the store sees to: it remembers the nonces of those that came back until they expire.

Source: W3C Web Authentication, level 3, section 13.4.3 (at least 16 random bytes).
"""

from __future__ import annotations

import secrets

from stormcellar.server_secret import ServerSecret, Signer

LIFETIME_S = 600
NONCE_BYTES = 16
_EXPIRY_BYTES = 8
_MAC_BYTES = 32
_BYTES = _EXPIRY_BYTES + NONCE_BYTES + _MAC_BYTES


class Challenges:
    """Makes and recognises the challenges of a server."""

    def __init__(self, secret: ServerSecret) -> None:
        self._signer = Signer(secret.keys("passkeys: challenges"))

    def make(self, purpose: str, browser: str, now_s: float) -> bytes:
        head = (int(now_s) + LIFETIME_S).to_bytes(_EXPIRY_BYTES, "big") + secrets.token_bytes(NONCE_BYTES)
        return head + self._signer.sign(_signed(purpose, browser, head))

    def is_good(self, challenge: bytes, purpose: str, browser: str, now_s: float) -> bool:
        """Whether this was made for that, and is not too old; anything at all may be asked."""
        if len(challenge) != _BYTES or not browser:
            return False
        head, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
        is_ours = self._signer.is_signature(mac, _signed(purpose, browser, head))
        return is_ours and now_s < expires_at(challenge)


def _signed(purpose: str, browser: str, head: bytes) -> bytes:
    return "\0".join((purpose, browser, head.hex())).encode(errors="replace")


def expires_at(challenge: bytes) -> int:
    """Unix seconds."""
    return int.from_bytes(challenge[:_EXPIRY_BYTES], "big")


def nonce(challenge: bytes) -> str:
    return challenge[_EXPIRY_BYTES : _EXPIRY_BYTES + NONCE_BYTES].hex()
