# SPDX-License-Identifier: MIT
"""Who may use the developer tools when other machines can reach a development server.

On loopback every browser is the developer's. If other machines reach the public URL (a tunnel, or an address
in the network), the tools are closed: the mailbox holds links that open accounts. The terminal then prints an
address with a key, /dev/open?key=..., which opens them for one browser by a cookie.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING

from tornado.web import HTTPError

from stormcellar.secret_files import load_or_create_secret
from stormcellar.server_secret import derive_key
from stormcellar.settings import Settings
from stormcellar.web.handler import BaseHandler

if TYPE_CHECKING:
    from stormcellar.application import Application

COOKIE = "sDeveloper"
PATH = "/dev/open"


def developer_key(options: Settings) -> str:
    """Return the key that opens the tools; "" where they need none.

    It stays the same while the server restarts for each changed file. A verify-only server keeps no secret,
    so its tools stay closed.
    """
    if not options.is_public:
        return ""
    if options.verify_only:
        return secrets.token_urlsafe(32)
    digest = derive_key(load_or_create_secret(options), "developer key")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_developer(application: Application, cookie: str) -> bool:
    """Whether the tools are open for a browser with this cookie."""
    if application.developer is None:
        return False
    key = application.developer.key
    return not key or hmac.compare_digest(cookie.encode(), key.encode())


class DeveloperOnly(BaseHandler):
    """What every handler of the developer tools inherits: other visitors get 404."""

    async def prepare(self) -> None:
        await super().prepare()
        if not is_developer(self.app, self.get_cookie(COOKIE) or ""):
            raise HTTPError(404)


class OpenHandler(BaseHandler):
    """GET /dev/open?key=...: opens the tools for this browser."""

    public = "the key shows who is the developer"

    async def get(self) -> None:
        key = self.get_query_argument("key", "")
        if self.app.developer is None or not is_developer(self.app, key):
            raise HTTPError(404)
        options = self.app.options
        self.set_cookie(COOKIE, key, path="/", httponly=True, secure=options.cookie_secure, samesite="Lax")
        self.see_other("/")
