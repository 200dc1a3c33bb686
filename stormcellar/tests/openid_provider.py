# SPDX-License-Identifier: MIT
"""An OpenID provider for tests, which does wrong where a test says so; no real one would.

It has no pages: a test asks it for a code as whoever it likes, by `code_for`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from tornado.web import Application, RequestHandler

CLIENT_ID, CLIENT_SECRET = "kit", "known to the two of them"


@functools.cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class OpenIDProvider:
    """Its state, and what it does wrong.

    Attributes:
        claims: laid over those of each ID token; None takes one out.
        metadata: laid over what it says of itself.
        signing_key, algorithm, kid: what ID tokens are signed with.
        keys: the numbers of those that it shows.
        answer: instead of the token endpoint's answer.
    """

    issuer: str
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    signing_key: Any = field(default_factory=lambda: key(0))
    algorithm: str = "ES256"
    kid: str = "0"
    keys: list[int] = field(default_factory=lambda: [0])
    answer: tuple[int, bytes] | None = None
    codes: dict[str, tuple[dict[str, Any], str, str]] = field(default_factory=dict)

    def code_for(
        self, address: str, subject: str, email: str = "", *, verified: bool = True
    ) -> tuple[str, str]:
        """Somebody came to this address and said who they are: the code and the state to go back with."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT_ID)
        assert (query["scope"], query["code_challenge_method"]) == ("openid email", "S256")
        code, now = secrets.token_hex(), int(time.time())
        claims = {"iss": self.issuer, "sub": subject, "aud": CLIENT_ID, "iat": now, "exp": now + 60}
        claims |= {"nonce": query["nonce"], "email": email, "email_verified": verified, **self.claims}
        held = {name: value for name, value in claims.items() if value is not None}
        self.codes[code] = (held, query["code_challenge"], query["redirect_uri"])
        return code, query["state"]

    def token(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.signing_key, algorithm=self.algorithm, headers={"kid": self.kid})

    def application(self) -> Application:
        return Application(
            [
                (r"/\.well-known/openid-configuration", _Metadata, {"provider": self}),
                (r"/jwks", _Keys, {"provider": self}),
                (r"/token", _Token, {"provider": self}),
            ]
        )


class _Handler(RequestHandler):
    def initialize(self, provider: OpenIDProvider) -> None:
        self.provider = provider


class _Metadata(_Handler):
    def get(self) -> None:
        issuer = self.provider.issuer
        ends = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks"}
        said = {name: f"{issuer}/{end}" for name, end in ends.items()}
        self.finish({"issuer": issuer, **said, **self.provider.metadata})


class _Keys(_Handler):
    def get(self) -> None:
        shown = []
        for number in self.provider.keys:
            public = jwt.algorithms.ECAlgorithm.to_jwk(key(number).public_key(), as_dict=True)
            shown.append({**public, "kid": str(number), "use": "sig", "alg": "ES256"})
        self.finish(json.dumps({"keys": shown}))


class _Token(_Handler):
    def post(self) -> None:
        if self.provider.answer is not None:
            self.set_status(self.provider.answer[0])
            self.finish(self.provider.answer[1])
            return
        claims, challenge, redirect_uri = self.provider.codes.pop(self.get_argument("code"), ({}, "", ""))
        digest = hashlib.sha256(self.get_argument("code_verifier").encode()).digest()
        fits = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
        knows = (self.get_argument("client_id"), self.get_argument("client_secret")) == (
            CLIENT_ID,
            CLIENT_SECRET,
        )
        if not (fits and knows and redirect_uri == self.get_argument("redirect_uri")):
            self.set_status(400)
            self.finish({"error": "invalid_grant"})
        else:
            self.finish(
                {"access_token": "x", "token_type": "Bearer", "id_token": self.provider.token(claims)}
            )
