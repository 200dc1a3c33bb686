# SPDX-License-Identifier: MIT
"""Sign in with others, as the documentation shows it: to a certified OpenID provider and back."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.parts import require_npm_package
from stormcellar.tests.serving import ROOT, ServerProcess

pytestmark = pytest.mark.npm

PROGRAM = (sys.executable, str(ROOT / "examples/run.py"), "sign_in_with_others")


def to_the_provider_and_back(visitor: Visitor, name: str) -> None:
    # The provider's pages would fetch a font from elsewhere.
    visitor.context.route("https://*.googleapis.com/**", lambda route: route.fulfill(content_type="text/css"))
    visitor.goto("/login?redirectBack=/dashboard%3Fview%3D2")
    visitor.page.get_by_role("link", name="Sign in with the example provider").click()
    visitor.page.locator("input[name=login]").fill(name)
    visitor.page.locator("input[name=password]").fill("anything at all")
    visitor.page.get_by_role("button", name="Sign-in").click()
    visitor.page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts on", "scripts off"])
def test_the_walk_to_a_provider_and_back(
    start_server: Callable[..., ServerProcess],
    visit: Callable[..., Visitor],
    complaints: Complaints,
    has_scripts: bool,
) -> None:
    require_npm_package("oidc-provider", "examples")
    complaints.allow(r"status of 422|favicon")
    server = start_server(program=PROGRAM)
    visitor = visit(server.url, has_scripts=has_scripts)
    to_the_provider_and_back(visitor, "ann@example.com")
    visitor.arrive("/dashboard?view=2")
    user_id = visitor.user_id()

    again = visit(server.url, has_scripts=has_scripts)
    to_the_provider_and_back(again, "ann@example.com")
    again.arrive("/dashboard?view=2")
    assert again.user_id() == user_id

    stranger = visit(server.url, has_scripts=has_scripts)
    to_the_provider_and_back(stranger, "unconfirmed@example.com")
    expect(stranger.page.get_by_role("alert")).to_contain_text(
        "You have not confirmed an e-mail address there"
    )
