# SPDX-License-Identifier: MIT
"""Sessions and signing keys from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stormcellar.application import Application
from stormcellar.commands.command import open_site
from stormcellar.settings import load
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.site import SITE

T = TypeVar("T")


def on(site: list[str], story: Callable[[Application], Awaitable[T]]) -> T:
    """What an application on the same database does."""

    async def tell() -> T:
        async with open_site(SITE, load(site, {})) as application:
            return await story(application)

    return asyncio.run(tell())


def begin(site: list[str], user_id: str, count: int = 1) -> list[str]:
    async def story(application: Application) -> list[str]:
        made = [await application.sessions.create_new_session(user_id) for _ in range(count)]
        return [session.handle for session in made]

    return on(site, story)


def test_living_sessions_are_listed_for_everybody_or_one(manage: Manage, site: list[str], ann: str) -> None:
    hers, others = begin(site, ann, 2), begin(site, "somebody else", 1)
    assert {record["session_handle"] for record in manage("list-sessions", "--json").records} == {
        *hers,
        *others,
    }
    found = manage("list-sessions", "--user=ann@example.com", "--json").records
    assert {record["session_handle"] for record in found} == set(hers)
    assert {record["user_id"] for record in found} == {ann}
    assert all(record["expires_at_ms"] > record["created_at_ms"] > 1_700_000_000_000 for record in found)
    assert "secret" not in found[0]


def test_a_session_is_revoked_by_its_handle(manage: Manage, site: list[str], ann: str) -> None:
    gone, other = begin(site, ann, 2)
    assert manage("revoke-session", gone).out == f"The session {gone} is over.\n"
    assert [record["session_handle"] for record in manage("list-sessions", "--json").records] == [other]
    assert manage("revoke-session", gone).err == f"revoke-session: There is no session {gone}.\n"


def test_all_sessions_of_a_user_are_revoked(manage: Manage, site: list[str], ann: str) -> None:
    hers, (other,) = begin(site, ann, 2), begin(site, "somebody else")
    (record,) = manage("revoke-sessions", "--user", ann, "--json").records
    assert (record["user_id"], set(record["revoked"])) == (ann, set(hers))
    assert [record["session_handle"] for record in manage("list-sessions", "--json").records] == [other]


def test_locking_and_deleting_a_user_ends_the_sessions(manage: Manage, site: list[str], ann: str) -> None:
    begin(site, ann, 2)
    assert manage("lock-user", ann, "--json").records[0]["sessions_ended"] == 2
    begin(site, ann, 1)
    assert manage("delete-user", ann, "--yes", "--json").records[0]["sessions_ended"] == 1
    assert manage("list-sessions").out == ""


def test_a_new_key_signs_and_the_old_one_stays_unless_it_is_to_be_forgotten(
    manage: Manage, site: list[str]
) -> None:
    async def kids(application: Application) -> list[str]:
        return [key["kid"] for key in application.sessions.get_jwks()["keys"]]

    before = on(site, kids)
    kid = manage("rotate-keys", "--json").records[0]["kid"]
    assert set(on(site, kids)) == {*before, kid}
    last = manage("rotate-keys", "--forget-old", "--json").records[0]["kid"]
    assert on(site, kids) == [last]


def test_purging_deletes_what_has_expired_and_nothing_else(manage: Manage, site: list[str], ann: str) -> None:
    *_, kept = begin(site, ann, 601)

    async def age(application: Application) -> None:
        await application.database.write(
            lambda c: c.execute("UPDATE sessions SET expires_at = 1 WHERE handle <> :kept", {"kept": kept})
        )

    on(site, age)
    done = manage("purge")
    assert done.out == "600 expired sessions and feed entries are deleted.\n"
    assert "100 %  600 of 600 expired rows" in done.err
    assert [record["session_handle"] for record in manage("list-sessions", "--json").records] == [kept]
