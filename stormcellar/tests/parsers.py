# SPDX-License-Identifier: MIT
"""What must hold of every parser that strangers' bytes reach, whatever the bytes are.

Each function takes bytes and raises if the promise is broken: AssertionError, or whatever the parser lets out
that it does not declare. tests/test_parsers.py runs them on examples that hypothesis makes, tools/fuzz.py
(`make fuzz`) on those that a coverage-guided fuzzer finds. What either of them finds becomes a line of FOUND.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPServerRequest, RequestStartLine

from stormcellar.accounts import FieldErrors
from stormcellar.api.bodies import BadRequest, form_fields, required_fields
from stormcellar.sessions import Sessions, SystemClock, TryRefreshTokenError
from stormcellar.sessions.access_token import MAX_TOKEN_CHARACTERS, read
from stormcellar.sessions.base64url import decode_base64url, encode_base64url
from stormcellar.sessions.refresh_token import RefreshTokens
from stormcellar.sessions.remote_keys import parse_jwks
from stormcellar.settings import Settings
from stormcellar.web.caller import cors_headers, is_same_site
from stormcellar.web.renewal_table import TABLE, caller_of
from stormcellar.web.return_address import LONGEST_ADDRESS, return_address
from stormcellar.web.target import hostname
from stormcellar.web.transfer import CookieJar, Transfer

OURS = RefreshTokens(b"only for the tests: 0123456789abcdef")
OPTIONS = Settings(public_url="https://www.example.com")
JAR = CookieJar(OPTIONS, SystemClock())
ENGINE_SECRET = b"s" * 32


class EngineThatKnowsNone:
    """What transfers ask of the engine, with no key and no session."""

    def recognises(self, text: str) -> bool:
        return False

    def sessions_of(self, refresh_tokens: Iterable[str]) -> set[str]:
        return {presented.handle for text in refresh_tokens if (presented := OURS.read(text))}


SESSIONS = cast(Sessions, EngineThatKnowsNone())
GOOD_REFRESH_TOKEN = OURS.make("11111111-2222-4333-8444-555555555555", 7, ENGINE_SECRET, False)


def text_of(data: bytes) -> str:
    """As Tornado hands headers on."""
    return data.decode("latin1")


def access_token(data: bytes) -> None:
    """Something without our header is nothing; what is read has one spelling."""
    text = text_of(data)
    found = read(text, ("3", "4", "5"))
    if found is not None:
        assert len(text) <= MAX_TOKEN_CHARACTERS
        assert encode_base64url(found.payload_bytes) == text.split(".")[1]
        assert encode_base64url(found.signature) == text.split(".")[2]
        assert 0 < len(found.kid) <= 200
        found.resembles_ours("https://www.example.com/auth")


def refresh_token(data: bytes) -> None:
    """Only what was made with the secret is read, in its one spelling."""
    found = OURS.read(text_of(data))
    assert found is None or text_of(data) == GOOD_REFRESH_TOKEN


def base64url(data: bytes) -> None:
    text = text_of(data)
    found = decode_base64url(text)
    assert found is None or encode_base64url(found) == text
    assert decode_base64url(encode_base64url(data)) == data


def cookies(data: bytes) -> None:
    """Any Cookie header has an answer, and no value is taken from another name."""
    request = request_with({"Cookie": text_of(data)})
    transfer = Transfer(JAR, request, "any")
    for name in (JAR.access, JAR.refresh, JAR.marker, JAR.legacy):
        found = transfer.cookies(name)
        assert len(found) <= request.headers["Cookie"].count(name)
        assert all(isinstance(value, str) for value in found)
    try:
        transfer.access_token(lambda token: False, page=True)
    except TryRefreshTokenError:
        assert len(transfer.cookies(JAR.access)) > 1
    transfer.clear_duplicates(SESSIONS, page=True)
    transfer.holds_only_foreign(SESSIONS.recognises)
    transfer.remember_refusal()
    transfer.was_refused()
    transfer.clear()
    headers = HTTPHeaders()
    transfer.write(headers)
    assert all(line.isprintable() for line in headers.get_list("Set-Cookie"))


def request_headers(data: bytes) -> None:
    """Where a request comes from is judged whatever the headers say; a made-up origin is never ours."""
    lines = [text_of(line) for line in data.split(b"\n")]
    names = (
        "Origin",
        "Sec-Fetch-Site",
        "Sec-Fetch-Dest",
        "Accept",
        "Content-Type",
        "Authorization",
        "Purpose",
    )
    request = request_with(dict(zip(names, lines, strict=False)))
    same = is_same_site(request, "https://www.example.com", frozenset({"https://app.example.com"}))
    origin = request.headers.get("Origin")
    if same and origin is not None and request.headers.get("Sec-Fetch-Site") not in ("same-origin", "none"):
        assert origin in ("https://www.example.com", "https://app.example.com")
    assert caller_of(request) in TABLE
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in cors_headers(lines[0]))
    hostname(lines[0])


def request_with(headers: dict[str, str], method: str = "POST") -> HTTPServerRequest:
    class Silent:
        def set_close_callback(self, _: Any) -> None:
            pass

    found = HTTPHeaders({"Host": "www.example.com"})
    for name, value in headers.items():
        # What Tornado refuses before any handler sees it cannot be in a header.
        found.add(
            name,
            "".join(character for character in value if character >= " " and character != "\x7f").strip(" "),
        )
    line = RequestStartLine(method, "/", "HTTP/1.1")
    return HTTPServerRequest(headers=found, connection=cast(HTTPConnection, Silent()), start_line=line)


def return_addresses(data: bytes) -> None:
    """The address itself, or the fallback; and what is let through is one path of this site."""
    for text in (text_of(data), data.decode("utf-8", "replace")):
        answer = return_address(text, "/fallback")
        assert answer in (text, "/fallback")
        assert answer.startswith("/")
        assert not answer.startswith(("//", "/\\"))
        assert answer.isascii()
        assert answer.isprintable()
        assert len(answer) <= LONGEST_ADDRESS


def json_fields(data: bytes) -> None:
    """Bodies are taken, or refused with 400 or named fields."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(body, dict):
        for names in (("email",), ("email", "password")):
            try:
                fields = required_fields(body, names)
                assert set(fields) == set(names)
                assert all(isinstance(value, str) for value in form_fields(body, names).values())
            except (BadRequest, FieldErrors):
                pass


