# SPDX-License-Identifier: MIT
"""Opening a database that may not be up yet, as when all machines start after a power cut."""

from __future__ import annotations

import asyncio
import logging
import time

from stormcellar.errors import StoreUnavailableError, UnusableDatabaseError
from stormcellar.store import Database

log = logging.getLogger("stormcellar.store")

RETRY_S = 0.5


async def open_in_time(database: Database, wait_s: float) -> None:
    """Open a database; while it does not answer, try again for `wait_s`.

    Raises:
        UnusableDatabaseError: waiting does not help.
        StoreUnavailableError: it has not answered in time.
    """
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            await database.open()
            break
        except UnusableDatabaseError:
            raise
        except StoreUnavailableError as error:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                waited = f" for {wait_s:.0f} s (`database_wait_s`)" if wait_s else ""
                raise StoreUnavailableError(
                    f"the database did not answer{waited}: {error}. Start it, or correct `database`"
                ) from error
            if not told:
                told = True
                log.warning("waiting up to %.0f s for the database: %s", wait_s, error)
        await asyncio.sleep(min(RETRY_S, left_s))
    if told:
        log.warning("the database answers")
