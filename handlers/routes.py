# SPDX-License-Identifier: MIT
"""Every route of the application on one page, grouped by who may come in.

The group is only for the reader: what decides is the handler's class, which protects, or says why it is
public. `check_access` holds every route to that, and the application does not start otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, URLSpec

from extras import installed
from handlers import (
    account,
    admin,
    arrival,
    auth_api,
    dev_key,
    dev_mail,
    dev_strip,
    devices,
    email_api,
    kept_form,
    live,
    openapi,
    operations,
    own_account,
    pages,
    recovery,
)
from handlers.base import BaseHandler, ProtectedHandler
from handlers.caller import comes_from_client
from handlers.prepared import ADVICE, objection
from sessions.engine import DEFAULT_TENANT
from settings import Settings

STATIC = Path(__file__).parent.parent / "static"


def routes(settings: Settings) -> list[URLSpec]:
    base = settings.api_base_path
    table = [
        # For everybody
        URLSpec(r"/", pages.HomeHandler, name="home"),
        URLSpec(r"/login", account.LoginHandler, name="login"),
        URLSpec(r"/signup", account.SignUpHandler, name="signup"),
        URLSpec(r"/signout", account.SignOutHandler, name="signout"),
        URLSpec(r"/forgot-password", recovery.ForgotPasswordHandler, name="forgot_password"),
        URLSpec(r"/reset-password", recovery.ResetPasswordHandler, name="reset_password"),
        URLSpec(r"/verify-email", recovery.VerifyEmailHandler, name="verify_email"),
        URLSpec(r"/account/email/confirm", own_account.ConfirmNewEmailHandler),
        URLSpec(r"/account/deleted", own_account.AccountDeletedHandler),
        URLSpec(r"/session-alive", devices.SessionAliveHandler),
        URLSpec(r"/refresh-session", pages.RefreshPageHandler, name="refresh_session"),
        URLSpec(r"/refresh-session/stopped", pages.RefreshStoppedHandler),
        URLSpec(r"/static/(.*)", pages.StaticHandler, {"path": STATIC}, name="static"),
        URLSpec(r"/healthz", operations.HealthHandler),
        URLSpec(r"/readyz", operations.ReadyHandler),
        URLSpec(r"/metrics", operations.MetricsHandler),
        URLSpec(r"/proxy-check", arrival.ArrivalHandler),
        # For frontend SDKs, whoever they work for
        *with_tenant(base, r"/signup/?", auth_api.SignUpAPIHandler),
        *with_tenant(base, r"/signin/?", auth_api.SignInAPIHandler),
        *with_tenant(base, r"/emailpassword/email/exists/?", email_api.EmailExistsHandler),
        *with_tenant(base, r"/signup/email/exists/?", email_api.EmailExistsHandler),
        *with_tenant(base, r"/user/password/reset/token/?", email_api.PasswordResetTokenHandler),
        *with_tenant(base, r"/user/password/reset/?", email_api.PasswordResetHandler),
        *with_tenant(base, r"/user/email/verify/token/?", email_api.EmailVerificationTokenHandler),
        *with_tenant(base, r"/user/email/verify/?", email_api.EmailVerificationHandler),
        *with_tenant(base, r"/loginmethods/?", auth_api.LoginMethodsHandler),
        *with_tenant(base, r"/session/refresh/?", auth_api.RefreshHandler),
        URLSpec(base + r"/session/refresh/return", auth_api.RefreshReturnHandler),
        URLSpec(base + r"/session/refresh/signout", account.SignOutByRefreshTokenHandler),
        *with_tenant(base, r"/jwt/jwks\.json/?", auth_api.JWKSHandler),
        *with_tenant(base, r"/\.well-known/openid-configuration/?", auth_api.DiscoveryHandler),
        # For people who are signed in: yours go here
        URLSpec(r"/kept-form", kept_form.KeptFormHandler, name="kept_form"),
        URLSpec(r"/dashboard", pages.DashboardHandler, name="dashboard"),
        URLSpec(r"/account", own_account.AccountHandler, name="account"),
        URLSpec(r"/account/sessions", devices.SessionsHandler, name="account_sessions"),
        URLSpec(r"/account/password", own_account.NewPasswordHandler),
        URLSpec(r"/account/email", own_account.NewEmailHandler),
        URLSpec(r"/account/delete", own_account.DeleteAccountHandler),
        URLSpec(r"/confirm-password", own_account.ConfirmPasswordHandler, name="confirm_password"),
        URLSpec(r"/verify-email/send", recovery.VerificationMailHandler),
        # For administrators
        URLSpec(r"/admin/users", admin.UsersHandler, name="admin_users"),
        URLSpec(r"/admin/users/(?P<user_id>[\w-]{1,64})", admin.UserHandler),
        # For scripts and apps of people who are signed in
        URLSpec(r"/ws/session", live.SessionSocketHandler, name="session_socket"),
        *with_tenant(base, r"/signout/?", auth_api.SignOutAPIHandler),
    ]
    if not base:  # pages have these two addresses as well, so who calls decides
        table[:0] = [
            ClientSpec(r"/signup", auth_api.SignUpAPIHandler),
            ClientSpec(r"/signout", auth_api.SignOutAPIHandler),
        ]
    if settings.debug:
        table += [
            URLSpec(r"/dev/mail", dev_mail.MailboxHandler, name="mailbox"),
            URLSpec(r"/dev/mail/([0-9]{1,9})(|/html)", dev_mail.MailHandler),
            URLSpec(r"/dev/expire-access-token", dev_strip.ExpireAccessTokenHandler),
            URLSpec(r"/dev/lose-refresh-answer", dev_strip.LoseRefreshAnswerHandler),
            URLSpec(r"/dev/revoke-session", dev_strip.RevokeSessionHandler),
        ]
    if settings.verify_only:  # accounts and sessions are the API server's
        theirs = (
            account,
            admin,
            auth_api,
            dev_mail,
            dev_strip,
            devices,
            email_api,
            kept_form,
            own_account,
            recovery,
        )
        modules = {part.__name__ for part in theirs}
        table = [route for route in table if route.handler_class.__module__ not in modules]
    else:
        table += [route for extra in installed() for route in extra.routes(settings)]
    if settings.debug:
        table.append(URLSpec(dev_key.PATH, dev_key.OpenHandler))
        table.append(URLSpec(r"/dev/why", dev_strip.WhyHandler))
        table.append(URLSpec(base + r"/openapi\.json", openapi.OpenAPIHandler, {"table": table}))
    return table


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


class AccessUnsaid(Exception):
    """A route's handler neither protects nor says why it is public; the message names it."""


