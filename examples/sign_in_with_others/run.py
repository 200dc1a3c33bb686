# SPDX-License-Identifier: MIT
"""The kit beside an OpenID provider on this machine; see others.py for what it takes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tornado.routing import URLSpec

from examples.sign_in_with_others.others import (
    ComeBackHandler,
    Identities,
    LoginWithLinkHandler,
    Provider,
    SignInWithHandler,
)
from stormcellar import Application
from stormcellar import server as processes
from stormcellar import settings as configuration
from stormcellar.settings import Settings, SettingsError

HERE = Path(__file__).resolve().parent


def add_provider(application: Application, provider: Provider) -> None:
    """Have an application offer it at sign-in."""
    with_it = {"provider": provider, "identities": Identities(application.database, application.accounts)}
    application.add_handlers(
        r".*",
        [
            URLSpec(r"/login", LoginWithLinkHandler),
            URLSpec(r"/sign-in-with", SignInWithHandler, with_it),
            URLSpec(r"/sign-in-with/back", ComeBackHandler, with_it),
        ],
    )


def start_provider() -> tuple[subprocess.Popen[str], Provider]:
    """The process, which waits to be told where its client is, and what to know of it."""
    if not (HERE.parent / "node_modules/oidc-provider").exists():
        raise SettingsError("the npm packages are missing: run `npm ci` in examples/, or use `make example`")
    process = subprocess.Popen(
        ["node", HERE / "provider.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    issuer = process.stdout.readline().strip()
    if not issuer:
        process.wait()
        raise SettingsError("the provider did not start; it says why above")
    return process, Provider("The example provider", issuer, "kit", "known to the two of them")


def main(arguments: Sequence[str]) -> None:
    options: Settings = configuration.load(arguments, os.environ)
    process, provider = start_provider()
    try:
        from server import make_app  # the site that this clone has

        application = make_app(options)
        add_provider(application, provider)

        def announce(addresses: list[str]) -> None:
            origin = options.origin or f"http://localhost:{addresses[0].rpartition(':')[2]}"
            print(f"{origin}/sign-in-with/back", file=process.stdin, flush=True)
            print(f"The kit is at {origin}/login, its provider at {provider.issuer}", flush=True)
            print("Ctrl+C stops them.", flush=True)

        asyncio.run(processes.serve(application, announce))
    finally:
        process.terminate()
        process.wait()
