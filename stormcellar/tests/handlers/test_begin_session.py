# SPDX-License-Identifier: MIT
"""A handler begins a session with claims and data of its own, also for a user of another program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tornado.routing import URLSpec

from stormcellar.application import Application
from stormcellar.testing.client import Client
from stormcellar.web.handler import BaseHandler


class SignInFromElsewhereHandler(BaseHandler):
    """Signs in the user that another program has recognised."""

    public = "another program has checked who this is"

    async def post(self) -> None:
        await self.begin_session(
            "legacy-42",
            method="cookie",
            access_token_payload={"plan": "gold"},
            session_data_in_database={"cart": [1, 2]},
            has_account_here=self.get_query_argument("has_account_here", "") == "yes",
        )
        self.see_other("/")


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return [URLSpec(r"/from-elsewhere", SignInFromElsewhereHandler)]


@pytest.mark.gen_test
async def test_the_session_has_the_claims_and_the_data(client: Client, app: Application) -> None:
    assert (await client.post("/from-elsewhere", {})).code == 303
    assert "legacy-42" in await client.page("/dashboard")
    session = await app.sessions.get_session(client.cookies["sAccessToken"])
    assert session is not None
    assert (session.user_id, session.access_token_payload["plan"]) == ("legacy-42", "gold")
    information = await app.sessions.get_session_information(session.handle)
    assert information is not None
    assert information.session_data_in_database == {"cart": [1, 2]}
    assert (await client.refresh()).code == 200
    assert "legacy-42" in await client.page("/dashboard")


@pytest.mark.gen_test
async def test_an_unknown_user_is_refused_where_accounts_are_kept_here(
    client: Client, app: Application
) -> None:
    assert (await client.post("/from-elsewhere?has_account_here=yes", {})).code >= 400
    assert "sAccessToken" not in client.cookies
    assert await app.sessions.get_all_session_handles_for_user("legacy-42") == []
