# SPDX-License-Identifier: MIT
"""Every route of the application on one page, grouped by who may come in.

The group is only for the reader: what decides is the handler's class, which protects, or says why it is
public. `check_access` holds every route to that, and the application does not start otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado.routing import URLSpec

from handlers import account, auth_api, live, operations, pages
from handlers.base import ProtectedHandler
from settings import Settings

STATIC = Path(__file__).parent.parent / "static"


def routes(settings: Settings) -> list[URLSpec]:
    base = settings.api_base_path
    return [
        # For everybody
        URLSpec(r"/", pages.HomeHandler, name="home"),
        URLSpec(r"/login", account.LoginHandler, name="login"),
        URLSpec(r"/signup", account.SignUpHandler, name="signup"),
        URLSpec(r"/signout", account.SignOutHandler, name="signout"),
        URLSpec(r"/refresh-session", pages.RefreshPageHandler, name="refresh_session"),
        URLSpec(r"/refresh-session/stopped", pages.RefreshStoppedHandler),
        URLSpec(r"/static/(.*)", pages.StaticHandler, {"path": STATIC}, name="static"),
        URLSpec(r"/healthz", operations.HealthHandler),
        URLSpec(r"/readyz", operations.ReadyHandler),
        URLSpec(r"/metrics", operations.MetricsHandler),
        # For frontend SDKs, whoever they work for
        URLSpec(base + r"/signup/?", auth_api.SignUpAPIHandler),
        URLSpec(base + r"/signin/?", auth_api.SignInAPIHandler),
        URLSpec(base + r"/session/refresh/?", auth_api.RefreshHandler),
        URLSpec(base + r"/session/refresh/return", auth_api.RefreshReturnHandler),
        URLSpec(base + r"/jwt/jwks.json", auth_api.JWKSHandler),
        # For people who are signed in: yours go here
        URLSpec(r"/dashboard", pages.DashboardHandler, name="dashboard"),
        # For scripts and apps of people who are signed in
        URLSpec(r"/ws/session", live.SessionSocketHandler, name="session_socket"),
        URLSpec(base + r"/signout/?", auth_api.SignOutAPIHandler),
    ]


class AccessUnsaid(Exception):
    """A route's handler neither protects nor says why it is public; the message names it."""


def access(handler: Any) -> str:
    """Who may use a handler: "protected", or "public: <why>".

    Raises:
        AccessUnsaid: it does not say.
    """
    if issubclass(handler, ProtectedHandler):
        return "protected"
    reason = getattr(handler, "public", "")
    if not reason:
        raise AccessUnsaid(
            f"{handler.__module__}.{handler.__qualname__} does not say who may use it: inherit from "
            'ProtectedHandler, or write `public = "<why everybody may>"` in the class'
        )
    return f"public: {reason}"


def check_access(table: Sequence[URLSpec]) -> None:
    """Raise AccessUnsaid unless every route says who may use it."""
    for route in table:
        access(route.handler_class)


def describe(table: Sequence[URLSpec]) -> str:
    """The route table for people: address, handler, access."""
    rows = [
        (
            route.regex.pattern.rstrip("$"),
            f"{route.handler_class.__module__}.{route.handler_class.__qualname__}",
            access(route.handler_class),
        )
        for route in table
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
