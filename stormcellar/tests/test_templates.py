# SPDX-License-Identifier: MIT
"""What holds for every page: a strict CSP does not break it, text stays text, and everyone can use it."""

import re
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from stormcellar.tests.rendering import BACK, FIELD_ERRORS, FORM, PAGES, SESSION, render
from stormcellar.tests.site import SITE
from stormcellar.web.templates import TemplateFiles

SOURCES = sorted(
    path for folder in TemplateFiles(SITE.folder / "templates").folders for path in folder.rglob("*.html")
)
every_page = pytest.mark.parametrize(("template", "variables"), PAGES.values(), ids=PAGES.keys())
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)

Element = tuple[str, dict[str, str]]


class Page(HTMLParser):
    """The elements of a page, each a tag and its attributes, and the text inside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.script_text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in ("script", "style"):  # newer Pythons also name title and textarea here
            self.script_text += data.strip()

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


@every_source
def test_no_template_turns_escaping_off(source: Any) -> None:
    assert not re.search(r"\{%\s*(raw|module|autoescape)\b", source.read_text(encoding="utf-8"))


@every_source
def test_no_template_has_a_script_or_style_of_its_own(source: Any) -> None:
    """script-src 'self' and style-src 'self' allow neither."""
    page = Page(source.read_text(encoding="utf-8"))
    inline = [
        (tag, name)
        for tag, attributes in page.elements
        for name in attributes
        if name == "style" or re.match(r"on[a-z]", name) or "javascript:" in attributes[name]
    ]
    assert inline == []
    assert page.all("style") == []
    assert page.script_text == ""
    assert all("src" in script for script in page.all("script"))


@every_page
def test_every_page_has_its_landmarks_a_title_and_a_way_past_the_navigation(
    template: str, variables: dict[str, Any]
) -> None:
    html = render(template, **variables)
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    assert re.search(r"<title>[^<·]+ · Stormcellar</title>", html)
    first_link = page.all("a")[0]
    assert first_link["href"] == f"#{page.all('main')[0]['id']}"


@every_page
def test_ids_are_unique_and_whatever_is_referred_to_is_there(
    template: str, variables: dict[str, Any]
) -> None:
    page = Page(render(template, **variables))
    assert [name for name, count in Counter(page.ids()).items() if count > 1] == []
    referred = [
        name
        for _, attributes in page.elements
        for key in ("for", "aria-describedby", "aria-labelledby", "aria-controls")
        for name in attributes.get(key, "").split()
    ]
    assert set(referred) <= set(page.ids())


@every_page
def test_every_field_has_a_label_and_tells_the_browser_what_it_is_for(
    template: str, variables: dict[str, Any]
) -> None:
    page = Page(render(template, **variables))
    labelled = {label["for"] for label in page.all("label")}
    for field in page.all("input", "select", "textarea"):
        if field.get("type") != "hidden":
            assert field["id"] in labelled
            assert field.get("type") == "checkbox" or field["autocomplete"]


@every_page
def test_every_form_is_sent_to_this_site_and_every_picture_has_a_text(
    template: str, variables: dict[str, Any]
) -> None:
    page = Page(render(template, **variables))
    for form in page.all("form"):
        assert form["method"] == ("get" if form.get("role") == "search" else "post")
        assert form["action"].startswith("/")
    assert all("alt" in picture for picture in page.all("img"))


@every_page
def test_whatever_the_text_it_stays_text(template: str, variables: dict[str, Any]) -> None:
    attack = """'"><script>alert(1)</script><b onclick=alert(1)>{{ 7*7 }}"""
    hostile = {name: attack if isinstance(value, str) else value for name, value in variables.items()}
    if "reason" in variables:
        hostile["reason"] = variables["reason"]
    if "errors" in variables:
        hostile["errors"] = dict.fromkeys(variables["errors"], attack)
    if "claims" in variables:
        hostile["claims"] = [attack]
    if "session" in variables:
        hostile["session"] = SimpleNamespace(**{**vars(SESSION), "user_id": attack, "handle": attack})
    html = render(template, **{**hostile, "site_name": attack, "path": "/"})
    page = Page(html)
    assert page.script_text == ""
    assert "<b onclick" not in html
    assert all(set(script) == {"type", "src"} for script in page.all("script"))


