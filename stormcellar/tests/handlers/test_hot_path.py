# SPDX-License-Identifier: MIT
"""What is done for each page of somebody who is signed in, counted and not timed.

A server of the kind that server.py runs serves the page of the benchmark, to a client in another thread.
Every call of a Python function on the server's thread is counted, so that what was once removed from the way
of a request stays removed. docs/performance.md says more of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import http.cookies
import io
import json
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, format_timestamp, parse_cookie
from tornado.routing import PathMatches
from tornado.template import Template
from tornado.testing import bind_unused_port
from tornado.web import Application as TornadoApplication
from tornado.web import RequestHandler, URLSpec

from stormcellar.application import Application
from stormcellar.benchmarks.run import HERE, answer_to, request_for
from stormcellar.events import logs
from stormcellar.events.logs import current_request
from stormcellar.server.http_server import make_http_server, read_head
from stormcellar.sessions import Session, TryRefreshTokenError, UnauthorisedError, access_token
from stormcellar.sessions.base64url import decode_base64url
from stormcellar.sessions.session import copy_of_json
from stormcellar.settings import Settings
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.client import Client
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.handlers.parts import LIFETIME_S
from stormcellar.tests.site import SITE
from stormcellar.web.handler import BaseHandler, ProtectedHandler

WARM_UP, REQUESTS = 20, 100
MOST_CALLS = 640
"""Calls of Python functions a request: 490 when this was last looked at, with Python 3.11 and Tornado 6.6,
and 10 % of air. Who adds to the way of every request sees it here; who takes something away lowers it."""

USER_ID = "6a0c63a5-3c5b-4d0e-9f8e-2f3f6f4d7a11"


class PageHandler(ProtectedHandler):
    """The page of the benchmark."""

    def get_template_path(self) -> str:
        return str(HERE / "templates")

    async def get(self) -> None:
        self.render("page.html", user_id=self.session.user_id)


class Calls:
    """Calls of Python functions.

    Attributes:
        all: on this thread.
        in_requests: the same, without what goes on in the background.
    """

    def __init__(self) -> None:
        self.all: Counter[CodeType] = Counter()
        self.in_requests: Counter[CodeType] = Counter()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        before = sys.getprofile()
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self.all[frame.f_code] += 1
            if current_request.get() is not None:
                self.in_requests[frame.f_code] += 1

    def of(self, *functions: Any) -> int:
        return sum(self.all[function.__code__] for function in functions)

    def a_request(self) -> float:
        return sum(self.all.values()) / REQUESTS

    def report(self) -> str:
        """The functions that are called most, a request."""
        lines = [
            f"{count / REQUESTS:6.2f}  {'/'.join(Path(code.co_filename).parts[-2:])} {code.co_name}"
            for code, count in self.all.most_common()
            if count >= REQUESTS
        ]
        return "\n".join(lines)


class Served:
    """What one run saw: the answers, the lines of the log, the calls, and how many seconds began."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.lines: list[str] = []
        self.calls = Calls()
        self.seconds = 0


class BareHandler(RequestHandler):
    """The same page as Tornado serves it to anybody."""

    def get(self) -> None:
        self.render("page.html", user_id=USER_ID)


@contextlib.contextmanager
def logging_by(configure: Callable[[], None]) -> Iterator[io.StringIO]:
    """Log lines as a server writes them, without what pytest adds; to be left within the same test."""
    root, written = logging.root, io.StringIO()
    handlers, level, stderr = root.handlers, root.level, sys.stderr
    root.handlers, sys.stderr = [], written
    try:
        configure()
        yield written
    finally:
        root.handlers, sys.stderr = handlers, stderr
        root.setLevel(level)


def ask(port: int, cookie: str, count: int) -> list[bytes]:
    request = request_for("/page", port, cookie)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        return [answer_to(connection, request) for _ in range(count)]


