# SPDX-License-Identifier: MIT
"""The pages of one's own account: /account and what it leads to. They work without script.

A page that can cost users their account asks for a sign-in of the last minutes. No page asks for a confirmed
address: a user who mistyped the address must be able to correct it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.base import BaseHandler, ProtectedHandler
from handlers.recovery import MailedLinkHandler
from stormcellar.accounts import (
    FieldErrors,
    InvalidTokenError,
    ThrottledError,
    UnknownUserError,
    User,
    WrongCredentialsError,
    normalise_email,
)
from stormcellar.accounts.emails import email_spellings
from stormcellar.accounts.errors import EmailError
from stormcellar.sessions import ClaimValidator, Session, SessionError, UnauthorisedError
from stormcellar.web import limits
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S, SIGN_IN_TIME
from stormcellar.web.handler import SMALL_BODY_BYTES
from stormcellar.web.new_password import change_password
from stormcellar.web.sent_twice import browser_of, has_just_been_deleted, has_just_changed_password
from stormcellar.web.sign_out import CLEAR_SPECULATION

WRONG_PASSWORD = "This is not your password"
OTHER_EMAIL = "This is not the address of your account"
NOTICES = {
    "new-password": "Your new password is saved. You are signed out everywhere else.",
    "new-email": "Your new e-mail address is confirmed.",
}


class OwnAccountHandler(ProtectedHandler):
    """What the pages of one's own account share."""

    async def override_global_claim_validators(
        self, validators: Sequence[ClaimValidator], session: Session
    ) -> Sequence[ClaimValidator]:
        unasked = self.app.account_claims.email_verified.key
        return [validator for validator in validators if validator.id != unasked]

    async def user(self) -> User:
        """The account.

        Raises:
            UnauthorisedError: it is gone, and the session will be in a moment.
        """
        user = await self.app.accounts.get(self.session.user_id)
        if user is None:
            raise UnauthorisedError(f"user {self.session.user_id} is gone")
        return user

    async def check_password(self, password: str) -> User:
        """The account, if this is its password.

        Raises:
            FieldErrors, WrongCredentialsError, ThrottledError, TooBusyError: as at sign-in.
        """
        email = (await self.user()).email
        try:
            user = await limits.confirm_password(self, self.session.user_id, email, password)
        except WrongCredentialsError:
            self.app.journal.record(
                "sign-in failed", user_id=self.session.user_id, detail="password not confirmed"
            )
            raise
        if user.user_id != self.session.user_id:  # the address has become somebody else's meanwhile
            raise WrongCredentialsError
        return user

    def show_again(
        self, template: str, errors: dict[str, str], status: int = 422, **variables: object
    ) -> None:
        self.set_status(status)
        self.render(template, errors=errors, **variables)

    def show_throttled(self, template: str, error: ThrottledError, **variables: Any) -> None:
        self.set_header("Retry-After", str(error.retry_after_s))
        self.show_again(template, {"": str(error)}, status=429, **variables)


class AccountHandler(OwnAccountHandler):
    """GET /account: what the account is, and where to change it."""

    async def get(self) -> None:
        user = await self.user()
        sessions = await self.app.sessions.get_all_session_handles_for_user(user.user_id)
        notice = NOTICES.get(self.get_query_argument("notice", ""), "")
        self.render("account/account.html", user=user, other_sessions=len(sessions) - 1, notice=notice)


class ConfirmPasswordHandler(OwnAccountHandler):
    """GET /confirm-password?redirectBack=: asks for the password again. POST: goes on if it was right."""

    template = "account/confirm_password.html"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        await self.user()
        self.render(self.template, errors={}, **self._variables())

    async def post(self) -> None:
        try:
            await self.check_password(self.password_field())
        except ThrottledError as error:
            self.show_throttled(self.template, error, **self._variables())
        except (FieldErrors, WrongCredentialsError):
            self.show_again(self.template, {"password": WRONG_PASSWORD}, **self._variables())
        else:
            update = SIGN_IN_TIME.set_now(self.app.sessions.clock.now())
            await self.session.merge_into_access_token_payload(update)
            self.see_other(self.redirect_back("/account"))

    def _variables(self) -> dict[str, Any]:
        return {
            "redirect_back": self.redirect_back("/account"),
            "unsent": self.get_argument("unsent", "") == "yes",
        }


class OnceHandler(OwnAccountHandler):
    """A page whose form ends the session that it comes with. A form that is sent twice is answered twice."""

    _was_done = False

    async def prepare(self) -> None:
        try:
            await super().prepare()
        except UnauthorisedError:
            self._was_done = self.request.method == "POST" and await self.has_done_it()
            raise

    def answer_session_error(self, error: SessionError) -> None:
        if self._was_done:
            self.show_done()
        else:
            super().answer_session_error(error)

    async def has_done_it(self) -> bool:
        """Tell whether the same form has just done what is asked for."""
        raise NotImplementedError

    def show_done(self) -> None:
        raise NotImplementedError


