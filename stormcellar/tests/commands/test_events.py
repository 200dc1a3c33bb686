# SPDX-License-Identifier: MIT
"""The audit log from the command line, and what commands leave in it."""

from __future__ import annotations

from stormcellar.tests.commands.conftest import Manage

FROM_HERE = "command line"


def test_what_commands_do_to_an_account_is_in_the_audit_log(manage: Manage, ann: str) -> None:
    manage("lock-user", ann)
    manage("unlock-user", ann)
    manage("set-role", ann, "editor")
    manage("remove-role", ann, "editor")
    manage("delete-user", ann, "--yes")
    records = manage("list-events", "--user", ann, "--json").records
    assert [(record["name"], record["detail"]) for record in reversed(records)] == [
        ("signed up", FROM_HERE),
        ("account locked", FROM_HERE),
        ("account unlocked", FROM_HERE),
        ("roles changed", f"{FROM_HERE}: +editor"),
        ("roles changed", f"{FROM_HERE}: -editor"),
        ("account deleted", FROM_HERE),
    ]
    assert {record["user_id"] for record in records} == {ann}


def test_events_are_listed_for_people_and_narrowed(manage: Manage, ann: str) -> None:
    manage("lock-user", ann)
    lines = manage("list-events").out.splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        f"account locked  {ann}  {FROM_HERE}",
        f"signed up  {ann}  {FROM_HERE}",
    ]
    assert manage("list-events", "--limit", "1").out.splitlines() == lines[:1]
    assert manage("list-events", "--user", "Ann@example.com", "--days", "1").out.splitlines() == lines
    assert manage("list-events", "--name", "signed up").out.splitlines() == lines[1:]
    assert manage("list-events", "--session", "none").out == ""


def test_what_cannot_be_meant_is_refused_in_one_sentence(manage: Manage, ann: str) -> None:
    for words in (("--days", "0"), ("--limit", "0")):
        done = manage("list-events", *words)
        assert (done.code, done.err) == (1, "list-events: --days and --limit take whole numbers from 1 on.\n")
