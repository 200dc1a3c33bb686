# SPDX-License-Identifier: MIT
"""What passkeys add to an application, and the two ceremonies: to register one, and to sign in with one.

What browsers send is read by the library webauthn. Whatever it makes of it, a person gets a sentence.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import webauthn
from tornado.routing import URLSpec
from webauthn.helpers import parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from stormcellar.accounts import User
from stormcellar.extras import Extra
from stormcellar.extras.passkeys import handlers
from stormcellar.extras.passkeys.challenges import LIFETIME_S, Challenges
from stormcellar.extras.passkeys.store import Passkey, PasskeyRefusedError, PasskeyStore
from stormcellar.extras.proof import address_proved
from stormcellar.secret_files import server_secret
from stormcellar.sessions.base64url import decode_base64url, encode_base64url
from stormcellar.settings import Settings
from stormcellar.web.static import StaticHandler

if TYPE_CHECKING:
    from stormcellar.application import Application

log = logging.getLogger("stormcellar.passkeys")

STATIC = handlers.HERE / "static"
SIGN_IN = "sign in"
MAX_NAME_CHARACTERS = 60
MAX_ID_BYTES = 1023  # W3C Web Authentication, section 4; database indexes have no room for much more
NOT_ACCEPTED = "This passkey was not accepted. Please try again."
TOO_LATE = "That took too long, or was sent twice. Please try again."


class Passkeys(Extra):
    """The passkeys of one application.

    `origin` arguments are what the address bar shows; the passkeys belong to its host name.
    """

    account_link = ("/account/passkeys", "Passkeys", "Sign in with your fingerprint, face or device PIN.")
    sign_in_script = "/passkeys/static/sign-in.js"

    @staticmethod
    def routes(settings: Settings) -> list[URLSpec]:
        return [
            URLSpec(r"/account/passkeys", handlers.PasskeysHandler, name="passkeys"),
            URLSpec(r"/account/passkeys/name", handlers.NameHandler),
            URLSpec(r"/account/passkeys/removal", handlers.RemovalHandler),
            URLSpec(r"/passkeys/registration/options", handlers.RegistrationOptionsHandler),
            URLSpec(r"/passkeys/registration", handlers.RegistrationHandler),
            URLSpec(r"/passkeys/sign-in/options", handlers.SignInOptionsHandler),
            URLSpec(r"/passkeys/sign-in", handlers.SignInHandler),
            URLSpec(r"/passkeys/static/(.*)", StaticHandler, {"path": STATIC}),
        ]

    def __init__(self, app: Application) -> None:
        super().__init__(app)
        self.store = PasskeyStore(app.database)
        self._challenges = Challenges(server_secret(app.options))

    async def open(self) -> None:
        await self.store.open()

    async def maintain(self) -> None:
        await self.store.maintain(self.app.sessions.now_ms())

    async def forget_unproved(self, user_id: str, first_verified_at_ms: int | None) -> None:
        await self.store.remove_unproved(user_id, first_verified_at_ms)

    # -- register -----------------------------------------------------------------------------------

    async def registration_options(
        self, user: User, session_handle: str, origin: str, browser: str
    ) -> dict[str, Any]:
        """What `navigator.credentials.create` is to be asked, as JSON values."""
        handle = decode_base64url(await self.store.user_handle(user.user_id)) or b""
        options = webauthn.generate_registration_options(
            rp_id=_host(origin),
            rp_name=self.app.options.site_name,
            user_id=handle,
            user_name=user.email,
            challenge=self._new_challenge(_registration(session_handle), browser),
            timeout=LIFETIME_S * 1000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=decode_base64url(passkey.credential_id) or b"")
                for passkey in await self.store.list(user.user_id)
            ],
        )
        return _as_json(options)

    async def register(
        self, user: User, session_handle: str, origin: str, browser: str, name: str, credential: Any
    ) -> bool:
        """Add what `navigator.credentials.create` gave; False if the same request has done so already.

        Nothing is stored of what is refused.

        Raises:
            PasskeyRefusedError: it does not fit, whatever it is.
        """
        challenge = self._good_challenge(credential, _registration(session_handle), browser)
        try:
            verified = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=_host(origin),
                expected_origin=origin,
                require_user_verification=True,
            )
            if len(verified.credential_id) > MAX_ID_BYTES:
                raise ValueError("its id is too long")
        except Exception as error:  # what strangers send is parsed there
            log.info("a passkey of user %s was not added: %s", user.user_id, error)
            raise PasskeyRefusedError(NOT_ACCEPTED) from None
        now_ms = self.app.sessions.now_ms()
        passkey = Passkey(
            credential_id=encode_base64url(verified.credential_id),
            user_id=user.user_id,
            public_key=encode_base64url(verified.credential_public_key),
            sign_count=verified.sign_count,
            name=_name(name),
            created_at_ms=now_ms,
        )
        is_new = await self.store.add(passkey, challenge=challenge, address_proved=address_proved(user))
        if is_new:
            log.info("user %s has added a passkey", user.user_id)
        return is_new

    async def rename(self, user_id: str, credential_id: str, name: str) -> None:
        """Give a passkey of this user another name, if there is one."""
        await self.store.rename(user_id, credential_id, _name(name))

    # -- sign in ------------------------------------------------------------------------------------

    def sign_in_options(self, origin: str, browser: str) -> dict[str, Any]:
        """What `navigator.credentials.get` is to be asked, as JSON values: any passkey of this site."""
        options = webauthn.generate_authentication_options(
            rp_id=_host(origin),
            challenge=self._new_challenge(SIGN_IN, browser),
            timeout=LIFETIME_S * 1000,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return _as_json(options)

    async def sign_in(self, origin: str, browser: str, credential: Any) -> str:
        """The user ID of whoever used a passkey here, and showed the device who they are.

        Raises:
            PasskeyRefusedError: it does not fit, whatever it is.
        """
        challenge = self._good_challenge(credential, SIGN_IN, browser)
        found = await self.store.find(_text(credential, "id"))
        if found is None:
            raise PasskeyRefusedError(
                "This site does not know this passkey. Was it deleted from your account?"
            )
        passkey, user_handle = found
        try:
            if _text(credential, "response", "userHandle") != user_handle:
                raise ValueError("the user handle is another user's")
            verified = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=_host(origin),
                expected_origin=origin,
                credential_public_key=decode_base64url(passkey.public_key) or b"",
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except Exception as error:  # what strangers send is parsed there
            log.warning("a passkey of user %s was refused: %s", passkey.user_id, error)
            raise PasskeyRefusedError(NOT_ACCEPTED) from None
        now_ms = self.app.sessions.now_ms()
        if not await self.store.note_use(passkey, verified.new_sign_count, now_ms, challenge=challenge):
            raise PasskeyRefusedError(TOO_LATE)
        return passkey.user_id

    # -- challenges ---------------------------------------------------------------------------------

    def _new_challenge(self, purpose: str, browser: str) -> bytes:
        return self._challenges.make(purpose, browser, self.app.sessions.clock.now())

    def _good_challenge(self, credential: Any, purpose: str, browser: str) -> bytes:
        """The challenge that a credential answers. Raises PasskeyRefusedError: it is not ours, or too old."""
        try:
            raw = decode_base64url(_text(credential, "response", "clientDataJSON")) or b""
            challenge = parse_client_data_json(raw).challenge
        except Exception:
            raise PasskeyRefusedError(NOT_ACCEPTED) from None
        if not self._challenges.is_good(challenge, purpose, browser, self.app.sessions.clock.now()):
            raise PasskeyRefusedError(TOO_LATE)
        return challenge


def _registration(session_handle: str) -> str:
    return f"register in session {session_handle}"


def _host(origin: str) -> str:
    return urlsplit(origin).hostname or ""


def _as_json(options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return found


def _text(credential: Any, *path: str) -> str:
    """A text somewhere in JSON; "" if there is none."""
    for name in path:
        credential = credential.get(name) if isinstance(credential, dict) else None
    return credential if isinstance(credential, str) else ""


def _name(typed: str) -> str:
    """What people call a passkey: one line of visible characters."""
    name = " ".join("".join(c if c.isprintable() else " " for c in typed).split())
    return name[:MAX_NAME_CHARACTERS].strip() or "Passkey"