class NewPasswordHandler(OnceHandler):
    """GET and POST /account/password: another password. All other sessions end, and this one begins anew."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/new_password.html"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.render(self.template, errors={})

    async def post(self) -> None:
        try:
            await self._change()
        except ThrottledError as error:
            self.show_throttled(self.template, error)
        except WrongCredentialsError:
            if await self.has_done_it():
                self.show_done()
            else:
                self.show_again(self.template, {"current-password": WRONG_PASSWORD})
        except FieldErrors as error:
            self.show_again(self.template, error.errors)
        else:
            self.show_done()

    async def _change(self) -> None:
        user = await self.check_password(self.password_field("current-password"))
        await change_password(self, user, self.password_field())
        limits.remember_client(self, await self.user())
        await self.app.mails.post(user.email, "password_changed")

    async def has_done_it(self) -> bool:
        """As above. The first form has replaced the session, so the browser needs one: it begins here."""
        user = await has_just_changed_password(self, self.password_field())
        if user is None:
            return False
        await self.begin_session(user.user_id, method="cookie", password_version=user.password_version)
        return True

    def show_done(self) -> None:
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.see_other("/account", notice="new-password")

    async def check_password(self, password: str) -> User:
        try:
            return await super().check_password(password)
        except FieldErrors:  # it says what is wrong with the current password, which is not the new one
            raise WrongCredentialsError from None


class NewEmailHandler(OwnAccountHandler):
    """GET and POST /account/email: have a link mailed to another address, which is the account's after that.

    Nobody learns whether the address is somebody's. Only its owner does, who is told by mail.
    """

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/new_email.html"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.render(self.template, errors={}, email="", user=await self.user())

    async def post(self) -> None:
        user, email = await self.user(), self.get_body_argument("email", "")
        try:
            await limits.verification_mail(self, user.user_id)
            token = await self.app.accounts.create_email_change(user.user_id, email)
        except ThrottledError as error:
            self.show_throttled(self.template, error, email=email, user=user)
        except FieldErrors as error:
            self.show_again(self.template, error.errors, email=email, user=user)
        except UnknownUserError:
            raise UnauthorisedError(f"user {user.user_id} is gone") from None
        else:
            address = normalise_email(email)
            if token is None:
                await self.app.mails.post(address, "email_taken")
            await self.app.mails.post_link(token)
            await self.app.mails.post(user.email, "email_change_asked", new_email=address)
            self.render("account/new_email_sent.html", email=address)


class ConfirmNewEmailHandler(MailedLinkHandler):
    """GET /account/email/confirm?token=: says what will change, with a button. POST: it changes.

    Whoever is signed in here does not matter: the token says whose account it is, and so does the page.
    """

    public = "takes a mailed token instead of a session"
    template = "account/new_email_confirm.html"
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        if not self.token():
            self.see_other("/account")
            return
        try:
            change = await self.app.accounts.check_email_change(self.token())
        except InvalidTokenError as error:
            self._refuse(error)
        else:
            self.render(self.template, errors={}, token=self.token(), change=change)

    async def post(self) -> None:
        browser = await browser_of(self)
        try:
            change = await self.app.accounts.change_email(self.token(), sent_from=browser)
        except InvalidTokenError as error:
            known = await self.app.accounts.just_spent(self.token(), "change_email", browser)
            if known is None:
                self._refuse(error)
            else:
                await self._show_done(known.user_id, known.email)
            return
        user_id = change.user.user_id
        self.app.journal.record("e-mail changed", user_id=user_id)
        await self.app.mails.post(change.user.email, "email_changed", new_email=change.new_email)
        await self._show_done(user_id, change.new_email)

    async def _show_done(self, user_id: str, email: str) -> None:
        if self.session is not None and self.session.user_id == user_id:
            if self.app.options.email_verification != "off":
                await self.session.fetch_and_set_claim(self.app.account_claims.email_verified)
            self.see_other("/account", notice="new-email")
        else:
            self.render("account/new_email_done.html", email=email)

    def _refuse(self, error: InvalidTokenError) -> None:
        self.set_status(422)
        self.render(self.template, errors={"": f"{error}."}, token="", change=None)


class DeleteAccountHandler(OnceHandler):
    """GET and POST /account/delete: the account and all its sessions, for ever. The address is typed in."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    template = "account/delete.html"
    max_body_bytes = SMALL_BODY_BYTES

    async def user(self) -> User:
        try:
            return await super().user()
        except UnauthorisedError:
            self._was_done = self.request.method == "POST"
            raise

    async def has_done_it(self) -> bool:
        return await has_just_been_deleted(self)

    def show_done(self) -> None:
        self.transfer.clear()
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.see_other("/account/deleted")

    async def get(self) -> None:
        self.render(self.template, errors={}, email="", user=await self.user())

    async def post(self) -> None:
        user, email = await self.user(), self.get_body_argument("email", "")
        if not _is_address(email, user.email):
            self.show_again(self.template, {"email": OTHER_EMAIL}, email=email, user=user)
            return
        await self._delete(user)
        self.show_done()

    async def _delete(self, user: User) -> None:
        """All other sessions end first: should the rest fail, it can be tried again from here. They end once
        more after it, for whoever signed in meanwhile."""
        sessions = self.app.sessions
        here, reason = self.session.handle, "account deleted"
        await sessions.revoke_all_sessions_for_user(user.user_id, keep=here, reason=reason)
        was_there = await self.app.accounts.delete(user.user_id)
        await sessions.revoke_all_sessions_for_user(user.user_id, keep=here, reason=reason)
        await self.session.revoke(reason=reason)
        if was_there:
            self.app.journal.record("account deleted", user_id=user.user_id)
            await self.app.mails.post(user.email, "account_deleted")


class AccountDeletedHandler(BaseHandler):
    """GET /account/deleted"""

    public = "says goodbye to whoever had an account"

    async def get(self) -> None:
        self.render("account/deleted.html")


def _is_address(text: str, address: str) -> bool:
    try:
        return address in email_spellings(text)
    except EmailError:
        return False
