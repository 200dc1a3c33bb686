# SPDX-License-Identifier: MIT
"""What the log must never say, whatever happens, and what it must say.

Source: OWASP ASVS 5.0, chapter 16; OWASP logging cheat sheet.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest

from stormcellar.application import Application
from stormcellar.events.logs import JsonFormatter, TextFormatter
from stormcellar.sessions.events import session_hash
from stormcellar.testing.client import NAVIGATION, PASSWORD, SDK, Client
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings

EMAIL = "ann.of.the.log@example.com"
NewClient = Callable[..., Client]
FORM = {**NAVIGATION, "Content-Type": "application/x-www-form-urlencoded"}


class Lines:
    """Every line that the process logs, as a file would have it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._format = logging.Formatter("%(levelname)s %(name)s %(message)s")

    def __iter__(self) -> Iterator[str]:
        return (self._format.format(record) for record in self._caplog.records)

    def text(self) -> str:
        return "\n".join(self)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.DEBUG)
    return Lines(caplog)


def spellings(secret: str) -> set[str]:
    """A secret as it may slip into a line."""
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode().rstrip("=")[:-1]
    return {secret, quote(secret), quote(secret, safe=""), unquote(secret), repr(secret)[1:-1], encoded}


def assert_silent(lines: Lines, secrets: set[str]) -> None:
    text = lines.text()
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in text, [line for line in lines if spelling in line][:2]


def signin_body(email: str, password: str) -> dict[str, Any]:
    return {"formFields": [{"id": "email", "value": email}, {"id": "password", "value": password}]}


def tokens_of(client: Client) -> set[str]:
    names = ("sAccessToken", "sRefreshToken", "sFrontToken")
    found = {client.cookies[name] for name in names if name in client.cookies}
    signatures = {token.rsplit(".", 1)[-1] for token in found}
    return found | signatures


@pytest.mark.gen_test
async def test_no_token_password_or_address_is_in_the_log_of_a_whole_walk(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock, lines: Lines
) -> None:
    """With everything that goes wrong on the way."""
    secrets = {PASSWORD, EMAIL, "ann.of.the.log", "a wrong password", "fragment-of-a-query"}
    query = "?token=fragment-of-a-query"
    await client.get("/signup" + query)
    await client.post("/signup" + query, {"email": EMAIL, "password": "short"})
    await client.sign_up(EMAIL)
    secrets |= tokens_of(client)
    await client.get("/dashboard" + query)
    await client.post("/signup", {"email": EMAIL, "password": PASSWORD})
    await client.post("/login", {"email": EMAIL, "password": "a wrong password"})

    stolen = new_client()
    stolen.jar = dict(client.jar)
    clock.advance(LIFETIME_S)
    for path in ("/dashboard", "/sample/api", "/none", "/sample/fail?how=raise&token=fragment-of-a-query"):
        await client.get(path)
        await client.call(path, method="GET")
    await client.post("/sample/note" + query, {"text": "fragment-of-a-query"}, follow=True)
    secrets |= tokens_of(client)
    await client.refresh()
    secrets |= tokens_of(client)
    clock.advance(31)
    await client.get("/dashboard")
    await client.refresh()
    secrets |= tokens_of(client)
    await stolen.refresh()

    await client.sign_in(EMAIL)
    secrets |= tokens_of(client)
    await client.post("/signout")
    fields = [{"id": "email", "value": EMAIL}, {"id": "password", "value": PASSWORD}]
    answer = await client.call("/auth/signin", {"formFields": fields}, auth_mode="header")
    secrets |= {answer.headers["st-access-token"], answer.headers["st-refresh-token"]}
    bearer = {"Authorization": f"Bearer {answer.headers['st-access-token']}"}
    await client.call("/sample/api?token=fragment-of-a-query", headers=bearer)
    await client.call("/auth/signout", headers=bearer)
    await app.stop()

    secrets.add(app.options.data_dir.joinpath("secret").read_text().strip())
    assert_silent(lines, secrets)
    assert "token theft" in lines.text()


