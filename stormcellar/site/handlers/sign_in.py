# SPDX-License-Identifier: MIT
"""Signing in and signing up. The kit checks the form, begins the session, and goes on to the wanted page."""

from __future__ import annotations

import stormcellar
from handlers.base import BaseHandler


class LoginHandler(stormcellar.SignInHandler, BaseHandler):
    """GET and POST /login"""

    public = "users sign in here"
    template = "account/login.html"

    async def get(self) -> None:
        if self.get_query_argument("after", "") == "new-password":
            self.template = "account/login_after_reset.html"
        await super().get()


class SignUpHandler(stormcellar.SignUpHandler, BaseHandler):
    """GET and POST /signup"""

    public = "users sign up here"
    template = "account/signup.html"
    closed_template = "account/signup_closed.html"
