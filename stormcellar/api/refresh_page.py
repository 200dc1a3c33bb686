# SPDX-License-Identifier: MIT
"""The pages of a renewal: the page that renews, and the page that says why that was not possible."""

from __future__ import annotations

from tornado.web import HTTPError

from stormcellar.web.handler import BaseHandler


class RefreshPageHandler(BaseHandler):
    """GET /refresh-session?redirectBack=: renews the session by script, or offers to do it without.

    The same for everybody, so caches may keep it.
    """

    public = "renews a session that has expired, so it cannot ask for one"

    async def get_session(self) -> None:
        return None

    async def get(self) -> None:
        self.set_header("Cache-Control", "public, max-age=300")
        self.render_refresh_page(in_place=False)


class RefreshStoppedHandler(BaseHandler):
    """GET /refresh-session/stopped?reason=&redirectBack=: why the session could not be renewed."""

    public = "explains why a session cannot be renewed"
    reasons = frozenset({"cookies", "clock", "loop"})

    async def get_session(self) -> None:
        return None

    async def get(self) -> None:
        reason = self.get_query_argument("reason", "loop")
        if reason not in self.reasons:
            raise HTTPError(404)
        if self.app.developer is not None:
            self.app.developer.stopped(self, reason)
        self.render("loop.html", reason=reason, redirect_back=self.redirect_back())