class AsWritten(logging.Handler):
    """Every line that the process logs, in both formats."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []
        self.json: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(TextFormatter().format(record))
        self.json.append(json.loads(JsonFormatter().format(record)))


@pytest.fixture
def written(lines: Lines) -> Iterator[AsWritten]:
    handler = AsWritten()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.gen_test
async def test_the_audit_log_of_a_walk_is_exact_and_no_line_of_the_log_names_a_secret(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock, written: AsWritten
) -> None:
    handles, secrets = {}, {PASSWORD, EMAIL, "a wrong password", "of.the.log"}

    def remember(name: str) -> str:
        handles[client.session_handle] = name
        secrets.update(tokens_of(client), {client.session_handle})
        return client.user_id

    await client.sign_up(EMAIL)
    ann = remember("first")
    await client.post("/login", {"email": EMAIL, "password": "a wrong password"})
    await client.call("/auth/signin", signin_body("nobody@example.com", "a wrong password"))
    stolen = new_client()
    stolen.jar = dict(client.jar)
    for _ in range(2):
        clock.advance(LIFETIME_S)
        await client.refresh()
        remember("first")
        await client.get("/dashboard")
    await app.sessions.write_notes()
    await stolen.refresh()
    client.jar.clear()
    await client.sign_in(EMAIL)
    remember("second")
    await client.post("/signout", headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    await client.call("/auth/signout", headers={"rid": "session"})
    await client.sign_in(EMAIL)
    remember("third")
    await client.sign_in(EMAIL)
    remember("fourth")
    await app.sessions.revoke_all_sessions_for_user(ann, reason="by an administrator")

    kept = list(reversed(await app.audit.events()))
    assert [(one.name, handles.get(one.session_handle, ""), one.user_id, one.detail) for one in kept] == [
        ("signed up", "", ann, ""),
        ("signed in", "first", ann, ""),
        ("sign-in failed", "", ann, ""),
        ("sign-in failed", "", "", ""),
        ("theft", "first", ann, "two parties held tokens of the session; it is revoked"),
        ("signed in", "second", ann, ""),
        ("cross-site request refused", "", "", "POST /signout from 'https://evil.example'"),
        ("signed out", "second", ann, ""),
        ("signed in", "third", ann, ""),
        ("signed in", "fourth", ann, ""),
        ("session revoked", "third", ann, "signed in again"),
        ("session revoked", "fourth", ann, "by an administrator"),
    ]
    *served, by_hand = kept
    assert {one.client_address for one in served} == {"127.0.0.1"}
    assert (by_hand.client_address, by_hand.request_id) == ("", "")

    text = "\n".join(written.text) + json.dumps(written.json)
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in text
    logged = [
        (line["event"], line["request_id"])
        for line in written.json
        if "event" in line and "request_id" in line
    ]
    assert logged == [(one.name, one.request_id) for one in served]
    thefts = [line for line in written.json if line["level"] == "ERROR" and "theft" in line["message"]]
    assert [line["session"] for line in thefts] == [session_hash(kept[1].session_handle)]


@pytest.mark.gen_test
async def test_what_administrators_do_says_who_did_it(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await app.accounts.add_role(client.user_id, "admin")
    bob = new_client()
    await bob.sign_up("bob@example.com")
    for action in ("lock", "unlock"):
        response = await client.post(f"/admin/users/{bob.user_id}", {"action": action})
        assert response.code == 303, response.body
    kept = await app.audit.events(user_id=bob.user_id, limit=3)
    by_whom = f"by administrator {client.user_id}"
    assert [(one.name, one.detail) for one in reversed(kept)] == [
        ("account locked", by_whom),
        ("session revoked", by_whom),
        ("account unlocked", by_whom),
    ]


@pytest.mark.gen_test
async def test_what_happened_is_in_the_database_when_the_server_has_stopped(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await app.stop()
    with contextlib.closing(sqlite3.connect(app.options.database_path)) as connection:
        names = connection.execute("SELECT name FROM audit_events ORDER BY event_id").fetchall()
    assert names == [("signed up",), ("signed in",)]


@with_settings(audit_retention_s=0)
@pytest.mark.gen_test
async def test_switched_off_the_audit_log_keeps_nothing(client: Client, app: Application) -> None:
    await client.sign_up()
    assert await app.audit.events() == []


@pytest.mark.gen_test
async def test_all_lines_of_a_request_carry_the_number_that_its_answer_shows(
    client: Client, written: AsWritten
) -> None:
    await client.sign_up()
    session = session_hash(client.session_handle)
    written.json.clear()
    response = await client.get("/sample/fail?how=raise")
    assert len(written.json) >= 3
    for line in written.json:
        assert (line["request_id"], line["session"]) == (response.headers["X-Request-Id"], session), line
    (access,) = (line for line in written.json if "status" in line)
    assert (access["method"], access["path"], access["status"]) == ("GET", "/sample/fail", 500)
    assert "ZeroDivisionError" in next(line["exception"] for line in written.json if "exception" in line)


@pytest.mark.gen_test
async def test_a_request_that_fails_before_anything_is_known_of_it_has_its_number_too(
    client: Client, written: AsWritten
) -> None:
    response = await client.request("BREW", "/login")
    assert response.code == 405
    numbers = [line["request_id"] for line in written.json if line["logger"] == "stormcellar.access"]
    assert numbers == [response.headers["X-Request-Id"]]


@pytest.mark.gen_test
async def test_requests_that_are_served_at_once_do_not_mix_their_numbers(
    client: Client, new_client: NewClient, written: AsWritten
) -> None:
    answers = await asyncio.gather(*(new_client().get(f"/none/{number}") for number in range(8)))
    shown = {f"/none/{number}": answer.headers["X-Request-Id"] for number, answer in enumerate(answers)}
    logged = {
        line["path"]: line["request_id"] for line in written.json if line.get("path", "").startswith("/none/")
    }
    assert logged == shown


REFUSED = {
    "bad UTF-8 in the password": ("/login", FORM, f"email={quote(EMAIL)}&password=hush-hush%ff".encode()),
    "bad UTF-8 in the e-mail": ("/login", FORM, b"email=hush-hush%ff&password=x"),
    "bad UTF-8 in the query": ("/login?redirectBack=hush-hush%ff", FORM, b""),
    "password in the place of a name": (
        "/auth/signin",
        {**SDK, "Content-Type": "application/json"},
        json.dumps({"formFields": [{"id": "hush-hush", "value": 1}]}).encode(),
    ),
    "no JSON": ("/auth/signin", {**SDK, "Content-Type": "application/json"}, b'{"password": "hush-hush"'),
    "broken multipart": (
        "/login",
        {**NAVIGATION, "Content-Type": "multipart/form-data; boundary=hush-hush"},
        b"--hush-hush\r\nhush-hush",
    ),
    "another site": ("/login", {**FORM, "Sec-Fetch-Site": "cross-site"}, b"password=hush-hush"),
    "unexpected": ("/sample/pay?then=hush-hush", FORM, b"password=hush-hush"),
}


@pytest.mark.parametrize(("path", "headers", "body"), REFUSED.values(), ids=REFUSED)
@pytest.mark.gen_test
async def test_what_is_refused_is_not_repeated_in_the_log(
    client: Client, lines: Lines, path: str, headers: dict[str, str], body: bytes
) -> None:
    await client.sign_up(EMAIL)
    response = await client.request("POST", path, headers=headers, body=body)
    assert response.code >= 400
    assert_silent(lines, {"hush-hush", EMAIL, PASSWORD})


@pytest.mark.gen_test
async def test_nobody_can_write_lines_of_their_own_into_the_log(client: Client, lines: Lines) -> None:
    forged = "%0d%0aINFO%20forged"
    for path in (f"/{forged}", f"/static/{forged}", f"/static/..{forged}", f"/none?a={forged}"):
        await client.get(path)
    body = {"formFields": [{"id": "a\r\nINFO forged", "value": 1}]}
    await client.call("/auth/signin", body)
    await client.post("/login", {}, headers={"Origin": "http://x", "Sec-Fetch-Site": "cross-site"})
    assert not any(line.startswith("INFO forged") for line in lines.text().splitlines())


@pytest.mark.gen_test
async def test_each_request_is_one_line_without_its_query(client: Client, lines: Lines) -> None:
    await client.get("/login?redirectBack=/dashboard")
    await client.get("/none?a=b")
    written = [line.rpartition(" ms")[0].rpartition(" ")[0] for line in lines if "stormcellar.access" in line]
    assert written == [
        "INFO stormcellar.access 200 GET /login",
        "INFO stormcellar.access 404 GET /none",
    ]


@pytest.mark.gen_test
async def test_what_happens_to_sessions_is_in_the_log(client: Client, lines: Lines) -> None:
    await client.sign_up()
    first = client.session_handle
    await client.sign_in()
    second, user_id = client.session_handle, client.user_id
    await client.post("/signout")
    text = lines.text()
    for event in (
        f"signed in: user {user_id}, session {session_hash(first)}",
        f"session revoked: user {user_id}, session {session_hash(first)}, from 127.0.0.1, signed in again",
        f"signed in: user {user_id}, session {session_hash(second)}",
        f"signed out: user {user_id}, session {session_hash(second)}",
    ):
        assert event in text


@pytest.mark.gen_test
async def test_refused_cross_site_requests_are_in_the_log(client: Client, lines: Lines) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    await client.post("/signout", headers=headers)
    (line,) = (line for line in lines if "cross-site" in line)
    assert "POST /signout" in line
    assert "https://evil.example" in line


@pytest.mark.gen_test
async def test_an_error_of_ours_is_in_the_log_with_the_number_that_its_page_shows(
    client: Client, lines: Lines
) -> None:
    response = await client.get("/sample/fail?how=raise")
    number = response.headers["X-Request-Id"]
    assert any(number in line for line in lines)
    assert any("ZeroDivisionError" in line and "Traceback" in line for line in lines)


@pytest.mark.gen_test
async def test_a_page_refused_ahead_of_time_is_no_error_in_the_log(client: Client, lines: Lines) -> None:
    assert (await client.get("/dashboard", headers={"Sec-Purpose": "prefetch"})).code == 503
    assert any("503 GET /dashboard" in line for line in lines)
    assert [line for line in lines if line.startswith("ERROR")] == []
