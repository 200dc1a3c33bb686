# SPDX-License-Identifier: MIT
"""Two tabs of one browser that need a renewal at the same moment: both go on, and nobody is signed out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor, open_tab
from stormcellar.tests.serving import ServerProcess

Visit = Callable[..., Visitor]
WITHOUT_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
WAITING = "async () => (await navigator.locks?.query())?.pending.length"


class HeldBack:
    """Requests for new tokens that wait until the test lets them go."""

    def __init__(self, visitor: Visitor) -> None:
        self.routes: list[Route] = []
        self._context = visitor.context
        visitor.context.route("**/auth/session/refresh", lambda route: self.routes.append(route))

    def let_go(self) -> None:
        for route in self.routes:
            route.continue_()
        self._context.unroute_all()


def refresh_in_two_tabs(visitor: Visitor) -> tuple[Page, Page, HeldBack]:
    """Both at the refresh page, on their way to a page each."""
    visitor.sign_up()
    visitor.leave()
    visitor.lose_access_token()
    held = HeldBack(visitor)
    first = open_tab(visitor, "/dashboard?tab=1")
    second = open_tab(visitor, "/dashboard?tab=2")
    assert "/refresh-session" in first.url
    assert "/refresh-session" in second.url
    return first, second, held


def arrive(visitor: Visitor, *tabs: Page) -> set[str]:
    """Wait until each tab is where it wanted to go. Returns whom the pages greet."""
    for number, tab in enumerate(tabs, start=1):
        tab.wait_for_url(f"{visitor.site}/dashboard?tab={number}")
    return {tab.locator("#user-id").inner_text() for tab in tabs}


def test_two_tabs_that_refresh_at_once_send_one_request(server: ServerProcess, visit: Visit) -> None:
    """The second tab waits for the lock, and then finds that there is nothing left to do."""
    visitor = visit(server.url)
    first, second, held = refresh_in_two_tabs(visitor)
    visitor.until(lambda: first.evaluate(WAITING) == 1)
    held.let_go()
    assert len(arrive(visitor, first, second)) == 1
    assert visitor.refreshes == 1
    goes_on(visitor)


def test_without_locks_two_tabs_both_ask_and_both_stay_signed_in(server: ServerProcess, visit: Visit) -> None:
    """The server answers both with the same next refresh token: the order of the answers does not matter."""
    visitor = visit(server.url)
    visitor.context.add_init_script(WITHOUT_LOCKS)
    first, second, held = refresh_in_two_tabs(visitor)
    visitor.until(lambda: len(held.routes) == 2)
    held.let_go()
    assert len(arrive(visitor, first, second)) == 1
    assert visitor.refreshes == 2
    goes_on(visitor)


def test_a_tab_that_asks_again_with_the_old_refresh_token_stays_signed_in(
    as_user: Callable[[], Visitor],
    lose_reply: Callable[[Visitor], None],
    expire_access_token: Callable[[Visitor], None],
) -> None:
    """The answer to the first was lost: the browser still holds what it had before."""
    visitor = as_user()
    lose_reply(visitor)
    expire_access_token(visitor)
    visitor.goto("/dashboard?tab=1")
    arrive(visitor, visitor.page)
    goes_on(visitor)


def test_a_tab_whose_neighbour_used_the_new_tokens_stays_signed_in_for_a_while(
    server: ServerProcess, visit: Visit
) -> None:
    """Within the grace period the old refresh token is answered although the new tokens are in use."""
    visitor = visit(server.url)
    visitor.sign_up()
    before = visitor.cookie("sRefreshToken")
    visitor.lose_access_token()
    visitor.goto("/dashboard?tab=1")
    arrive(visitor, visitor.page)
    visitor.hold_refresh_token(before)
    goes_on(visitor)


@pytest.mark.parametrize("mode", ["in_place", "detour"])
def test_two_tabs_stay_signed_in_in_the_other_refresh_modes_too(
    start_server: Callable[..., ServerProcess], visit: Visit, complaints: Complaints, mode: str
) -> None:
    visitor = visit(start_server(f"--refresh_mode={mode}").url)
    complaints.allow(r"status of 401")  # the in-place page is one
    visitor.sign_up()
    tabs = [visitor.page, open_tab(visitor, "/")]
    visitor.lose_access_token()
    for number, tab in enumerate(tabs, start=1):
        tab.evaluate(f"setTimeout(() => location.assign('/dashboard?tab={number}'))")
    assert len(arrive(visitor, *tabs)) == 1
    goes_on(visitor)


def goes_on(visitor: Visitor) -> None:
    """The browser is signed in, and its next renewal works as well."""
    assert visitor.is_signed_in()
    visitor.lose_access_token()
    assert visitor.is_signed_in()
