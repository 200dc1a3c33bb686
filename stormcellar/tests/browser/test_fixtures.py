# SPDX-License-Identifier: MIT
"""The fixtures of this folder see what they promise to see. The pages here come from no server."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from stormcellar.testing.browser import Complaints, hear_out
from stormcellar.tests.serving import ServerProcess

STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'"
FRAME = "<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>%s</main></html>"


def show(target: Page | BrowserContext, body: str, script: str = "") -> None:
    """Answer every request of a page by itself, with a strict CSP and `script` as /page.js."""
    headers = {"Content-Security-Policy": STRICT}
    target.route(
        "**/*", lambda route: route.fulfill(body=FRAME % body, content_type="text/html", headers=headers)
    )
    target.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    target.route("**/page.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))


def forgive(complaints: Complaints) -> list[str]:
    """All complaints, taken back so that the test itself passes."""
    heard = complaints.unexpected()
    complaints.allow("")
    return heard


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("throw new Error('lost')", "uncaught: lost"),
        ("Promise.reject(new Error('late'))", "uncaught: late"),
        ("console.error('told')", "told"),
    ],
)
def test_a_script_that_fails_or_complains_is_heard(
    context: BrowserContext, complaints: Complaints, script: str, complaint: str
) -> None:
    show(context, "<script src=/page.js></script>", script)
    context.new_page().goto("http://page.test/")
    hear_out(context)
    (heard,) = forgive(complaints)
    assert complaint in heard


@pytest.mark.parametrize(
    "body",
    [
        "<script>document.title = 'changed'</script>",
        "<p style='color: red'>red</p>",
        "<img src=/picture.png alt=''>",
        "<script src=http://elsewhere.test/page.js></script>",
    ],
)
def test_a_violation_of_the_csp_is_heard(context: BrowserContext, complaints: Complaints, body: str) -> None:
    show(context, body)
    page = context.new_page()
    page.goto("http://page.test/")
    title = page.title()
    hear_out(context)
    assert title == "A page"
    assert any("Content Security Policy" in heard for heard in forgive(complaints))


def test_a_tab_opened_by_a_page_is_heard_too(context: BrowserContext, complaints: Complaints) -> None:
    show(
        context,
        "<a href=/second target=_blank>second</a><script src=/page.js></script>",
        "console.error('told')",
    )
    page = context.new_page()
    page.goto("http://page.test/")
    with context.expect_page() as second:
        page.get_by_role("link").click()
    second.value.wait_for_load_state()
    hear_out(context)
    assert len(forgive(complaints)) == 2


def test_only_what_is_allowed_is_forgiven(page: Page, complaints: Complaints) -> None:
    show(page, "<script src=/page.js></script>", "console.error('one'); console.error('two')")
    complaints.allow("one")
    page.goto("http://page.test/")
    assert [heard.split()[0] for heard in forgive(complaints)] == ["two"]


def test_without_scripts_no_script_runs(page_without_scripts: Page) -> None:
    show(
        page_without_scripts,
        "<p>as sent</p><script src=/page.js></script>",
        "document.body.textContent = 'changed'",
    )
    page_without_scripts.goto("http://page.test/")
    assert "as sent" in page_without_scripts.content()


@pytest.mark.npm
def test_axe_names_what_is_wrong_under_a_strict_csp(page: Page, axe: Callable[[Page], list[str]]) -> None:
    show(page, "<p>fine</p>")
    page.goto("http://page.test/")
    assert axe(page) == []
    page.unroute_all()
    show(page, "<button></button>")
    page.goto("http://page.test/")
    (violation,) = axe(page)
    assert violation.startswith("button-name:")


def test_a_screenshot_shows_the_whole_page(page: Page, screenshot: Callable[[Page, str], Path]) -> None:
    show(page, "<p>words</p>" * 100)
    page.goto("http://page.test/")
    picture = screenshot(page, "fixtures").read_bytes()
    height = int.from_bytes(picture[20:24], "big")  # PNG specification, 11.2.1: IHDR
    assert page.viewport_size
    assert height > page.viewport_size["height"]


SERVER = """
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("arguments", *sys.argv[1:])
print("The kit is at http://localhost:1")
print(f"It listens on http://127.0.0.1:{server.server_port}")
print("Ctrl+C stops it.", flush=True)
server.serve_forever()
"""


def test_a_started_server_is_reached_at_the_address_that_it_listens_on(
    start_server: Callable[..., ServerProcess], page: Page
) -> None:
    server = start_server("--debug", program=(sys.executable, "-c", SERVER))
    assert "--port=0" in server.log
    assert "--debug" in server.log
    answer = page.request.get(f"{server.url}/server.py")
    assert answer.status == 200
    first = server.pid
    assert server.stop() == -15
    assert server.start().pid != first


def test_a_server_that_ends_at_once_says_why(start_server: Callable[..., ServerProcess]) -> None:
    with pytest.raises(AssertionError, match="no such setting"):
        start_server(program=(sys.executable, "-c", "raise SystemExit('no such setting')"))
