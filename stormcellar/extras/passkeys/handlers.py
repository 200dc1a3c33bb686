# SPDX-License-Identifier: MIT
"""Pages and endpoints of passkeys. To see, rename and delete them takes no script; to make and use them
does."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from tornado.web import HTTPError

from stormcellar.accounts import User, WrongCredentialsError
from stormcellar.api.bodies import APIHandler
from stormcellar.api.openapi import OK, TEXT, Operation, one_of, record, status
from stormcellar.extras.passkeys.store import PasskeyRefusedError
from stormcellar.sessions import UnauthorisedError
from stormcellar.web import limits
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler, ProtectedAPIHandler, ProtectedHandler

if TYPE_CHECKING:
    from stormcellar.extras.passkeys.part import Passkeys

HERE = Path(__file__).parent
BROWSER_COOKIE = "sPasskeyBrowser"
MOST_COOKIE_CHARACTERS = 64

ANYTHING = {"type": "object"}
OPTIONS = status("OK", publicKey=ANYTHING)
REFUSED = status("REFUSED", message=TEXT)


class PasskeyPart:
    """Where the passkeys of a handler's application are."""

    @property
    def part(self) -> Passkeys:
        from stormcellar.extras.passkeys.part import Passkeys

        extras = cast(BaseHandler, self).app.extras
        return next(extra for extra in extras if isinstance(extra, Passkeys))

    async def user(self) -> User:
        """Whoever is signed in."""
        handler = cast(ProtectedHandler, self)
        user = await handler.app.accounts.get(handler.session.user_id)
        if user is None:
            raise UnauthorisedError(f"user {handler.session.user_id} is gone")
        return user

    async def tell(self, owner: User, mail: str) -> None:
        """The account's owner may be somebody else than whoever is here (OWASP ASVS 5.0, 6.3.7)."""
        await cast(BaseHandler, self).app.mails.post(owner.email, mail)

    def browser(self, *, is_new_ok: bool = False) -> str:
        """What this browser is known by, to which challenges are bound; "" if it is not known yet."""
        handler = cast(BaseHandler, self)
        known = handler.get_cookie(BROWSER_COOKIE, "") or ""
        if is_new_ok and not known:
            known = secrets.token_urlsafe(24)
            handler.set_cookie(
                BROWSER_COOKIE,
                known,
                path="/passkeys",
                httponly=True,
                samesite=handler.app.options.cookie_same_site.capitalize(),
                secure=handler.app.options.cookie_secure,
            )
        return known[:MOST_COOKIE_CHARACTERS]

    def json_body(self) -> dict[str, Any]:
        return APIHandler.json_body(cast(APIHandler, self))


class PasskeysHandler(PasskeyPart, ProtectedHandler):
    """GET /account/passkeys: those there are, and a form for another one, which its script sends."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    form_page = "/account/passkeys"

    async def get(self) -> None:
        await self.show({})

    async def show(self, errors: dict[str, str]) -> None:
        passkeys = await self.part.store.list(self.session.user_id)
        self.render("passkeys/list.html", passkeys=passkeys, errors=errors)


class NameHandler(PasskeysHandler):
    """GET /account/passkeys/name?credential_id=...: a form to rename one, which is sent to the same path."""

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        credential_id = self.get_query_argument("credential_id", "")
        passkeys = await self.part.store.list(self.session.user_id)
        passkey = next((one for one in passkeys if one.credential_id == credential_id), None)
        if passkey is None:
            self.see_other("/account/passkeys")
        else:
            self.render("passkeys/name.html", passkey=passkey)

    async def post(self) -> None:
        credential_id, name = self.get_body_argument("credential_id", ""), self.get_body_argument("name", "")
        await self.part.rename(self.session.user_id, credential_id, name)
        self.see_other("/account/passkeys")


class RemovalHandler(PasskeysHandler):
    """POST /account/passkeys/removal: delete one."""

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.see_other("/account/passkeys")

    async def post(self) -> None:
        try:
            credential_id = self.get_body_argument("credential_id", "")
            if await self.part.store.remove(self.session.user_id, credential_id):
                await self.tell(await self.user(), "passkey_removed")
                self.app.journal.record("factor removed", user_id=self.session.user_id, detail="passkey")
        except PasskeyRefusedError as error:
            self.set_status(422)
            await self.show({"": str(error)})
        else:
            self.see_other("/account/passkeys")


class RegistrationOptionsHandler(PasskeyPart, ProtectedAPIHandler):
    """POST /passkeys/registration/options: what the browser is to ask the device."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S

    operations: ClassVar = {"POST": Operation("Begin to add a passkey.", OPTIONS)}
    max_body_bytes = SMALL_BODY_BYTES

    async def post(self) -> None:
        options = await self.part.registration_options(
            await self.user(), self.session.handle, self.own_origin, self.browser(is_new_ok=True)
        )
        self.finish({"status": "OK", "publicKey": options})


