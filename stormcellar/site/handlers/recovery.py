# SPDX-License-Identifier: MIT
"""Pages behind mailed links: a new password, a confirmed e-mail address. They work without script.

GET shows a page with a button and spends no token: mail scanners and previews follow links. POST spends it.
"""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler, ProtectedHandler
from stormcellar import (
    SMALL_BODY_BYTES,
    FormHandler,
    MailedLinkHandler,
    mail_reset_link,
    mail_verification_link,
    reset_password_once,
    tell_session_of_email,
    verify_email_once,
)


class ForgotPasswordHandler(FormHandler, BaseHandler):
    """GET and POST /forgot-password: mail a link for a new password. The answer tells no one who is known."""

    public = "a user who forgot the password cannot sign in"
    template = "account/forgot_password.html"

    async def variables(self) -> dict[str, Any]:
        return {"email": self.get_body_argument("email", "")}

    async def submit(self) -> None:
        email = self.get_body_argument("email", "")
        await mail_reset_link(self, email)
        self.render("account/forgot_password_sent.html", email=email)


class ResetPasswordHandler(MailedLinkHandler, BaseHandler):
    """GET /reset-password?token=: a form for a new password. POST: take it, and end the user's sessions."""

    public = "takes a mailed token instead of a session"
    template = "account/reset_password.html"

    async def open(self) -> None:
        if self.token():
            await self.show_form()
        else:
            self.see_other("/forgot-password")

    async def submit(self) -> None:
        await reset_password_once(self, self.token(), self.password_field())
        self.see_other("/login", after="new-password")


class VerifyEmailHandler(MailedLinkHandler, BaseHandler):
    """GET /verify-email?token=: a button. POST: the address is confirmed.

    GET without a token shows a signed-in user what is missing, or goes back once the address is confirmed.
    """

    public = "takes a mailed token instead of a session"
    template = "account/verify_email.html"

    async def open(self) -> None:
        if self.token():
            await self.show_form()
        elif self.session is None:
            self.redirect(self.with_return(self.app.addresses.sign_in, "/verify-email"), status=303)
        else:
            user = await self.app.accounts.get(self.session.user_id)
            if user is not None and user.email_verified:
                self.see_other(self.redirect_back())
            else:
                sent = self.get_query_argument("sent", "") == "yes"
                self.render("account/verify_email_needed.html", sent=sent, continue_at=self.redirect_back())

    async def submit(self) -> None:
        user = await verify_email_once(self, self.token())
        await tell_session_of_email(self, user.user_id)
        self.render("account/verify_email_done.html")


class VerificationMailHandler(ProtectedHandler):
    """POST /verify-email/send: mail the link to confirm the address (again)."""

    max_body_bytes = SMALL_BODY_BYTES

    async def override_global_claim_validators(self, *_: Any) -> list[Any]:
        return []  # it is for users whose address is not confirmed

    async def post(self) -> None:
        await mail_verification_link(self)
        self.see_other("/verify-email", sent="yes", redirectBack=self.redirect_back())
