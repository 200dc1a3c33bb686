# SPDX-License-Identifier: MIT
"""While somebody works on a page, its session is renewed in the background before it would expire."""

from __future__ import annotations

import sys
from collections.abc import Callable

from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.serving import ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
STATUS = "async () => (await fetch('/api/echo')).status"

Visit = Callable[..., Visitor]


def test_somebody_active_is_never_sent_away_though_access_tokens_live_for_five_seconds(
    start_server: Callable[..., ServerProcess], visit: Visit
) -> None:
    """For more than two lives of a token: no redirect, no 401, not even for scripts that know nothing."""
    visitor = visit(start_server("--access_token_lifetime_s=5", program=MORE_PAGES).url)
    visitor.sign_up()
    visitor.documents.clear()
    answers = []

    def work_on() -> bool:
        visitor.page.mouse.move(200, 300)
        visitor.page.mouse.wheel(0, 10)
        visitor.page.keyboard.press("Tab")
        answers.append(visitor.page.evaluate(STATUS))
        visitor.page.wait_for_timeout(300)
        return visitor.refreshes >= 4

    visitor.until(work_on)
    assert set(answers) == {200}
    visitor.page.get_by_role("link", name="Home").click()
    expect(visitor.page.get_by_role("link", name="Open the dashboard")).to_be_visible()
    visitor.page.get_by_role("link", name="Open the dashboard").click()
    visitor.arrive("/dashboard")
    assert visitor.documents == ["GET /", "GET /dashboard"]


def test_a_session_that_ended_elsewhere_is_noticed_at_the_next_renewal(
    start_server: Callable[..., ServerProcess], visit: Visit, complaints: Complaints
) -> None:
    """Nobody goes on working on a page whose session is over."""
    complaints.allow(r"status of 401")
    server = start_server("--access_token_lifetime_s=5", program=MORE_PAGES)
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.context.clear_cookies(name="sRefreshToken")
    visitor.arrive_at_sign_in(wanted="/dashboard")
