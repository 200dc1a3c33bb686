# SPDX-License-Identifier: MIT
"""The pages of the site. Add yours here: inherit from ProtectedHandler, and name it in routes.py."""

from __future__ import annotations

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
