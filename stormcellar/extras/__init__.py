# SPDX-License-Identifier: MIT
"""Parts that a site may have or not: each is a folder here, and to be without it is to delete that folder.

A folder NAME offers a subclass of `Extra` as `extras.NAME.Part`. The application makes one of each, collects
its routes, claims and validators, opens its tables, and shows what it says about itself on the account page
and at sign-in. In verify-only mode accounts are another server's: there an extra has no routes and keeps
nothing, and at most says what a session must have done at that server.

Templates of an extra are in its folder `templates/`, its mails in `templates/mail/`. A file of the site with
the same name replaces each of them: `templates/passkeys/list.html`. They extend "/base.html".
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tornado.routing import URLSpec

from stormcellar.packages import install_command
from stormcellar.sessions import ClaimValidator, InvalidClaimsError, Session, SessionClaim
from stormcellar.settings import Settings
from stormcellar.store.sealed import SealedColumn

if TYPE_CHECKING:
    from stormcellar.application import Application
    from stormcellar.web.handler import BaseHandler

log = logging.getLogger("stormcellar.extras")

HERE = Path(__file__).parent


class Extra:
    """What an extra may add; all of it can be left out. One object belongs to one application."""

    account_link: ClassVar[tuple[str, str, str] | None] = None
    """Its entry on the account page: address, title, and a sentence."""

    sign_in_script: ClassVar[str] = ""
    """The address of a module for the pages where people prove who they are."""

    claims: Sequence[SessionClaim[Any]] = ()
    validators: Sequence[ClaimValidator] = ()
    sealed_columns: Sequence[SealedColumn] = ()
    """What it keeps in the database, sealed with a key of the server secret."""

    @staticmethod
    def routes(settings: Settings) -> list[URLSpec]:
        return []

    @classmethod
    def for_verifying(cls, app: Application) -> Extra | None:
        """What takes this one's place in verify-only mode."""
        return None

    def __init__(self, app: Application) -> None:
        self.app = app

    async def open(self) -> None:
        """Bring the tables up to date."""

    async def maintain(self) -> None:
        """Delete what has expired, and what belonged to users who are gone; called now and then."""

    async def catch_up(self, session: Session) -> None:
        """For a session just made, by whatever means: what may have changed while it was being made."""

    async def both_factors_given(self, session: Session, factor: str) -> None:
        """For a session that began with something that is possession and knowledge (or body) in one."""

    async def forget_unproved(self, user_id: str, first_verified_at_ms: int | None) -> None:
        """Remove what may belong to another person, because a mailed link for a new password was used.

        That is what was added before an address of this account was confirmed for the first time: a person
        may have signed up with an address that is not theirs. May be called more than once.

        Args:
            first_verified_at_ms: when that was, in Unix milliseconds; None: not until now, so remove all.
        """

    async def remove_second_factor(self, user_id: str) -> bool:
        """Let a user who has lost the second factor that this extra asks for in without it; False: there is
        none."""
        return False

    def answer_invalid_claims(self, handler: BaseHandler, error: InvalidClaimsError) -> bool:
        """Lead a visitor to where the missing claim can be got; False: that is none of this extra's."""
        return False


@functools.cache
def installed() -> tuple[type[Extra], ...]:
    """The extras whose folder is here and whose libraries are installed, in the order of their names."""
    found: list[type[Extra]] = []
    for folder in sorted(HERE.iterdir()):
        if not (folder / "__init__.py").exists() or folder.name == "tests":
            continue
        try:
            found.append(import_module(f"stormcellar.extras.{folder.name}").Part)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] == "stormcellar":
                raise  # no library: it is of this very project
            log.info(
                "extras/%s is off: %s is not installed (%s)",
                folder.name,
                error.name,
                install_command(folder.name),
            )
    return tuple(found)
