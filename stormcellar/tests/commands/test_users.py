# SPDX-License-Identifier: MIT
"""Users from the command line."""

from __future__ import annotations

import asyncio

import pytest

from stormcellar import settings as configuration
from stormcellar.sessions import Sessions, StoreUnavailableError
from stormcellar.testing.client import PASSWORD
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.site import make_app


def test_a_created_user_is_listed_with_roles_and_state(manage: Manage) -> None:
    done = manage("create-user", "Ann@Example.com", "--verified", "--role=b", "--role=a", stdin=PASSWORD)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Created ann@example.com with the user ID ")
    assert manage("list-users").out.endswith("ann@example.com  roles: a, b\n")
    (record,) = manage("list-users", "--json").records
    assert record.pop("created_at_ms") > 1_700_000_000_000
    assert record.pop("user_id") in done.out
    assert record == {
        "email": "ann@example.com",
        "email_verified": True,
        "locked": False,
        "roles": ["a", "b"],
    }


def test_who_has_no_second_factor_can_lose_none(manage: Manage, ann: str) -> None:
    done = manage("remove-second-factor", "ann@example.com")
    assert (done.code, done.out) == (1, "")
    assert done.err == "remove-second-factor: ann@example.com has no second factor.\n"


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("ann", PASSWORD, "Email is invalid"),
        ("ann@example.com", "short", "Password must contain at least 8 characters"),
        ("ann@example.com", "password1", "This password is too easy to guess"),
        ("ann@example.com", "", "No password came on standard input"),
    ],
)
def test_what_cannot_be_a_user_is_refused_in_one_sentence(
    manage: Manage, email: str, password: str, complaint: str
) -> None:
    done = manage("create-user", email, stdin=password)
    assert done.code == 1
    assert done.err.startswith(f"create-user: {complaint}")
    assert done.err.count("\n") == 1
    assert manage("list-users").out == ""


def test_an_address_is_taken_once(manage: Manage, ann: str) -> None:
    done = manage("create-user", "ann@example.com", stdin=PASSWORD)
    assert (done.code, done.out) == (1, "")
    assert "already exists" in done.err


def test_the_password_is_never_an_argument(manage: Manage) -> None:
    done = manage("create-user", "ann@example.com", PASSWORD, stdin=PASSWORD)
    assert done.code == 2


def test_a_user_is_locked_and_unlocked_by_address_or_id(manage: Manage, ann: str) -> None:
    assert manage("lock-user", "ANN@example.com", "--json").records == [
        {"user_id": ann, "locked": True, "sessions_ended": 0}
    ]
    assert "locked" in manage("list-users", "--locked").out
    assert manage("lock-user", ann, "--json").records[0]["locked"] is False
    assert manage("unlock-user", ann).out == "ann@example.com may sign in again.\n"
    assert manage("list-users", "--locked").out == ""


def test_a_role_is_given_and_taken(manage: Manage, ann: str) -> None:
    assert manage("set-role", ann, "editor").out == "ann@example.com has the role editor.\n"
    assert manage("set-role", ann, "editor").out == "ann@example.com has the role editor (as before).\n"
    assert [user["user_id"] for user in manage("list-users", "--role=editor", "--json").records] == [ann]
    assert manage("remove-role", ann, "editor").code == 0
    assert manage("remove-role", ann, "editor").err == "remove-role: ann@example.com has no role editor.\n"
    assert manage("list-users", "--role=editor").out == ""


def test_a_role_needs_a_name(manage: Manage, ann: str) -> None:
    done = manage("set-role", ann, "x" * 65)
    assert done.code == 1
    assert "64 visible characters" in done.err


def test_deleting_needs_a_yes(manage: Manage, ann: str) -> None:
    done = manage("delete-user", ann)
    assert (done.code, "--yes" in done.err) == (1, True)
    assert manage("delete-user", ann, "--yes").out == "ann@example.com is deleted; 0 sessions ended.\n"
    assert manage("list-users").out == ""


