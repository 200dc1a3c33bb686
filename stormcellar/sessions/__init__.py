# SPDX-License-Identifier: MIT
"""The session engine: knows tokens, time and a store; knows nothing of HTTP frameworks.

A clone takes a newer engine by replacing this folder; docs/updating.md says how.
"""

from stormcellar.clock import Clock, SharedClock, SystemClock
from stormcellar.sessions.claims import (
    BooleanClaim,
    ClaimValidator,
    EmailVerificationClaim,
    PermissionClaim,
    PrimitiveArrayClaim,
    PrimitiveClaim,
    SessionClaim,
    UserRoleClaim,
    ValidationResult,
)
from stormcellar.sessions.config import SessionConfig
from stormcellar.sessions.engine import Sessions
from stormcellar.sessions.errors import (
    InvalidClaimsError,
    SessionError,
    StoreUnavailableError,
    TokenTheftError,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.sessions.remote import RemoteConfig, RemoteSessions, VerifyOnlyError
from stormcellar.sessions.session import Session, SessionInformation, Tokens
from stormcellar.sessions.verifier import ClaimsOverride

__version__ = "0.1.0"

__all__ = [
    "BooleanClaim",
    "ClaimValidator",
    "ClaimsOverride",
    "Clock",
    "EmailVerificationClaim",
    "InvalidClaimsError",
    "PermissionClaim",
    "PrimitiveArrayClaim",
    "PrimitiveClaim",
    "RemoteConfig",
    "RemoteSessions",
    "Session",
    "SessionClaim",
    "SessionConfig",
    "SessionError",
    "SessionInformation",
    "Sessions",
    "SharedClock",
    "StoreUnavailableError",
    "SystemClock",
    "TokenTheftError",
    "Tokens",
    "TryRefreshTokenError",
    "UnauthorisedError",
    "UserRoleClaim",
    "ValidationResult",
    "VerifyOnlyError",
]
