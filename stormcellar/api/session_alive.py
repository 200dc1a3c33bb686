# SPDX-License-Identifier: MIT
"""Tell an open page whether its session has ended."""

from __future__ import annotations

from stormcellar.sessions import (
    ClaimValidator,
    Session,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.web.handler import BaseHandler


class SessionAliveHandler(BaseHandler):
    """GET /session-alive: whether this browser's session is still there, for pages that were kept or hidden.

    It renews nothing, prolongs nothing and clears nothing. `null`: there is no session to ask about.
    """

    public = "tells a page nothing but whether its own session has ended"
    speaks_json = True

    async def get_session(self) -> Session | None:
        return None

    async def get(self) -> None:
        token = self.transfer.cookie(self.app.jar.access)
        handle = await self.app.sessions.handle_of(token) if token else None
        alive = await self._is_alive(token, handle) if token and handle else None
        self.finish({"alive": alive})

    async def _is_alive(self, token: str, handle: str) -> bool:
        """In the common case this is a look into memory; the store is asked about expired tokens only."""
        sessions = self.app.sessions
        try:
            await sessions.get_session(token, override_global_claim_validators=_no_validators)
        except UnauthorisedError:
            return False
        except TryRefreshTokenError:
            return await sessions.renewed_until(handle) is not None
        return True


async def _no_validators(*_: object) -> list[ClaimValidator]:
    return []
