# SPDX-License-Identifier: MIT
"""An engine that dies at a commit of the caller's choice: a program for test_commit_points.py.

    python -m stormcellar.tests.faults.dying_engine DATABASE OPERATION ARGUMENTS MOMENT NUMBER

It starts an engine on an SQLite file, begins one of OPERATIONS with ARGUMENTS (a JSON object), and ends
right before or right after (MOMENT) the commit with that NUMBER, counted from 1. It ends with os._exit, so
nothing is finished, answered or tidied up, as after kill -9. Its exit code tells whether it came to that:
DIED, or 0 if the operation was over by then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from stormcellar.sessions import Sessions
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.support import session_config

DIED = 42
MIGRATION = (
    "CREATE TABLE trial (name TEXT); INSERT INTO trial VALUES ('from step 1')",
    "ALTER TABLE trial ADD COLUMN size INTEGER; INSERT INTO trial VALUES ('from step 2', 2)",
)
CLAIMS = {"role": "cook"}
DATA = {"basket": ["leeks"]}

Arguments = dict[str, Any]


async def first_use(engine: Sessions, given: Arguments) -> None:
    await engine.get_session(given["access_token"])
    await engine.write_notes()


OPERATIONS: dict[str, Callable[[Sessions, Arguments], Awaitable[object]]] = {
    "start": lambda engine, given: engine.start(),
    "create": lambda engine, given: engine.create_new_session("ann"),
    "refresh": lambda engine, given: engine.refresh_session(given["refresh_token"]),
    "first_use": first_use,
    "revoke": lambda engine, given: engine.revoke_session(given["handle"], owner=None),
    "revoke_all": lambda engine, given: engine.revoke_all_sessions_for_user("ann"),
    "change_claims": lambda engine, given: engine.merge_into_access_token_payload(
        given["handle"], CLAIMS, owner=None
    ),
    "change_data": lambda engine, given: engine.update_session_data_in_database(
        given["handle"], DATA, owner=None
    ),
    "new_key": lambda engine, given: engine.keys.rotate_now(),
    "only_new_key": lambda engine, given: engine.keys.rotate_now(forget_old=True),
    "keep_house": lambda engine, given: engine.maintain(),
    "migrate": lambda engine, given: engine.keys._store.database.migrate("trial", MIGRATION),
}


class DyingDatabase(SqliteDatabase):
    """Counts commits from the moment when `armed` is set."""

    def __init__(self, path: Path, moment: str, number: int) -> None:
        super().__init__(path)
        self.armed = False
        self.moment = moment
        self.left = number

    def _commit_group(self, connection: sqlite3.Connection, jobs: list[Any]) -> None:
        super()._commit_group(cast(sqlite3.Connection, _DyingConnection(connection, self)), jobs)


class _DyingConnection:
    """A connection that looks out for COMMIT."""

    def __init__(self, connection: sqlite3.Connection, database: DyingDatabase) -> None:
        self.connection = connection
        self.database = database

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        commits = self.database.armed and sql == "COMMIT"
        self.database.left -= commits
        if commits:
            self._die_if("before")
        cursor = self.connection.execute(sql, *parameters)
        if commits:
            self._die_if("after")
        return cursor

    def _die_if(self, moment: str) -> None:
        if self.database.left == 0 and self.database.moment == moment:
            os._exit(DIED)


async def main(path: str, operation: str, arguments: str, moment: str, number: str) -> None:
    given = json.loads(arguments)
    database = DyingDatabase(Path(path), moment, int(number))
    await database.open()
    engine = Sessions(database, session_config(), clock=FakeClock(given["now"]), generate_key=cheap_keys())
    if operation != "start":
        await engine.start()
    database.armed = True
    await OPERATIONS[operation](engine, given)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
