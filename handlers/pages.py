# SPDX-License-Identifier: MIT
"""The site's pages. Add yours here: inherit from ProtectedHandler, and name it in routes.py."""

from __future__ import annotations

from tornado.web import HTTPError, StaticFileHandler

from handlers.base import BaseHandler, ProtectedHandler


class HomeHandler(BaseHandler):
    """GET /: what this is; greets whoever is signed in."""

    public = "the start page is for everybody"

    async def get(self) -> None:
        self.render("home.html")


class DashboardHandler(ProtectedHandler):
    """GET /dashboard: who you are."""

    async def get(self) -> None:
        self.render("dashboard.html", user_id=self.session.user_id)


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
        reason = self.get_argument("reason", "loop")
        if reason not in self.reasons:
            raise HTTPError(404)
        self.render("loop.html", reason=reason, redirect_back=self.redirect_back())


class NotFoundHandler(BaseHandler):
    """Whatever no route knows."""

    public = "says that there is nothing here"

    def may_renew(self) -> bool:
        return False

    async def prepare(self) -> None:
        await super().prepare()
        raise HTTPError(404)


class StaticHandler(StaticFileHandler):
    """GET /static/...: style and scripts. Addresses with a version never change."""

    public = "style and scripts are the same for everybody"

    def set_extra_headers(self, path: str) -> None:
        for name, value in self.application.default_headers:  # type: ignore[attr-defined]
            if name != "Cache-Control":
                self.set_header(name, value)
        self.clear_header("Server")
