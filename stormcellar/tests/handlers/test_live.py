# SPDX-License-Identifier: MIT
"""WebSockets and event streams belong to a session: they open, stay and end with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.websocket import WebSocketClientConnection, websocket_connect

from stormcellar.application import Application
from stormcellar.sessions import BooleanClaim, Session, StoreUnavailableError
from stormcellar.settings import Settings
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.site import make_app
from stormcellar.web.live import CHECK_AGAIN_S, ProtectedEventStreamHandler, ProtectedWebSocketHandler

ADULT: BooleanClaim = BooleanClaim("adult", lambda *_: True)


class EchoHandler(ProtectedWebSocketHandler):
    """An ordinary socket of a clone."""

    def on_message(self, message: str | bytes) -> None:
        self.write_message(f"{self.session.user_id}: {message!s}")


class AdultsHandler(ProtectedWebSocketHandler):
    """A socket that asks for a claim."""

    async def override_global_claim_validators(self, validators: Any, session: Session) -> Any:
        return [*validators, ADULT.is_true()]


class EditorsHandler(ProtectedWebSocketHandler):
    """A socket for users with a role."""

    required_claims = ("editor",)


class EditorsTickerHandler(ProtectedEventStreamHandler):
    """An event stream for users with a role."""

    required_claims = ("editor",)


class RecentHandler(ProtectedWebSocketHandler):
    """A socket that asks for a recent sign-in."""

    recent_sign_in_within_s = 600


class TickerHandler(ProtectedEventStreamHandler):
    """An event stream."""

    async def stream(self) -> None:
        await self.send("tick")
        await asyncio.Event().wait()


class Site:
    """An application that listens, its clock, and what a browser would do with it."""

    def __init__(self, application: Application, clock: FakeClock, port: int) -> None:
        self.application, self.clock, self.port = application, clock, port
        self.origin = f"http://localhost:{port}"

    async def sign_in(self, user_id: str = "ann", **payload: Any) -> Session:
        return await self.application.sessions.create_new_session(user_id, access_token_payload=payload)

    async def connect(
        self, session: Session | None, path: str = "/echo", origin: str | None = None
    ) -> WebSocketClientConnection:
        headers = {"Origin": origin or self.origin}
        if session is not None and session.new_tokens is not None:
            headers["Cookie"] = f"sAccessToken={session.new_tokens.access_token}"
        return await websocket_connect(HTTPRequest(f"ws://localhost:{self.port}{path}", headers=headers))


@asynccontextmanager
async def site(tmp_path: Path, clock: FakeClock | None = None, **settings: Any) -> AsyncIterator[Site]:
    clock = clock or FakeClock()
    application = make_app(
        Settings(data_dir=tmp_path, access_token_jitter_percent=0, **settings),
        clock=clock,
        generate_key=cheap_keys(),
        claims=[ADULT],
    )
    handlers = [
        ("/echo", EchoHandler),
        ("/adults", AdultsHandler),
        ("/editors", EditorsHandler),
        ("/editors-ticker", EditorsTickerHandler),
        ("/recent", RecentHandler),
        ("/ticker", TickerHandler),
    ]
    application.add_handlers(".*", handlers)
    await application.start()
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    try:
        yield Site(application, clock, port)
    finally:
        server.stop()
        await application.stop()
        await server.close_all_connections()


def run(story: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def closed_with(connection: WebSocketClientConnection) -> int | None:
    """Wait until the server closes; messages on the way are left out."""
    while await connection.read_message() is not None:
        pass
    return connection.close_code


def test_a_socket_knows_who_it_belongs_to(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            socket = await here.connect(await here.sign_in())
            await socket.write_message("hello")
            assert await socket.read_message() == "ann: hello"

    run(story)


async def an_editor(here: Site) -> Session:
    users = here.application.accounts
    user = await users.sign_up("ann@example.com", "tall ships sail 27 seas")
    await here.application.account_claims.change_roles(
        here.application.sessions, user.user_id, add=["editor"]
    )
    return await here.sign_in(user.user_id)


@pytest.mark.parametrize("in_token", [False, True])
def test_a_connection_ends_at_once_when_its_role_is_taken_away(tmp_path: Path, in_token: bool) -> None:
    async def story() -> None:
        async with site(tmp_path, roles_in_token=in_token) as here:
            session = await an_editor(here)
            editors, others = await here.connect(session, "/editors"), await here.connect(session)
            await here.application.account_claims.change_roles(
                here.application.sessions, session.user_id, remove=["editor"]
            )
            assert await closed_with(editors) == 4004
            await others.write_message("still here")
            assert (await others.read_message() or "").endswith("still here")

    run(story)


def test_an_event_stream_ends_at_once_when_its_role_is_taken_away(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await an_editor(here)
            assert session.new_tokens
            cookie = f"sAccessToken={session.new_tokens.access_token}"
            headers = {"Origin": here.origin, "Cookie": cookie}
            request = HTTPRequest(f"{here.origin}/editors-ticker", headers=headers)
            answer = asyncio.create_task(_fetch(request))
            while not len(here.application.live):
                await asyncio.sleep(0.01)
            await here.application.account_claims.change_roles(
                here.application.sessions, session.user_id, remove=["editor"]
            )
            assert b'"code": 4004' in (await answer).body

    run(story)


def test_a_socket_ends_when_its_sign_in_is_not_recent_any_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in(auth_time=int(here.clock.now()))
            socket = await here.connect(session, "/recent")
            here.clock.advance(599)
            await here.application.live.check_deadlines()
            assert len(here.application.live) == 1
            here.clock.advance(3)
            await here.application.live.check_deadlines()
            assert await closed_with(socket) == 4004

    run(story)


def test_a_user_has_no_more_connections_than_the_setting_allows(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, max_sockets_per_user=2) as here:
            session, other_user = await here.sign_in(), await here.sign_in("bob")
            first, second = await here.connect(session), await here.connect(session)
            assert await closed_with(await here.connect(session)) == 4008
            await (await here.connect(other_user)).write_message("hello")
            first.close()
            while len(here.application.live) > 2:
                await asyncio.sleep(0.01)
            third = await here.connect(session)
            for socket in (second, third):
                await socket.write_message("hello")
                assert await socket.read_message() == "ann: hello"

    run(story)


def test_a_message_that_is_too_long_closes_the_connection(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, max_socket_message_bytes=2000) as here:
            socket = await here.connect(await here.sign_in())
            await socket.write_message("x" * 2001)
            assert await closed_with(socket) in (1009, None)  # Tornado closes without a code on some systems

    run(story)


def test_without_a_session_there_is_a_plain_401_and_no_socket(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            with pytest.raises(HTTPClientError) as guest:
                await here.connect(None)
            here.clock.advance(3600)
            with pytest.raises(HTTPClientError) as late:
                await here.connect(session)
            assert (guest.value.code, late.value.code) == (401, 401)
            assert late.value.response
            assert json.loads(late.value.response.body) == {"message": "try refresh token"}

    run(story)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "http://localhost:1"])
def test_another_sites_page_gets_no_socket(tmp_path: Path, origin: str) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            with pytest.raises(HTTPClientError) as refused:
                await here.connect(session, origin=origin)
            assert refused.value.code == 403

    run(story)


def test_a_session_whose_claims_do_not_hold_gets_a_403(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            await session.set_claim_value(ADULT, False)
            with pytest.raises(HTTPClientError) as refused:
                await here.connect(session, "/adults")
            assert refused.value.code == 403

    run(story)


def test_revoking_the_session_closes_its_sockets_and_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session, other = await here.sign_in(), await here.sign_in()
            sockets = [await here.connect(session) for _ in range(3)]
            survivor = await here.connect(other)
            await here.application.sessions.revoke_session(session.handle, owner=None)
            assert [await closed_with(socket) for socket in sockets] == [4001] * 3
            await survivor.write_message("still here")
            assert await survivor.read_message() == "ann: still here"
            assert len(here.application.live) == 1

    run(story)


def test_a_session_revoked_on_another_server_closes_its_sockets_here(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here, site(tmp_path) as there:
            session = await here.sign_in()
            socket = await here.connect(session)
            await there.application.sessions.revoke_all_sessions_for_user("ann")
            assert await closed_with(socket) == 4001

    run(story)


def test_a_socket_stays_open_through_renewals_of_its_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            socket = await here.connect(session)
            for _ in range(4):
                here.clock.advance(3000)
                assert session.new_tokens
                session = await here.application.sessions.refresh_session(
                    session.new_tokens.refresh_token or ""
                )
                here.clock.advance(500)
                await here.application.live.check_deadlines()
                while len(here.application.live._tasks) > 1:  # what that began, besides the watch itself
                    await asyncio.sleep(0.001)
            await socket.write_message("hello")
            while (message := await socket.read_message()) == '{"session": "renew"}':
                pass
            assert message == "ann: hello"

    run(story)


def test_a_socket_is_reminded_and_then_closed_when_nobody_renews(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            socket = await here.connect(await here.sign_in())
            here.clock.advance(3545)
            await here.application.live.check_deadlines()
            await here.application.live.check_deadlines()
            assert await socket.read_message() == '{"session": "renew"}'
            here.clock.advance(60)
            await here.application.live.check_deadlines()
            assert await socket.read_message() is None
            assert socket.close_code == 4003

    run(story)


def test_a_claim_that_holds_no_more_closes_the_sockets_that_asked_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            adults, anybody = await here.connect(session, "/adults"), await here.connect(session)
            await here.application.sessions.set_claim_value(session.handle, ADULT, False, owner=None)
            assert await closed_with(adults) == 4004
            await anybody.write_message("hello")
            assert await anybody.read_message() == "ann: hello"

    run(story)


def test_messages_reach_all_sockets_of_a_session_or_a_user_on_every_server(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here, site(tmp_path) as there:
            one, two = await here.sign_in(), await here.sign_in()
            sockets = [await here.connect(one), await there.connect(one), await there.connect(two)]
            await here.application.live.send_to_user("ann", "to ann")
            assert [await socket.read_message() for socket in sockets] == ["to ann"] * 3
            await there.application.live.send_to_session(one.handle, "to one")
            assert [await socket.read_message() for socket in sockets[:2]] == ["to one"] * 2
            await sockets[2].write_message("last")
            assert await sockets[2].read_message() == "ann: last"

    run(story)


def test_a_server_that_stops_closes_its_sockets_with_1001(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            socket = await here.connect(await here.sign_in())
            await here.application.live.stop()
            assert await closed_with(socket) == 1001

    run(story)


async def listen(
    here: Site, session: Session, chunks: list[bytes], until: bytes
) -> asyncio.Task[HTTPResponse]:
    """Open the sample's event stream; returns once this has come, with what still fetches."""
    assert session.new_tokens
    there = asyncio.Event()

    def receive(chunk: bytes) -> None:
        chunks.append(chunk)
        if until in b"".join(chunks):
            there.set()

    headers = {"Origin": here.origin, "Cookie": f"sAccessToken={session.new_tokens.access_token}"}
    request = HTTPRequest(f"{here.origin}/ticker", headers=headers, streaming_callback=receive)
    fetching = asyncio.create_task(_fetch(request))
    await there.wait()
    return fetching


