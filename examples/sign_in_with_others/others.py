# SPDX-License-Identifier: MIT
"""Sign in with an OpenID provider: authorization code, PKCE, state and nonce, on Tornado's own OAuth2Mixin.

Who comes back is known by issuer and subject, which never change hands. An e-mail address leads to an account
that is there already only if both sides have confirmed it: else whoever registers somebody's address at one
of them would get into the account at the other.

Sources: OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (iss); RFC 9700, section 2.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from tornado.auth import OAuth2Mixin
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.web import create_signed_value, decode_signed_value

from stormcellar import SignInHandler
from stormcellar.accounts import FieldErrors, User, Users, WrongCredentialsError
from stormcellar.accounts.text import is_storable
from stormcellar.secret_files import load_or_create_secret
from stormcellar.server_secret import derive_key
from stormcellar.store import Connection, Database
from stormcellar.web.handler import BaseHandler
from stormcellar.web.return_address import return_address

HERE = Path(__file__).resolve().parent
COOKIE = "sSignInWith"
COOKIE_PATH = "/sign-in-with"
ATTEMPT_LIFETIME_S = 600
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # none with a shared secret, and not "none"
CLOCK_MARGIN_S = 60
TIMEOUT_S = 10

TABLES = [
    """
    CREATE TABLE identities (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        user_id TEXT NOT NULL,
        PRIMARY KEY (issuer, subject)
    )
    """
]


class OthersError(Exception):
    """Signing in did not work; the message says why, in a sentence for people."""


@dataclass
class Provider:
    """An OpenID provider, and what it knows this site by.

    Args:
        name: for the button.
        issuer: its address, exactly as its ID tokens have it.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    _metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    _keys: dict[str, Any] = field(default_factory=dict, repr=False)

    async def metadata(self) -> Mapping[str, Any]:
        """Its addresses (OpenID Connect Discovery 1.0, section 4)."""
        if not self._metadata:
            found = await self._get(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise OthersError(f"{self.name} is not set up as this site expects it.")
            self._metadata = found
        return self._metadata

    async def key(self, kid: str | None) -> Any:
        """The public key of that name, asked for anew if it is not known."""
        if kid not in self._keys:
            jwks = await self._get((await self.metadata())["jwks_uri"])
            try:
                self._keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(jwks).keys}
            except jwt.PyJWTError:
                self._keys = {}
        if kid not in self._keys:
            raise OthersError(f"{self.name} signed with a key that it does not show.")
        return self._keys[kid]

    async def claims(self, id_token: Any, nonce: str) -> dict[str, Any]:
        """What an ID token says (OpenID Connect Core 1.0, section 3.1.3.7).

        Raises:
            OthersError: it is not this provider's, not for this site, or not of this attempt.
        """
        try:
            kid = jwt.get_unverified_header(id_token).get("kid")
            claims: dict[str, Any] = jwt.decode(
                id_token,
                await self.key(kid),
                algorithms=ALGORITHMS,
                audience=self.client_id,
                issuer=self.issuer,
                leeway=CLOCK_MARGIN_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise OthersError(f"What {self.name} answered could not be believed.") from error
        is_ours = claims.get("azp", self.client_id) == self.client_id
        same = hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())
        if not (is_ours and same and is_storable(claims["sub"]) and claims["sub"]):
            raise OthersError(f"What {self.name} answered was meant for somebody else.")
        return claims

    async def _get(self, address: str) -> dict[str, Any]:
        try:
            response = await AsyncHTTPClient().fetch(
                address, request_timeout=TIMEOUT_S, follow_redirects=False
            )
            found = json.loads(response.body)
        except (OSError, HTTPClientError, ValueError) as error:
            raise OthersError(f"{self.name} cannot be reached. Please try again later.") from error
        return found if isinstance(found, dict) else {}


class Identities:
    """Which account belongs to whom at which provider."""

    def __init__(self, database: Database, accounts: Users) -> None:
        self._database, self._accounts = database, accounts
        self._is_open = False

    async def user_of(self, claims: Mapping[str, Any]) -> User:
        """The account of whoever an ID token names; made, or linked, if it must be.

        Raises:
            OthersError: there is none, and none may be made.
        """
        if not self._is_open:
            await self._database.migrate("sign_in_with_others", TABLES)
            self._is_open = True
        found = await self._find(claims)
        return found or await self._link(claims, await self._account_for(claims))

    async def _find(self, claims: Mapping[str, Any]) -> User | None:
        whose = {"issuer": claims["iss"], "subject": claims["sub"]}
        sql = "SELECT user_id FROM identities WHERE issuer = :issuer AND subject = :subject"
        row = await self._database.read(lambda connection: connection.execute(sql, whose).fetchone())
        return await self._accounts.get(row[0]) if row else None

    async def _link(self, claims: Mapping[str, Any], user: User) -> User:
        """Of two at once the first one counts; who was linked to an account that is gone is linked anew."""
        row = {"issuer": claims["iss"], "subject": claims["sub"], "user_id": user.user_id}

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO identities (issuer, subject, user_id) VALUES (:issuer, :subject, :user_id)"
                " ON CONFLICT (issuer, subject) DO UPDATE SET user_id = :user_id"
                " WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.user_id = identities.user_id)",
                row,
            )

        await self._database.write(work)
        return await self._find(claims) or user

    async def _account_for(self, claims: Mapping[str, Any]) -> User:
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise OthersError("You have not confirmed an e-mail address there. Please do, and come again.")
        user = await self._accounts.get_by_email(email)
        if user is None:
            return await self._new_account(email)
        if not user.email_verified:
            raise OthersError(
                "There is an account with your e-mail address that has not confirmed it. Sign in with its "
                "password, confirm the address, and come again."
            )
        return user

    async def _new_account(self, email: str) -> User:
        """Its password is known to nobody; "Forgot your password?" gets one."""
        try:
            user = await self._accounts.sign_up(email, secrets.token_urlsafe(32))
        except FieldErrors as error:
            raise OthersError("No account could be made with your e-mail address.") from error
        token = await self._accounts.create_email_verification(user.user_id)
        return await self._accounts.verify_email(token.text) if token else user


