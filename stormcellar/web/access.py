# SPDX-License-Identifier: MIT
"""Check that every route's handler protects, or says why it is public, and describe the route table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornado.routing import URLSpec

from stormcellar.web.handler import BaseHandler, ProtectedHandler
from stormcellar.web.prepared import ADVICE, objection


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
