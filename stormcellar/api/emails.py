# SPDX-License-Identifier: MIT
"""The JSON endpoints about e-mail addresses: is there an account, a new password, an address to verify.

Source: SuperTokens' frontend driver interface (FDI), EmailPassword and EmailVerification recipes.
"""

from __future__ import annotations

from typing import Any

from stormcellar.accounts import FieldErrors, InvalidTokenError, UnknownUserError
from stormcellar.api.bodies import APIHandler, BadRequest, field_error, required_fields
from stormcellar.sessions import Session, UnauthorisedError
from stormcellar.web import limits
from stormcellar.web.handler import BaseHandler
from stormcellar.web.new_password import reset_password


class EmailExistsHandler(APIHandler):
    """GET {base}/emailpassword/email/exists?email=, and by its older name {base}/signup/email/exists"""

    public = "sign-up forms ask it before they are sent"

    async def get(self) -> None:
        email = self.get_query_argument("email", None)
        if email is None:
            raise BadRequest("Please provide the email as a GET param")
        await limits.look_up(self)
        self.finish({"status": "OK", "exists": await self.app.accounts.get_by_email(email) is not None})


class PasswordResetTokenHandler(APIHandler):
    """POST {base}/user/password/reset/token: mail a link for a new password, if there is an account.

    Neither the answer nor its time tells whether there is one.
    """

    public = "whoever forgot the password cannot sign in"

    async def post(self) -> None:
        try:
            fields = required_fields(self.json_body(), ("email",))
            await limits.reset_mail(self, fields["email"])
            token = await self.app.accounts.create_password_reset(fields["email"])
            decoy = self.app.accounts.decoy_password_reset(fields["email"])
        except FieldErrors as error:
            self.finish(field_error(error))
        else:
            await self.app.mails.post_link_or_decoy(token, decoy)
            self.finish({"status": "OK"})


class PasswordResetHandler(APIHandler):
    """POST {base}/user/password/reset: a new password for a mailed token. It ends all the user's sessions."""

    public = "takes a mailed token instead of a session"

    async def post(self) -> None:
        body = self.json_body()
        try:
            fields = required_fields(body, ("password",))
            token = token_of(body, "password reset token")
            await reset_password(self.app, token, fields["password"])
        except FieldErrors as error:
            self.finish(field_error(error))
        except InvalidTokenError:
            self.finish({"status": "RESET_PASSWORD_INVALID_TOKEN_ERROR"})
        else:
            self.finish({"status": "OK"})


class EmailVerificationAPIHandler(APIHandler):
    """What the endpoints about verifying an address share: whoever is signed in may ask, verified or not."""

    async def get_session(self) -> Session | None:
        return await BaseHandler.get_session(self)

    def required_session(self) -> Session:
        """The caller's session.

        Raises:
            UnauthorisedError: there is none.
        """
        if self.session is None:
            raise UnauthorisedError("no access token", clear_tokens=False)
        return self.session

    async def set_claim(self, session: Session) -> None:
        """Have the session know what accounts know; the client gets a new access token."""
        await session.fetch_and_set_claim(self.app.account_claims.email_verified)


class EmailVerificationTokenHandler(EmailVerificationAPIHandler):
    """POST {base}/user/email/verify/token: mail a link that verifies the address of whoever is signed in."""

    public = "asks for a session itself, and holds it to no claim"

    async def post(self) -> None:
        session = self.required_session()
        await limits.verification_mail(self, session.user_id)
        try:
            token = await self.app.accounts.create_email_verification(session.user_id)
        except UnknownUserError:
            raise UnauthorisedError(f"user {session.user_id} is gone") from None
        is_verified = token is None
        if session.get_claim_value(self.app.account_claims.email_verified) is not is_verified:
            await self.set_claim(session)
        await self.app.mails.post_link(token)
        self.finish({"status": "EMAIL_ALREADY_VERIFIED_ERROR" if is_verified else "OK"})


class EmailVerificationHandler(EmailVerificationAPIHandler):
    """GET {base}/user/email/verify: is the address verified? POST: verify it by a mailed token."""

    public = "GET asks for a session itself; POST takes a mailed token instead"

    async def get(self) -> None:
        session = self.required_session()
        user = await self.app.accounts.get(session.user_id)
        if user is None:
            raise UnauthorisedError(f"user {session.user_id} is gone")
        await self.set_claim(session)  # each time: clients rely on the new token
        self.finish({"status": "OK", "isVerified": user.email_verified})

    async def post(self) -> None:
        token = token_of(self.json_body(), "email verification token")
        try:
            user = await self.app.accounts.verify_email(token)
        except InvalidTokenError:
            self.finish({"status": "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR"})
            return
        self.app.journal.record("e-mail verified", user_id=user.user_id)
        if self.session is not None and self.session.user_id == user.user_id:
            await self.set_claim(self.session)
        self.finish({"status": "OK"})


def token_of(body: dict[str, Any], name: str) -> str:
    """The `token` of a body.

    Raises:
        BadRequest: it is missing or no text.
    """
    token = body.get("token")
    if token is None:
        raise BadRequest(f"Please provide the {name}")
    if not isinstance(token, str):
        raise BadRequest(f"The {name} must be a string")
    return token