class SignInWithHandler(OAuth2Mixin, BaseHandler):
    """GET /sign-in-with: off to the provider."""

    public = "people sign in here"

    def initialize(self, provider: Provider, identities: Identities) -> None:  # type: ignore[override]
        super().initialize()
        self.provider, self.identities = provider, identities
        self.cookie_key = derive_key(load_or_create_secret(self.app.options), "sign in with others").hex()

    @property
    def callback(self) -> str:
        return f"{self.own_origin}{COOKIE_PATH}/back"

    async def get(self) -> None:
        try:
            self._OAUTH_AUTHORIZE_URL = (await self.provider.metadata())["authorization_endpoint"]
        except OthersError as error:
            self.explain(error)
            return
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        self._keep({"state": state, "nonce": nonce, "verifier": verifier, "back": self.redirect_back()})
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        more = {"state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256"}
        self.authorize_redirect(self.callback, self.provider.client_id, None, more, ["openid", "email"])

    def _keep(self, attempt: dict[str, str]) -> None:
        """In the browser that goes to the provider, and only there; Lax, because it comes back by a link."""
        value = create_signed_value(
            self.cookie_key, COOKIE, json.dumps(attempt), clock=self.app.sessions.clock.now
        )
        secure = self.app.options.cookie_secure
        self.set_cookie(COOKIE, value, path=COOKIE_PATH, httponly=True, samesite="Lax", secure=secure)

    def take_attempt(self) -> dict[str, str]:
        """What `_keep` kept, once."""
        raw = decode_signed_value(
            self.cookie_key,
            COOKIE,
            self.get_cookie(COOKIE, ""),
            max_age_days=ATTEMPT_LIFETIME_S / 86400,
            clock=self.app.sessions.clock.now,
        )
        self.clear_cookie(COOKIE, path=COOKIE_PATH)
        attempt: dict[str, str] = json.loads(raw) if raw else {}
        return attempt

    def explain(self, error: OthersError) -> None:
        self.set_status(422)
        self.render(beside(self, "refused.html"), message=str(error), provider=self.provider.name)


class ComeBackHandler(SignInWithHandler):
    """GET /sign-in-with/back?code=&state=: back from the provider; a session begins."""

    async def get(self) -> None:
        attempt = self.take_attempt()
        try:
            user = await self.identities.user_of(await self._claims(attempt))
            await self.begin_session(user.user_id, method="cookie")
        except OthersError as error:
            self.explain(error)
        except WrongCredentialsError:
            self.explain(OthersError("This account is not open at the moment."))
        else:
            self.see_other(return_address(attempt["back"]))

    async def _claims(self, attempt: dict[str, str]) -> dict[str, Any]:
        state = self.get_query_argument("state", "")
        if not attempt or not hmac.compare_digest(attempt["state"].encode(), state.encode()):
            raise OthersError("This did not begin in this browser, or took too long. Please try again.")
        if self.get_query_argument("iss", self.provider.issuer) != self.provider.issuer:
            raise OthersError(f"This answer is not from {self.provider.name}.")
        code = self.get_query_argument("code", "")
        if self.get_query_argument("error", "") or not code:
            raise OthersError(f"{self.provider.name} did not sign you in.")
        tokens = await self._tokens(code, attempt["verifier"])
        return await self.provider.claims(tokens.get("id_token"), attempt["nonce"])

    async def _tokens(self, code: str, verifier: str) -> Mapping[str, Any]:
        """Exchange the code at the provider (RFC 6749, section 4.1.3)."""
        post = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "client_id": self.provider.client_id,
            "client_secret": self.provider.client_secret,
            "code_verifier": verifier,
        }
        try:
            address = (await self.provider.metadata())["token_endpoint"]
            tokens = await self.oauth2_request(address, post_args=post)
        except (OSError, HTTPClientError, ValueError) as error:
            raise OthersError(f"{self.provider.name} did not sign you in. Please try again.") from error
        return tokens if isinstance(tokens, dict) else {}


def beside(handler: BaseHandler, name: str) -> str:
    """Name a template of this folder, for render()."""
    return os.path.relpath(HERE / name, handler.get_template_path())


class LoginWithLinkHandler(SignInHandler):
    """GET and POST /login, with a link to the provider."""

    public = "users sign in here"

    @property
    def template(self) -> str:
        return beside(self, "login.html")