async def watch(
    http_server: HTTPServer, cookie: str, configure: Callable[[], None], warm_up: int, count: int
) -> Served:
    """Have the page asked for from another thread, and look at all but the first requests."""
    served = Served()
    listening, port = bind_unused_port()
    http_server.add_socket(listening)
    try:
        with logging_by(configure) as written:
            await asyncio.to_thread(ask, port, cookie, warm_up)
            lines_before = written.getvalue().count("\n")
            began = time.time()
            with served.calls.counted():
                served.answers = await asyncio.to_thread(ask, port, cookie, count)
            served.seconds = int(time.time()) - int(began) + 1
            served.lines = written.getvalue().splitlines()[lines_before:]
    finally:
        http_server.stop()
        await http_server.close_all_connections()
    return served


async def watch_kit(folder: Path, warm_up: int = WARM_UP, count: int = REQUESTS) -> Served:
    """By the real clock: the client has no other. Nothing that was compiled before is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RequestHandler, "_template_loaders", {})
        pages = [*SITE.routes(Settings()), URLSpec("/page", PageHandler)]
        application = Application(
            Settings(data_dir=folder), pages, folder=SITE.folder, generate_key=cheap_keys()
        )
        await application.start()
        tokens = (await application.sessions.create_new_session(USER_ID)).new_tokens
        assert tokens is not None
        cookie = f"sAccessToken={tokens.access_token}; sRefreshMarker=1; sFrontToken={tokens.front_token}"
        try:
            http_server = make_http_server(application)
            configure = partial(logs.configure, "text", debug=False)
            return await watch(http_server, cookie, configure, warm_up, count)
        finally:
            await application.stop()


async def watch_bare_tornado() -> Served:
    application = TornadoApplication([("/page", BareHandler)], template_path=str(HERE / "templates"))
    configure = partial(logging.basicConfig, level=logging.INFO)
    return await watch(HTTPServer(application), "", configure, WARM_UP, REQUESTS)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return asyncio.run(watch_kit(tmp_path_factory.mktemp("warm")))


NEVER: dict[str, list[Any]] = {
    "a signature is checked": [RSAAlgorithm.verify, access_token.verify],
    "a token is taken apart": [access_token.read, decode_base64url],
    "JSON is parsed": [json.JSONDecoder.decode],
    "JSON is written": [json.JSONEncoder.encode],
    "a template is read or compiled": [Template.__init__],
    "a record is made for the log": [logging.Logger.makeRecord],
    "a header is added to others": [RequestHandler.add_header],
    "a header is parsed by itself": [HTTPHeaders.parse_line],
    "all cookies are parsed": [http.cookies.BaseCookie.load, parse_cookie],
    "routes are tried one after the other": [PathMatches.match],
    "an exception is looked at": [BaseHandler.log_exception, BaseHandler.write_error],
    "the database is asked": [SqliteDatabase.read, SqliteDatabase.write],
}
"""What no request for a warmed-up page does, by the functions that would do it."""

IN_BACKGROUND = {"JSON is written", "the database is asked"}
"""What may go on between requests, but for none of them."""

AT_MOST_ONCE = {
    "the body's length is set, by Tornado": RequestHandler.set_header,
    "the address' arguments are copied, by Tornado": copy.deepcopy,
    "the claims are copied, so that a handler may change its copy": copy_of_json,
}
ONCE = {"the page": PageHandler.get, "the rendering": Template.generate, "the head": read_head}
"""What each request does exactly once: were these not counted, the zeros above would say nothing."""


def count_of(served: Served, what: str) -> int:
    calls = served.calls.in_requests if what in IN_BACKGROUND else served.calls.all
    return sum(calls[function.__code__] for function in NEVER[what])


def test_a_warm_page_repeats_nothing_that_was_done_before(warm: Served) -> None:
    found = {what: count for what in NEVER if (count := count_of(warm, what))}
    assert found == {}
    assert {what: warm.calls.of(function) for what, function in ONCE.items()} == dict.fromkeys(ONCE, REQUESTS)
    for what, function in AT_MOST_ONCE.items():
        assert warm.calls.of(function) <= REQUESTS, what


def test_the_first_page_does_what_later_ones_need_not(tmp_path: Path) -> None:
    """Otherwise the counters above would count nothing."""
    cold = asyncio.run(watch_kit(tmp_path, 0, 1))
    for what in ("a signature is checked", "a token is taken apart", "JSON is parsed"):
        assert count_of(cold, what) > 0, what
    assert count_of(cold, "a template is read or compiled") > 0


def test_a_date_is_written_at_most_once_a_second(warm: Served) -> None:
    """In the headers; and once in the log, whose seconds are kept likewise."""
    assert warm.calls.of(formatdate, format_timestamp) <= warm.seconds
    assert warm.calls.of(logs._second.__wrapped__) <= warm.seconds


def test_every_request_has_one_line_in_the_log(warm: Served) -> None:
    assert len(warm.lines) == REQUESTS
    assert all(" 200 GET /page " in line for line in warm.lines)


def test_an_answer_to_a_warm_page_sets_no_cookie_and_has_every_header(warm: Served) -> None:
    assert len(warm.answers) == REQUESTS
    for answer in warm.answers:
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nset-cookie:" not in head
        assert b"\r\ncontent-security-policy:" in head
        assert b"\r\ncache-control: private, no-store" in head


def test_a_warm_page_calls_no_more_functions_than_it_did(
    warm: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = warm.calls.a_request()
    with capsys.disabled():
        print(f"\na request for a protected page calls {calls:.1f} Python functions (at most {MOST_CALLS})")
    assert calls <= MOST_CALLS, warm.calls.report()


def test_a_warm_page_calls_fewer_functions_than_bare_tornado_does(
    warm: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the session, the headers and the log; bare Tornado knows nobody, and has its own log."""
    bare = asyncio.run(watch_bare_tornado())
    assert len(bare.lines) == REQUESTS
    with capsys.disabled():
        print(f"\na request for the same page of bare Tornado calls {bare.calls.a_request():.1f}")
    assert warm.calls.a_request() < bare.calls.a_request(), warm.calls.report()


