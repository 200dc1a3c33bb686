# SPDX-License-Identifier: MIT
"""How a session's tokens travel: in cookies or in headers, and back again.

    cookie                        read by   path                   what for
    sAccessToken                  server    /                      the access token
    sRefreshToken                 server    {base}/session/refresh the refresh token
    sRefreshMarker                server    /                      tells pages that a refresh token may exist
    sFrontToken                   scripts   /                      user id, expiry and claims
    st-last-access-token-update   scripts   /                      changes whenever another one does

Clients of SuperTokens write the last two themselves from response headers; the server writes them as
well, so that a form without script and the SDK on the next page agree, and no browser cuts their life
short as it does with cookies that scripts write.

Source: SuperTokens' frontend driver interface; RFC 6265bis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal
from urllib.parse import quote, unquote

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from sessions import Clock, Tokens
from settings import Settings

Method = Literal["cookie", "header"]
LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"
CHANGED_TOKENS_CACHE = "private, no-store"


class CookieJar:
    """The cookies of one application: their names and attributes, put together once."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.clock = clock
        prefix = settings.cookie_prefix
        refresh_path = f"{settings.api_base_path}/session/refresh"
        self.access = "__Host-sAccessToken" if prefix else "sAccessToken"
        self.refresh = "__Secure-sRefreshToken" if prefix else "sRefreshToken"
        self.marker = "__Host-sRefreshMarker" if prefix else "sRefreshMarker"
        self.front = "sFrontToken"
        self.updated = "st-last-access-token-update"
        shared = f"; SameSite={settings.cookie_same_site.capitalize()}"
        shared += f"; Domain={settings.cookie_domain}" if settings.cookie_domain else ""
        shared += "; Secure" if settings.cookie_secure else ""
        self._attributes = {
            self.access: f"; Path=/; HttpOnly{shared}",
            self.refresh: f"; Path={refresh_path}; HttpOnly{shared}",
            self.marker: f"; Path=/; HttpOnly{shared}",
            self.front: f"; Path=/{shared}",
            self.updated: f"; Path=/{shared}",
        }

    def line(self, name: str, value: str, expires_at: float) -> str:
        """One Set-Cookie line. Values that scripts read stand as they are, all others percent-encoded."""
        written = value if name in (self.front, self.updated) else quote(value, safe="")
        return f"{name}={written}; Expires={formatdate(expires_at, usegmt=True)}{self._attributes[name]}"

    def clearing_lines(self) -> Iterator[str]:
        """Take back everything that `line` set; scripts shall know that there is no session any more."""
        for name in (self.access, self.refresh, self.marker, self.front):
            yield f"{name}=; Expires={LONG_AGO}{self._attributes[name]}"


@dataclass
class Transfer:
    """How the tokens of one request came, and what its answer will say about them.

    Changes are collected and written once, just before the headers leave: the last word counts, and an
    error page loses none of them.
    """

    jar: CookieJar
    request: HTTPServerRequest
    attached: Tokens | None = None
    attached_by: Method = "cookie"
    cleared: set[Method] = field(default_factory=set)

    # -- what came ----------------------------------------------------------------------------------

    def cookies(self, name: str) -> list[str]:
        """The values of every cookie of this name; more than one if two domains or paths set it."""
        found = []
        for header in self.request.headers.get_list("Cookie"):
            for pair in header.split(";"):
                key, equals, value = pair.partition("=")
                if equals and key.strip() == name:
                    value = value.strip()
                    found.append(unquote(value) if "%" in value else value)
        return found

    def cookie(self, name: str) -> str | None:
        """A cookie's value; None if there is none, or an empty one."""
        values = self.cookies(name)
        return (values[-1] if values else None) or None

    def bearer_token(self) -> str | None:
        header = self.request.headers.get("Authorization", "")
        return header[7:].strip() or None if header.startswith("Bearer ") else None

    def may_refresh(self) -> bool:
        """Whether the browser may hold a refresh token; pages never see the token itself."""
        return self.cookie(self.jar.marker) is not None

    # -- what goes back -----------------------------------------------------------------------------

    def attach(self, tokens: Tokens, method: Method) -> None:
        self.attached, self.attached_by = tokens, method
        self.cleared.discard(method)

    def clear(self, *methods: Method) -> None:
        """Have the client drop its tokens; without an argument whatever way they travel."""
        self.attached = None
        self.cleared |= set(methods) or {"cookie", "header"}

    def write(self, headers: HTTPHeaders) -> None:
        """Put the changes into the headers of the answer; clearing first, so that new tokens win."""
        if self.attached is None and not self.cleared:
            return
        exposed = ["front-token"]
        headers["Cache-Control"] = CHANGED_TOKENS_CACHE
        headers["front-token"] = "remove"
        if "cookie" in self.cleared:
            for line in self.jar.clearing_lines():
                headers.add("Set-Cookie", line)
        if "header" in self.cleared:
            headers["st-access-token"] = headers["st-refresh-token"] = ""
            exposed += ["st-access-token", "st-refresh-token"]
        if self.cleared and self.attached is None:
            headers.add("Set-Cookie", self._updated_line())
        if self.attached is not None:
            exposed += self._write_tokens(headers, self.attached)
        _expose(headers, exposed)

    def _write_tokens(self, headers: HTTPHeaders, tokens: Tokens) -> list[str]:
        headers["front-token"] = tokens.front_token
        if self.attached_by == "header":
            headers["st-access-token"] = tokens.access_token
            if tokens.refresh_token is not None:
                headers["st-refresh-token"] = tokens.refresh_token
            return ["st-access-token", "st-refresh-token"][: 2 if tokens.refresh_token else 1]
        until, jar = tokens.refresh_token_expires_at, self.jar
        headers.add("Set-Cookie", jar.line(jar.access, tokens.access_token, until))
        if tokens.refresh_token is not None:
            headers.add("Set-Cookie", jar.line(jar.refresh, tokens.refresh_token, until))
            headers.add("Set-Cookie", jar.line(jar.marker, "1", until))
        headers.add("Set-Cookie", jar.line(jar.front, tokens.front_token, until))
        headers.add("Set-Cookie", self._updated_line(until))
        if tokens.anti_csrf_token is not None:
            headers["anti-csrf"] = tokens.anti_csrf_token
            return ["anti-csrf"]
        return []

    def _updated_line(self, until: float | None = None) -> str:
        # Only compared for equality, by scripts; it stays after sign-out and then says "not signed in".
        now = self.jar.clock.now()
        return self.jar.line(self.jar.updated, str(int(now * 1000)), until or now + 30 * 86400)


def _expose(headers: HTTPHeaders, names: list[str]) -> None:
    """Let scripts of other origins read these headers too, beside those the application exposes."""
    present = [name.strip() for name in headers.get("Access-Control-Expose-Headers", "").split(",")]
    headers["Access-Control-Expose-Headers"] = ", ".join(
        dict.fromkeys(name for name in [*present, *names] if name)
    )
