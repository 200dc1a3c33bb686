# SPDX-License-Identifier: MIT
"""The WebSocket of stormcellar.testing: what a test sends and receives, and how it hears the end."""

from __future__ import annotations

import pytest
from tornado.httpclient import HTTPClientError

from stormcellar.application import Application
from stormcellar.testing.client import Client
from stormcellar.testing.plugin import AsUser
from stormcellar.web.live import ProtectedWebSocketHandler


class EchoHandler(ProtectedWebSocketHandler):
    """GET /echo"""

    def on_message(self, message: str | bytes) -> None:
        self.write_message('{"session": "renew"}')  # as the kit does
        self.write_message(message, binary=isinstance(message, bytes))


@pytest.fixture
def more_routes() -> list[object]:
    return [("/echo", EchoHandler)]


@pytest.mark.gen_test
async def test_a_page_s_messages_are_received_and_notices_are_kept_apart(as_user: AsUser) -> None:
    socket = await (await as_user()).connect("/echo")
    for message in ("text", b"bytes", '{"session": 1, "more": 2}', "[]"):
        await socket.send(message)
        assert await socket.receive() == message
    assert socket.notices == [{"session": "renew"}] * 4
    assert socket.close_code is None


@pytest.mark.gen_test
async def test_a_socket_that_is_closed_has_no_next_message(as_user: AsUser, app: Application) -> None:
    ann = await as_user()
    socket = await ann.connect("/echo")
    await app.sessions.revoke_session(ann.session_handle, owner=ann.user_id)
    with pytest.raises(AssertionError, match="closed with 4001: the session has ended"):
        await socket.receive()


@pytest.mark.gen_test
async def test_a_guest_and_another_site_open_no_socket(client: Client, as_user: AsUser) -> None:
    ann = await as_user()
    with pytest.raises(HTTPClientError, match="401"):
        await client.connect("/echo")
    with pytest.raises(HTTPClientError, match="403"):
        await ann.connect("/echo", headers={"Origin": "http://elsewhere.example"})
