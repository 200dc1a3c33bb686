# SPDX-License-Identifier: MIT
"""static/session.js and the real server: what an application's own scripts can rely on.

stormcellar/tests/browser/test_session_module.py has the finer points, with answers that no real server gives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor, open_tab
from stormcellar.tests.serving import ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
REFRESH = "**/auth/session/refresh"


class Script:
    """Somebody signed in, on a page without any script but those that the test runs."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        visitor.sign_up()
        self.user_id = visitor.user_id()
        visitor.goto("/bare")

    def run(self, expression: str, *arguments: Any) -> Any:
        """What an expression comes to, in which `session` is the module; {"thrown": ...} if it throws."""
        return self.visitor.page.evaluate(
            f"""async (given) => {{
                const session = await import("/static/session.js");
                try {{
                    return await ({expression});
                }} catch (error) {{
                    return {{ thrown: error instanceof Response ? error.status : error.message }};
                }}
            }}""",
            arguments,
        )


@pytest.fixture
def script(start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor]) -> Script:
    return Script(visit(start_server(program=MORE_PAGES).url))


def test_a_script_knows_who_is_signed_in_without_asking_the_server(script: Script) -> None:
    script.visitor.requests.clear()
    assert script.run("session.doesSessionExist()") is True
    assert script.run("session.getUserId()") == script.user_id
    payload = script.run("session.getAccessTokenPayloadSecurely()")
    assert (payload["sub"], payload["tId"]) == (script.user_id, "public")
    assert set(script.visitor.requests) <= {"GET /static/session.js", "GET /static/favicon.svg"}


def test_a_refresh_by_script_is_true_and_brings_new_tokens(script: Script) -> None:
    before = script.visitor.cookie("sAccessToken"), script.visitor.cookie("sRefreshToken")
    assert script.run("session.attemptRefreshingSession()") is True
    after = script.visitor.cookie("sAccessToken"), script.visitor.cookie("sRefreshToken")
    assert not set(before) & set(after)
    assert script.run("session.getUserId()") == script.user_id


def test_a_refresh_by_script_is_false_when_the_session_is_over(
    script: Script, complaints: Complaints
) -> None:
    complaints.allow(r"status of 401")
    script.visitor.context.clear_cookies(name="sRefreshToken")
    assert script.run("session.attemptRefreshingSession()") is False
    assert script.run("session.doesSessionExist()") is False
    assert script.run("session.getUserId()") == {"thrown": "No session exists"}
    assert script.visitor.cookie("sAccessToken") == ""
    assert script.visitor.refreshes == 1


def test_a_refresh_by_script_throws_when_the_server_fails_and_nobody_is_signed_out(
    script: Script, complaints: Complaints
) -> None:
    complaints.allow(r"status of 500|ERR_CONNECTION_FAILED")
    page = script.visitor.page
    page.route(REFRESH, lambda route: route.fulfill(status=500, body="{}"))
    assert script.run("session.attemptRefreshingSession()") == {"thrown": 500}
    page.unroute(REFRESH)
    page.route(REFRESH, lambda route: route.abort("connectionfailed"))
    assert script.run("session.attemptRefreshingSession()") == {"thrown": "Failed to fetch"}
    page.unroute(REFRESH)
    assert script.run("session.attemptRefreshingSession()") is True


def test_fetch_renews_the_session_and_sends_the_same_body_again(
    script: Script, complaints: Complaints
) -> None:
    complaints.allow(r"status of 401")
    script.visitor.lose_access_token()
    body = "größer " * 20_000
    answer = script.run(
        "session.fetch('/api/echo', { method: 'PUT', body: given[0] }).then((answer) => answer.json())",
        body,
    )
    assert answer == {"user": script.user_id, "body": body}
    assert script.visitor.requests.count("PUT /api/echo") == 2
    assert script.visitor.refreshes == 1


def test_a_401_that_takes_the_tokens_away_is_final(script: Script, complaints: Complaints) -> None:
    """The session was ended from another browser: no refresh is tried, and nobody is signed in any more."""
    complaints.allow(r"status of 401")
    script.visitor.context.clear_cookies(name="sRefreshToken")
    script.visitor.lose_access_token()
    assert script.run("session.fetch('/api/echo').then((answer) => answer.status)") == 401
    assert script.visitor.refreshes == 1
    assert script.run("session.fetch('/api/echo').then((answer) => answer.status)") == 401
    assert script.run("session.doesSessionExist()") is False
    assert script.visitor.refreshes == 1


def test_signing_out_by_script_ends_the_session_in_every_tab(script: Script) -> None:
    other = open_tab(script.visitor, "/dashboard")
    assert script.run("session.signOut().then(() => 'out')") == "out"
    other.wait_for_url("**/login?redirectBack=/dashboard")
    assert script.run("session.doesSessionExist()") is False
    assert not script.visitor.is_signed_in()
