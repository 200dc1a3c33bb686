# SPDX-License-Identifier: MIT
"""Public documents for other servers: the signing keys and where to find them."""

from __future__ import annotations

from stormcellar.api.bodies import APIHandler

MAX_JWKS_AGE_S = 3600  # a key that had to be withdrawn is not trusted longer by those who cache


class PublicDocumentHandler(APIHandler):
    """A document that every site's scripts may read; trusted ones may send their credentials along."""

    def open_to_all_origins(self) -> None:
        if "Access-Control-Allow-Credentials" not in self._headers:
            self.set_header("Access-Control-Allow-Origin", "*")


class DiscoveryHandler(PublicDocumentHandler):
    """GET {base}/.well-known/openid-configuration: where the public keys are, and what they sign.

    Source: OpenID Connect Discovery 1.0, without the endpoints of OAuth, which the kit does not have.
    """

    public = "it says where the public keys are"

    async def get(self) -> None:
        self.open_to_all_origins()
        self.finish(self.app.sessions.get_open_id_discovery_configuration())


class JWKSHandler(PublicDocumentHandler):
    """GET {base}/jwt/jwks.json: the public keys, for whoever verifies our access tokens (RFC 7517)."""

    public = "public keys are public"

    async def get(self) -> None:
        keys = self.app.sessions.keys
        self.open_to_all_origins()
        self.set_header(
            "Cache-Control", f"max-age={min(keys.next_change_s(), MAX_JWKS_AGE_S)}, must-revalidate"
        )
        self.finish(self.app.sessions.get_jwks())
