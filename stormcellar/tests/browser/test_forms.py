# SPDX-License-Identifier: MIT
"""A form that was sent with an expired access token arrives as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from stormcellar.testing.browser import Complaints
from stormcellar.testing.visitor import Visitor
from stormcellar.tests.serving import ServerProcess

MORE_PAGES = (sys.executable, "-m", "stormcellar.tests.browser.apps.more_pages")
MESSAGE = "Zwölf Boxkämpfer\njagen & essen = 100 % 🦊 <b>"
UPLOAD = random.Random(2).randbytes(2 * 1024 * 1024)

Visit = Callable[..., Visitor]
scripts_on_and_off = pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no-scripts"])


@pytest.fixture
def author(start_server: Callable[..., ServerProcess], visit: Visit, has_scripts: bool) -> Visitor:
    """Somebody who has a form before them, and whose access token has just expired."""
    visitor = visit(start_server(program=MORE_PAGES).url, has_scripts=has_scripts)
    visitor.sign_up(wanted="/forms")
    visitor.lose_access_token()
    visitor.documents.clear()
    return visitor


def received(author: Visitor) -> dict[str, Any]:
    """What the server says that it got, once it has answered."""
    what: dict[str, Any] = json.loads(author.page.locator("#received").inner_text())
    return what


def sent_to(author: Visitor) -> list[str]:
    return [line.partition("?")[0] for line in author.documents]


ROUND_TRIP = ["POST /forms", "POST /auth/session/refresh/return", "POST /forms"]


@scripts_on_and_off
def test_a_form_sent_with_an_expired_token_arrives_complete(author: Visitor) -> None:
    form = author.page.locator("#text-form")
    form.get_by_label("Subject").fill("A subject")
    form.get_by_label("Message").fill(MESSAGE)
    form.get_by_label("red").check()
    form.get_by_label("blue").check()
    form.get_by_role("button").click()
    arrived = received(author)
    assert arrived["query"] == "from=text"
    assert arrived["fields"] == {
        "subject": ["A subject"],
        "message": [
            MESSAGE.replace("\n", "\r\n")
        ],  # as every form sends it (HTML, constructing the entry list)
        "colour": ["red", "blue"],
    }
    assert sent_to(author) == ROUND_TRIP
    assert author.address == "/forms?from=text"


@scripts_on_and_off
def test_an_upload_sent_with_an_expired_token_arrives_complete(author: Visitor) -> None:
    form = author.page.locator("#upload-form")
    form.get_by_label("Title").fill("Größe")
    form.get_by_label("File").set_input_files(
        {"name": "grün.bin", "mimeType": "application/octet-stream", "buffer": UPLOAD}
    )
    form.get_by_role("button", name="Upload").click()
    arrived = received(author)
    assert arrived["query"] == "from=upload"
    assert arrived["fields"] == {"title": ["Größe"]}
    (file,) = arrived["files"]
    assert file == {
        "name": "file",
        "filename": "grün.bin",
        "bytes": len(UPLOAD),
        "sha256": hashlib.sha256(UPLOAD).hexdigest(),
    }
    assert sent_to(author) == ROUND_TRIP


@scripts_on_and_off
def test_a_form_with_a_long_address_arrives_too(author: Visitor, complaints: Complaints) -> None:
    """Its address would make a redirect too long for common proxies, so a page sends it again."""
    complaints.allow("status of 401")
    author.page.get_by_label("Remark").fill("A remark")
    author.page.get_by_role("button", name="Remark").click()
    if not author.has_scripts:
        author.page.get_by_role("button", name="Continue").click()
    arrived = received(author)
    assert arrived["query"] == "from=long&pad=" + "a" * 2500
    assert arrived["fields"] == {"remark": ["A remark"]}


# -- when the session is over -------------------------------------------------------------------------


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The site with forms."""
    return start_server(program=MORE_PAGES)


@pytest.fixture
def late_author(
    server: ServerProcess, visit: Visit, has_scripts: bool, revoke_elsewhere: Callable[[Visitor], None]
) -> Visitor:
    """Somebody who has filled in a form, and whose session has just been ended on another device."""
    visitor = visit(server.url, has_scripts=has_scripts)
    visitor.sign_up(wanted="/forms")
    form = visitor.page.locator("#text-form")
    form.get_by_label("Subject").fill("A subject")
    form.get_by_label("Message").fill(MESSAGE)
    form.get_by_label("blue").check()
    revoke_elsewhere(visitor)
    form.get_by_role("button").click()
    return visitor


@scripts_on_and_off
def test_what_was_typed_can_be_sent_again_after_sign_in(late_author: Visitor) -> None:
    assert late_author.page.locator("#received").count() == 0
    late_author.sign_in(wanted="/kept-form?redirectBack=/forms%3Ffrom%3Dtext")
    expect(late_author.page.get_by_text("Nothing was changed yet.")).to_be_visible()
    expect(late_author.page.locator(".typed").nth(1)).to_contain_text("Boxkämpfer")
    late_author.page.get_by_role("button", name="Send it now").click()
    arrived = received(late_author)
    assert arrived["query"] == "from=text"
    assert arrived["fields"] == {
        "subject": ["A subject"],
        "message": [MESSAGE.replace("\n", "\r\n")],
        "colour": ["blue"],
    }
    assert late_author.address == "/forms?from=text"


@pytest.mark.parametrize("has_scripts", [True])
def test_a_form_with_a_long_address_is_kept_too(
    late_author: Visitor, revoke_elsewhere: Callable[[Visitor], None], complaints: Complaints
) -> None:
    complaints.allow("status of 401")
    late_author.sign_in(wanted="/kept-form?redirectBack=/forms%3Ffrom%3Dtext")
    late_author.goto("/forms")
    late_author.page.get_by_label("Remark").fill("A remark")
    revoke_elsewhere(late_author)
    late_author.page.get_by_role("button", name="Remark").click()
    late_author.sign_in(wanted="/kept-form")
    late_author.page.get_by_role("button", name="Send it now").click()
    assert received(late_author)["fields"] == {"remark": ["A remark"]}


@scripts_on_and_off
def test_what_another_person_typed_is_not_shown(late_author: Visitor) -> None:
    late_author.arrive_at_sign_in(wanted="/kept-form?redirectBack=/forms%3Ffrom%3Dtext")
    late_author.sign_up("eve@example.org", wanted="/forms")
    late_author.goto("/kept-form?redirectBack=/forms")
    late_author.arrive("/forms")
    assert "A subject" not in late_author.page.content()


@pytest.mark.parametrize("has_scripts", [True])
def test_a_form_whose_sender_is_unknown_is_not_kept(author: Visitor) -> None:
    """The access token is gone, so the server cannot tell whose form it is."""
    author.context.clear_cookies(name="sRefreshToken")
    author.page.locator("#text-form").get_by_role("button").click()
    author.arrive_at_sign_in(wanted="/forms?from=text")
    assert author.page.locator("#received").count() == 0
