# SPDX-License-Identifier: MIT
"""The codes themselves: from a secret and the time (RFC 6238), and for the day the phone is lost.

Secrets are kept encrypted (AES-256-GCM, bound to their user), recovery codes as keyed hashes; both keys come
from the server's secret. So a copy of the database alone yields no code.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from stormcellar.server_secret import Sealer, ServerSecret, UnreadableError
from stormcellar.sessions.base64url import decode_base64url, encode_base64url

SECRET_BYTES = 20  # RFC 4226, section 4, requirement 6: 160 bits are recommended
STEP_S = 30
DIGITS = 6
STEPS_ASIDE = 1  # RFC 6238, section 5.2: one step for what is on the way, and for the phone's clock
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no i, l, o, 0, 1, which people confuse
_RECOVERY_CHARACTERS = (
    14  # log2(31) * 14 = 69 bits: from 64 on nobody need count guesses (NIST SP 800-63B, 5.1.2.2)
)


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def step_of(secret: bytes, code: str, now_s: float) -> int | None:
    """The time step whose code this is, if it is one around now; else None."""
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    totp = TOTP(secret, DIGITS, SHA1(), STEP_S)  # noqa: S303 - what the apps know; HMAC does not need more
    current = int(now_s) // STEP_S
    steps = range(max(0, current - STEPS_ASIDE), current + STEPS_ASIDE + 1)
    fitting = [step for step in steps if hmac.compare_digest(totp.generate(step * STEP_S), code.encode())]
    return fitting[-1] if fitting else None


def as_text(secret: bytes) -> str:
    """Base32 in groups of four, as people type it."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def address(secret: bytes, *, account: str, issuer: str) -> str:
    """What the QR code says: the key URI that authenticator apps read."""
    issuer = issuer.replace(":", " ")  # the colon separates the two
    label = quote(f"{issuer}:{account}", safe="")
    query = urlencode(
        {"secret": base64.b32encode(secret).decode(), "issuer": issuer, "digits": DIGITS, "period": STEP_S},
        quote_via=quote,
    )
    return f"otpauth://totp/{label}?{query}"


def new_recovery_codes() -> list[str]:
    """Codes that each work once; two groups of seven, so that they can be read aloud."""
    half = _RECOVERY_CHARACTERS // 2
    count = range(_RECOVERY_CHARACTERS)
    texts = ["".join(secrets.choice(_ALPHABET) for _ in count) for _ in range(RECOVERY_CODES)]
    return [f"{text[:half]}-{text[half:]}" for text in texts]


def plain(code: str) -> str:
    """A code without what people put between its characters."""
    return "".join(code.split()).replace("-", "").lower()


class Vault:
    """Keeps the apps' secrets so that only this server can read them, and hashes recovery codes.

    A hash cannot be made anew with another key. So the keys of earlier server secrets are kept too, sealed
    with the current one (store.py); `hash_keys` has the current key first.
    """

    def __init__(self, secret: ServerSecret) -> None:
        self.sealer = Sealer(secret.keys("authenticator: secrets"))
        self.hash_keys = list(secret.keys("authenticator: recovery codes"))

    def seal(self, secret: bytes, user_id: str) -> str:
        """Base64url text, different each time."""
        return encode_base64url(self.sealer.seal(secret, user_id))

    def unseal(self, sealed: str, user_id: str) -> bytes | None:
        """The secret; None if this server's secret did not seal it for this user."""
        try:
            return self.sealer.open(decode_base64url(sealed) or b"", user_id)
        except UnreadableError:
            return None

    def hash(self, recovery_code: str, user_id: str) -> str:
        """Return what is kept of a new recovery code."""
        return self.hashes(recovery_code, user_id)[0]

    def hashes(self, recovery_code: str, user_id: str) -> list[str]:
        """Return what may be kept of a recovery code: its hash by the current key, then by earlier keys."""
        text = f"{user_id} {plain(recovery_code)}".encode(errors="replace")
        return [hmac.digest(key, text, "sha256").hex() for key in self.hash_keys]