def key_sets(data: bytes) -> None:
    """Another server's keys: usable RSA keys, or a ValueError."""
    try:
        keys = parse_jwks(data)
    except ValueError:
        return
    assert all(key.public_key.key_size >= 2048 for key in keys.values())


PARSERS: list[Callable[[bytes], None]] = [
    access_token,
    refresh_token,
    base64url,
    cookies,
    request_headers,
    return_addresses,
    json_fields,
    key_sets,
]

_HEADER = encode_base64url(b'{"alg":"RS256","kid":"d-1","typ":"JWT","version":"5"}')
SEEDS: dict[Callable[[bytes], None], list[bytes]] = {
    access_token: [
        f"{_HEADER}.{encode_base64url(b'{}')}.{encode_base64url(b'x' * 256)}".encode(),
        b"e30.e30.e30",
    ],
    refresh_token: [GOOD_REFRESH_TOKEN.encode()],
    base64url: [b"-_AZaz09", b"=", b"A"],
    cookies: [
        b"sAccessToken=a.b.c; sRefreshToken=%41; sRefreshMarker=1",
        b"sAccessToken=x;sAccessToken=y; =",
    ],
    request_headers: [b"https://www.example.com\ncross-site\ndocument\ntext/html\ntext/plain\nBearer x"],
    return_addresses: [b"/dashboard?a=b#c", b"/%2e%2e/", b"//evil.example", b"/%25252e%2e/"],
    json_fields: [b'{"formFields": [{"id": "email", "value": "a@b.c"}, {"id": "password", "value": "x"}]}'],
    key_sets: [
        b'{"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": "AQAB", "e": "AQAB"}]}'
    ],
}

# One line for each input that ever broke a promise, with what it did; lines are added, never taken away.
FOUND: list[tuple[Callable[[bytes], None], bytes, str]] = []
