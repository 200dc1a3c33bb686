# SPDX-License-Identifier: MIT
"""Pages behind mailed links: a new password, a confirmed e-mail address. They work without script.

GET shows a page with a button and spends nothing: mail scanners and previews follow links. POST spends.
"""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler, ProtectedHandler
from stormcellar.accounts import FieldErrors, InvalidTokenError, ThrottledError, UnknownUserError
from stormcellar.sessions import UnauthorisedError
from stormcellar.web import limits
from stormcellar.web.handler import SMALL_BODY_BYTES
from stormcellar.web.sent_twice import reset_password_once, verify_email_once


class ForgotPasswordHandler(BaseHandler):
    """GET and POST /forgot-password: have a link for a new password mailed. Nobody learns who is known."""

    public = "whoever forgot the password cannot sign in"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.render("account/forgot_password.html", errors={}, email="")

    async def post(self) -> None:
        email = self.get_body_argument("email", "")
        try:
            await limits.reset_mail(self, email)
            token = await self.app.accounts.create_password_reset(email)
            decoy = self.app.accounts.decoy_password_reset(email)
        except FieldErrors as error:
            self.set_status(422)
            self.render("account/forgot_password.html", errors=error.errors, email=email)
        except ThrottledError as error:
            self.set_status(429)
            self.set_header("Retry-After", str(error.retry_after_s))
            self.render("account/forgot_password.html", errors={"": str(error)}, email=email)
        else:
            await self.app.mails.post_link_or_decoy(token, decoy)
            self.render("account/forgot_password_sent.html", email=email)


class MailedLinkHandler(BaseHandler):
    """A page whose address carries a one-time token, which must get into no other address."""

    async def prepare(self) -> None:
        if self.token():
            self.set_header("Referrer-Policy", "no-referrer")
        await super().prepare()

    def check_cross_site(self) -> None:
        """As elsewhere, but for browsers that send no Sec-Fetch-Site: because of no-referrer they send
        `Origin: null` from our own page. There the token has to do, which no other site knows."""
        headers = self.request.headers
        if headers.get("Origin") != "null" or "Sec-Fetch-Site" in headers or not self.token():
            super().check_cross_site()

    def may_renew(self) -> bool:
        """The way to a renewal and back would repeat the address, token and all."""
        return not self.token() and super().may_renew()

    def token(self) -> str:
        return self.get_argument("token", "")


class ResetPasswordHandler(MailedLinkHandler):
    """GET /reset-password?token=: a form for a new password. POST: take it, and end the user's sessions."""

    public = "takes a mailed token instead of a session"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        if self.token():
            self._show({})
        else:
            self.see_other("/forgot-password")

    async def post(self) -> None:
        password = self.password_field()
        try:
            user = await reset_password_once(self, self.token(), password)
        except FieldErrors as error:
            self._show(error.errors)
        except InvalidTokenError as error:
            self._show({"": f"{error}."})
        else:
            if self.session is not None and self.session.user_id == user.user_id:
                self.session = None
                self.transfer.clear()
            self.see_other("/login", after="new-password")

    def _show(self, errors: dict[str, str]) -> None:
        if errors:
            self.set_status(422)
        self.render("account/reset_password.html", errors=errors, token=self.token())


class VerifyEmailHandler(MailedLinkHandler):
    """GET /verify-email?token=: a button. POST: the address is confirmed.

    GET without a token tells whoever is signed in how things stand, and takes them back once all is well.
    """

    public = "takes a mailed token instead of a session"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        if self.token():
            self._show_button({})
        elif self.session is None:
            self.redirect(self.with_return(self.app.addresses.sign_in, "/verify-email"), status=303)
        else:
            user = await self.app.accounts.get(self.session.user_id)
            if user is not None and user.email_verified:
                self.see_other(self.redirect_back())
            else:
                sent = self.get_query_argument("sent", "") == "yes"
                self.render("account/verify_email_needed.html", sent=sent, continue_at=self.redirect_back())

    async def post(self) -> None:
        try:
            user = await verify_email_once(self, self.token())
        except InvalidTokenError as error:
            self.set_status(422)
            self._show_button({"": f"{error}."})
            return
        if self.session is not None and self.session.user_id == user.user_id:
            await self.session.fetch_and_set_claim(self.app.account_claims.email_verified)
        self.render("account/verify_email_done.html")

    def _show_button(self, errors: dict[str, str]) -> None:
        self.render("account/verify_email.html", errors=errors, token=self.token())


class VerificationMailHandler(ProtectedHandler):
    """POST /verify-email/send: mail the link to confirm the address (again)."""

    max_body_bytes = SMALL_BODY_BYTES

    async def override_global_claim_validators(self, *_: Any) -> list[Any]:
        return []  # it is for those whose address is not confirmed

    async def post(self) -> None:
        await limits.verification_mail(self, self.session.user_id)
        try:
            token = await self.app.accounts.create_email_verification(self.session.user_id)
        except UnknownUserError:
            raise UnauthorisedError(f"user {self.session.user_id} is gone") from None
        await self.app.mails.post_link(token)
        self.see_other("/verify-email", sent="yes", redirectBack=self.redirect_back())
