# SPDX-License-Identifier: MIT
"""After a whole life of an account, no secret stands in clear anywhere that outlives the request it was for.

A real server process, a real database and real mail; then everything that is left is searched: each file of
the data folder (the write-ahead log too), or each row in PostgreSQL, the log, pages, mails and metrics.

Source: OWASP ASVS 5.0, 11.4, 13.3, 14.2 and 16.2.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from stormcellar.sessions import SystemClock
from stormcellar.sessions.keys import KeyRing
from stormcellar.sessions.session_store import SessionStore
from stormcellar.testing.client import PASSWORD, Client
from stormcellar.tests.postgres import DATABASE, Cluster
from stormcellar.tests.serving import ServerProcess
from stormcellar.tests.smtp import PostOffice
from stormcellar.tests.support import database_at, session_config

EMAIL = "ann.of.the.secrets@example.com"
NEW_PASSWORD = "eleven calm wolves hum <&'\" ü"
WRONG_PASSWORD = "a guess that is not hers"
MISPLACED_PASSWORD = "typed into the field above"
HEADER_MODE_PASSWORD_FIELDS = [{"id": "email", "value": EMAIL}, {"id": "password", "value": NEW_PASSWORD}]


class RecordingClient(Client):
    """A browser that remembers the text of every answer, by the address that was asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pages: list[tuple[str, bytes]] = []
        self.tokens: set[str] = set()

    async def _send(self, method: str, path: str, headers: Any, body: bytes) -> HTTPResponse:
        response = await super()._send(method, path, headers, body)
        self.pages.append((f"{method} {path}", response.body))
        names = ("sAccessToken", "sRefreshToken")
        found = [self.cookies.get(name, "") for name in names]
        found += [response.headers.get(name, "") for name in ("st-access-token", "st-refresh-token")]
        self.tokens |= {unquote(token) for token in found if token}
        return response


@dataclass
class Life:
    """What one account went through, and what must be found nowhere."""

    browser: RecordingClient
    thief: RecordingClient
    metrics: bytes
    mailed: list[tuple[bytes, str]] = field(default_factory=list)
    """Each mail as it was handed over, and the token that it was written for."""

    @property
    def session_tokens(self) -> set[str]:
        return self.browser.tokens | self.thief.tokens

    @property
    def pages(self) -> list[tuple[str, bytes]]:
        return self.browser.pages + self.thief.pages


async def next_mail(office: PostOffice, life: Life) -> str:
    """Wait for the next mail and follow nothing: the token of its link."""
    while len(office.taken) <= len(life.mailed):
        office.arrived.clear()
        await office.arrived.wait()
    envelope = office.taken[len(life.mailed)]
    assert isinstance(envelope.content, bytes)
    one = PostOffice(taken=[envelope]).message().get_body(("plain",))
    assert one is not None
    (link,) = [word for word in one.get_content().split() if word.startswith("http://")]
    (token,) = parse_qs(urlsplit(link).query)["token"]
    life.mailed.append((envelope.content, token))
    return token


async def live(browser: RecordingClient, thief: RecordingClient, office: PostOffice) -> Life:
    """Sign up, confirm, fail, sign in, renew, be robbed, lose the password, sign out; with errors between."""
    life = Life(browser, thief, b"")
    await browser.sign_up(EMAIL)
    token = await next_mail(office, life)
    await browser.get(f"/verify-email?token={token}")
    assert (await browser.post("/verify-email", {"token": token})).code == 200
    await browser.post("/login", {"email": EMAIL, "password": WRONG_PASSWORD})
    await browser.post("/signup", {"email": EMAIL, "password": PASSWORD})
    await browser.sign_in(EMAIL)
    await stray(browser)

    thief.jar = dict(browser.jar)
    for _ in range(3):
        assert (await browser.refresh()).code == 200
        assert (await browser.get("/dashboard")).code == 200
    assert (await thief.refresh()).code == 401
    assert (await browser.refresh()).code == 401, "the theft ended the session of both"

    await browser.post("/forgot-password", {"email": EMAIL})
    token = await next_mail(office, life)
    await browser.get(f"/reset-password?token={token}")
    assert (await browser.post("/reset-password", {"token": token, "password": "short"})).code == 422
    assert (await browser.post("/reset-password", {"token": token, "password": NEW_PASSWORD})).code == 303
    assert (await browser.post("/login", {"email": EMAIL, "password": PASSWORD})).code == 422
    await browser.sign_in(EMAIL, NEW_PASSWORD)
    await browser.post("/signout")
    await call_with_headers(browser)
    await browser.post("/forgot-password", {"email": EMAIL})
    await next_mail(office, life)  # never used, so it is still in the database
    await browser.sign_in(EMAIL, NEW_PASSWORD)  # and so is this session
    life.metrics = (await browser.request("GET", "/metrics")).body
    return life


async def stray(browser: RecordingClient) -> None:
    """Requests that go wrong while secrets travel in them."""
    token = quote(browser.cookies["sAccessToken"], safe="")
    for path in (f"/none?token={token}", f"/static/none?{token}", f"/login?redirectBack={token}"):
        await browser.get(path)
    await browser.request("BREW", f"/dashboard?{token}")
    await browser.post("/dashboard", {"password": PASSWORD})
    await browser.post("/login", {"email": MISPLACED_PASSWORD, "password": PASSWORD})
    await browser.call("/auth/signin", {"formFields": [{"id": PASSWORD, "value": PASSWORD}]})
    await browser.post("/login", {"password": PASSWORD}, headers={"Origin": "http://x", "Sec-Fetch-Site": ""})
    await browser.post("/login", {"password": PASSWORD}, headers={"Host": "x.example"})
    await browser.call("/auth/user/password/reset", {"token": token, "formFields": []})


