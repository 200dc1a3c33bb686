# SPDX-License-Identifier: MIT
"""The refresh page: it comes to an end whatever happens, and never goes round in a circle."""

import time
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from stormcellar.testing.browser import Complaints
from stormcellar.tests.browser.scripted_site import SITE, Answer, ScriptedSite, front_token, sends_to
from stormcellar.tests.browser.scripted_site import page as html_page
from stormcellar.tests.rendering import render

WANTED = "/reports/7?tab=2"


@pytest.fixture
def site(context: BrowserContext, complaints: Complaints) -> ScriptedSite:
    complaints.allow(r"status of 401|status of 503")
    return ScriptedSite(context)


def refresh_page(address: str) -> str:
    return f"{SITE}/refresh-session?redirectBack={quote(address, safe='')}"


def asks_for_a_renewal_again(request: Request) -> Answer:
    """A page that no token satisfies."""
    return sends_to(refresh_page(request.url.removeprefix(SITE)))


def stopped(reason: str) -> str:
    return f"{SITE}/refresh-session/stopped?reason={reason}&redirectBack={quote(WANTED, safe='')}"


def test_after_a_renewal_one_is_where_one_wanted_to_go_and_back_does_not_lead_here(
    page: Page, site: ScriptedSite
) -> None:
    page.goto(f"{SITE}/start")
    page.goto(refresh_page(WANTED))
    page.wait_for_url(SITE + WANTED)
    page.go_back()
    expect(page).to_have_url(f"{SITE}/start")


def test_the_fragment_of_the_wanted_page_survives(page: Page, site: ScriptedSite) -> None:
    page.goto(refresh_page(WANTED) + "#part-3")
    page.wait_for_url(f"{SITE}{WANTED}#part-3")


@pytest.mark.parametrize("address", ["//other.example/", "javascript:alert(1)", "/refresh-session", ""])
def test_whatever_the_address_one_stays_on_this_site(page: Page, site: ScriptedSite, address: str) -> None:
    page.goto(refresh_page(address))
    page.wait_for_url(f"{SITE}/dashboard")


def test_without_a_session_one_is_sent_to_sign_in_and_then_back(page: Page, site: ScriptedSite) -> None:
    site.answer_refresh = site.over
    page.goto(refresh_page(WANTED))
    page.wait_for_url(f"{SITE}/login?redirectBack={quote(WANTED, safe='')}")


def test_an_error_of_the_server_signs_nobody_out_and_can_be_tried_again(
    page: Page, site: ScriptedSite
) -> None:
    site.answer_refresh = lambda: {"status": 503, "json": {}}
    page.goto(refresh_page(WANTED))
    expect(page.get_by_role("alert")).to_contain_text("503")
    expect(page).to_have_url(refresh_page(WANTED))
    site.answer_refresh = site.renewed
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(SITE + WANTED)


def test_a_server_out_of_reach_can_be_tried_again(
    page: Page, site: ScriptedSite, complaints: Complaints
) -> None:
    complaints.allow("ERR_FAILED")
    page.route("**/auth/session/refresh", lambda route: route.abort())
    page.goto(refresh_page(WANTED))
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_cookies_that_the_browser_does_not_keep_are_explained_at_once(page: Page, site: ScriptedSite) -> None:
    site.answer_refresh = lambda: {"json": {}, "headers": {"front-token": front_token()}}
    page.goto(refresh_page(WANTED))
    page.wait_for_url(stopped("cookies"))
    assert len(site.refreshes) == 1


def test_a_page_that_goes_on_asking_is_stopped_at_the_third_renewal(page: Page, site: ScriptedSite) -> None:
    site.answer_page = asks_for_a_renewal_again
    page.goto(SITE + WANTED)
    page.wait_for_url(stopped("loop"))
    assert len(site.refreshes) == 3


def test_two_pages_that_send_one_to_each_other_are_stopped_too(page: Page, site: ScriptedSite) -> None:
    def answer(request: Request) -> Answer:
        return sends_to(refresh_page("/other" if request.url == SITE + WANTED else WANTED))

    site.answer_page = answer
    page.goto(SITE + "/other")
    page.wait_for_url(stopped("loop"))


def test_after_the_explanation_one_may_try_again(page: Page, site: ScriptedSite) -> None:
    site.answer_page = asks_for_a_renewal_again
    page.goto(SITE + WANTED)
    page.wait_for_url(stopped("loop"))
    site.answer_page = lambda _: html_page("<title>report</title>")
    page.get_by_role("link", name="Try again").click()
    page.wait_for_url(SITE + WANTED)


def test_three_renewals_of_a_token_that_lives_for_seconds_are_no_circle(
    page: Page, site: ScriptedSite
) -> None:
    """With a life of five seconds, whoever reloads a page every six renews three times within twenty."""
    now = time.time()
    site.answer_refresh = lambda: site.renewed(front_token(life_s=5))
    for passed_s in (0, 6, 12, 18):
        page.clock.set_fixed_time(now + passed_s)
        page.goto(refresh_page(WANTED))
        page.wait_for_url(SITE + WANTED)


@pytest.mark.parametrize("ahead_s", [-7200, 7200], ids=["expired already", "from the future"])
def test_a_circle_is_put_down_to_the_clocks_if_the_new_token_is_not_good_now(
    page: Page, site: ScriptedSite, ahead_s: int
) -> None:
    site.answer_page = asks_for_a_renewal_again
    site.answer_refresh = lambda: site.renewed(front_token(issued_at=time.time() + ahead_s))
    page.goto(SITE + WANTED)
    page.wait_for_url(stopped("clock"))


def test_in_place_the_page_at_this_address_is_asked_for_again(page: Page, site: ScriptedSite) -> None:
    def answer(request: Request) -> Answer:
        if site.refreshes:
            return html_page("<title>report</title><h1>Report 7</h1>")
        return html_page(render("refresh_session.html", redirect_back=WANTED, in_place=True))

    site.answer_page = answer
    page.goto(SITE + WANTED)
    expect(page.get_by_role("heading", name="Report 7")).to_be_visible()
    expect(page).to_have_url(SITE + WANTED)


def test_in_place_ends_in_an_explanation_too(page: Page, site: ScriptedSite) -> None:
    site.answer_page = lambda _: html_page(
        render("refresh_session.html", redirect_back=WANTED, in_place=True)
    )
    page.goto(SITE + WANTED)
    page.wait_for_url(stopped("loop"))
    assert len(site.refreshes) == 3