async def _fetch(request: HTTPRequest) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(request)


def test_an_event_stream_ends_with_its_session_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session, chunks = await here.sign_in(), list[bytes]()
            fetching = await listen(here, session, chunks, b"event")
            assert b"".join(chunks) == b"event: message\ndata: tick\n\n"
            await here.application.sessions.revoke_session(session.handle, owner=None)
            response = await fetching
            assert response.headers["Content-Type"] == "text/event-stream"
            assert b"".join(chunks[1:]).startswith(b'event: session\ndata: {"code": 4001')
            assert len(here.application.live) == 0

    run(story)


def test_an_event_stream_that_has_nothing_to_say_shows_that_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies end an answer in which nothing comes; a line that begins with a colon is no event."""
    monkeypatch.setattr("stormcellar.web.live.HEARTBEAT_S", 0.01)

    async def story() -> None:
        async with site(tmp_path) as here:
            session, chunks = await here.sign_in(), list[bytes]()
            fetching = await listen(here, session, chunks, b":\n\n:\n\n")
            await here.application.sessions.revoke_session(session.handle, owner=None)
            await fetching

    run(story)


def test_a_session_revoked_during_the_handshake_closes_its_socket_at_once(tmp_path: Path) -> None:
    """The news came before the connection was there to hear it."""

    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            live, add = here.application.live, here.application.live.add

            def add_late(connection: Any) -> None:
                here.application.sessions.feed.note_revoked(session.handle, here.clock.now() + 60, "revoked")
                add(connection)

            live.add = add_late  # type: ignore[method-assign]
            assert await closed_with(await here.connect(session)) == 4001
            assert len(live) == 0

    run(story)


def test_head_opens_no_connection_that_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session = await here.sign_in()
            assert session.new_tokens
            cookie = f"sAccessToken={session.new_tokens.access_token}"
            for path in ("/echo", "/ticker"):
                answer = await AsyncHTTPClient().fetch(
                    here.origin + path,
                    method="HEAD",
                    headers={"Cookie": cookie, "Origin": here.origin},
                    raise_error=False,
                )
                assert answer.code == 405

    run(story)


def test_claims_that_could_not_be_checked_when_they_changed_are_checked_as_soon_as_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with site(tmp_path) as here:
            session, sessions = await here.sign_in(), here.application.sessions
            socket = await here.connect(session, "/adults")
            asked = asyncio.Event()

            async def refuse(_: Session) -> None:
                asked.set()
                raise StoreUnavailableError("stopped")

            with monkeypatch.context() as patch:
                patch.setattr(sessions, "refetch", refuse)
                await sessions.set_claim_value(session.handle, ADULT, False, owner=None)
                await asked.wait()
            here.clock.advance(CHECK_AGAIN_S)
            await here.application.live.check_deadlines()
            assert await closed_with(socket) == 4004

    run(story)