def access(handler: Any) -> str:
    """Who may use a handler: "protected", or "public: <why>".

    Raises:
        AccessUnsaid: it does not say.
    """
    name = f"{handler.__module__}.{handler.__qualname__}"
    reason = getattr(handler, "accepts_cross_site", "")
    if not isinstance(reason, str):
        raise AccessUnsaid(f'{name} does not say why: write `accepts_cross_site = "<why other sites may>"`')
    if issubclass(handler, BaseHandler) and (wrong := objection(handler, BaseHandler)):
        raise AccessUnsaid(f"{name} is not protected, because {wrong}: {ADVICE}")
    if issubclass(handler, ProtectedHandler) and handler.session_required:
        if handler.get_session is not BaseHandler.get_session:
            raise AccessUnsaid(f"{name} replaces get_session, which is what protects it: leave it as it is")
        if reason:
            raise AccessUnsaid(
                f"{name} has accepts_cross_site, but a request of another site has no session: inherit from "
                "BaseHandler, and redirect to a protected page by `self.see_other(...)`"
            )
        return "protected"
    return (
        "public: "
        + _why_public(handler, name)
        + (f"; takes other sites' requests: {reason}" if reason else "")
    )


def _why_public(handler: Any, name: str) -> str:
    reason: str = getattr(handler, "public", "")
    if not reason:
        raise AccessUnsaid(
            f"{name} does not say who may use it: inherit from ProtectedHandler, or write "
            '`public = "<why everybody may>"` in the class'
        )
    return reason


def check_access(table: Sequence[URLSpec]) -> None:
    """Raise AccessUnsaid unless every route says who may use it."""
    for route in table:
        access(route.handler_class)


def describe(table: Sequence[URLSpec]) -> str:
    """The route table for people: address, handler, access."""
    rows = [(pattern(route), handler_name(route), access(route.handler_class)) for route in table]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)


def pattern(route: URLSpec) -> str:
    """A route's address, as a regular expression."""
    return route.regex.pattern.rstrip("$")


def handler_name(route: URLSpec) -> str:
    return f"{route.handler_class.__module__}.{route.handler_class.__qualname__}"
