# SPDX-License-Identifier: MIT
"""What several tests of handlers say."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from tornado.web import RequestHandler

from stormcellar.application import Application
from stormcellar.sessions import StoreUnavailableError
from stormcellar.tests.site import SITE

LIFETIME_S = 3600
"""Of an access token, by default."""


def with_settings(**settings: Any) -> pytest.MarkDecorator:
    """Run a test with an application of these settings; the key `engine` goes to the session engine."""
    return pytest.mark.parametrize("settings", [settings], ids=[""])


def example_path(pattern: str) -> str:
    """An address that a route's regular expression matches."""
    path = re.sub(r"\(\?:[^)]*\)\?|/\?", "", pattern.rstrip("$"))
    path = re.sub(r"\([^)]*\)", "x", path)
    return re.sub(r"\\(.)", r"\1", path)


def implements(handler: type[Any], method: str) -> bool:
    name = method.lower()
    return getattr(handler, name) is not getattr(RequestHandler, name)


def own_routes(app: Application) -> list[tuple[str, type[RequestHandler]]]:
    """An address and the handler of every route; routes that are added to the table are among them."""
    return [
        (example_path(route.regex.pattern), route.handler_class) for route in SITE.route_table(app.options)
    ]


def fail_to_end_sessions(app: Application, failing: int) -> None:
    """Have the store be away the `failing`th time that all sessions of a user are to end."""
    revoke_all, calls = app.sessions.revoke_all_sessions_for_user, itertools.count(1)

    async def breaks_off(*arguments: Any, **options: Any) -> list[str]:
        if next(calls) == failing:
            raise StoreUnavailableError("for the test")
        return await revoke_all(*arguments, **options)

    app.sessions.revoke_all_sessions_for_user = breaks_off  # type: ignore[method-assign]
