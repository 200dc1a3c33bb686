# SPDX-License-Identifier: MIT
"""Whatever stands in a cookie, nobody gets a session by it and nothing fails.

Ten thousand mutations of good cookies go through what a request meets before its page: 7,000 access
tokens through get_session of a handler, 3,000 refresh tokens through its refresh. A few hundred more go over
HTTP, through everything.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPServerRequest, RequestStartLine

from stormcellar.api.refresh import RefreshHandler
from stormcellar.application import Application
from stormcellar.sessions import SessionError, TryRefreshTokenError, UnauthorisedError
from stormcellar.testing.client import Client, json_of
from stormcellar.tests.handlers.samples import NoteAPIHandler

ACCESS_MUTATIONS = 7_000
REFRESH_MUTATIONS = 3_000
OVER_HTTP = 300
PRINTABLE = string.ascii_letters + string.digits + string.punctuation.replace(";", "").replace(",", "") + " "
ODD = [
    "",
    " ",
    '"',
    "null",
    "undefined",
    "[object Object]",
    "%",
    "%zz",
    "%00",
    "%ff",
    "a" * 8000,
    "..",
    "=.=.=",
]
CONTROLS = {*range(0x20), 0x7F}
ODD += ["e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.", ".", "...", "é", "\x7f", "\t", "𝄞", "1e999", "-1", "{}"]


def _bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def change_a_character(token: str, chance: random.Random) -> str:
    at = chance.randrange(len(token))
    return token[:at] + chance.choice(PRINTABLE) + token[at + 1 :]


def cut(token: str, chance: random.Random) -> str:
    return token[: chance.randrange(len(token))]


def remove_a_piece(token: str, chance: random.Random) -> str:
    start, end = sorted((chance.randrange(len(token)), chance.randrange(len(token))))
    return token[:start] + token[end + 1 :]


def insert(token: str, chance: random.Random) -> str:
    at = chance.randrange(len(token) + 1)
    return token[:at] + "".join(chance.choices(PRINTABLE, k=chance.randrange(1, 20))) + token[at:]


def double(token: str, chance: random.Random) -> str:
    return token * chance.randrange(2, 5)


def change_case(token: str, chance: random.Random) -> str:
    at = chance.randrange(len(token))
    return token[:at] + token[at:].swapcase()


def swap_parts(token: str, chance: random.Random) -> str:
    parts = token.split(".")
    chance.shuffle(parts)
    return ".".join(parts)


def change_the_header(token: str, chance: random.Random) -> str:
    header, payload, signature = token.split(".")
    members: dict[str, Any] = json.loads(_bytes_of(header))
    name = chance.choice([*members, "jku", "jwk", "x5c", "crit", "zip"])
    values: list[Any] = [None, "", "none", "HS256", "RS512", 5, [], {}, "d-0", "../../secret", "' OR 1=1 --"]
    members[name] = chance.choice(values)
    return ".".join([_text_of(json.dumps(members).encode()), payload, signature])


def change_the_payload(token: str, chance: random.Random) -> str:
    header, payload, signature = token.split(".")
    members: dict[str, Any] = json.loads(_bytes_of(payload))
    name = chance.choice([*members])
    values: list[Any] = [None, "", "admin", 0, -1, 2**70, 1e300, True, [], {}, [[[[]]]], "x" * 5000, "\x00"]
    members[name] = chance.choice(values)
    return ".".join([header, _text_of(json.dumps(members).encode()), signature])


def change_a_bit(token: str, chance: random.Random) -> str:
    parts = token.split(".")
    index = chance.randrange(len(parts))
    data = bytearray(_bytes_of(parts[index]))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    parts[index] = _text_of(bytes(data))
    return ".".join(parts)


def noise(token: str, chance: random.Random) -> str:
    return bytes(chance.randrange(256) for _ in range(chance.randrange(200))).decode("latin1")


ANY_TOKEN: list[Callable[[str, random.Random], str]]
ANY_TOKEN = [change_a_character, cut, remove_a_piece, insert, double, change_case, change_a_bit, noise]
JWT_ONLY = [swap_parts, change_the_header, change_the_payload]


def mutations(token: str, seed: int, count: int) -> Iterator[str]:
    """Cookies that differ from the token in one or more ways; the same ones for the same seed."""
    chance = random.Random(seed)
    yield from map(as_cookie, ODD)
    ways = ANY_TOKEN + JWT_ONLY if token.count(".") == 2 else ANY_TOKEN
    while count > 0:
        text = as_cookie(chance.choice(ways)(token, chance))
        if text.split(";")[0].strip() != token:  # a change of nothing but the space around it is none
            yield text
            count -= 1


def as_cookie(text: str) -> str:
    """What of a text can stand in a Cookie header; Tornado refuses requests with the rest."""
    raw = text.encode().decode("latin1")
    return "".join(character for character in raw if character == "\t" or ord(character) not in CONTROLS)


def request_with(app: Application, handler: type[NoteAPIHandler | RefreshHandler], cookie: str) -> Any:
    """A handler that stands before a request with this Cookie header."""
    headers = HTTPHeaders({"Host": "localhost", "Cookie": cookie})
    connection = cast(HTTPConnection, _NoConnection())
    line = RequestStartLine("POST", "/auth/session/refresh", "HTTP/1.1")
    return handler(app, HTTPServerRequest(headers=headers, connection=connection, start_line=line))


class _NoConnection:
    """What a handler asks of its connection before it answers."""

    def set_close_callback(self, _: Any) -> None:
        pass


@pytest.mark.slow
@pytest.mark.gen_test
async def test_no_mutated_access_token_among_7_000_passes_get_session(app: Application) -> None:
    """Each is refused in one of the two ways that there are; every other error would be a 500."""
    await app.start()
    tokens = (await app.sessions.create_new_session("ann")).new_tokens
    assert tokens is not None
    good = await request_with(app, NoteAPIHandler, f"sAccessToken={tokens.access_token}").get_session()
    assert good.user_id == "ann"
    refused: Counter[str] = Counter()
    for text in mutations(tokens.access_token, seed=1, count=ACCESS_MUTATIONS):
        handler = request_with(app, NoteAPIHandler, f"sAccessToken={text}")
        with pytest.raises((TryRefreshTokenError, UnauthorisedError)) as caught:
            await handler.get_session()
        assert not getattr(caught.value, "clear_tokens", False), "none of them was a session that ended"
        refused[caught.value.message] += 1
    assert sum(refused.values()) == ACCESS_MUTATIONS + len(ODD)
    assert refused.keys() == {"unauthorised", "try refresh token"}


@pytest.mark.gen_test
async def test_no_mutated_refresh_token_among_3_000_is_exchanged(app: Application) -> None:
    """None reaches the store, so none can end a session either."""
    await app.start()
    tokens = (await app.sessions.create_new_session("ann")).new_tokens
    assert tokens is not None
    assert tokens.refresh_token is not None
    for text in mutations(tokens.refresh_token, seed=2, count=REFRESH_MUTATIONS):
        handler = request_with(app, RefreshHandler, f"sRefreshToken={text}")
        with pytest.raises(SessionError) as caught:
            await handler.refresh()
        assert type(caught.value) is UnauthorisedError, repr(text)
    assert (await app.sessions.refresh_session(tokens.refresh_token)).user_id == "ann"


@pytest.mark.gen_test
async def test_no_mutated_cookie_among_hundreds_over_http_fails_or_opens_a_page(client: Client) -> None:
    await client.sign_up()
    good = client.cookies
    client.jar.clear()
    for name, path in (("sAccessToken", "/sample/api"), ("sRefreshToken", "/auth/session/refresh")):
        for text in mutations(good[name], seed=3, count=OVER_HTTP // 2):
            headers = {"Cookie": f"{name}={text}", "Sec-Fetch-Site": "same-origin"}
            response = await client.request("POST", path, headers=headers)
            assert response.code == 401, repr(text)
            assert json_of(response)["message"] in {"unauthorised", "try refresh token"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";",
        "=",
        "sAccessToken",
        "sAccessToken=",
        "=sAccessToken",
        ";;;sAccessToken=;;",
        "sAccessToken==",
        'sAccessToken="',
        "s%41ccessToken=x",
        "sAccessToken=x; sAccessToken=y",
        "sAccessToken=x, sAccessToken=y",
        "sRefreshMarker=1",
        "sRefreshMarker=" + "1" * 5000,
        "sIdRefreshToken",
        "sFrontToken=x; st-last-access-token-update=y",
        "a=b; " * 3000,
        "\xff\xfe=\xfd",
    ],
)
@pytest.mark.gen_test
async def test_no_cookie_header_fails(client: Client, header: str) -> None:
    """On pages for everybody, protected ones, and the paths of refresh and sign-out."""
    headers = {"Cookie": header, "Accept": "text/html", "Sec-Fetch-Site": "none"}
    may_refresh = header.startswith("sRefreshMarker=")  # then sign-out asks for the refresh token
    for method, path, statuses in (
        ("GET", "/", {200, 303}),
        ("GET", "/dashboard", {302, 303}),
        ("GET", "/sample/api", {401}),
        ("GET", "/auth/session/refresh/return?redirectBack=/", {303}),
        ("POST", "/auth/session/refresh", {401, 202}),
        ("POST", "/signout", {307 if may_refresh else 303}),
        ("GET", "/none", {404}),
    ):
        response = await client.request(method, path, headers=headers)
        assert response.code in statuses, (path, header)
