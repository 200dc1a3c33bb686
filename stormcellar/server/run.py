# SPDX-License-Identifier: MIT
"""The command line of server.py: read the settings, build the application, listen."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from stormcellar import settings as configuration
from stormcellar import terminal
from stormcellar.api.openapi import Undescribed, description
from stormcellar.application import Site
from stormcellar.dev.child import is_child, tell_ready
from stormcellar.dev.cookie_suffix import with_remembered_suffix
from stormcellar.dev.key import PATH as OPEN_PATH
from stormcellar.dev.key import developer_key
from stormcellar.dev.parent import Parent
from stormcellar.errors import StoreUnavailableError
from stormcellar.events import logs
from stormcellar.server import Supervisor, event_loop, is_worker, orphans, serve
from stormcellar.settings import Settings, SettingsError
from stormcellar.web.access import AccessUnsaid, describe


async def run(options: Settings, site: Site) -> None:
    """Serve, in this process or in several, until SIGTERM or SIGINT."""

    def tell(addresses: list[str]) -> None:
        if is_child():
            tell_ready()
            return
        with terminal.optional_output():
            announce(options, addresses)

    collecting = asyncio.ensure_future(orphans.collect()) if os.getpid() == 1 else None
    if options.processes > 1 and not is_worker():
        await Supervisor(options, [sys.executable, *sys.argv]).run(tell)
    else:
        await serve(site.make_app(options, announced=True), tell)
    if collecting is not None:
        collecting.cancel()


def announce(options: Settings, addresses: list[str]) -> None:
    """Print where the site is, where it listens, where the data is, and how to stop.

    Args:
        addresses: where it listens, as `http://host:port` or `unix:path`.
    """
    first = addresses[0]
    if options.is_loopback_only and first.startswith("http"):
        first = f"http://localhost:{first.rpartition(':')[2]}"
    print(f"{options.site_name} is at {options.origin or first}", flush=True)
    if options.origin or len(addresses) > 1:
        print(f"It listens on {', '.join(addresses)}", flush=True)
    place = "PostgreSQL" if options.uses_postgres else options.data_dir.resolve()
    if options.verify_only:
        print(f"Its sessions are those of {options.api_domain}; it keeps nothing", flush=True)
    else:
        print(f"Its data is in {place}", flush=True)
    if options.debug and options.is_public and not options.verify_only:
        opened = f"{options.origin}{OPEN_PATH}?key={developer_key(options)}"
        print(f"Other machines can reach it. Your browser gets the developer tools at {opened}", flush=True)
    print("Ctrl+C stops it.", flush=True)


async def run_and_watch(options: Settings) -> None:
    """Serve for development: in a child, which starts again when a file is saved."""

    def tell(addresses: list[str]) -> None:
        with terminal.optional_output():
            announce(options, addresses)

    await Parent(options, sys.argv).run(tell)


def main(site: Site) -> None:
    """The command line."""
    with terminal.any_output():
        arguments = sys.argv[1:]
        shown = {"--routes", "--openapi"} & set(arguments)
        try:
            options = configuration.load([a for a in arguments if a not in shown], os.environ)
            options = with_remembered_suffix(options)
            if "--routes" in shown:
                print(describe(site.route_table(options)))
            if "--openapi" in shown:
                print(json.dumps(description(site.route_table(options), options), indent=2))
            if shown:
                return
            logs.configure(options.log_format, debug=options.debug)
            watches = options.debug and not is_child()
            event_loop(options)(run_and_watch(options) if watches else run(options, site))
        except BrokenPipeError:  # standard output has no reader any more
            raise
        except (SettingsError, AccessUnsaid, Undescribed, StoreUnavailableError, OSError) as error:
            logs.finish()  # what was logged stands above
            sys.exit(f"Stormcellar does not start: {error}")
