# SPDX-License-Identifier: MIT
"""Parts of pages survive an expired token: what Turbo, htmx and Unpoly load, and what elements load."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.parts import require_npm_package
from stormcellar.tests.serving import ServerProcess

PROGRAM = (sys.executable, "-m", "stormcellar.tests.browser.apps.parts_of_pages")
PACKAGES = {"turbo": "@hotwired/turbo", "htmx": "htmx.org", "unpoly": "unpoly"}
DETOUR = "/auth/session/refresh/return?redirectBack="
EACH_LIBRARY = pytest.mark.parametrize("library", PACKAGES)

Visit = Callable[..., Visitor]
StartServer = Callable[..., ServerProcess]


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """The site with parts."""
    return start_server(program=PROGRAM)


@pytest.fixture
def visitor(server: ServerProcess, visit: Visit) -> Visitor:
    """Sign a visitor in there."""
    visitor = visit(server.url)
    visitor.sign_up()
    return visitor


@pytest.fixture
def reader(visitor: Visitor, library: str) -> Visitor:
    """A visitor on a page with a library, whose access token is gone."""
    require_npm_package(PACKAGES[library])
    visitor.goto(f"/with/{library}/home")
    visitor.page.wait_for_load_state("networkidle")
    visitor.lose_access_token()
    visitor.requests.clear()
    visitor.documents.clear()
    return visitor


@EACH_LIBRARY
def test_a_link_of_a_library_survives_an_expired_token(reader: Visitor, library: str) -> None:
    reader.page.locator("#link").click()
    expect(reader.page.get_by_role("heading", name="next")).to_be_visible()
    assert reader.address == f"/with/{library}/next"
    assert reader.documents == []
    assert reader.requests[1].startswith("GET " + DETOUR)


@EACH_LIBRARY
def test_a_form_of_a_library_survives_an_expired_token(reader: Visitor, library: str) -> None:
    """Its field `redirectBack` is the form's own, and chooses no address."""
    reader.page.get_by_label("Text").fill("Grüße & <b>")
    reader.page.get_by_role("button", name="Send").click()
    sent = json.loads(reader.page.locator("#sent").inner_text())
    back = f"/with/{library}/trap"
    assert sent == {"place": "note", "query": "from=form", "text": "Grüße & b>", "redirectBack": back}
    assert reader.documents == []


@EACH_LIBRARY
def test_a_part_of_a_page_of_a_library_survives_an_expired_token(reader: Visitor, library: str) -> None:
    reader.page.get_by_text("Show").click()
    expect(reader.page.locator("#part b")).to_contain_text("part of")
    expect(reader.page.get_by_role("heading", name="home")).to_be_visible()
    assert (reader.address, reader.documents) == (f"/with/{library}/home", [])


