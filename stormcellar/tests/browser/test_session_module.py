# SPDX-License-Identifier: MIT
"""static/session.js: what it asks the server, and when; meanings as in SuperTokens' web SDK."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request

from stormcellar.testing.browser import Complaints
from stormcellar.tests.browser.scripted_site import SITE, Answer, ScriptedSite, front_token
from stormcellar.tests.rendering import SESSION

Call = Callable[..., Any]


@pytest.fixture
def site(context: BrowserContext, complaints: Complaints) -> ScriptedSite:
    complaints.allow(r"status of 401|status of 503|ERR_FAILED")
    return ScriptedSite(context)


@pytest.fixture
def call(site: ScriptedSite, page: Page) -> Call:
    """Runs an expression in the page, in which `session` is the module; an error comes back as its text."""
    page.goto(SITE)

    def run(expression: str) -> Any:
        return page.evaluate(
            f"""async () => {{
                const session = await import("/static/session.js");
                try {{
                    return await ({expression});
                }} catch (error) {{
                    return error instanceof Response ? `thrown: ${{error.status}}` : String(error);
                }}
            }}"""
        )

    return run


def know_session(context: BrowserContext, token: str, update: str = "0") -> None:
    """As after a sign-in by a plain form: the server has written the readable cookies."""
    values = {"sFrontToken": token, "st-last-access-token-update": update}
    context.add_cookies([{"name": name, "value": value, "url": SITE} for name, value in values.items()])


def know_no_session(context: BrowserContext) -> None:
    """As after a sign-out: only the mark of the last change is left."""
    context.add_cookies([{"name": "st-last-access-token-update", "value": "0", "url": SITE}])


def test_a_refresh_asks_the_server_as_supertokens_clients_do(site: ScriptedSite, call: Call) -> None:
    assert call("session.attemptRefreshingSession()") is True
    (request,) = site.refreshes
    assert request.method == "POST"
    assert request.post_data is None
    assert request.headers["rid"] == "session"
    assert request.headers["fdi-version"]
    assert "st-auth-mode" not in request.headers  # it would tell the server to leave cookies to the script


def test_when_nothing_is_known_the_server_is_asked_once(site: ScriptedSite, call: Call) -> None:
    site.answer_refresh = site.over
    assert call("session.doesSessionExist()") is False
    assert call("session.doesSessionExist()") is False
    assert len(site.refreshes) == 1


def test_after_a_sign_out_nothing_is_asked(context: BrowserContext, site: ScriptedSite, call: Call) -> None:
    know_no_session(context)
    assert call("session.attemptRefreshingSession()") is False
    assert call("session.doesSessionExist()") is False
    assert call("session.getUserId()") == "Error: No session exists"
    assert site.refreshes == []


def test_a_live_session_is_read_without_the_network(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token("Zoë"))
    assert call("session.doesSessionExist()") is True
    assert call("session.getUserId()") == "Zoë"
    assert call("session.getAccessTokenPayloadSecurely()")["sub"] == "Zoë"
    assert site.refreshes == []


def test_an_expired_token_still_names_the_user_and_is_renewed_for_the_rest(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token(issued_at=time.time() - 7200))
    assert call("session.getUserId()") == SESSION.user_id
    assert site.refreshes == []
    payload = call("session.getAccessTokenPayloadSecurely()")
    assert payload["exp"] > time.time()
    assert call("session.doesSessionExist()") is True
    assert len(site.refreshes) == 1


def test_an_unreadable_front_token_is_no_error_and_is_renewed(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, "%%%")
    assert call("session.getUserId()") == SESSION.user_id
    assert len(site.refreshes) == 1


def test_an_error_of_the_server_is_thrown_and_is_not_a_sign_out(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    site.answer_refresh = lambda: {"status": 503, "json": {}}
    assert call("session.attemptRefreshingSession()") == "thrown: 503"
    assert call("session.getUserId()") == SESSION.user_id


def test_a_refresh_that_only_cleared_double_cookies_is_asked_again(site: ScriptedSite, call: Call) -> None:
    answers = [{"status": 200, "json": {"message": "cookies cleared"}}, site.renewed()]
    site.answer_refresh = lambda: answers.pop(0)
    assert call("session.attemptRefreshingSession()") is True
    assert answers == []


def test_a_wrong_clock_of_the_visitor_does_not_make_tokens_look_expired(
    page: Page, site: ScriptedSite, call: Call
) -> None:
    page.clock.set_fixed_time("2040-01-01T00:00:00Z")
    assert call("session.doesSessionExist()") is True
    assert call("session.doesSessionExist()") is True
    assert len(site.refreshes) == 1


def expired_until_refreshed(site: ScriptedSite, seen: list[Request]) -> Callable[[Request], Answer]:
    def answer(request: Request) -> Answer:
        if request.resource_type == "document":
            return {"body": "", "content_type": "text/html"}
        seen.append(request)
        if site.refreshes:
            return {"json": {"got": request.post_data}}
        return {"status": 401, "json": {"message": "try refresh token"}}

    return answer


def test_fetch_renews_once_for_many_calls_and_repeats_each_with_its_body(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    seen: list[Request] = []
    site.answer_page = expired_until_refreshed(site, seen)
    answers = call(
        """Promise.all([1, 2, 3, 4, 5].map(async (number) => {
            const response = await session.fetch("/api", { method: "PUT", body: `text ${number}` });
            return (await response.json()).got;
        }))"""
    )
    assert answers == [f"text {number}" for number in range(1, 6)]
    assert len(site.refreshes) == 1
    assert {request.headers["rid"] for request in seen} == {"anti-csrf"}


def test_fetch_asks_twice_at_most(context: BrowserContext, site: ScriptedSite, call: Call) -> None:
    know_session(context, front_token())
    calls: list[Request] = []
    site.answer_page = lambda request: calls.append(request) or {"status": 401, "json": {}}  # type: ignore[func-returns-value]
    assert call('session.fetch("/api").then((response) => response.status)') == 401
    assert (len(calls), len(site.refreshes)) == (2, 1)


def test_a_401_that_ends_the_session_is_final(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    site.answer_page = lambda _: site.over()
    assert call('session.fetch("/api").then((response) => response.status)') == 401
    assert site.refreshes == []


def test_fetch_hands_on_why_the_renewal_failed(
    context: BrowserContext, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    site.answer_page = lambda _: {"status": 401, "json": {}}
    site.answer_refresh = lambda: {"status": 503, "json": {}}
    assert call('session.fetch("/api").then((response) => response.status)') == 503


def test_fetch_tells_other_sites_nothing_and_renews_nothing_for_them(
    context: BrowserContext, page: Page, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    seen: list[Request] = []

    def answer(request: Request) -> Answer:
        if request.resource_type == "document":  # without the CSP, which would stop the call
            return {"body": "", "content_type": "text/html"}
        seen.append(request)
        return {"status": 401, "body": "", "headers": {"Access-Control-Allow-Origin": "*"}}

    site.answer_page = answer
    page.goto(SITE)
    assert call('session.fetch("http://other.example/x").then((response) => response.status)') == 401
    assert "rid" not in seen[-1].headers
    assert site.refreshes == []


def test_two_tabs_that_begin_at_once_refresh_once(
    context: BrowserContext, page: Page, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    other = context.new_page()
    other.goto(SITE)
    page.evaluate(
        """() => {
            const held = new Promise((resolve) => { window.letGo = resolve; });
            navigator.locks.request("stormcellar-refresh", () => held);
        }"""
    )
    for tab in (page, other):
        tab.evaluate(
            """() => {
                const session = import("/static/session.js");
                window.outcome = session.then((module) => module.attemptRefreshingSession());
            }"""
        )
    page.wait_for_function("navigator.locks.query().then(({ pending }) => pending.length === 2)")
    page.evaluate("window.letGo()")
    assert [tab.evaluate("window.outcome") for tab in (page, other)] == [True, True]
    assert len(site.refreshes) == 1


def test_signing_out_tells_the_other_tabs(
    context: BrowserContext, page: Page, site: ScriptedSite, call: Call
) -> None:
    know_session(context, front_token())
    site.answer_page = lambda request: (
        {**site.over(), "status": 200, "json": {"status": "OK"}}
        if request.url.endswith("/auth/signout")
        else {"body": "", "content_type": "text/html"}
    )
    other = context.new_page()
    other.goto(SITE)
    other.evaluate(
        """async () => {
            const session = await import("/static/session.js");
            session.announceVisitor();
            window.heard = new Promise((resolve) => session.onSessionEvent(resolve));
        }"""
    )
    call("session.signOut()")
    assert other.evaluate("window.heard") == {"type": "signed-out", "userId": None}
    assert call("session.doesSessionExist()") is False


def test_a_sign_out_that_failed_is_thrown(context: BrowserContext, site: ScriptedSite, call: Call) -> None:
    know_session(context, front_token())
    site.answer_page = lambda _: {"status": 503, "json": {}}
    assert call("session.signOut()") == "thrown: 503"
    assert call("session.doesSessionExist()") is True
