# SPDX-License-Identifier: MIT
"""What the engine is told when it is made. Durations are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stormcellar.server_secret import ServerSecret

AntiCsrf = Literal["NONE", "VIA_CUSTOM_HEADER", "VIA_TOKEN"]


@dataclass(frozen=True)
class SessionConfig:
    """Everything about one engine that does not change while it runs.

    Args:
        secret: the server's secret, at least 32 bytes, the same on every server of a deployment.
        other_secrets: secrets that still open what they made (stormcellar/server_secret.py).
        issuer: `iss` of the access tokens: API domain and API base path.
        access_token_jitter: the share, up to 0.25, by which each access token's life is shortened at
            random, so that a crowd that signed in together does not refresh together.
        refresh_token_lifetime_s: how long a session lasts without a refresh; each refresh renews it.
        session_lifetime_s: how long it lasts at all.
        temporary_lifetime_s: how long a temporary session lasts without a refresh.
        refresh_grace_s: how long the previous refresh token is answered although its successor is in use.
        signing_key_rotation_s: how long a rotating key signs.
        anti_csrf: the session's own header check; VIA_CUSTOM_HEADER is left to the HTTP layer.
        check_database: read the store on every `get_session`.
        feed_lost: when revocations cannot be heard and the store cannot be read either, "serve" goes on
            trusting signatures, "refuse" raises StoreUnavailableError.
        remembered_tokens: how many verified access tokens are kept in memory.
    """

    secret: bytes = field(repr=False)
    issuer: str
    other_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    access_token_lifetime_s: int = 3600
    access_token_jitter: float = 0.05
    refresh_token_lifetime_s: int = 30 * 86400
    session_lifetime_s: int = 90 * 86400
    temporary_lifetime_s: int = 12 * 3600
    refresh_grace_s: float = 30
    use_dynamic_signing_key: bool = True
    signing_key_rotation_s: int = 7 * 86400
    anti_csrf: AntiCsrf = "NONE"
    check_database: bool = False
    feed_lost: Literal["serve", "refuse"] = "serve"
    remembered_tokens: int = 10_000

    @property
    def server_secret(self) -> ServerSecret:
        """The secret and the others, with the keys that are derived from them."""
        return ServerSecret(self.secret, self.other_secrets)

    def __post_init__(self) -> None:
        if min(map(len, (self.secret, *self.other_secrets))) < 32:
            raise ValueError("each server secret must have at least 32 bytes")
        if not 0 <= self.access_token_jitter <= 0.25:
            raise ValueError("access_token_jitter must lie between 0 and 0.25")