def test_deleting_that_broke_off_at_the_sessions_can_be_tried_again(
    manage: Manage, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody must be left whose account cannot be found any more and whose sessions go on."""

    async def fail(*_: object, **__: object) -> list[str]:
        raise StoreUnavailableError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "revoke_all_sessions_for_user", fail)
        assert manage("delete-user", ann, "--yes").code == 1
    assert manage("delete-user", ann, "--yes").out == "ann@example.com is deleted; 0 sessions ended.\n"


@pytest.mark.parametrize(
    "command", ["lock-user", "unlock-user", "delete-user", "set-role", "remove-role", "revoke-sessions"]
)
def test_an_unknown_user_is_an_error(manage: Manage, command: str) -> None:
    words = {"set-role": ["nobody@example.com", "x"], "remove-role": ["nobody@example.com", "x"]}
    words["revoke-sessions"] = ["--user=nobody@example.com"]
    done = manage(command, *words.get(command, ["nobody@example.com"]))
    assert (done.code, done.out) == (1, "")
    assert done.err == f"{command}: There is no user nobody@example.com.\n"


# -- on a site without mail ---------------------------------------------------------------------------


def test_an_operator_sets_a_password_and_every_session_ends(manage: Manage, ann: str) -> None:
    new_password = "eleven calm wolves hum"
    done = manage("set-password", "ann@example.com", stdin=f"{new_password}\n")
    assert (done.code, done.err) == (0, "")
    assert done.out == "ann@example.com has a new password; 0 sessions ended.\n"
    record = manage("set-password", ann, "--json", stdin=PASSWORD).records
    assert record == [{"user_id": ann, "password_set": True, "sessions_ended": 0}]
    (first, second) = [line for line in manage("list-events", "--json").records if "password" in line["name"]]
    assert {first["name"], second["name"]} == {"password changed"}
    assert first["detail"] == "command line"


@pytest.mark.parametrize(
    ("user", "password", "complaint"),
    [
        ("bob@example.com", PASSWORD, "There is no user bob@example.com"),
        ("ann@example.com", "short", "Password must contain at least 8 characters"),
        ("ann@example.com", "ann@example.com", "Password must not be your email address"),
        ("ann@example.com", "", "No password came on standard input"),
    ],
)
def test_a_password_that_cannot_be_set_is_refused_in_one_sentence(
    manage: Manage, ann: str, user: str, password: str, complaint: str
) -> None:
    done = manage("set-password", user, stdin=password)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"set-password: {complaint}")


def test_no_password_is_taken_from_the_command_line(manage: Manage, ann: str) -> None:
    assert manage("set-password", "ann@example.com", PASSWORD).code == 2


def test_a_reset_link_is_printed_for_a_user_who_is_there_and_not_locked(manage: Manage, ann: str) -> None:
    done = manage("reset-link", "ann@example.com", "--public_url=https://www.example.com")
    assert done.code == 0
    assert done.out.startswith("https://www.example.com/reset-password?token=")
    assert done.err == "It works once, within 1 hour, for ann@example.com.\n"
    (record,) = manage("reset-link", ann, "--json").records
    assert (record["user_id"], record["lifetime_s"]) == (ann, 3600)
    manage("lock-user", ann)
    refused = manage("reset-link", ann)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "reset-link: ann@example.com is locked; unlock the account first.\n"
    assert manage("reset-link", "bob@example.com").code == 1


def test_an_operator_makes_accounts_where_sign_up_is_closed(manage: Manage) -> None:
    done = manage("create-user", "ann@example.com", "--registration=closed", stdin=PASSWORD)
    assert done.code == 0, done.err


# -- what is shown ------------------------------------------------------------------------------------

HOSTILE = "a\u202egro.live@example.com", "b\x1b[2J\x9b@example.com", "c\u200b\u2066\U000e0041@example.com"


def test_no_address_steers_the_terminal(manage: Manage, ann: str, site: list[str]) -> None:
    """Older versions took such addresses."""
    _store_addresses(site, HOSTILE)
    for words in (["list-users"], ["list-users", "--json"]):
        done = manage(*words)
        assert done.code == 0
        assert [c for c in done.out if not c.isprintable() and c != "\n"] == []
        assert "\\u202e" in done.out
    emails = {record["email"] for record in manage("list-users", "--json").records}
    assert set(HOSTILE) <= emails


def test_no_argument_steers_the_terminal(manage: Manage) -> None:
    done = manage("lock-user", "\u202eann\x1b[31m")
    assert done.code == 1
    assert done.err == "lock-user: There is no user \\u202eann\\u001b[31m.\n"


def _store_addresses(site: list[str], emails: tuple[str, ...]) -> None:
    async def store() -> None:
        options = configuration.load(site, {})
        application = make_app(options)
        await application.start()
        sql = "INSERT INTO users (user_id, email, created_at_ms) VALUES (:user_id, :email, 0)"
        rows = [{"user_id": f"user {number}", "email": email} for number, email in enumerate(emails)]
        try:
            await application.database.write(lambda c: [c.execute(sql, row) for row in rows])
        finally:
            await application.stop()

    asyncio.run(store())
