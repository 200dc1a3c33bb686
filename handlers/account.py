# SPDX-License-Identifier: MIT
"""Pages about one's account: sign up, sign in, sign out. They work without script."""

from __future__ import annotations

from accounts import FieldErrors, ThrottledError, User, WrongCredentialsError
from handlers import limits, staying, why_ended
from handlers.base import SMALL_BODY_BYTES, BaseHandler
from handlers.sign_up import CLOSED, RegistrationClosedError, sign_up_once
from sessions.feed import SIGNED_OUT

CHECK_COOKIES = "checkCookies"
MOST_REFRESH_TOKENS = 4  # cookies of older domains and paths may come too
CLEAR_SPECULATION = '"prefetchCache", "prerenderCache"'


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


class SignOutHandler(BaseHandler):
    """POST /signout: end this session, and drop the pages that the browser fetched ahead of time.

    An expired access token is enough: whoever leaves need not renew first. One whose key is gone tells
    nothing any more; then the refresh token must, which the browser sends to its own path only.
    """

    public = "whoever's session is over already may leave too"
    max_body_bytes = SMALL_BODY_BYTES

    def may_renew(self) -> bool:
        return False

    async def post(self) -> None:
        token = self.transfer.cookie(self.app.jar.access)
        handle = await self.app.sessions.handle_of(token) if token else None
        if handle is None and self.transfer.may_refresh():
            self.redirect(self.with_return(self.app.addresses.end, self.redirect_back("/")), status=307)
        else:
            self.leave(clears=await self.end({handle} if handle else set()))

    async def end(self, handles: set[str]) -> bool:
        """End these sessions of this browser. Returns whether the answer must clear the browser's cookies."""
        sessions = self.app.sessions
        if not handles:
            return not self.transfer.holds_only_foreign(sessions.recognises)
        return any([await sessions.end_in_browser(handle, reason=SIGNED_OUT) for handle in handles])

    def leave(self, *, clears: bool) -> None:
        self.session = None
        if clears:
            self.transfer.clear()
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.see_other(self.redirect_back("/"))


class SignOutByRefreshTokenHandler(SignOutHandler):
    """POST {base}/session/refresh/signout: the same, under the path to which the refresh token comes."""

    public = "takes a refresh token instead of a session"
    max_body_bytes = SMALL_BODY_BYTES

    async def post(self) -> None:
        tokens = self.transfer.cookies(self.app.jar.refresh)[:MOST_REFRESH_TOKENS]
        sessions = self.app.sessions
        found = [await sessions.handle_of_refresh_token(token) for token in tokens]
        living = {handle for handle in found if handle}
        over = sessions.sessions_of(tokens) - living
        if over:
            await sessions.feed.hear_news()
        told = [sessions.settle(handle) for handle in over]
        clears = await self.end(living) if living or not over else False
        self.leave(clears=clears or any(told))
