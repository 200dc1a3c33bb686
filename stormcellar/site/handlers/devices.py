# SPDX-License-Identifier: MIT
"""Where a user is signed in: a page that lists the sessions and ends them."""

from __future__ import annotations

from handlers.account import OwnAccountHandler
from stormcellar import SMALL_BODY_BYTES, Device, in_words, recent_endings

NOTICES = {
    "ended": "That session has ended.",
    "others-ended": "You are signed out everywhere else.",
}


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
            may_end=await self.signed_in_recently(),
            endings=await recent_endings(self.app.audit, self.session.user_id, self.app.clock.now()),
            notice=NOTICES.get(self.get_query_argument("notice", ""), ""),
            lifetime=in_words(self.app.options.access_token_lifetime_s),
        )

    async def post(self) -> None:
        await self.check_signed_in_recently()
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
