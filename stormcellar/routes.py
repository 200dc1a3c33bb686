# SPDX-License-Identifier: MIT
"""The whole route table: the pages of the site, and what the kit adds to them.

The pages of the site come first, so a site can put its own handler at any address of the kit. The class of a
handler decides who may use it: it protects, or says why it is public; else the application does not start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, URLSpec

from stormcellar.api import credentials, emails, keys, openapi, refresh, refresh_page, session_alive
from stormcellar.dev import key as dev_key
from stormcellar.dev import mail as dev_mail
from stormcellar.dev import strip as dev_strip
from stormcellar.extras import installed
from stormcellar.sessions.engine import DEFAULT_TENANT
from stormcellar.settings import Settings
from stormcellar.web import arrival, kept_form, live, operations, sign_out, static
from stormcellar.web.caller import comes_from_client
from stormcellar.web.handler import BaseHandler


def route_table(settings: Settings, pages: Sequence[URLSpec], static_path: Path) -> list[URLSpec]:
    """Return every route of an application.

    Args:
        pages: the site's own routes for these settings.
        static_path: the folder of the site's style and scripts.
    """
    table = [*pages, *_standing(static_path)]
    if not settings.verify_only:
        table += _sessions(settings.api_base_path)
        table += [route for extra in installed() for route in extra.routes(settings)]
        if not settings.api_base_path:  # pages have these two addresses as well, so who calls decides
            table[:0] = [
                ClientSpec(r"/signup", credentials.SignUpAPIHandler),
                ClientSpec(r"/signout", credentials.SignOutAPIHandler),
            ]
    if settings.debug:
        table += _developer_tools(settings, table)
    return table


def _standing(static_path: Path) -> list[URLSpec]:
    """Routes that every server has, also one that only verifies tokens."""
    return [
        URLSpec(r"/refresh-session", refresh_page.RefreshPageHandler, name="refresh_session"),
        URLSpec(r"/refresh-session/stopped", refresh_page.RefreshStoppedHandler),
        URLSpec(r"/static/(.*)", static.SiteStaticHandler, {"path": static_path}, name="static"),
        URLSpec(r"/healthz", operations.HealthHandler),
        URLSpec(r"/readyz", operations.ReadyHandler),
        URLSpec(r"/metrics", operations.MetricsHandler),
        URLSpec(r"/proxy-check", arrival.ArrivalHandler),
        URLSpec(r"/ws/session", live.SessionSocketHandler, name="session_socket"),
    ]


def _sessions(base: str) -> list[URLSpec]:
    """Routes of a server that keeps sessions: endpoints of SuperTokens' clients, and what pages need."""
    return [
        URLSpec(r"/signout", sign_out.SignOutHandler, name="signout"),
        *with_tenant(base, r"/signup/?", credentials.SignUpAPIHandler),
        *with_tenant(base, r"/signin/?", credentials.SignInAPIHandler),
        *with_tenant(base, r"/signout/?", credentials.SignOutAPIHandler),
        *with_tenant(base, r"/loginmethods/?", credentials.LoginMethodsHandler),
        *with_tenant(base, r"/emailpassword/email/exists/?", emails.EmailExistsHandler),
        *with_tenant(base, r"/signup/email/exists/?", emails.EmailExistsHandler),
        *with_tenant(base, r"/user/password/reset/token/?", emails.PasswordResetTokenHandler),
        *with_tenant(base, r"/user/password/reset/?", emails.PasswordResetHandler),
        *with_tenant(base, r"/user/email/verify/token/?", emails.EmailVerificationTokenHandler),
        *with_tenant(base, r"/user/email/verify/?", emails.EmailVerificationHandler),
        *with_tenant(base, r"/session/refresh/?", refresh.RefreshHandler),
        URLSpec(base + r"/session/refresh/return", refresh.RefreshReturnHandler),
        URLSpec(base + r"/session/refresh/signout", sign_out.SignOutByRefreshTokenHandler),
        *with_tenant(base, r"/jwt/jwks\.json/?", keys.JWKSHandler),
        *with_tenant(base, r"/\.well-known/openid-configuration/?", keys.DiscoveryHandler),
        URLSpec(r"/session-alive", session_alive.SessionAliveHandler),
        URLSpec(r"/kept-form", kept_form.KeptFormHandler, name="kept_form"),
    ]


def _developer_tools(settings: Settings, table: list[URLSpec]) -> list[URLSpec]:
    tools = [
        URLSpec(dev_key.PATH, dev_key.OpenHandler),
        URLSpec(r"/dev/why", dev_strip.WhyHandler),
        URLSpec(settings.api_base_path + r"/openapi\.json", openapi.OpenAPIHandler, {"table": table}),
    ]
    if not settings.verify_only:
        tools += [
            URLSpec(r"/dev/mail", dev_mail.MailboxHandler, name="mailbox"),
            URLSpec(r"/dev/mail/([0-9]{1,9})(|/html)", dev_mail.MailHandler),
            URLSpec(r"/dev/expire-access-token", dev_strip.ExpireAccessTokenHandler),
            URLSpec(r"/dev/lose-refresh-answer", dev_strip.LoseRefreshAnswerHandler),
            URLSpec(r"/dev/revoke-session", dev_strip.RevokeSessionHandler),
        ]
    return tools


def with_tenant(base: str, path: str, handler: type[BaseHandler]) -> list[URLSpec]:
    """An endpoint's two addresses: clients may name the tenant in it.

    There is one tenant; an address that names any other is as unknown as any other address (404).
    """
    return [URLSpec(base + path, handler), URLSpec(f"{base}/{DEFAULT_TENANT}{path}", handler)]


def plain_routes(table: Sequence[URLSpec]) -> dict[str, URLSpec]:
    """Those routes that one address fits and no other, unless an earlier route would take that address."""
    plain: dict[str, URLSpec] = {}
    for number, route in enumerate(table):
        address = route.regex.pattern.removesuffix("$")
        is_plain = not set(address) & set(".^$*+?{}[]()|\\")
        if is_plain and not any(earlier.regex.match(address) for earlier in table[:number]):
            plain[address] = route
    return plain


class ClientSpec(URLSpec):
    """A route for SuperTokens' clients only; to everybody else the next one is open that fits."""

    def __init__(self, pattern: str, handler: type[BaseHandler]) -> None:
        super().__init__(pattern, handler)
        self.matcher = ClientMatches(pattern)


class ClientMatches(PathMatches):
    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return super().match(request) if comes_from_client(request) else None