# -- nothing gets less safe ----------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_revoked_session_is_refused_although_its_token_is_remembered(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    token = client.cookies["sAccessToken"]
    assert (await client.get("/dashboard")).code == 200
    assert token in app.sessions._verifier._remembered
    await app.sessions.revoke_session(client.session_handle, owner=None)
    assert token in app.sessions._verifier._remembered
    assert (await client.get("/dashboard")).code != 200
    with pytest.raises(UnauthorisedError):
        await app.sessions.get_session(token)


@pytest.mark.gen_test
async def test_a_remembered_token_is_no_good_once_it_has_expired(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    token = client.cookies["sAccessToken"]
    await app.sessions.get_session(token)
    clock.advance(LIFETIME_S)
    assert token in app.sessions._verifier._remembered
    with pytest.raises(TryRefreshTokenError):
        await app.sessions.get_session(token)


@pytest.mark.gen_test
async def test_a_remembered_token_gives_the_session_that_a_verified_one_gives(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    token = client.cookies["sAccessToken"]
    app.sessions._verifier._remembered.clear()
    missed = await app.sessions.get_session(token)
    hit = await app.sessions.get_session(token)
    assert token in app.sessions._verifier._remembered
    assert facts(missed) == facts(hit)


@pytest.mark.gen_test
async def test_what_a_handler_does_to_a_session_does_not_reach_the_next_request(
    client: Client, app: Application
) -> None:
    """The payload that a handler is given is its own."""
    await client.sign_up()
    token = client.cookies["sAccessToken"]
    first = await app.sessions.get_session(token)
    assert first is not None
    expected = facts(first)
    payload = first.access_token_payload
    payload["sub"] = "somebody else"
    payload["roles"] = ["admin"]
    assert facts(await app.sessions.get_session(token)) == expected


def facts(session: Session | None) -> dict[str, Any]:
    assert session is not None
    return {
        "handle": session.handle,
        "user_id": session.user_id,
        "tenant_id": session.tenant_id,
        "payload": dict(session.access_token_payload),
        "tokens": session.new_tokens,
        "revoked": session.revoked,
    }
