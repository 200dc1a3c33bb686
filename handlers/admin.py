# SPDX-License-Identifier: MIT
"""Pages for those who look after the site: users, and their sessions."""

from __future__ import annotations

from tornado.web import HTTPError

from handlers.base import ProtectedHandler
from stormcellar import SENSITIVE_WITHIN_S, SMALL_BODY_BYTES, Device, User

ADMIN = "admin"
"""The role that these pages ask for."""

PAGE = 50
MOST_EVENTS = 50
LONGEST_SEARCH = 254  # no address is longer
NOTICES = {
    "ended": "That session has ended.",
    "all-ended": "All sessions of this user have ended.",
    "locked": "This user is locked, and all their sessions have ended.",
    "unlocked": "This user can sign in again.",
}


class AdminHandler(ProtectedHandler):
    """What the pages for administrators share."""

    required_claims = (ADMIN,)
    recent_sign_in_within_s = 4 * SENSITIVE_WITHIN_S


class UsersHandler(AdminHandler):
    """GET /admin/users?search=&after=: all users from the oldest account on, 50 on a page."""

    async def get(self) -> None:
        search = self.get_query_argument("search", "")[:LONGEST_SEARCH].strip()
        after_id = self.get_query_argument("after", "")
        after = await self.app.accounts.get(after_id) if after_id else None
        users = await self.app.accounts.list(limit=PAGE + 1, after=after, search=search)
        following = users[PAGE - 1].user_id if len(users) > PAGE else ""
        self.render(
            "admin/users.html", users=users[:PAGE], search=search, is_first=after is None, following=following
        )


class UserHandler(AdminHandler):
    """GET /admin/users/ID: a user, their sessions, and what happened last. POST: end one, end all, lock
    or unlock."""

    form_page = "/admin/users"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self, user_id: str) -> None:
        user = await self._user(user_id)
        listed = await self.app.sessions.list_sessions(user.user_id)
        self.render(
            "admin/user.html",
            user=user,
            roles=await self.app.accounts.roles(user.user_id),
            devices=[Device.of(information, self.session.handle) for information in listed],
            events=await self.app.audit.events(user_id=user.user_id, limit=MOST_EVENTS),
            is_self=user.user_id == self.session.user_id,
            notice=NOTICES.get(self.get_query_argument("notice", ""), ""),
        )

    async def post(self, user_id: str) -> None:
        user = await self._user(user_id)
        action = self.get_body_argument("action", "")
        if action == "end":
            handle = self.get_body_argument("session_handle", "")
            await self.app.sessions.revoke_session(handle, owner=user.user_id, reason=self._why())
            notice = "ended"
        elif action == "end-all":
            await self._end_all(user)
            notice = "all-ended"
        elif action == "lock" and user.user_id != self.session.user_id:
            await self.app.accounts.lock(user.user_id)
            self.app.journal.record("account locked", user_id=user.user_id, detail=self._why())
            await self._end_all(user)
            notice = "locked"
        elif action == "unlock":
            await self.app.accounts.unlock(user.user_id)
            self.app.journal.record("account unlocked", user_id=user.user_id, detail=self._why())
            notice = "unlocked"
        else:
            raise HTTPError(400, "unknown action")
        self.see_other(f"/admin/users/{user.user_id}", notice=notice)

    async def _user(self, user_id: str) -> User:
        user = await self.app.accounts.get(user_id)
        if user is None:
            raise HTTPError(404)
        return user

    async def _end_all(self, user: User) -> None:
        await self.app.sessions.revoke_all_sessions_for_user(user.user_id, reason=self._why())

    def _why(self) -> str:
        return f"by administrator {self.session.user_id}"
