# SPDX-License-Identifier: MIT
"""Commands for the site itself: its routes, and whether its server answers."""

from __future__ import annotations

from stormcellar.commands.command import JSON, Argument, Call, Command
from stormcellar.commands.health import READY, WAIT, report
from stormcellar.commands.output import print_json
from stormcellar.web.access import access, describe, handler_name, pattern


async def list_routes(call: Call) -> None:
    table = call.site.route_table(call.settings())
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


async def health(call: Call) -> int:
    return report(call.settings(), ready=call.arguments.ready, wait_s=call.arguments.wait)


COMMANDS = (
    Command(
        "routes",
        list_routes,
        "List every route: address, handler, and who may use it. `python server.py --routes` is the same.",
        "routes --json",
        (JSON,),
    ),
    Command(
        "health",
        health,
        "Ask the running server of these settings whether it is alive, or ready. It asks at `address` and "
        "`port`, and ends with 1 if the server does not answer 200. `python -m "
        "stormcellar.commands.health` is the same and starts faster; the unit and the image use it.",
        "health --ready --wait=60 --port=8001",
        (
            Argument(*READY, {"action": "store_true"}),
            Argument(*WAIT, {"type": float, "default": 0.0, "metavar": "SECONDS"}),
        ),
    ),
)
