# SPDX-License-Identifier: MIT
"""What a command is: its words, and a coroutine that gets the call and does the work."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from stormcellar import settings as configuration
from stormcellar.accounts import NoMailer, User
from stormcellar.application import Application, Site, session_config
from stormcellar.commands.output import CommandError
from stormcellar.sessions import SystemClock
from stormcellar.sessions.keys import KeyRing
from stormcellar.sessions.session_store import SessionStore
from stormcellar.settings import Settings


@dataclass(frozen=True)
class Argument:
    """An argument of a command.

    Args:
        name: `user`, or `--json` for an option.
        about: a sentence for --help and docs/commands.md.
        options: what else argparse's add_argument takes.
    """

    name: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> str:
        """As one types it: USER, --json, --user USER."""
        if not self.name.startswith("--"):
            return self._word
        is_switch = self.options.get("action") == "store_true"
        return self.name if is_switch else f"{self.name} {self._word}"

    @property
    def _word(self) -> str:
        return str(self.options.get("metavar", self.name.lstrip("-").upper()))


YES = Argument("--yes", "Do not ask whether this is meant.", {"action": "store_true"})
JSON = Argument(
    "--json", "Print JSON for scripts: one object, or one a line for lists.", {"action": "store_true"}
)
USER = Argument("user", "An e-mail address or a user ID.", {"metavar": "USER"})


@dataclass(frozen=True)
class Call:
    """A command that was typed: its arguments, its site, and the settings' part of the command line."""

    arguments: argparse.Namespace
    site: Site
    settings_words: Sequence[str] = ()

    def settings(self) -> Settings:
        return configuration.load(self.settings_words, os.environ)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Application]:
        """The application on its database, as one more process beside the servers that run."""
        async with open_site(self.site, self.settings()) as application:
            yield application


@dataclass(frozen=True)
class Command:
    """One command of manage.py.

    Args:
        run: does it; returns the exit code, None for 0.
        about: what it does, in sentences; the first stands alone in the list of commands.
        example: a line that could be typed after `python manage.py`.
    """

    name: str
    run: Callable[[Call], Coroutine[Any, Any, int | None]]
    about: str
    example: str
    arguments: Sequence[Argument] = ()


@asynccontextmanager
async def open_site(site: Site, options: Settings) -> AsyncIterator[Application]:
    """The application, started and stopped again; it listens nowhere and sends no mail.

    Raises:
        CommandError: users and sessions are another server's.
    """
    if options.verify_only:
        raise CommandError(
            "This server only verifies and keeps no users and sessions; run the command where they are kept, "
            f"at {options.api_domain}"
        )
    application = site.make_app(options, mailer=NoMailer())
    try:
        await application.start()
        yield application
    finally:
        await application.stop()


def key_ring(store: SessionStore, options: Settings) -> KeyRing:
    """The signing keys in a store, to be read with the secret of these settings."""
    return KeyRing(store, session_config(options), SystemClock())


async def find_user(application: Application, name: str) -> User:
    """The user of an e-mail address or a user ID.

    Raises:
        CommandError: there is none.
    """
    accounts = application.accounts
    user = await (accounts.get_by_email(name) if "@" in name else accounts.get(name))
    if user is None:
        raise CommandError(f"There is no user {name}")
    return user
