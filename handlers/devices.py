# SPDX-License-Identifier: MIT
"""Where somebody is signed in: a page that lists the sessions and ends them, and what open pages ask."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.account import OwnAccountHandler
from stormcellar.sessions import (
    InvalidClaimsError,
    SessionInformation,
)
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S, SIGN_IN_TIME
from stormcellar.web.device import SeenFrom
from stormcellar.web.endings import recent_endings
from stormcellar.web.handler import SMALL_BODY_BYTES
from stormcellar.web.mails import in_words

NOTICES = {
    "ended": "That session has ended.",
    "others-ended": "You are signed out everywhere else.",
}


@dataclass(frozen=True)
class Device:
    """A session as its user sees it. Times are Unix seconds; `seen_at` is that of the last renewal."""

    handle: str
    is_this: bool
    first: SeenFrom
    last: SeenFrom
    began_at: float
    seen_at: float

    @classmethod
    def of(cls, information: SessionInformation, this: str = "") -> Device:
        first = SeenFrom.from_text(information.created_from)
        return cls(
            handle=information.session_handle,
            is_this=information.session_handle == this,
            first=first,
            last=SeenFrom.from_text(information.refreshed_from) if information.refreshed_from else first,
            began_at=information.time_created / 1000,
            seen_at=information.time_refreshed / 1000,
        )


class SessionsHandler(OwnAccountHandler):
    """GET /account/sessions: where I am signed in. POST: end one of them, or all but this one.

    Looking is free. Ending asks for a recent sign-in; until then the page has no button for it.
    """

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        listed = await self.app.sessions.list_sessions(self.session.user_id)
        devices = [Device.of(information, self.session.handle) for information in listed]
        self.render(
            "account/sessions.html",
            devices=sorted(devices, key=lambda device: not device.is_this),
            may_end=await self._signed_in_recently(),
            endings=await recent_endings(self.app.audit, self.session.user_id, self.app.clock.now()),
            notice=NOTICES.get(self.get_query_argument("notice", ""), ""),
            lifetime=in_words(self.app.options.access_token_lifetime_s),
        )

    async def post(self) -> None:
        await self.session.assert_claims([SIGN_IN_TIME.within(SENSITIVE_WITHIN_S)])
        user_id, sessions = self.session.user_id, self.app.sessions
        if self.get_body_argument("which", "") == "others":
            await sessions.revoke_all_sessions_for_user(
                user_id, keep=self.session.handle, reason="ended by its user"
            )
            self.see_other("/account/sessions", notice="others-ended")
            return
        handle = self.get_body_argument("session_handle", "")
        ended = await sessions.revoke_session(handle, owner=user_id, reason="ended by its user")
        self.see_other("/account/sessions", **({"notice": "ended"} if ended else {}))

    async def _signed_in_recently(self) -> bool:
        try:
            await self.session.assert_claims([SIGN_IN_TIME.within(SENSITIVE_WITHIN_S)])
        except InvalidClaimsError:
            return False
        return True
