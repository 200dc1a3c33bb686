# SPDX-License-Identifier: MIT
"""The forms for signing in and signing up: the session that they begin, and the way on."""

from __future__ import annotations

from typing import Any

from stormcellar.accounts import User, WrongCredentialsError
from stormcellar.web import limits, staying, why_ended
from stormcellar.web.form_page import FormHandler
from stormcellar.web.sign_up import CLOSED, RegistrationClosedError, sign_up_once

CHECK_COOKIES = "checkCookies"
"""In an address: the browser was given cookies just now, and should have sent them."""


class CredentialsHandler(FormHandler):
    """A form with e-mail and password. After it the visitor is signed in, and goes to the wanted page."""

    async def find_user(self, email: str, password: str) -> User:
        """Return the user whom these sign in.

        Raises:
            FieldErrors, WrongCredentialsError, ThrottledError: the form is shown again.
        """
        raise NotImplementedError

    async def open(self) -> None:
        if self.session is not None:
            self.see_other(self.redirect_back())
        elif self.get_query_argument(CHECK_COOKIES, ""):
            self.see_other("/refresh-session/stopped", reason="cookies", redirectBack=self.redirect_back())
        else:
            await self.show_form()

    async def submit(self) -> None:
        try:
            user = await self.find_user(self.get_body_argument("email", ""), self.password_field())
            if not self.keeps_session_of(user):
                await self.begin_session(
                    user.user_id, method="cookie", password_version=user.password_version
                )
        except WrongCredentialsError as error:
            self.app.journal.record("sign-in failed", user_id=error.user_id)
            raise
        limits.remember_client(self, user)
        why_ended.forget(self)
        self._leave()

    def _leave(self) -> None:
        """On to the wanted page. A browser that has sent no cookie yet may refuse them all, and would meet
        this form again without a word: it goes one step more, which shows whether it kept the session."""
        back = self.redirect_back()
        if self.request.headers.get("Cookie"):
            self.see_other(back)
        else:
            self.see_other(self.request.path, redirectBack=back, **{CHECK_COOKIES: "1"})

    def keeps_session_of(self, user: User) -> bool:
        """Tell whether the session that this browser has is the one that this form began."""
        return False

    async def variables(self) -> dict[str, Any]:
        return {
            "email": self.get_body_argument("email", ""),
            "redirect_back": self.redirect_back(),
            "asks_to_stay": staying.asks(self),
            "stays": staying.is_checked(self),
            "notice": why_ended.sentence(self),
        }


class SignInHandler(CredentialsHandler):
    """The form for signing in."""

    async def find_user(self, email: str, password: str) -> User:
        return await limits.sign_in(self, email, password)


class SignUpHandler(CredentialsHandler):
    """The form for signing up. A form that is sent twice signs up once.

    Attributes:
        closed_template: shown if only operators make accounts (setting `registration`).
    """

    closed_template: str
    _is_repeated = False

    async def open(self) -> None:
        if self.session is None and self.app.options.registration == "closed":
            self._show_closed(200)
        else:
            await super().open()

    async def submit(self) -> None:
        try:
            await super().submit()
        except RegistrationClosedError:
            self._show_closed(403)

    def _show_closed(self, status: int) -> None:
        self.set_status(status)
        self.render(self.closed_template, message=CLOSED, redirect_back=self.redirect_back())

    async def find_user(self, email: str, password: str) -> User:
        user, is_new = await sign_up_once(self, email, password)
        self._is_repeated = not is_new
        if is_new and self.app.options.email_verification != "off":
            token = await self.app.accounts.create_email_verification(user.user_id)
            await self.app.mails.post_link(token)
        return user

    def keeps_session_of(self, user: User) -> bool:
        return self._is_repeated and self.session is not None and self.session.user_id == user.user_id
