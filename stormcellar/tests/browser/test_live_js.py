# SPDX-License-Identifier: MIT
"""The browser's half of a socket that belongs to a session: static/live.js."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

from stormcellar.testing.visitor import Visitor
from stormcellar.tests.serving import ServerProcess

OPEN_LINE = """async () => {
    const { openLine } = await import("/static/live.js");
    await new Promise((opened) => {
        window.line = openLine("/ws/session", {
            onOpen: () => { window.opened = (window.opened ?? 0) + 1; opened(); },
            onEnd: (why) => { window.ended = why; },
        });
    });
}"""


def sign_out_elsewhere(visitor: Visitor) -> None:
    """End the session without this browser hearing of it by an answer."""
    token = next(cookie["value"] for cookie in visitor.context.cookies() if cookie["name"] == "sAccessToken")
    headers = {"Cookie": f"sAccessToken={token}", "Origin": visitor.site}
    urllib.request.urlopen(urllib.request.Request(f"{visitor.site}/signout", b"", headers)).close()


def test_a_line_hears_that_the_session_was_ended_elsewhere_and_stays_closed(
    server: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.page.evaluate(OPEN_LINE)
    assert visitor.page.evaluate("line.send('hello')") is True
    sign_out_elsewhere(visitor)
    visitor.until(lambda: visitor.page.evaluate("window.ended") == "signed-out")
    assert visitor.page.evaluate("[line.send('hello'), opened]") == [False, 1]


def test_a_line_outlives_the_renewals_of_its_session(
    start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor]
) -> None:
    server = start_server("--access_token_lifetime_s=3")
    visitor = visit(server.url)
    visitor.sign_up()
    visitor.page.evaluate(OPEN_LINE)
    visitor.until(lambda: visitor.requests.count("POST /auth/session/refresh") >= 4)
    assert visitor.page.evaluate("[line.send('hello'), opened, window.ended]") == [True, 1, None]
