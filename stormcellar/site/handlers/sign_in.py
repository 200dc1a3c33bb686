# SPDX-License-Identifier: MIT
"""Pages about one's account: sign up, sign in, sign out. They work without script."""

from __future__ import annotations

from handlers.base import BaseHandler
from stormcellar.accounts import FieldErrors, ThrottledError, User, WrongCredentialsError
from stormcellar.api.refresh import CHECK_COOKIES
from stormcellar.web import limits, staying, why_ended
from stormcellar.web.handler import SMALL_BODY_BYTES
from stormcellar.web.sign_up import CLOSED, RegistrationClosedError, sign_up_once


class CredentialsHandler(BaseHandler):
    """What signing in and signing up share: a form with e-mail and password, and the session after it."""

    template: str
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        if self.session is not None:
            self.see_other(self.redirect_back())
        elif self.get_query_argument(CHECK_COOKIES, ""):
            self.see_other("/refresh-session/stopped", reason="cookies", redirectBack=self.redirect_back())
        else:
            self._show({}, "")

    async def post(self) -> None:
        email = self.get_body_argument("email", "")
        password = self.password_field()
        try:
            user = await self.find_user(email, password)
            if not self.keeps_session_of(user):
                await self.begin_session(
                    user.user_id, method="cookie", password_version=user.password_version
                )
            limits.remember_client(self, user)
        except FieldErrors as error:
            self._show(error.errors, email)
        except WrongCredentialsError as error:
            self.app.journal.record("sign-in failed", user_id=error.user_id)
            self._show({"": f"{error}."}, email)
        except ThrottledError as error:
            self.set_header("Retry-After", str(error.retry_after_s))
            self._show({"": str(error)}, email, status=429)
        else:
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

    async def find_user(self, email: str, password: str) -> User:
        raise NotImplementedError

    def keeps_session_of(self, user: User) -> bool:
        """Tell whether the session that this browser has is the one that this form began."""
        return False

    def _show(self, errors: dict[str, str], email: str, status: int = 422) -> None:
        if errors:
            self.set_status(status)
        self.render(
            self.template,
            errors=errors,
            email=email,
            redirect_back=self.redirect_back(),
            asks_to_stay=staying.asks(self),
            stays=staying.is_checked(self),
            notice=why_ended.sentence(self),
        )


class LoginHandler(CredentialsHandler):
    """GET and POST /login"""

    public = "people sign in here"
    template = "account/login.html"

    async def get(self) -> None:
        if self.get_query_argument("after", "") == "new-password":
            self.template = "account/login_after_reset.html"
        await super().get()

    async def find_user(self, email: str, password: str) -> User:
        return await limits.sign_in(self, email, password)


class SignUpHandler(CredentialsHandler):
    """GET and POST /signup"""

    public = "people sign up here"
    template = "account/signup.html"
    _is_repeated = False

    async def get(self) -> None:
        if self.session is None and self.app.options.registration == "closed":
            self._show_closed(200)
        else:
            await super().get()

    async def post(self) -> None:
        try:
            await super().post()
        except RegistrationClosedError:
            self._show_closed(403)

    def _show_closed(self, status: int) -> None:
        self.set_status(status)
        self.render("account/signup_closed.html", message=CLOSED, redirect_back=self.redirect_back())

    async def find_user(self, email: str, password: str) -> User:
        user, is_new = await sign_up_once(self, email, password)
        self._is_repeated = not is_new
        if is_new and self.app.options.email_verification != "off":
            token = await self.app.accounts.create_email_verification(user.user_id)
            await self.app.mails.post_link(token)
        return user

    def keeps_session_of(self, user: User) -> bool:
        return self._is_repeated and self.session is not None and self.session.user_id == user.user_id
