# SPDX-License-Identifier: MIT
"""What the store of passkeys promises, on each kind of database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from stormcellar.accounts import USER_TABLES
from stormcellar.extras.passkeys.challenges import LIFETIME_S, Challenges
from stormcellar.extras.passkeys.store import MOST_PASSKEYS, Passkey, PasskeyRefusedError, PasskeyStore
from stormcellar.server_secret import ServerSecret
from stormcellar.tests.support import SECRET, database_at

NOW_S = 1_800_000_000


def passkey(number: int, sign_count: int = 0) -> Passkey:
    return Passkey(f"id {number}", "ann", "key", sign_count, "my phone", number)


async def is_done(work: object) -> bool:
    try:
        return await work is not False  # type: ignore[misc]
    except PasskeyRefusedError:
        return False


def test_two_processes_agree_on_what_counts_once_and_what_stays(place: Path | str) -> None:
    async def story() -> None:
        databases = [database_at(place), database_at(place)]
        for database in databases:
            await database.open()
        await databases[0].migrate("accounts", USER_TABLES)
        await databases[0].write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO users (user_id, email, created_at_ms) VALUES ('ann', 'a@example.com', 0)"
                ).rowcount
            )
        )
        one, two = (PasskeyStore(database) for database in databases)
        await asyncio.gather(one.open(), two.open())

        handles = await asyncio.gather(*(store.user_handle("ann") for store in (one, two, one)))
        assert len(set(handles)) == 1

        challenges = Challenges(ServerSecret(SECRET))
        challenge, other = (challenges.make("sign in", "browser", NOW_S) for _ in range(2))
        added = await asyncio.gather(
            *(store.add(passkey(1, 7), challenge=challenge) for store in (one, two, one, two))
        )
        assert sorted(added) == [False, False, False, True], "the same request came four times"
        assert not await is_done(two.add(passkey(2), challenge=challenge))
        assert not await is_done(two.add(passkey(1, 7), challenge=other))
        assert await one.find("id 1") == (passkey(1, 7), handles[0])
        third = challenges.make("sign in", "browser", NOW_S)
        noted = await asyncio.gather(
            *(store.note_use(passkey(1, 7), 8, 5, challenge=third) for store in (one, two))
        )
        assert sorted(noted) == [False, True]
        assert not await one.note_use(passkey(1, 8), 9, 5, challenge=third), "it was spent"

        await one.rename("ann", "id 1", "the laptop")
        for user_id, credential_id in (("bob", "id 1"), ("ann", "id 9"), ("ann", "\0"), ("ann", "\ud800")):
            await two.rename(user_id, credential_id, "somebody else's")
        assert [(known.name, known.sign_count) for known in await two.list("ann")] == [("the laptop", 8)]

        await one.add(passkey(2))
        # There is no password: of two that go at once, one stays.
        gone = await asyncio.gather(is_done(one.remove("ann", "id 1")), is_done(two.remove("ann", "id 2")))
        assert sorted(gone) == [False, True]
        assert len(await two.list("ann")) == 1

        for number in range(3, 3 + MOST_PASSKEYS):
            await is_done(one.add(passkey(number)))
        assert len(await two.list("ann")) == MOST_PASSKEYS

        await one.maintain((NOW_S + LIFETIME_S) * 1000)
        bobs = replace(passkey(99), user_id="bob")
        assert await one.add(bobs, challenge=challenge), "forgotten, but it has expired by now"
        for database in databases:
            await database.close()

    asyncio.run(story())
