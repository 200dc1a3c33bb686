# SPDX-License-Identifier: MIT
"""A stand-in for SuperTokens' core: it publishes one public key, with which a token of ours is signed.

Their SDKs verify access tokens by themselves; from the core they take no more than the keys, once. So what is
measured is their session check on each request, and neither a core nor its database.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from parts import USER_ID

KID = "d-1700000000000"


def start() -> tuple[str, str]:
    """Serve the key from a thread; the address, and an access token that lasts for hours."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": KID, "use": "sig", "alg": "RS256"}
    published = json.dumps({"keys": [public]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/.well-known/jwks.json"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(published) if found else 0))
            self.end_headers()
            self.wfile.write(published if found else b"")

        def log_message(self, *_: object) -> None: ...

    core = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=core.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{core.server_address[1]}", _token(key)


def _token(key: rsa.RSAPrivateKey) -> str:
    now = int(time.time())
    payload = {
        "iat": now,
        "exp": now + 6 * 3600,
        "sub": USER_ID,
        "tId": "public",
        "rsub": USER_ID,
        "sessionHandle": USER_ID,
        "refreshTokenHash1": "0" * 64,
        "parentRefreshTokenHash1": None,
        "antiCsrfToken": None,
        "iss": "http://localhost/auth",
    }
    return jwt.encode(payload, key, algorithm="RS256", headers={"kid": KID, "version": "5"})