@EACH_LIBRARY
@pytest.mark.parametrize("clicked", ["Next", "Show"])
def test_a_guest_is_shown_the_sign_in_page_by_a_library(
    reader: Visitor, library: str, clicked: str, complaints: Complaints
) -> None:
    complaints.allow("status of 401")
    complaints.allow("Content Security Policy")
    reader.context.clear_cookies()
    reader.page.get_by_text(clicked).click()
    expect(reader.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_link_that_turbo_fetched_ahead_is_shown(visitor: Visitor) -> None:
    """Turbo fetches the link under the pointer, and shows that answer at the click, even an error."""
    visitor.goto("/with/turbo/home")
    visitor.lose_access_token()
    with visitor.page.expect_response(lambda answer: answer.url.endswith("/next") and answer.ok):
        visitor.page.locator("#link").hover()
    visitor.page.locator("#link").click()
    expect(visitor.page.get_by_role("heading", name="next")).to_be_visible()


# -- elements -----------------------------------------------------------------------------------------

ADD = """async ([tag, attributes]) => {
    const element = document.createElement(tag);
    const arrived = new Promise((done) => {
        element.onload = () => done("load");
        element.onerror = () => done("error");
    });
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    document.body.append(element);
    return arrived;
}"""
ELEMENTS = {
    "img": ("img", {"src": "/files/picture.svg"}),
    "script": ("script", {"src": "/files/script.js"}),
    "module": ("script", {"src": "/files/module.js", "type": "module"}),
    "stylesheet": ("link", {"rel": "stylesheet", "href": "/files/style.css"}),
    "iframe": ("iframe", {"src": "/files/page.html"}),
    "object": ("object", {"data": "/files/picture.svg", "type": "image/svg+xml"}),
    "embed": ("embed", {"src": "/files/picture.svg", "type": "image/svg+xml"}),
}


@pytest.fixture
def parts(visitor: Visitor) -> Visitor:
    """A visitor on an empty page, whose access token is gone."""
    visitor.goto("/parts")
    visitor.lose_access_token()
    visitor.requests.clear()
    visitor.documents.clear()
    return visitor


@pytest.mark.parametrize(("tag", "attributes"), ELEMENTS.values(), ids=ELEMENTS)
def test_an_element_loads_its_file_after_the_token_expired(
    parts: Visitor, tag: str, attributes: dict[str, str]
) -> None:
    assert parts.page.evaluate(ADD, [tag, attributes]) == "load"
    path = attributes.get("src") or attributes.get("href") or attributes.get("data")
    assert f"GET {DETOUR}{path}" in parts.requests
    if tag == "iframe":
        expect(parts.page.frame_locator("iframe").locator("#inner")).to_have_text("in a frame")


LOADS = {
    "video": """() => { const film = document.createElement('video');
        film.src = '/files/film.webm'; film.load() }""",
    "track": """() => { document.body.innerHTML += '<video><track default src=/files/captions.vtt></video>';
        document.querySelector('video').textTracks[0].mode = 'showing' }""",
    "font": "() => { new FontFace('letters', 'url(/files/letters.woff2)').load().catch(() => {}) }",
    "worker": "() => { new Worker('/files/worker.js') }",
    "fetch": "() => { fetch('/files/report.csv') }",
    "XMLHttpRequest": """() => { const request = new XMLHttpRequest();
        request.open('GET', '/files/report.csv'); request.send() }""",
    "sendBeacon": "() => { navigator.sendBeacon('/files/report.csv', 'text') }",
}
NAMES = {"video": "film.webm", "track": "captions.vtt", "font": "letters.woff2", "worker": "worker.js"}


@pytest.mark.parametrize("kind", LOADS)
def test_what_a_browser_asks_for_by_itself_gets_its_file(
    parts: Visitor, server: ServerProcess, kind: str, complaints: Complaints
) -> None:
    complaints.allow("letters|film")  # it is no font
    parts.page.evaluate(LOADS[kind])
    method = "POST" if kind == "sendBeacon" else "GET"
    arrived = f"200 {method} /files/{NAMES.get(kind, 'report.csv')}"
    parts.until(lambda: arrived in server.log)
    assert f"{method} {DETOUR.partition('?')[0]}" in server.log


# -- downloads ----------------------------------------------------------------------------------------


def test_a_download_link_gets_its_file_after_the_token_expired(parts: Visitor) -> None:
    with parts.page.expect_download() as download:
        parts.page.locator("#download").click()
    assert download.value.path().read_text() == "a,b\n1,2\n"
    assert parts.address == "/parts"


def test_a_link_to_an_attachment_leaves_the_visitor_on_the_page(parts: Visitor) -> None:
    with parts.page.expect_download() as download:
        parts.page.locator("#attachment").click()
    assert download.value.path().read_text() == "a,b\n1,2\n"
    parts.arrive("/parts")
    expect(parts.page.get_by_role("heading", name="Parts")).to_be_visible()


@pytest.mark.parametrize("mode", ["in_place", "detour"])
def test_an_attachment_leaves_the_visitor_on_the_page_in_each_mode(
    start_server: StartServer, visit: Visit, mode: str, complaints: Complaints
) -> None:
    complaints.allow("status of 401")
    visitor = visit(start_server(f"--refresh_mode={mode}", program=PROGRAM).url)
    visitor.sign_up()
    visitor.goto("/parts")
    visitor.lose_access_token()
    with visitor.page.expect_download() as download:
        visitor.page.locator("#attachment").click()
    assert download.value.path().read_text() == "a,b\n1,2\n"
    visitor.arrive("/parts")
    expect(visitor.page.get_by_role("heading", name="Parts")).to_be_visible()


def test_a_link_whose_answer_is_no_page_leaves_the_visitor_on_the_page(
    parts: Visitor, server: ServerProcess
) -> None:
    """204: the browser stays where it is."""
    parts.page.locator("#nothing").click()
    parts.until(lambda: "204 GET /files/report.csv" in server.log)
    parts.arrive("/parts")


def test_an_attachment_opened_in_a_new_tab_says_that_it_was_sent(parts: Visitor) -> None:
    with parts.context.expect_page() as opened:
        parts.page.locator("#tab").click()
    tab = opened.value
    expect(tab.get_by_role("heading", name="Done")).to_be_visible()
    expect(tab.get_by_role("link", name="Go on")).to_have_attribute("href", parts.site + "/parts")


def test_a_typed_address_of_an_attachment_says_that_the_file_was_sent(parts: Visitor) -> None:
    tab = parts.context.new_page()
    tab.goto(parts.site + "/refresh-session?redirectBack=/files/report.csv%3Fas%3Dattachment")
    expect(tab.get_by_role("heading", name="Done")).to_be_visible()
    expect(tab.get_by_role("link", name="Go on")).to_have_attribute("href", "/")


# -- event streams ------------------------------------------------------------------------------------

LISTEN = """() => {
    window.heard = []; window.failures = 0;
    window.stream = new EventSource("/ticks");
    stream.onmessage = ({ data }) => heard.push(data);
    stream.onerror = () => { failures += 1 };
}"""


def test_an_event_stream_opens_after_the_token_expired(parts: Visitor) -> None:
    parts.page.evaluate(LISTEN)
    parts.until(lambda: parts.page.evaluate("heard.length > 2"))
    assert f"GET {DETOUR}/ticks" in parts.requests  # the icon of the page may be asked for in between


def test_an_event_stream_goes_on_when_the_token_expires(start_server: StartServer, visit: Visit) -> None:
    visitor = visit(start_server("--access_token_lifetime_s=3", program=PROGRAM).url)
    visitor.sign_up()
    visitor.goto("/parts")  # has none of the scripts that renew in the background
    visitor.page.evaluate(LISTEN)
    visitor.until(lambda: visitor.page.evaluate("failures >= 1"))
    visitor.until(lambda: visitor.page.evaluate("heard.lastIndexOf('0') > 0 && heard.length > 5"))
    assert f"GET {DETOUR}/ticks" in visitor.requests


# -- service workers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["passes-on", "asks-again"])
def test_a_navigation_through_a_service_worker_survives_an_expired_token(
    visitor: Visitor, worker: str
) -> None:
    visitor.goto("/with-worker")
    visitor.page.evaluate(
        "async (address) => { await navigator.serviceWorker.register(address);"
        " await navigator.serviceWorker.ready }",
        f"/worker-{worker}.js",
    )
    visitor.lose_access_token()
    visitor.goto("/parts")
    visitor.until(lambda: visitor.page.get_by_role("heading", name="Parts").is_visible())
    assert visitor.address == "/parts"
