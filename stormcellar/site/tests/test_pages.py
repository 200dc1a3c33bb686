# SPDX-License-Identifier: MIT
"""The pages of the site. Yours are tested here too: one file for each page."""

from __future__ import annotations

import pytest

from stormcellar.testing.client import Client
from stormcellar.testing.plugin import AsUser


@pytest.mark.gen_test
async def test_the_start_page_is_open_to_everyone(client: Client) -> None:
    assert (await client.get("/")).code == 200


@pytest.mark.gen_test
async def test_the_dashboard_knows_its_user(as_user: AsUser) -> None:
    ann = await as_user("ann@example.com")
    assert ann.user_id in await ann.page("/dashboard")


@pytest.mark.gen_test
async def test_the_dashboard_sends_guests_to_sign_in_and_back(client: Client) -> None:
    response = await client.get("/dashboard")
    assert response.code == 303
    assert response.headers["Location"] == "/login?redirectBack=/dashboard"
