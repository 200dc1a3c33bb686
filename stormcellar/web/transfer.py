# SPDX-License-Identifier: MIT
"""How a session's tokens travel: in cookies or in headers, and back again.

    cookie                        read by   path                   what for
    sAccessToken                  server    /                      the access token
    sRefreshToken                 server    {base}/session/refresh the refresh token
    sRefreshMarker                server    /                      tells pages that a refresh token may exist
    sFrontToken                   scripts   /                      user id, expiry and claims
    st-last-access-token-update   scripts   /                      changes whenever another one does
    sAntiCsrf                     scripts   /                      under anti_csrf=VIA_TOKEN only
    sRefreshRefused               server    /                      a digest of cookies that no refresh accepts
    sSignInNotice                 server    /login                 why the last session ended
    sRefreshTidied                server    {base}/session/refresh a digest of cookies that stayed

SuperTokens' web clients write what scripts read themselves, from response headers, and tell events from
the change; so in answers to them (they send `st-auth-mode`) that is left to them. In all other answers the
server writes it, so that a form without script and a client on the next page agree.

Source: SuperTokens' frontend driver interface; RFC 6265bis.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal
from urllib.parse import quote, unquote

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from stormcellar.sessions import Clock, Sessions, Tokens, TryRefreshTokenError
from stormcellar.settings import Settings
from stormcellar.web.caller import is_digits
from stormcellar.web.target import hostname

Method = Literal["cookie", "header"]
LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"
CHANGED_TOKENS_CACHE = "private, no-store"
REMEMBER_SIGN_OUT_S = 30 * 24 * 60 * 60
SIGN_IN_PATH = "/login"
REMEMBER_REFUSAL_S = 24 * 60 * 60


class CookieJar:
    """The cookies of one application: their names and attributes, put together once."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.clock = clock
        prefix, end = settings.prefixes_cookies, settings.cookie_suffix
        self.access = ("__Host-sAccessToken" if prefix else "sAccessToken") + end
        self.refresh = ("__Secure-sRefreshToken" if prefix else "sRefreshToken") + end
        self.marker = ("__Host-sRefreshMarker" if prefix else "sRefreshMarker") + end
        self.refused = ("__Host-sRefreshRefused" if prefix else "sRefreshRefused") + end
        self.tidied = ("__Secure-sRefreshTidied" if prefix else "sRefreshTidied") + end
        self.notice = "sSignInNotice" + end
        self.front = "sFrontToken"  # scripts know these names
        self.updated = "st-last-access-token-update"
        self.anti_csrf = "sAntiCsrf"
        self.legacy = "sIdRefreshToken"
        refresh_path = f"{settings.api_base_path}/session/refresh"
        flags = f"; SameSite={settings.cookie_same_site.capitalize()}"
        flags += "; Secure" if settings.cookie_secure else ""
        self._domain = settings.cookie_domain
        self._older_domain = settings.older_cookie_domain
        self._attributes = {
            self.access: f"; Path=/; HttpOnly{flags}",
            self.refresh: f"; Path={refresh_path}; HttpOnly{flags}",
            self.marker: f"; Path=/; HttpOnly{flags}",
            self.legacy: f"; Path=/; HttpOnly{flags}",
            self.refused: f"; Path=/; HttpOnly{flags}",
            self.notice: f"; Path={SIGN_IN_PATH}; HttpOnly{flags}",
            self.tidied: f"; Path={refresh_path}; HttpOnly{flags}",
            self.front: f"; Path=/{flags}",
            self.updated: f"; Path=/{flags}",
            self.anti_csrf: f"; Path=/{flags}",
        }

    def line(self, name: str, value: str, expires_at: float | None) -> str:
        """One Set-Cookie line. Values that scripts read stand as they are, all others percent-encoded.

        Args:
            expires_at: None if the browser is to forget the cookie when it is closed.
        """
        written = quote(value, safe="") if "HttpOnly" in self._attributes[name] else value
        expires = "" if expires_at is None else formatdate(expires_at, usegmt=True)
        return self._line(name, written, expires, self._domain)

    def clearing_line(self, name: str, domain: str | None = None) -> str:
        """Take a cookie back: all but value and expiry must be as it was set. None: our own domain."""
        return self._line(name, "", LONG_AGO, self._domain if domain is None else domain)

    def _line(self, name: str, value: str, expires: str, domain: str) -> str:
        where = f"; Domain={domain}" if domain else ""
        until = f"; Expires={expires}" if expires else ""
        return f"{name}={value}{until}{self._attributes[name]}{where}"

    def other_domains(self, host: str) -> list[str]:
        """Where an older setting may have left cookies of ours; "" means the host alone.

        A browser sends both, and nobody can tell which is which. Set by `older_cookie_domain`, or
        guessed: the host alone, and every parent domain of it that is not our own.
        """
        if self._older_domain != "auto":
            return [self._older_domain]
        name = hostname(host)
        labels = name.split(".")
        parents = [".".join(labels[start:]) for start in range(len(labels) - 1)]
        if is_digits(labels[-1]) or name.startswith("["):
            parents = []
        return [domain for domain in ("", *parents) if domain != self._domain]


