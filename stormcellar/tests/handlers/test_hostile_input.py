# SPDX-License-Identifier: MIT
"""Malformed bodies, missing and damaged arguments: an answer below 500, and nothing of the program in it.

Source: OWASP ASVS 5.0, chapters 2, 4 and 16.5.
"""

from __future__ import annotations

import json
from urllib.parse import quote, quote_from_bytes

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.testing.client import BOUNDARY, NAVIGATION, PASSWORD, SDK, Client, json_of, set_cookies
from stormcellar.tests.handlers.parts import implements, own_routes

INTERNALS = (b"Traceback", b'File "', b"Exception", b"tornado", b"sqlite", b"site-packages", b".py")
FORM = "application/x-www-form-urlencoded"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": (FORM, b""),
    "bytes that are no text": (FORM, b"\xff\xfe\x00=\xff"),
    "percent signs": (FORM, b"%=%&%zz=%1&=&&&==="),
    "a thousand fields": (FORM, b"&".join(b"f%d=1" % number for number in range(1000))),
    "one field a thousand times": (FORM, b"email=a&" * 1000),
    "NUL": (FORM, b"email=%00&password=%00%00%00%00%00%00%00%00"),
    "lone surrogates": (FORM, b"email=%ED%A0%80&password=%ED%A0%80"),
    "very long values": (FORM, b"email=" + b"a" * 100_000 + b"&password=" + b"b" * 100_000),
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n"),
    "empty boundary": ("multipart/form-data; boundary=", b"--\r\n\r\n"),
    "wrong boundary": ("multipart/form-data; boundary=other", f"--{BOUNDARY}\r\n\r\n".encode()),
    "unfinished part": (MULTIPART, f"--{BOUNDARY}\r\nContent-Disposition: form-data".encode()),
    "part without name": (MULTIPART, f"--{BOUNDARY}\r\nA: b\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()),
    "part of bytes": (MULTIPART, b"--" + BOUNDARY.encode() + b"\r\n\xff\xfe\r\n\r\n\x00"),
    "charset": (FORM + "; charset=utf-7", b"email=%2BADw-"),
    "unknown type": ("application/octet-stream", b"\x00" * 100),
    "type of nonsense": ("\x01;;;=", b"x"),
    "compressed": (FORM, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"),
    "JSON": ("application/json", b"{}"),
    "no JSON": ("application/json", b"{"),
    "JSON that is text": ("application/json", b'"text"'),
    "JSON null": ("application/json", b"null"),
    "JSON bytes": ("application/json", b"\xff\xfe{}"),
    "JSON NUL": ("application/json", b'{"formFields": "\x00"}'),
    "deep array": ("application/json", b"[" * 100_000),
    "deep object": ("application/json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "deep fields": ("application/json", b'{"formFields":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "long number": ("application/json", b'{"formFields": ' + b"9" * 50_000 + b"}"),
    "huge exponent": ("application/json", b'{"formFields": 1e999999}'),
    "repeated names": ("application/json", b'{"formFields": [], "formFields": 1}'),
    "not a number": ("application/json", b'{"formFields": NaN}'),
    "XML": ("text/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
}


def check_is_plain(response: HTTPResponse) -> None:
    """Neither an error of ours, nor a word about how we are made, nor a session."""
    assert response.code < 500, response.effective_url
    assert not any(internal in response.body for internal in INTERNALS), response.body
    assert "sAccessToken" not in set_cookies(response) or set_cookies(response)["sAccessToken"].value == ""
    assert not response.headers.get("st-access-token")


@pytest.mark.slow
@pytest.mark.gen_test
async def test_no_body_makes_a_route_fail(client: Client, app: Application) -> None:
    for path, handler in own_routes(app):
        if implements(handler, "POST"):
            for content_type, body in BODIES.values():
                headers = {**SDK, "Content-Type": content_type}
                check_is_plain(await client.request("POST", path, headers=headers, body=body))
    assert list(await app.accounts.list()) == []


QUERIES = [
    "redirectBack=%ff",
    "redirectBack=%00",
    "redirectBack=" + "a" * 5000,
    "redirectBack=%ED%A0%80",
    "redirectBack[]=x",
    "redirectBack=/a&redirectBack=//evil.example",
    "%",
    "%ff=%ff",
    "=&=&&",
    "reason=%ff",
    "token=%ff",
    "a=b;c=d",
]


@pytest.mark.slow
@pytest.mark.parametrize("signed_in", [False, True], ids=["guest", "signed in"])
@pytest.mark.gen_test
async def test_no_query_makes_a_route_fail(client: Client, app: Application, signed_in: bool) -> None:
    if signed_in:
        await client.sign_up()
    for path, handler in own_routes(app):
        if not implements(handler, "GET"):
            continue
        for query in QUERIES:
            response = await client.get(f"{path}?{query}")
            assert response.code < 500, f"{path}?{query}"
            address = response.headers.get("Location", "").replace("%2F", "/").partition("?")[0]
            assert "evil.example" not in address, f"{path}?{query}"
            assert not any(internal in response.body for internal in INTERNALS[:2]), f"{path}?{query}"


# -- forms ------------------------------------------------------------------------------------------


async def send_form(client: Client, path: str, body: str) -> HTTPResponse:
    headers = {**NAVIGATION, "Content-Type": FORM}
    return await client.request("POST", path, headers=headers, body=body.encode())


EMAIL = f"email={quote('ann@example.com')}"
SECRET = f"password={quote(PASSWORD)}"
WRONG_FORMS = {
    "nothing": ("", 422, "Field is not optional"),
    "no e-mail": (SECRET, 422, "Field is not optional"),
    "no password": (EMAIL, 422, "Field is not optional"),
    "blank e-mail": (f"email=%20%20&{SECRET}", 422, "Field is not optional"),
    "no address": (f"email=ann&{SECRET}", 422, "Email is invalid"),
    "bad UTF-8 in the e-mail": (f"email=%ff&{SECRET}", 400, "could not understand"),
    "bad UTF-8 in the password": (
        f"{EMAIL}&password={quote_from_bytes(bytes([255]) * 12)}",
        400,
        "understand",
    ),
    "surrogate in the password": (f"{EMAIL}&password=%ED%A0%80%ED%A0%80%ED%A0%80", 400, "understand"),
    "NUL in the e-mail": (f"email=ann%00@example.com&{SECRET}", 422, "Email is invalid"),
    "password too long": (f"{EMAIL}&password={'a' * 1001}", 422, "at most 1,000 bytes"),
}


@pytest.mark.parametrize(("body", "status", "text"), WRONG_FORMS.values(), ids=WRONG_FORMS)
@pytest.mark.gen_test
async def test_forms_that_cannot_be_taken_say_why(
    client: Client, app: Application, body: str, status: int, text: str
) -> None:
    for path in ("/login", "/signup"):
        response = await send_form(client, path, body)
        assert response.code == status
        assert text in response.body.decode()
        check_is_plain(response)
    assert list(await app.accounts.list()) == []


@pytest.mark.gen_test
async def test_a_form_comes_back_with_what_was_typed_but_the_password(client: Client) -> None:
    fields = {
        "email": 'ann"><script>@example.com',
        "password": "hunter2-hunter2",
        "redirectBack": "/sample/note",
    }
    response = await client.post("/signup", fields)
    text = response.body.decode()
    assert response.code == 422
    assert "ann&quot;&gt;&lt;script&gt;@example.com" in text
    assert 'value="/sample/note"' in text
    assert "hunter2" not in text


@pytest.mark.gen_test
async def test_wrong_password_and_unknown_address_get_the_same_page(client: Client) -> None:
    await client.sign_up()
    client.jar.clear()
    pages = []
    for email in ("ann@example.com", "bob@example.com"):
        response = await client.post("/login", {"email": email, "password": "not her password"})
        assert (response.code, set_cookies(response)) == (422, {})
        pages.append(response.body.replace(email.encode(), b"WHO"))
    assert pages[0] == pages[1]
    assert b"Incorrect email and password combination" in pages[0]


@pytest.mark.parametrize(
    "chosen", [f" {PASSWORD} ", "tall ships\x07sail", "tall ships\tsail", "Stra\u00dfe \u017f \u212a"]
)
@pytest.mark.gen_test
async def test_every_character_of_a_password_counts(client: Client, chosen: str) -> None:
    """Spaces around it, control characters and look-alikes too; forms and JSON agree about it."""
    await client.sign_up(password=chosen)
    similar = {chosen.strip(), chosen.replace("\x07", " "), chosen.replace("\t", " "), chosen.casefold()}
    for password in similar - {chosen}:
        assert (await client.post("/login", {"email": "ann@example.com", "password": password})).code == 422
    await client.sign_in(password=chosen)
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": chosen}]
    assert json_of(await client.call("/auth/signin", {"formFields": fields}))["status"] == "OK"


@pytest.mark.gen_test
async def test_an_address_in_other_spelling_is_the_same_account(client: Client) -> None:
    await client.sign_up("ann@example.com")
    user_id = client.user_id
    await client.sign_in("  ANN@Example.COM ")
    assert client.user_id == user_id


@pytest.mark.gen_test
async def test_markup_stays_text(client: Client) -> None:
    """In addresses that come back on a page."""
    for path in (
        "/login?redirectBack=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/refresh-session?redirectBack=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/refresh-session/stopped?redirectBack=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ):
        assert b"<script>alert" not in (await client.get(path)).body


# -- JSON -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b"{", b"\xff", b"[]", b"1", b"true", b'"x"', b"null", b"\x00"]
)
@pytest.mark.gen_test
async def test_what_is_no_json_object_is_400_with_a_message(client: Client, body: bytes) -> None:
    for path in ("/auth/signup", "/auth/signin"):
        headers = {**SDK, "Content-Type": "application/json"}
        response = await client.request("POST", path, headers=headers, body=body)
        assert response.code == 400
        assert list(json_of(response)) == ["message"]


@pytest.mark.parametrize(
    "email", ["ann\x00@example.com", "\ud800@example.com", "ann@example.com\r\nBcc: x", "\x7f"]
)
@pytest.mark.gen_test
async def test_odd_characters_in_an_address_are_a_field_error(client: Client, email: str) -> None:
    fields = [{"id": "email", "value": email}, {"id": "password", "value": PASSWORD}]
    for path in ("/auth/signup", "/auth/signin"):
        headers = {**SDK, "Content-Type": "application/json"}
        body = json.dumps({"formFields": fields}).encode()
        response = await client.request("POST", path, headers=headers, body=body)
        assert response.code == 200
        errors = [{"id": "email", "error": "Email is invalid"}]
        assert json_of(response) == {"status": "FIELD_ERROR", "formFields": errors}


@pytest.mark.parametrize("password", ["\x00" * 12, "\ud800" * 12, "a" * 1001, "é" * 501])
@pytest.mark.gen_test
async def test_passwords_nobody_can_have_are_a_field_error(client: Client, password: str) -> None:
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": password}]
    for path in ("/auth/signup", "/auth/signin"):
        answer = json_of(await client.call(path, {"formFields": fields}))
        assert answer["status"] == "FIELD_ERROR"
        assert [field["id"] for field in answer["formFields"]] == ["password"]


@pytest.mark.gen_test
async def test_a_json_body_beyond_64_kb_is_refused_unread(client: Client) -> None:
    answer = await client.request(
        "POST", "/auth/signin", headers={**SDK, "Content-Type": "application/json"}, body=b"[" * 70_000
    )
    assert answer.code == 413
