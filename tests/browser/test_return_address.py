# SPDX-License-Identifier: MIT
"""Where a visitor may be sent: the browser's half, with the same table as tests/test_return_address.py."""

import json
import random
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from handlers.return_address import return_address

ROOT = Path(__file__).parent.parent.parent
TABLE = json.loads((ROOT / "tests" / "return_addresses.json").read_text(encoding="utf-8"))
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
            route.fulfill(path=ROOT / "static" / "return-address.js", content_type="text/javascript")
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
    longest = "/" + "a" * 2047
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
