# SPDX-License-Identifier: MIT
"""The pages of one's own account: /account and what it leads to. They work without script.

A page that can cost users their account asks for a sign-in of the last minutes. No page asks for a confirmed
address: a user who mistyped the address must be able to correct it.
"""

from __future__ import annotations

from typing import Any

import stormcellar
from handlers.base import BaseHandler, ProtectedHandler
from stormcellar import (
    SENSITIVE_WITHIN_S,
    EmailChange,
    FormHandler,
    MailedLinkHandler,
    change_email_once,
    tell_session_of_email,
)

NOTICES = {
    "new-password": "Your new password is saved. You are signed out everywhere else.",
    "new-email": "Your new e-mail address is confirmed.",
}


class OwnAccountHandler(stormcellar.OwnAccountHandler, ProtectedHandler):
    """What the pages of one's own account share."""


class AccountHandler(OwnAccountHandler):
    """GET /account: what the account is, and where to change it."""

    async def get(self) -> None:
        user = await self.user()
        sessions = await self.app.sessions.get_all_session_handles_for_user(user.user_id)
        notice = NOTICES.get(self.get_query_argument("notice", ""), "")
        self.render("account/account.html", user=user, other_sessions=len(sessions) - 1, notice=notice)


class ConfirmPasswordHandler(FormHandler, OwnAccountHandler):
    """GET /confirm-password?redirectBack=: asks for the password again. POST: goes on if it was right."""

    template = "account/confirm_password.html"

    async def variables(self) -> dict[str, Any]:
        await self.user()
        unsent = self.get_argument("unsent", "") == "yes"
        return {"redirect_back": self.redirect_back("/account"), "unsent": unsent}

    async def submit(self) -> None:
        await self.confirm_password(self.password_field())
        self.see_other(self.redirect_back("/account"))


class NewPasswordHandler(stormcellar.NewPasswordHandler, OwnAccountHandler):
    """GET and POST /account/password: another password. All other sessions end, and a new one begins here."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/new_password.html"

    def show_done(self) -> None:
        self.see_other("/account", notice="new-password")


class NewEmailHandler(FormHandler, OwnAccountHandler):
    """GET and POST /account/email: mail a link to another address, which is the account's after that."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/new_email.html"

    async def variables(self) -> dict[str, Any]:
        return {"email": self.get_body_argument("email", ""), "user": await self.user()}

    async def submit(self) -> None:
        address = await self.ask_for_new_email(self.get_body_argument("email", ""))
        self.render("account/new_email_sent.html", email=address)


class ConfirmNewEmailHandler(MailedLinkHandler, BaseHandler):
    """GET /account/email/confirm?token=: says what will change, with a button. POST: it changes.

    Any browser may open the link: the token says whose account it is, and so does the page.
    """

    public = "takes a mailed token instead of a session"
    template = "account/new_email_confirm.html"
    change: EmailChange | None = None

    async def variables(self) -> dict[str, Any]:
        return {"token": self.token() if self.change else "", "change": self.change}

    async def open(self) -> None:
        if not self.token():
            self.see_other("/account")
            return
        self.change = await self.app.accounts.check_email_change(self.token())
        await self.show_form()

    async def submit(self) -> None:
        user_id, email = await change_email_once(self, self.token())
        if await tell_session_of_email(self, user_id):
            self.see_other("/account", notice="new-email")
        else:
            self.render("account/new_email_done.html", email=email)


class DeleteAccountHandler(stormcellar.DeleteAccountHandler, OwnAccountHandler):
    """GET and POST /account/delete: the account and all its sessions end. The user types the address."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/delete.html"

    async def variables(self) -> dict[str, Any]:
        return {"email": self.get_body_argument("email", ""), "user": await self.user()}

    def show_done(self) -> None:
        self.see_other("/account/deleted")


class AccountDeletedHandler(BaseHandler):
    """GET /account/deleted"""

    public = "says goodbye to a user who had an account"

    async def get(self) -> None:
        self.render("account/deleted.html")