class RegistrationHandler(PasskeyPart, ProtectedAPIHandler):
    """POST /passkeys/registration: add the passkey that the device made."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S

    operations: ClassVar = {
        "POST": Operation(
            "Add a passkey.",
            one_of(OK, REFUSED),
            body=record({"credential": ANYTHING}, {"name": TEXT}, additionalProperties=True),
        )
    }
    max_body_bytes = SMALL_BODY_BYTES

    async def post(self) -> None:
        body = self.json_body()
        name = body.get("name", "")
        if not isinstance(name, str):
            raise HTTPError(400, "the name is no text")
        user = await self.user()
        try:
            is_new = await self.part.register(
                user,
                self.session.handle,
                self.own_origin,
                self.browser(),
                name,
                body.get("credential"),
            )
        except PasskeyRefusedError as error:
            self.finish({"status": "REFUSED", "message": str(error)})
        else:
            if is_new:
                await self.tell(user, "passkey_added")
                self.app.journal.record("factor added", user_id=user.user_id, detail="passkey")
            self.finish({"status": "OK"})


class SignInOptionsHandler(PasskeyPart, APIHandler):
    """POST /passkeys/sign-in/options: what the browser is to ask the device. Nothing is kept of it here."""

    public = "people sign in here"
    operations: ClassVar = {"POST": Operation("Begin to sign in with a passkey.", OPTIONS)}

    async def post(self) -> None:
        options = self.part.sign_in_options(self.own_origin, self.browser(is_new_ok=True))
        self.finish({"status": "OK", "publicKey": options})


class SignInHandler(PasskeyPart, APIHandler):
    """POST /passkeys/sign-in: begin a session for whoever used a passkey.

    The device has asked for a finger, a face or a PIN, so it stands for two factors.
    """

    public = "people sign in here"
    operations: ClassVar = {
        "POST": Operation(
            "Sign in with a passkey.",
            one_of(status("OK", redirectTo=TEXT), REFUSED),
            body=record({"credential": ANYTHING}, additionalProperties=True),
        )
    }

    async def post(self) -> None:
        try:
            async with limits.passkey(self):
                user_id = await self.part.sign_in(
                    self.own_origin, self.browser(), self.json_body().get("credential")
                )
            session = await self.begin_session(user_id, method=self.transfer.method_for_new_session())
        except PasskeyRefusedError as error:
            self.app.journal.record("sign-in failed", detail="passkey refused")
            self.finish({"status": "REFUSED", "message": str(error)})
            return
        except WrongCredentialsError as error:
            self.app.journal.record(
                "sign-in failed", user_id=error.user_id, detail="passkey of a locked account"
            )
            self.finish({"status": "REFUSED", "message": "This account is not open at the moment."})
            return
        for extra in self.app.extras:
            await extra.both_factors_given(session, "webauthn")
        self.finish({"status": "OK", "redirectTo": self.redirect_back()})
