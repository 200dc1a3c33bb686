# SPDX-License-Identifier: MIT
"""Where a visitor may be sent: the browser's half, with the same table as tests/test_return_address.py.

Then the whole of it: every hostile address on a real site, in a real browser, with a session and without.
"""

import itertools
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin, urlsplit

import pytest
from playwright.sync_api import Dialog, Error, Page, Request, Route

from stormcellar.pages import STATIC
from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import PASSWORD, Visitor
from stormcellar.tests.serving import ServerProcess
from stormcellar.web.return_address import return_address

ROOT = Path(__file__).parents[3]
TABLE = json.loads((ROOT / "stormcellar" / "tests" / "return_addresses.json").read_text(encoding="utf-8"))
SITE = "http://localhost"

# Asks for every address at once: what the function answers, and where the browser would then go.
JUDGE = """async (addresses) => {
    const { returnAddress } = await import("/static/return-address.js");
    return addresses.map((address) => {
        const answer = returnAddress(address, "/fallback");
        return [answer, new URL(answer, location.href).href];
    });
}"""


@pytest.fixture
def judge_page(page: Page) -> Page:
    """An empty page of a site that has only the module; no server is needed."""

    def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            route.fulfill(path=STATIC / "return-address.js", content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html><title>empty</title>", content_type="text/html")

    page.route("**/*", answer)
    page.goto(SITE)
    return page


def judge(page: Page, addresses: list[object]) -> list[tuple[str, str]]:
    return [(answer, target) for answer, target in page.evaluate(JUDGE, addresses)]


def test_the_browser_replaces_every_hostile_address(judge_page: Page) -> None:
    verdicts = judge(judge_page, [address for address, _ in TABLE["hostile"]])
    wrong = [
        row for row, (answer, _) in zip(TABLE["hostile"], verdicts, strict=True) if answer != "/fallback"
    ]
    assert wrong == []


def test_the_browser_keeps_every_harmless_address_and_stays_on_the_site(judge_page: Page) -> None:
    addresses = [address for address, _ in TABLE["harmless"]]
    verdicts = judge(judge_page, addresses)
    assert [answer for answer, _ in verdicts] == addresses
    assert [target for _, target in verdicts if not target.startswith(f"{SITE}/")] == []


def test_the_browser_has_the_same_limit_and_takes_only_text(judge_page: Page) -> None:
    longest = "/" + "a" * 8191
    answers = [answer for answer, _ in judge(judge_page, [longest, longest + "a", None, 5, ["/a"]])]
    assert answers == [longest, "/fallback", "/fallback", "/fallback", "/fallback"]


def test_the_browser_and_the_server_agree_on_random_addresses(judge_page: Page) -> None:
    chance = random.Random(20261121)
    marks = ["/", "//", "\\", ".", "..", "?", "#", ":", "@", " ", "\n", "\t", "a", "e", "é"]
    escapes = ["%", "%2", "%25", "%2e", "%2F", "%5c", "%0a", "%66", "%C3%A9"]
    pieces = [*marks, *escapes, "signout", "refresh-session", "session/refresh"]
    draws = (chance.choices(pieces, k=chance.randint(0, 7)) for _ in range(5000))
    addresses: list[object] = ["/" + "".join(draw) for draw in draws]
    answers = [answer for answer, _ in judge(judge_page, addresses)]
    expected = [return_address(str(address), "/fallback") for address in addresses]
    assert answers == expected
    assert 500 < answers.count("/fallback") < 4500  # else the draw proves little


# -- on a real site -----------------------------------------------------------------------------------

OWN_PAGES = {"/dashboard", "/login", "/refresh-session/stopped"}


class Escapes:
    """What a browser did that no return address may make it do."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.seen: list[str] = []
        visitor.context.on("request", self._note_request)
        visitor.page.on("dialog", self._note_dialog)
        visitor.page.on("popup", lambda popup: self.seen.append(f"a window: {popup.url}"))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.visitor.site + "/", "data:", "blob:", "about:")):
            self.seen.append(f"a request: {request.url}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"a script: {dialog.message}")
        dialog.dismiss()

    def check(self, what: str) -> None:
        """Nothing has left the site, and the visitor is on a page that we chose."""
        assert self.seen == [], what
        assert self.visitor.page.url.startswith(self.visitor.site + "/"), what
        assert urlsplit(self.visitor.page.url).path in OWN_PAGES, what


def asked_for(page: str, address: str) -> str:
    """A page with this return address in its query, as an attacker's link has it."""
    return f"{page}?redirectBack={quote(address.encode('utf-8', 'surrogatepass'), safe='')}"


def follow(visitor: Visitor, page: str, rows: list[list[str]]) -> None:
    """Follow a link with each of these addresses to a page, and on to wherever it leads."""
    escapes = Escapes(visitor)
    for address, what in rows:
        with suppress(Error):  # one that is led on before its page has loaded
            visitor.page.goto(visitor.site + asked_for(page, address), wait_until="commit")
        visitor.until(lambda: urlsplit(visitor.page.url).path != "/refresh-session")
        escapes.check(f"{page}: {what}")
        visitor.page.evaluate("sessionStorage.clear()")  # else it takes so many renewals for a circle
    visitor.goto("/login")  # whatever the last address began would have happened by then
    escapes.check(page)


# Longer ones than a request may be are in the tests above. Only on the refresh page the script judges, and
# with a session it goes on at once: so all addresses go that way, and of the others each takes its share.
ROWS = [row for row in TABLE["hostile"] if len(row[0]) <= 2000]
PAGES = ("/refresh-session", "/login", "/auth/session/refresh/return")
WAYS = [("/refresh-session", True, ROWS)] + [
    (page, signed_in, ROWS[number::5])
    for number, (page, signed_in) in enumerate(
        [(PAGES[0], False), *itertools.product(PAGES[1:], (False, True))]
    )
]


@pytest.mark.parametrize(
    ("page", "signed_in", "rows"),
    WAYS,
    ids=[f"{page} {'signed in' if who else 'guest'}" for page, who, _ in WAYS],
)
def test_no_hostile_address_leads_a_visitor_away_or_runs_a_script(
    visit: Callable[..., Visitor], start_server: Callable[..., ServerProcess], page: str, signed_in: bool,
    rows: list[list[str]], complaints: Complaints,
) -> None:  # fmt: skip
    complaints.allow(r"status of 40[01]")  # a guest has nothing to renew, and some bytes are no text
    visitor = visit(start_server("--no-rate_limits").url)
    if signed_in:
        visitor.sign_up()
    else:
        visitor.goto("/login")
    follow(visitor, page, rows)


def test_no_hostile_address_leads_away_through_the_sign_in_form(
    visit: Callable[..., Visitor], start_server: Callable[..., ServerProcess], complaints: Complaints
) -> None:
    """Every twentieth goes through the form that the page shows; all are sent as the form sends them."""
    complaints.allow(r"status of 400")
    visitor = visit(start_server("--no-rate_limits").url)
    visitor.sign_up()
    escapes = Escapes(visitor)
    for number, (address, what) in enumerate(TABLE["hostile"]):
        if number % 20 == 0 and len(address) <= 2000:
            visitor.context.clear_cookies()
            visitor.goto(asked_for("/login", address))
            visitor.sign_in()
            escapes.check(what)
        fields = {"email": "ada@example.org", "password": PASSWORD, "redirectBack": address}
        try:
            form = urlencode(fields)
        except UnicodeEncodeError:
            continue  # half a character cannot be sent
        answer = visitor.context.request.post(
            f"{visitor.site}/login",
            data=form,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"},
            max_redirects=0,
        )
        target = urlsplit(urljoin(f"{visitor.site}/login", answer.headers.get("location", "/login")))
        assert f"{target.scheme}://{target.netloc}" == visitor.site, what
        assert target.path in OWN_PAGES, what
