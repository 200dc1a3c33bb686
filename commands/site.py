# SPDX-License-Identifier: MIT
"""Commands for the site itself: its routes."""

from __future__ import annotations

from commands.command import JSON, Call, Command
from commands.output import print_json
from handlers.routes import access, describe, handler_name, pattern, routes


async def list_routes(call: Call) -> None:
    table = routes(call.settings())
    if not call.arguments.json:
        print(describe(table))
        return
    for route in table:
        print_json(
            {
                "address": pattern(route),
                "handler": handler_name(route),
                "access": access(route.handler_class),
            }
        )


COMMANDS = (
    Command(
        "routes",
        list_routes,
        "List every route: address, handler, and who may use it. `python server.py --routes` is the same.",
        "routes --json",
        (JSON,),
    ),
)
