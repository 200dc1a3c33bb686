# SPDX-License-Identifier: MIT
"""What the authenticator app adds to an application: a claim, the rule that asks for it, and its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado.routing import URLSpec

from stormcellar.extras import Extra
from stormcellar.extras.authenticator import handlers
from stormcellar.extras.authenticator.claim import (
    KEY,
    TOTP,
    SecondFactorClaim,
    factors_given,
    nothing_is_missing_elsewhere,
)
from stormcellar.extras.authenticator.codes import Vault
from stormcellar.extras.authenticator.store import Authenticators
from stormcellar.secret_files import server_secret
from stormcellar.sessions import InvalidClaimsError, Session
from stormcellar.sessions.claims import Payload
from stormcellar.settings import Settings
from stormcellar.web.handler import BaseHandler
from stormcellar.web.return_address import return_address

if TYPE_CHECKING:
    from stormcellar.application import Application

ASKED = {"c": {}, "v": False}
LOOKED_BACK_MS = 24 * 60 * 60 * 1000


class Authenticator(Extra):
    """The second factor of one application.

    Attributes:
        apps: who has which app.
        claim: which factors a session has given.
    """

    account_link = (
        "/account/authenticator",
        "Authenticator app",
        "Ask for a code from your phone after the password.",
    )

    @staticmethod
    def routes(settings: Settings) -> list[URLSpec]:
        return [
            URLSpec(r"/second-factor", handlers.SecondFactorHandler, name="second_factor"),
            URLSpec(r"/account/authenticator", handlers.AuthenticatorHandler, name="authenticator"),
            URLSpec(r"/account/authenticator/qr\.svg", handlers.QRCodeHandler),
            URLSpec(r"/account/authenticator/confirmation", handlers.ConfirmationHandler),
            URLSpec(r"/account/authenticator/recovery-codes", handlers.RecoveryCodesHandler),
            URLSpec(r"/account/authenticator/removal", handlers.RemovalHandler),
        ]

    @classmethod
    def for_verifying(cls, app: Application) -> Extra:
        return AskedElsewhere(app)

    def __init__(self, app: Application) -> None:
        super().__init__(app)
        self.apps = Authenticators(app.database, Vault(server_secret(app.options)))
        self.sealed_columns = self.apps.sealed_columns
        self.claim = SecondFactorClaim(self._fetch)
        self.claims = [self.claim]
        self.validators = [self.claim.is_complete()]

    async def open(self) -> None:
        await self.apps.open()

    async def maintain(self) -> None:
        await self.apps.forget_strangers()
        for user_id in await self.apps.switched_on_since(self.app.sessions.now_ms() - LOOKED_BACK_MS):
            await self._ask_who_was_not(user_id)

    async def _ask_who_was_not(self, user_id: str) -> None:
        """A server that died while the app was switched on has told some of the sessions only."""
        for information in await self.app.sessions.list_sessions(user_id):
            payload = information.custom_claims_in_access_token_payload
            is_asked = (self.claim.get_value(payload) or {}).get("v") is not True
            if not is_asked and not factors_given(payload):
                await self.app.sessions.set_claim_value(
                    information.session_handle, self.claim, ASKED, owner=user_id
                )

    async def _fetch(self, user_id: str, _tenant_id: str, payload: Payload) -> dict[str, Any]:
        given = factors_given(payload)
        return {"c": given, "v": bool(given) or not await self.apps.is_on(user_id)}

    async def catch_up(self, session: Session) -> None:
        """The app may have been switched on after the session's claim was fetched, before it was stored."""
        if (session.get_claim_value(self.claim) or {}).get("v") is True and not self.given(session):
            await self._fetch_anew(session)

    async def _fetch_anew(self, session: Session) -> None:
        value = await self._fetch(session.user_id, session.tenant_id, session.access_token_payload)
        if value != session.get_claim_value(self.claim):
            await session.set_claim_value(self.claim, value)

    def given(self, session: Session) -> dict[str, int]:
        return factors_given(session.access_token_payload)

    async def is_complete(self, session: Session) -> bool:
        """Whether nothing is missing; looks again where something was."""
        if (session.get_claim_value(self.claim) or {}).get("v") is not True:
            await self._fetch_anew(session)
        return (session.get_claim_value(self.claim) or {}).get("v") is True

    async def both_factors_given(self, session: Session, factor: str) -> None:
        await self._note(session, factor)

    async def check(self, session: Session, code: str) -> None:
        """Take a code for this session.

        Raises:
            CodeRefusedError: it does not count.
        """
        await self.apps.check(session.user_id, code, self.app.sessions.clock.now())
        await self._note(session, TOTP)

    async def give_second_factor(self, session: Session, code: str) -> None:
        """Take the code that a session lacks. The same code is taken again for the same session.

        Raises:
            CodeRefusedError: it does not count.
        """
        now_s = self.app.sessions.clock.now()
        await self.apps.check(session.user_id, code, now_s, session_handle=session.handle)
        await self._note(session, TOTP)

    async def switch_on(self, session: Session, code: str, recovery_codes: list[str]) -> None:
        """Confirm the app. Every other session of the user must give a code from now on.

        Raises:
            CodeRefusedError: the code is not this app's.
        """
        now_s = self.app.sessions.clock.now()
        await self.apps.confirm(session.user_id, code, now_s, recovery_codes, begun_in=session.handle)
        for handle in await self.app.sessions.get_all_session_handles_for_user(session.user_id):
            if handle != session.handle:
                await self.app.sessions.set_claim_value(handle, self.claim, ASKED, owner=session.user_id)
        await self._note(session, TOTP)

    async def switch_off(self, session: Session, code: str) -> None:
        """Raises CodeRefusedError: the code does not count, and the app stays on."""
        await self.apps.check(session.user_id, code, self.app.sessions.clock.now())
        await self.apps.remove(session.user_id)

    async def forget_unproved(self, user_id: str, first_verified_at_ms: int | None) -> None:
        await self.apps.remove_unproved(user_id, first_verified_at_ms)

    async def remove_second_factor(self, user_id: str) -> bool:
        was_on = await self.apps.is_on(user_id)
        await self.apps.remove(user_id)
        return was_on

    async def _note(self, session: Session, factor: str) -> None:
        given = {**self.given(session), factor: int(self.app.sessions.clock.now())}
        await session.set_claim_value(self.claim, {"c": given, "v": True})

    def answer_invalid_claims(self, handler: BaseHandler, error: InvalidClaimsError) -> bool:
        return lead_to("/second-factor", handler, error)


class AskedElsewhere(Extra):
    """In verify-only mode: whoever still lacks the second factor is led to where it is given."""

    def __init__(self, app: Application) -> None:
        super().__init__(app)
        self.validators = [nothing_is_missing_elsewhere()]

    def answer_invalid_claims(self, handler: BaseHandler, error: InvalidClaimsError) -> bool:
        options = self.app.options
        return lead_to(options.sign_in_url or f"{options.api_domain}/second-factor", handler, error)


def lead_to(address: str, handler: BaseHandler, error: InvalidClaimsError) -> bool:
    """Send a visitor to where the second factor is given, and back; False if that is not what is missing."""
    if all(item["id"] != KEY for item in error.payload):
        return False
    is_safe = handler.request.method in ("GET", "HEAD")
    landing = handler.app.addresses.landing
    back = return_address(handler.request.uri, landing) if is_safe else handler.redirect_back()
    handler.redirect(handler.with_return(address, back), status=303)
    return True
