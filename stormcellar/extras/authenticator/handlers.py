# SPDX-License-Identifier: MIT
"""Pages of the authenticator app: set it up, give a code after the password, switch it off. All of it works
without scripts, and without the QR code, which is there where segno is installed."""

from __future__ import annotations

import io
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError

from stormcellar.events.journal import EventName
from stormcellar.extras.authenticator import codes
from stormcellar.extras.authenticator.store import CodeRefusedError, TooManyAttemptsError
from stormcellar.extras.proof import address_proved
from stormcellar.sessions import UnauthorisedError
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S
from stormcellar.web.handler import SMALL_BODY_BYTES, ProtectedHandler

segno: ModuleType | None
try:
    import segno
except ImportError:
    segno = None

if TYPE_CHECKING:
    from stormcellar.extras.authenticator.part import Authenticator


class CodeHandler(ProtectedHandler):
    """What the pages share."""

    form_page = "/account/authenticator"

    @property
    def part(self) -> Authenticator:
        from stormcellar.extras.authenticator.part import Authenticator

        return next(extra for extra in self.app.extras if isinstance(extra, Authenticator))

    async def tell(self, mail: str) -> None:
        """The account's owner may be somebody else than whoever is here (OWASP ASVS 5.0, 6.3.7)."""
        user = await self.app.accounts.get(self.session.user_id)
        if user is not None:
            await self.app.mails.post(user.email, mail)

    def note(self, name: EventName, what: str = "") -> None:
        self.app.journal.record(name, user_id=self.session.user_id, detail=what)

    def code_field(self) -> str:
        return self.get_body_argument("code", "")

    def refuse(self, error: CodeRefusedError) -> dict[str, str]:
        """Set the answer's status; the errors for the form."""
        self.note("sign-in failed", "wrong code")
        self.set_status(422)
        if isinstance(error, TooManyAttemptsError):
            self.set_status(429)
            self.set_header("Retry-After", str(error.retry_after_s))
        return {"code": str(error)}


class SecondFactorHandler(CodeHandler):
    """GET and POST /second-factor: the code that a session still lacks.

    `?with=recovery` asks for a recovery code; both forms take either.
    """

    max_body_bytes = SMALL_BODY_BYTES

    async def override_global_claim_validators(self, *_: Any) -> list[Any]:
        return []  # it is for those who lack the claim

    async def get(self) -> None:
        if await self.part.is_complete(self.session):
            self.see_other(self.redirect_back())
        else:
            self._show({})

    async def post(self) -> None:
        try:
            if not await self.part.is_complete(self.session):
                await self.part.give_second_factor(self.session, self.code_field())
                self.note("second factor given")
        except CodeRefusedError as error:
            self._show(self.refuse(error))
        else:
            self.see_other(self.redirect_back())

    def _show(self, errors: dict[str, str]) -> None:
        self.render(
            "authenticator/second_factor.html",
            errors=errors,
            redirect_back=self.redirect_back(),
            is_recovery=self.get_argument("with", "") == "recovery",
        )


class AuthenticatorHandler(CodeHandler):
    """GET /account/authenticator: is it on? POST: begin to set one up, with a new secret."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S
    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        await self.show({})

    async def post(self) -> None:
        user = await self.app.accounts.get(self.session.user_id)
        if user is None:
            raise UnauthorisedError(f"user {self.session.user_id} is gone")
        await self.part.apps.begin(
            user.user_id,
            codes.new_secret(),
            self.app.sessions.now_ms(),
            begun_in=self.session.handle,
            address_proved=address_proved(user),
        )
        self.see_other("/account/authenticator")

    async def show(self, errors: dict[str, str], form: str = "") -> None:
        """The page; `form` names the one that the errors belong to."""
        app = await self.part.apps.find(self.session.user_id)
        if app is not None and app.is_confirmed:
            left = await self.part.apps.recovery_codes_left(self.session.user_id)
            self.render("authenticator/on.html", errors=errors, form=form, codes_left=left)
        elif app is not None and app.secret is not None and app.is_being_set_up_in(self.session.handle):
            text = codes.as_text(app.secret)
            self.render(
                "authenticator/set_up.html", errors=errors, secret=text, has_qr_code=segno is not None
            )
        else:
            self.render("authenticator/off.html")


class QRCodeHandler(CodeHandler):
    """GET /account/authenticator/qr.svg: the secret for a phone's camera, until the app is confirmed."""

    recent_sign_in_within_s = SENSITIVE_WITHIN_S

    async def get(self) -> None:
        app = await self.part.apps.find(self.session.user_id)
        user = await self.app.accounts.get(self.session.user_id)
        if segno is None or user is None or app is None or app.secret is None:
            raise HTTPError(404)
        if not app.is_being_set_up_in(self.session.handle):
            raise HTTPError(404)
        text = codes.address(app.secret, account=user.email, issuer=self.app.options.site_name)
        picture = io.BytesIO()
        segno.make(text, micro=False).save(picture, kind="svg", border=4, dark="#000", light="#fff")
        self.set_header("Content-Type", "image/svg+xml")
        self.finish(picture.getvalue())


class ConfirmationHandler(AuthenticatorHandler):
    """POST /account/authenticator/confirmation: a first code switches it on. Shows recovery codes."""

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.see_other("/account/authenticator")

    async def post(self) -> None:
        recovery_codes = codes.new_recovery_codes()
        try:
            await self.part.switch_on(self.session, self.code_field(), recovery_codes)
        except CodeRefusedError as error:
            await self.show(self.refuse(error))
        else:
            self.note("factor added", "authenticator app")
            await self.tell("authenticator_on")
            self.render("authenticator/recovery_codes.html", recovery_codes=recovery_codes)


class RecoveryCodesHandler(AuthenticatorHandler):
    """POST /account/authenticator/recovery-codes: ten new ones for a code; the old ones end."""

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.see_other("/account/authenticator")

    async def post(self) -> None:
        recovery_codes = codes.new_recovery_codes()
        try:
            await self.part.check(self.session, self.code_field())
        except CodeRefusedError as error:
            await self.show(self.refuse(error), "recovery-codes")
        else:
            await self.part.apps.replace_recovery_codes(self.session.user_id, recovery_codes)
            self.note("factor added", "new recovery codes")
            self.render("authenticator/recovery_codes.html", recovery_codes=recovery_codes)


class RemovalHandler(AuthenticatorHandler):
    """POST /account/authenticator/removal: switch it off, for a code."""

    max_body_bytes = SMALL_BODY_BYTES

    async def get(self) -> None:
        self.see_other("/account/authenticator")

    async def post(self) -> None:
        try:
            await self.part.switch_off(self.session, self.code_field())
        except CodeRefusedError as error:
            await self.show(self.refuse(error), "removal")
        else:
            self.note("factor removed", "authenticator app")
            await self.tell("authenticator_off")
            self.see_other("/account/authenticator")
