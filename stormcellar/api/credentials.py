# SPDX-License-Identifier: MIT
"""The JSON endpoints with which frontend SDKs sign up, in and out.

Business answers are HTTP 200 with a `status`; 401 always means the session (clients then refresh).
Source: SuperTokens' frontend driver interface (FDI), EmailPassword, Session and JWT recipes.
"""

from __future__ import annotations

from typing import Any

from stormcellar.accounts import FieldErrors, User, WrongCredentialsError
from stormcellar.api.bodies import APIHandler, field_error, form_fields, user_as_json
from stormcellar.sessions import SessionError, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions.feed import SIGNED_OUT
from stormcellar.web import ended, limits
from stormcellar.web.handler import ProtectedAPIHandler
from stormcellar.web.sign_out import CLEAR_SPECULATION
from stormcellar.web.sign_up import RegistrationClosedError, sign_up


class CredentialsAPIHandler(APIHandler):
    """What POST /signup and POST /signin share."""

    async def post(self) -> None:
        try:
            fields = form_fields(self.json_body(), ("email", "password"))
            user = await self.find_user(fields.get("email", ""), fields.get("password", ""))
            await self.begin_session(
                user.user_id,
                method=self.transfer.method_for_new_session(),
                password_version=user.password_version,
            )
            limits.remember_client(self, user)
        except FieldErrors as error:
            self.finish(field_error(error))
        except WrongCredentialsError as error:
            self.app.journal.record("sign-in failed", user_id=error.user_id)
            self.finish({"status": "WRONG_CREDENTIALS_ERROR"})
        except RegistrationClosedError as error:
            self.finish({"status": "SIGN_UP_NOT_ALLOWED", "reason": f"{error} (ERR_CODE_007)"})
        else:
            self.finish({"status": "OK", "user": user_as_json(user)})

    async def find_user(self, email: str, password: str) -> User:
        raise NotImplementedError


class SignUpAPIHandler(CredentialsAPIHandler):
    """POST {base}/signup"""

    public = "people sign up here"

    async def find_user(self, email: str, password: str) -> User:
        return await sign_up(self, email, password)


class SignInAPIHandler(CredentialsAPIHandler):
    """POST {base}/signin"""

    public = "people sign in here"

    async def find_user(self, email: str, password: str) -> User:
        return await limits.sign_in(self, email, password)


class SignOutAPIHandler(ProtectedAPIHandler):
    """POST {base}/signout: end this session.

    A session that is over already counts as ended. A 401 would have SuperTokens' clients renew and ask again,
    with the cookies of the user who has signed in meanwhile.
    """

    _is_over = False

    async def override_global_claim_validators(self, *_: Any) -> list[Any]:
        return []  # whoever may not use the site may still leave it

    async def prepare(self) -> None:
        try:
            await super().prepare()
        except UnauthorisedError as error:
            self._is_over = error.session_handle is not None
            raise
        except TryRefreshTokenError:
            self._is_over = await self._has_ended()
            raise

    async def _has_ended(self) -> bool:
        """Return whether the session of this expired access token is known to be over."""
        sessions = self.app.sessions
        token, _ = self.transfer.access_token(sessions.recognises, page=False)
        handle = await sessions.handle_of(token) if token else None
        await sessions.feed.hear_news()
        return handle is not None and handle in sessions.feed.revoked

    def answer_json(self, error: SessionError) -> None:
        if not self._is_over:
            super().answer_json(error)
            return
        if isinstance(error, UnauthorisedError):
            ended.clear_tokens(self, error)
        self.is_prepared = True  # as far as this answer needs it: there is no session to look at
        self.set_status(200)
        self.finish({"status": "OK"})

    async def post(self) -> None:
        await self.session.revoke(reason=SIGNED_OUT)
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.finish({"status": "OK"})


class LoginMethodsHandler(APIHandler):
    """GET {base}/loginmethods: how people can sign in here. Clients expect every key at the top level."""

    public = "clients ask it before anyone has signed in"

    async def get(self) -> None:
        self.finish(
            {
                "status": "OK",
                "firstFactors": ["emailpassword"],
                "emailPassword": {"enabled": True},
                "passwordless": {"enabled": False},
                "thirdParty": {"enabled": False, "providers": []},
                "webauthn": {"enabled": False},
            }
        )
