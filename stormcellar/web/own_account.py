# SPDX-License-Identifier: MIT
"""What the pages of one's own account share: the account, its password, another address, and its end."""

from __future__ import annotations

from collections.abc import Sequence

from stormcellar.accounts import (
    EmailError,
    FieldErrors,
    UnknownUserError,
    User,
    WrongCredentialsError,
    normalise_email,
)
from stormcellar.accounts.emails import email_spellings
from stormcellar.sessions import (
    ClaimValidator,
    InvalidClaimsError,
    Session,
    SessionError,
    UnauthorisedError,
)
from stormcellar.web import limits
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S, SIGN_IN_TIME
from stormcellar.web.form_page import FormHandler
from stormcellar.web.handler import ProtectedHandler
from stormcellar.web.new_password import change_password
from stormcellar.web.sent_twice import has_just_been_deleted, has_just_changed_password
from stormcellar.web.sign_out import CLEAR_SPECULATION

WRONG_PASSWORD = "This is not your password"
OTHER_EMAIL = "This is not the address of your account"


class OwnAccountHandler(ProtectedHandler):
    """A page of one's own account. It does not ask for a confirmed address, which may be mistyped."""

    async def override_global_claim_validators(
        self, validators: Sequence[ClaimValidator], session: Session
    ) -> Sequence[ClaimValidator]:
        unasked = self.app.account_claims.email_verified.key
        return [validator for validator in validators if validator.id != unasked]

    async def user(self) -> User:
        """Return the account.

        Raises:
            UnauthorisedError: it is gone, and the session will be in a moment.
        """
        user = await self.app.accounts.get(self.session.user_id)
        if user is None:
            raise UnauthorisedError(f"user {self.session.user_id} is gone")
        return user

    async def check_password(self, password: str) -> User:
        """Return the account, if this is its password.

        Raises:
            WrongCredentialsError, ThrottledError, TooBusyError: as at sign-in.
        """
        email = (await self.user()).email
        try:
            user = await limits.confirm_password(self, self.session.user_id, email, password)
        except WrongCredentialsError:
            self.app.journal.record(
                "sign-in failed", user_id=self.session.user_id, detail="password not confirmed"
            )
            raise
        except FieldErrors:  # it can be no password
            raise WrongCredentialsError from None
        if user.user_id != self.session.user_id:  # the address has become another user's meanwhile
            raise WrongCredentialsError
        return user

    async def confirm_password(self, password: str) -> None:
        """Note that the user has just given the password: pages for a recent sign-in open again.

        Raises:
            FieldErrors: this is not the password.
            ThrottledError, TooBusyError: as at sign-in.
        """
        try:
            await self.check_password(password)
        except WrongCredentialsError:
            raise FieldErrors({"password": WRONG_PASSWORD}) from None
        update = SIGN_IN_TIME.set_now(self.app.sessions.clock.now())
        await self.session.merge_into_access_token_payload(update)

    async def check_signed_in_recently(self) -> None:
        """Have the user give the password first, if the sign-in is not recent.

        Raises:
            InvalidClaimsError: it is not; the answer asks for the password, and leads back here.
        """
        await self.session.assert_claims([SIGN_IN_TIME.within(SENSITIVE_WITHIN_S)])

    async def signed_in_recently(self) -> bool:
        """Tell whether the sign-in is recent enough for what can cost users their account."""
        try:
            await self.check_signed_in_recently()
        except InvalidClaimsError:
            return False
        return True

    async def ask_for_new_email(self, email: str) -> str:
        """Mail a link to another address, which is the account's once the link is used; return the address.

        If the address has an account, its owner is told by mail, and the visitor is not told.

        Raises:
            FieldErrors, ThrottledError: no mail was sent.
        """
        user = await self.user()
        await limits.verification_mail(self, user.user_id)
        try:
            token = await self.app.accounts.create_email_change(user.user_id, email)
        except UnknownUserError:
            raise UnauthorisedError(f"user {user.user_id} is gone") from None
        address = normalise_email(email)
        if token is None:
            await self.app.mails.post(address, "email_taken")
        await self.app.mails.post_link(token)
        await self.app.mails.post(user.email, "email_change_asked", new_email=address)
        return address


class OnceHandler(FormHandler, OwnAccountHandler):
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
            self.end_once()
        else:
            super().answer_session_error(error)

    async def has_done_it(self) -> bool:
        """Tell whether the same form has just done what is asked for."""
        raise NotImplementedError

    def end_once(self) -> None:
        """Answer a form that has done its work. What the browser has fetched ahead of time is dropped."""
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.show_done()

    def show_done(self) -> None:
        """Go on to another page."""
        raise NotImplementedError


class NewPasswordHandler(OnceHandler):
    """The form for another password. All other sessions end, and a new one replaces this one."""

    async def submit(self) -> None:
        try:
            user = await self.check_password(self.password_field("current-password"))
            await change_password(self, user, self.password_field())
        except WrongCredentialsError:
            if not await self.has_done_it():
                raise FieldErrors({"current-password": WRONG_PASSWORD}) from None
        else:
            limits.remember_client(self, await self.user())
            await self.app.mails.post(user.email, "password_changed")
        self.end_once()

    async def has_done_it(self) -> bool:
        """As above. The first form has replaced the session, so the browser needs one: it begins here."""
        user = await has_just_changed_password(self, self.password_field())
        if user is None:
            return False
        await self.begin_session(user.user_id, method="cookie", password_version=user.password_version)
        return True


class DeleteAccountHandler(OnceHandler):
    """The form that deletes the account and all its sessions. The user types the address."""

    async def user(self) -> User:
        try:
            return await super().user()
        except UnauthorisedError:
            self._was_done = self.request.method == "POST"
            raise

    async def has_done_it(self) -> bool:
        return await has_just_been_deleted(self)

    async def submit(self) -> None:
        user = await self.user()
        if not is_address(self.get_body_argument("email", ""), user.email):
            raise FieldErrors({"email": OTHER_EMAIL})
        await self._delete(user)
        self.end_once()

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

    def end_once(self) -> None:
        self.transfer.clear()
        super().end_once()


def is_address(text: str, address: str) -> bool:
    """Tell whether this text is a spelling of the address."""
    try:
        return address in email_spellings(text)
    except EmailError:
        return False


async def mail_verification_link(handler: ProtectedHandler) -> None:
    """Mail the user who is signed in the link that confirms the address.

    Raises:
        ThrottledError: too many such mails.
        UnauthorisedError: the account is gone.
    """
    user_id = handler.session.user_id
    await limits.verification_mail(handler, user_id)
    try:
        token = await handler.app.accounts.create_email_verification(user_id)
    except UnknownUserError:
        raise UnauthorisedError(f"user {user_id} is gone") from None
    await handler.app.mails.post_link(token)
