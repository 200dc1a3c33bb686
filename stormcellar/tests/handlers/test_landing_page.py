# SPDX-License-Identifier: MIT
"""The page after signing in is one attribute of the site."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from stormcellar.application import Site
from stormcellar.settings import Settings
from stormcellar.testing.client import Client
from stormcellar.tests.site import SITE
from stormcellar.web.addresses import Addresses


@pytest.fixture
def site() -> Site:
    return replace(SITE, landing_page="/overview")


@pytest.mark.parametrize("wanted", ["", "//evil.example", "/signout"])
@pytest.mark.gen_test
async def test_users_come_to_it_if_they_wanted_no_page_that_they_can_return_to(
    client: Client, wanted: str
) -> None:
    await client.sign_up()
    query = f"?redirectBack={quote(wanted)}"
    assert (await client.get(f"/login{query}")).headers["Location"] == "/overview"
    detour = await client.get(f"/auth/session/refresh/return{query}")
    assert (detour.code, detour.headers["Location"]) == (303, "/overview")


@pytest.mark.gen_test
async def test_the_refresh_page_and_the_navigation_know_it(client: Client) -> None:
    assert 'data-landing="/overview"' in (await client.get("/refresh-session")).body.decode()
    assert 'href="/overview"' in (await client.get("/")).body.decode()


@pytest.mark.parametrize(
    "path", ["", "overview", "//evil.example", "/a/../b", "/signout", "https://x.example/"]
)
def test_it_must_be_a_path_of_this_site(path: str) -> None:
    with pytest.raises(ValueError, match="landing_page"):
        Addresses.of(Settings(), path)