def test_the_dashboard_shows_whose_session_it_is_and_how_long_it_lasts() -> None:
    html = render("dashboard.html", session=SESSION, user_id=SESSION.user_id)
    page = Page(html)
    assert re.search(rf'id="user-id"[^>]*>{SESSION.user_id}<', html)
    assert re.search(rf'id="session-handle"[^>]*>{SESSION.handle}<', html)
    moments = [moment["datetime"] for moment in page.all("time")]
    assert moments == ["2027-01-15T07:50:00Z", "2027-01-15T08:50:00Z"]


def test_a_page_tells_the_script_for_whom_it_was_made_and_the_seconds_left() -> None:
    metas = {
        meta.get("name"): meta.get("content")
        for meta in Page(render("home.html", session=SESSION)).all("meta")
    }
    assert metas["session-user"] == SESSION.user_id
    assert float(metas["session-expires-in-s"] or "") == 3000
    assert metas["session-api"] == "/auth"


def test_a_page_for_a_guest_names_no_session() -> None:
    metas = {meta.get("name") for meta in Page(render("home.html")).all("meta")}
    assert metas.isdisjoint({"session-user", "session-expires-in-s"})


def test_whoever_is_signed_in_can_sign_out_by_a_plain_form() -> None:
    forms = Page(render("home.html", session=SESSION)).all("form")
    assert forms == [{"method": "post", "action": "/signout"}]


@pytest.mark.parametrize("in_place", [False, True])
def test_the_refresh_page_is_the_same_for_everybody(in_place: bool) -> None:
    variables = {"redirect_back": BACK, "in_place": in_place}
    signed_in = render("refresh_session.html", session=SESSION, **variables)
    assert signed_in == render("refresh_session.html", session=None, **variables)


def test_the_refresh_page_offers_the_way_without_script_to_the_same_address() -> None:
    page = Page(render("refresh_session.html", redirect_back=BACK, in_place=False))
    detours = {link["href"] for link in page.all("a") if "refresh" in link["href"]}
    assert detours == {"/auth/session/refresh/return?redirectBack=%2Freports%2F7%3Ftab%3D2%26x%3D%2520%23end"}


@pytest.mark.parametrize("template", ["account/login.html", "account/signup.html"])
def test_a_form_keeps_the_address_and_the_e_mail_but_never_the_password(template: str) -> None:
    page = Page(render(template, **FORM, errors=FIELD_ERRORS))
    values = {field["name"]: field.get("value") for field in page.all("input")}
    assert values == {"redirectBack": BACK, "email": "ann@example.com", "password": None}


@pytest.mark.parametrize("template", ["account/login.html", "account/signup.html"])
def test_an_error_is_tied_to_its_field_and_the_first_one_gets_the_focus(template: str) -> None:
    page = Page(render(template, **FORM, errors=FIELD_ERRORS))
    email, password = (field for field in page.all("input") if field.get("type") != "hidden")
    for field in (email, password):
        assert field["aria-invalid"] == "true"
        assert f"{field['id']}-error" in field["aria-describedby"].split()
    assert "autofocus" in email
    assert "autofocus" not in password


def test_password_managers_are_told_which_password_is_meant() -> None:
    def purposes(template: str) -> list[str]:
        fields = Page(render(template, **FORM, errors={})).all("input")
        return [field["autocomplete"] for field in fields if "autocomplete" in field]

    assert purposes("account/login.html") == ["username", "current-password"]
    assert purposes("account/signup.html") == ["email", "new-password"]