@dataclass(slots=True)
class Transfer:
    """How the tokens of one request came, and what its answer will say about them.

    Changes are collected and written once, just before the headers leave: the last word counts, and an
    error page loses none of them.
    """

    jar: CookieJar
    request: HTTPServerRequest
    allowed: Literal["any", "cookie", "header"]
    exposes_access_token: bool = False
    attached: Tokens | None = None
    attached_by: Method = "cookie"
    cleared: set[Method] = field(default_factory=set)
    other_lines: list[str] = field(default_factory=list)

    # -- what came ----------------------------------------------------------------------------------

    def cookies(self, name: str) -> list[str]:
        """The values of every cookie of this name; more than one if two domains or paths set it.

        Only spaces and tabs are stripped (RFC 9110, section 5.6.3): another host can set a cookie whose name
        is ours after a character that Unicode counts as a space.
        """
        found = []
        for header in self.request.headers.get_list("Cookie"):
            if name not in header:
                continue
            for pair in header.split(";"):
                key, equals, value = pair.partition("=")
                if equals and key.strip(" \t") == name:
                    value = value.strip(" \t")
                    found.append(unquote(value) if "%" in value else value)
        return found

    def cookie(self, name: str) -> str | None:
        """A cookie's value; None if there is none, or an empty one."""
        values = self.cookies(name)
        return (values[-1] if values else None) or None

    def bearer_token(self) -> str | None:
        if "Authorization" not in self.request.headers:
            return None
        header = self.request.headers["Authorization"]
        return header[7:].strip(" \t") or None if header.startswith("Bearer ") else None

    def may_refresh(self) -> bool:
        """Whether the browser may hold a refresh token; pages never see the token itself."""
        return self.cookie(self.jar.marker) is not None and not self.was_refused()

    def was_refused(self) -> bool:
        """Whether a refresh with exactly these cookies was refused; see stormcellar/web/ended.py."""
        remembered = self.cookie(self.jar.refused)
        return remembered is not None and remembered == self._digest(self.jar.access, self.jar.marker)

    def remember_refusal(self) -> None:
        """Have the browser remember that a refresh with its present cookies was refused."""
        if self.cookies(self.jar.access) or self.cookies(self.jar.marker):
            digest = self._digest(self.jar.access, self.jar.marker)
            self._remember(self.jar.refused, digest)

    def leave_notice(self, word: str, lifetime_s: float) -> None:
        """Leave a word for the sign-in page; see stormcellar/web/why_ended.py."""
        line = self.jar.line(self.jar.notice, word, self.jar.clock.now() + lifetime_s)
        self.other_lines.append(line)

    def clear_notice(self) -> None:
        self.other_lines.append(self.jar.clearing_line(self.jar.notice))

    def holds_only_foreign(self, recognises: Callable[[str], bool]) -> bool:
        """Whether session cookies came, and none of the access tokens has our issuer.

        Another site on this host or a parent domain has set them.
        """
        access_tokens = self.cookies(self.jar.access)
        came = any(access_tokens) or any(self.cookies(self.jar.refresh))
        return came and not any(map(recognises, access_tokens))

    def holds_nothing(self) -> bool:
        """Return whether no part of a session came, neither tokens nor what scripts and pages keep of one."""
        names = (self.jar.access, self.jar.refresh, self.jar.marker, self.jar.front, self.jar.legacy)
        return not self.bearer_token() and not any(self.cookies(name) for name in names)

    def ask_again(self) -> bool:
        """Have one of SuperTokens' clients repeat its refresh with the cookies that the browser has by now.

        False if it did so and the same cookies came again.
        """
        digest = self._digest(self.jar.access, self.jar.refresh)
        if not self.client_writes_cookies() or self.cookie(self.jar.tidied) == digest:
            return False
        self._remember(self.jar.tidied, digest)
        return True

    def _remember(self, name: str, digest: str) -> None:
        self.other_lines.append(self.jar.line(name, digest, self.jar.clock.now() + REMEMBER_REFUSAL_S))

    def _digest(self, *names: str) -> str:
        held = "\n".join(f"{name}={value}" for name in names for value in self.cookies(name))
        return hashlib.sha256(held.encode(errors="replace")).hexdigest()[:24]

    def knows_no_session(self) -> bool:
        """Whether the cookies that scripts read say that nobody is signed in, as they do after a sign-out."""
        return self.cookie(self.jar.updated) is not None and self.cookie(self.jar.front) is None

    def client_writes_cookies(self) -> bool:
        """Whether one of SuperTokens' clients asks, which keeps what scripts read by itself."""
        return "st-auth-mode" in self.request.headers

    def is_legacy(self) -> bool:
        """Whether a cookie came that only sessions of very old SuperTokens backends have."""
        return bool(self.cookies(self.jar.legacy))

    # -- which of them counts -----------------------------------------------------------------------

    def access_token(self, recognises: Callable[[str], bool], *, page: bool) -> tuple[str | None, Method]:
        """The access token to verify, and how it came; pages take it from cookies in any case.

        Raises:
            TryRefreshTokenError: two of ours came in cookies; one of them belongs to another domain or path.
        """
        bearer = self.bearer_token() if self.allowed != "cookie" else None
        if bearer is not None and recognises(bearer):
            return bearer, "header"
        if self.allowed == "header" and not page:
            return None, "header"
        found = self.cookies(self.jar.access)
        if len(found) > 1:
            found = self._access_tokens(recognises)
        if len(found) > 1:
            raise TryRefreshTokenError("two access tokens came, from cookies of two domains or paths")
        return (found[0] if found else None), "cookie"

    def _access_tokens(self, recognises: Callable[[str], bool]) -> list[str]:
        """The different access tokens in cookies that have our issuer."""
        return [text for text in dict.fromkeys(self.cookies(self.jar.access)) if recognises(text)]

    async def refresh_token(self, sessions: Sessions, *, page: bool) -> tuple[str | None, Method]:
        """The refresh token to exchange, and how it came. Tokens of other services are as if absent."""
        bearer = self.bearer_token() if self.allowed != "cookie" else None
        if bearer is not None and sessions.is_refresh_token(bearer):
            return bearer, "header"
        if self.allowed == "header" and not page:
            return None, "header"
        held = self._access_tokens(sessions.recognises)
        return await sessions.choose_refresh_token(self.cookies(self.jar.refresh), held), "cookie"

    def method_for_new_session(self) -> Method:
        """How a client of the JSON endpoints gets its tokens: as it asks, if the setting leaves it open.

        Who does not ask gets headers: it may not keep cookies.
        """
        if self.allowed != "any":
            return self.allowed
        return "cookie" if self.request.headers.get("st-auth-mode", "").lower() == "cookie" else "header"

    def clear_duplicates(self, sessions: Sessions, *, page: bool) -> bool:
        """Clear what an older cookie domain left behind; False if nothing is left that can be cleared.

        Only cookies of ours count: others belong to another site. If the same cookies come again, they have a
        domain or a path that is not known here, and the request goes on with them.
        """
        if self.allowed == "header" and not page:
            return False
        twice = []
        if len(self._access_tokens(sessions.recognises)) > 1:
            twice.append(self.jar.access)
        if len(sessions.sessions_of(self.cookies(self.jar.refresh))) > 1:
            twice.append(self.jar.refresh)
        digest = self._digest(self.jar.access, self.jar.refresh)
        if not twice or self.cookie(self.jar.tidied) == digest:
            return False
        self.other_lines += [
            self.jar.clearing_line(name, domain)
            for name in twice
            for domain in self.jar.other_domains(self.request.host)
        ]
        self._remember(self.jar.tidied, digest)
        return True

    # -- what goes back -----------------------------------------------------------------------------

    def attach(self, tokens: Tokens, method: Method) -> None:
        """Give the client new tokens; those it may have the other way are dropped."""
        self.attached, self.attached_by = tokens, method
        other: Method = "header" if method == "cookie" else "cookie"
        in_cookies = self.cookie(self.jar.access) or self.cookie(self.jar.refresh)
        came_otherwise = self.bearer_token() if other == "header" else in_cookies
        self.cleared = {other} if came_otherwise and tokens.refresh_token else set()

    def clear(self, *methods: Method) -> None:
        """Have the client drop its tokens; without an argument whatever way they travel."""
        self.attached = None
        self.cleared |= set(methods) or {"cookie", "header"}

    def write(self, headers: HTTPHeaders, *, redirects: bool = False) -> None:
        """Put the changes into the headers of the answer; clearing first, so that new tokens win.

        Args:
            redirects: whether the answer is a redirect. Scripts cannot read its headers, so what is in
                cookies is not repeated there: the tokens are the largest headers of all.
        """
        for line in self.other_lines:
            headers.add("Set-Cookie", line)
        if self.attached is None and not self.cleared:
            return
        exposed = ["front-token"]
        headers["Cache-Control"] = CHANGED_TOKENS_CACHE
        headers["front-token"] = "remove"
        if self.is_legacy():
            headers.add("Set-Cookie", self.jar.clearing_line(self.jar.legacy))
        if "cookie" in self.cleared:
            self._write_cleared_cookies(headers)
        if "header" in self.cleared:
            headers["st-access-token"] = headers["st-refresh-token"] = ""
            exposed += ["st-access-token", "st-refresh-token"]
        if self.attached is not None:
            exposed += self._write_tokens(headers, self.attached)
            if redirects and self.attached_by == "cookie" and not self.client_writes_cookies():
                while exposed:
                    headers.pop(exposed.pop(), None)
        if exposed:
            _expose(headers, exposed)

    def _write_cleared_cookies(self, headers: HTTPHeaders) -> None:
        jar = self.jar
        for name in (jar.access, jar.refresh, jar.marker):
            headers.add("Set-Cookie", jar.clearing_line(name))
        if self.attached is None and not self.client_writes_cookies():  # either method has what scripts read
            headers.add("Set-Cookie", jar.clearing_line(jar.front))
            if self.cookie(jar.anti_csrf) is not None:
                headers.add("Set-Cookie", jar.clearing_line(jar.anti_csrf))
            headers.add("Set-Cookie", self._updated_line(jar.clock.now() + REMEMBER_SIGN_OUT_S))

    def _write_tokens(self, headers: HTTPHeaders, tokens: Tokens) -> list[str]:
        headers["front-token"] = tokens.front_token
        if self.attached_by == "header":
            headers["st-access-token"] = tokens.access_token
            if tokens.refresh_token is None:
                return ["st-access-token"]
            headers["st-refresh-token"] = tokens.refresh_token
            return ["st-access-token", "st-refresh-token"]
        exposed = []
        until, jar = None if tokens.temporary else tokens.refresh_token_expires_at, self.jar
        headers.add("Set-Cookie", jar.line(jar.access, tokens.access_token, until))
        if tokens.refresh_token is not None:
            headers.add("Set-Cookie", jar.line(jar.refresh, tokens.refresh_token, until))
            headers.add("Set-Cookie", jar.line(jar.marker, "1", until))
        if not self.client_writes_cookies():
            headers.add("Set-Cookie", jar.line(jar.front, tokens.front_token, until))
            headers.add("Set-Cookie", self._updated_line(until))
            if tokens.anti_csrf_token is not None:
                headers.add("Set-Cookie", jar.line(jar.anti_csrf, tokens.anti_csrf_token, until))
        if tokens.anti_csrf_token is not None:
            headers["anti-csrf"] = tokens.anti_csrf_token
            exposed.append("anti-csrf")
        if self.exposes_access_token:
            headers["st-access-token"] = tokens.access_token
            exposed.append("st-access-token")
        return exposed

    def _updated_line(self, until: float | None) -> str:
        # Only compared for equality, by scripts; it stays after sign-out and then says "not signed in".
        return self.jar.line(self.jar.updated, str(int(self.jar.clock.now() * 1000)), until)


def _expose(headers: HTTPHeaders, names: list[str]) -> None:
    """Let scripts of other origins read these headers too, beside those the application exposes."""
    present = [name.strip() for name in headers.get("Access-Control-Expose-Headers", "").split(",")]
    headers["Access-Control-Expose-Headers"] = ", ".join(
        dict.fromkeys(name for name in [*present, *names] if name)
    )