async def call_with_headers(browser: RecordingClient) -> None:
    """The same without cookies, as apps do."""
    signed_in = await browser.call(
        "/auth/signin", {"formFields": HEADER_MODE_PASSWORD_FIELDS}, auth_mode="header"
    )
    refresh = {"Authorization": f"Bearer {signed_in.headers['st-refresh-token']}"}
    renewed = await browser.call("/auth/session/refresh", auth_mode="header", headers=refresh)
    access = {"Authorization": f"Bearer {renewed.headers['st-access-token']}"}
    assert (await browser.call("/auth/signout", auth_mode="header", headers=access)).code == 200


def spellings(secret: bytes) -> Iterator[bytes]:
    """A secret as it may slip into a text or a row."""
    encoded = base64.b64encode(secret).rstrip(b"=")[:-1]
    text = secret.decode("latin1")
    yield from (secret, secret.hex().encode(), encoded, encoded.translate(bytes.maketrans(b"+/", b"-_")))
    yield from (quote(secret).encode(), quote(secret, safe="").encode(), json.dumps(text)[1:-1].encode())
    if secret.isascii():
        yield from (secret[::-1], text.upper().encode() if len(secret) > 20 else secret)


def parts_of(token: str) -> Iterator[bytes]:
    """A session's token, and that part of it which makes it one."""
    yield token.encode()
    signature = token.rpartition(".")[2]
    yield signature.encode()
    yield base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))


def assert_none_in(places: Iterable[tuple[str, bytes]], secrets: Iterable[bytes]) -> None:
    sought = {spelling for secret in secrets for spelling in spellings(secret)}
    assert all(len(spelling) >= 8 for spelling in sought)
    for name, content in places:
        found = [spelling[:12] for spelling in sought if spelling in content]
        assert not found, f"{name} holds {found}"


async def private_numbers(place: Path | str, secret: bytes) -> list[bytes]:
    """The numbers of the signing key that the server used, as bytes."""
    database = database_at(place)
    await database.open()
    try:
        ring = KeyRing(SessionStore(database), session_config(secret=secret), SystemClock())
        await ring.load()
        numbers = ring.signing_key().private_key.private_numbers()
    finally:
        await database.close()
    return [
        number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (numbers.p, numbers.q, numbers.d)
    ]


def files_of(folder: Path) -> list[tuple[str, bytes]]:
    """All that the server keeps there, but for its secret."""
    return [
        (path.name, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != "secret"
    ]


def rows_of(cluster: Cluster) -> list[tuple[str, bytes]]:
    """Every row of every table, as text; bytes stand there in hexadecimal."""
    names = cluster.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", DATABASE)
    return [
        (name, str(cluster.execute(f'SELECT t::text FROM "{name}" AS t', DATABASE)).encode())
        for (name,) in names
    ]


@pytest.mark.slow
@pytest.mark.gen_test
async def test_no_secret_stands_in_clear_anywhere_after_a_whole_life(
    place: Path | str, tmp_path: Path, http_client: AsyncHTTPClient, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "data"
    office = PostOffice()
    settings = [
        "--email_verification=optional",
        "--refresh_grace_s=0",
        "--mail_from=kit@example.com",
        *([f"--database={place}"] if isinstance(place, str) else []),
    ]
    async with office.open() as address:
        with ServerProcess(folder, f"--smtp_url=smtp://{address}", *settings) as server:
            clock: Any = SystemClock()
            browser, thief = (RecordingClient(http_client, server.url, clock) for _ in range(2))
            life = await live(browser, thief, office)
            kept = files_of(folder)
            if isinstance(place, str):
                kept += rows_of(request.getfixturevalue("cluster"))
    kept += files_of(folder)  # once more after the server has put everything in order
    secret = (folder / "secret").read_bytes().strip()
    database = place if isinstance(place, str) else folder / "stormcellar.sqlite3"
    keys = await private_numbers(database, secret)

    assert any(EMAIL.encode() in content for _, content in kept), "the search finds what is there"
    assert isinstance(place, str) or any(name.endswith("-wal") for name, _ in kept)
    assert "token theft" in server.log or "theft" in server.log
    assert b"stormcellar_" in life.metrics
    assert len(life.session_tokens) >= 12
    assert len(life.mailed) == 3

    texts = [*kept, ("the log", server.log.encode()), ("metrics", life.metrics)]
    passwords = [text.encode() for text in (PASSWORD, NEW_PASSWORD, WRONG_PASSWORD)]
    tokens = [part for token in life.session_tokens for part in parts_of(token)]
    links = [token.encode() for _, token in life.mailed]
    mails = [(f"mail {number}", content) for number, (content, _) in enumerate(life.mailed)]
    assert_none_in([*texts, *life.pages, *mails], [*tokens, secret, *keys])
    assert_none_in([*texts, *mails, *life.pages], passwords)
    assert_none_in([*texts, *mails], [MISPLACED_PASSWORD.encode()])
    assert_none_in(texts, links)
    assert_none_in([page for page in life.pages if "token=" not in page[0]], links[2:])
    for number, (_, content) in enumerate(mails):
        assert_none_in([(f"mail {number}", content)], [*links[:number], *links[number + 1 :]])
    assert EMAIL.encode() not in server.log.encode() + life.metrics
    assert all(b"PRIVATE KEY" not in content for _, content in texts)
