# SPDX-License-Identifier: MIT
"""The clean-up of an extra takes no longer than a statement may, with many users."""

from __future__ import annotations

import asyncio

import pytest

from stormcellar.accounts.users import USER_TABLES
from stormcellar.extras.authenticator.codes import Vault
from stormcellar.extras.authenticator.store import Authenticators
from stormcellar.server_secret import ServerSecret
from stormcellar.tests.support import SECRET, database_at

USERS = 200_000
GONE = 500


@pytest.mark.postgres
def test_rows_of_users_who_are_gone_are_deleted_among_many(postgres_url: str) -> None:
    """PostgreSQL ends a statement after its time limit; a deletion that compares all with all never ends."""

    async def story() -> None:
        database = database_at(postgres_url)
        await database.open()
        await database.migrate("accounts", USER_TABLES)
        apps = Authenticators(database, Vault(ServerSecret(SECRET)))
        await apps.open()
        numbers = {"users": USERS, "all": USERS + GONE}
        await database.write(
            lambda c: (
                c.execute(
                    "INSERT INTO users (user_id, email, created_at_ms)"
                    " SELECT 'user' || n, n || '@example.com', 0 FROM generate_series(1, :users) AS n",
                    numbers,
                ).rowcount
            )
        )
        await database.write(
            lambda c: (
                c.execute(
                    "INSERT INTO authenticators (user_id, sealed_secret, created_at_ms)"
                    " SELECT 'user' || n, '', 0 FROM generate_series(1, :all) AS n",
                    numbers,
                ).rowcount
            )
        )
        await apps.forget_strangers()
        count = "SELECT count(*) FROM authenticators"
        assert await database.read(lambda c: c.execute(count).fetchone()[0]) == USERS
        await database.close()

    asyncio.run(story())
