# SPDX-License-Identifier: MIT
"""Over the wire a locked user looks like one with a wrong password, even in the middle of a sign-in."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from stormcellar.accounts import User, Users
from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of

FIELDS = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]


async def lock(app: Application) -> User:
    user = await app.accounts.get_by_email("ann@example.com")
    assert user
    await app.accounts.lock(user.user_id)
    return user


@pytest.mark.gen_test
async def test_a_locked_user_gets_the_answer_of_a_wrong_password(app: Application, client: Client) -> None:
    await client.sign_up()
    await lock(app)
    answer = await client.call("/auth/signin", {"formFields": FIELDS})
    assert json_of(answer) == {"status": "WRONG_CREDENTIALS_ERROR"}


@pytest.mark.gen_test
async def test_a_sign_in_under_way_when_the_user_is_locked_ends_in_no_session(
    app: Application, client: Client
) -> None:
    """Locked after the password was found right, before the session began."""
    await client.sign_up()
    sign_in = Users.sign_in

    async def locked_meanwhile(users: Users, email: str, password: str) -> User:
        user = await sign_in(users, email, password)
        await lock(app)
        await app.sessions.revoke_all_sessions_for_user(user.user_id)
        return user

    with patch.object(Users, "sign_in", locked_meanwhile):
        answer = await client.call("/auth/signin", {"formFields": FIELDS})
    assert json_of(answer) == {"status": "WRONG_CREDENTIALS_ERROR"}
    user = await app.accounts.get_by_email("ann@example.com")
    assert user
    assert await app.sessions.get_all_session_handles_for_user(user.user_id) == []
