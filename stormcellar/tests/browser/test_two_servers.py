# SPDX-License-Identifier: MIT
"""The example of an API server and a web server on two sub-domains, in a real browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from stormcellar.tests.serving import ROOT, ServerProcess

EMAIL, PASSWORD = "ann@example.com", "tall ships sail 27 seas"
PROGRAM = (sys.executable, str(ROOT / "examples/run.py"), "two_servers")


@pytest.fixture
def addresses(start_server: Callable[..., ServerProcess]) -> tuple[str, str]:
    """Where the web server and the API server are; access tokens live two seconds."""
    log = start_server("--access_token_lifetime_s=2", program=PROGRAM).log
    web, api = re.findall(r"http://(?:www|api)\.kit\.localhost:\d+", log)[-2:]
    return web, api


def test_a_page_of_the_web_server_knows_who_signed_in_at_the_api_server(
    page: Page, addresses: tuple[str, str], complaints: Any
) -> None:
    """Guests are led there and back, an expired token is renewed there, and signing out is for both."""
    complaints.allow("status of 401")  # whether a stranger has a session only the API server knows
    web, api = addresses
    page.goto(f"{web}/dashboard?tab=2")
    page.wait_for_url(f"{api}/login**")
    page.click("main a:text-is('Sign up')")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("button:text-is('Sign up')")
    page.wait_for_url(f"{web}/dashboard**")
    user_id = page.inner_text("#user-id")
    assert len(user_id) == 36

    page.goto("about:blank")  # nobody renews in the background meanwhile
    page.wait_for_timeout(2500)
    page.goto(f"{web}/dashboard?tab=3")
    page.wait_for_url(f"{web}/dashboard?tab=3")
    page.wait_for_selector("#user-id")
    assert page.inner_text("#user-id") == user_id

    page.click("button:text-is('Sign out')")
    page.wait_for_selector("a:text-is('Sign in')")
    page.goto(f"{web}/dashboard")
    page.wait_for_url(f"{api}/login**")
