# SPDX-License-Identifier: MIT
"""The addresses of your pages. The kit adds its own: `python server.py --routes` shows all."""

from __future__ import annotations

from tornado.routing import URLSpec

from handlers import accounts, pages
from stormcellar import Settings


def routes(settings: Settings) -> list[URLSpec]:
    table = [
        URLSpec(r"/", pages.HomeHandler, name="home"),
        # For users who are signed in: yours go here
        URLSpec(r"/dashboard", pages.DashboardHandler, name="dashboard"),
    ]
    if not settings.verify_only:  # else accounts are another server's
        table += accounts.routes()
    return table
