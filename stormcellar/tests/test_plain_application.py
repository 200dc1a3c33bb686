# SPDX-License-Identifier: MIT
"""The kit's handlers on an application that has no sessions: 500, and the log says what is missing."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from stormcellar.web.handler import BaseHandler, ProtectedAPIHandler, ProtectedHandler
from stormcellar.web.live import ProtectedWebSocketHandler

pytestmark = pytest.mark.kit


async def answer_of_plain_application(handler: type[RequestHandler], method: str) -> tuple[int, str]:
    socket, port = bind_unused_port()
    server = HTTPServer(Application([("/", handler)]))
    server.add_sockets([socket])
    try:
        client = AsyncHTTPClient()
        body = b"a=b" if method == "POST" else None
        answer = await client.fetch(f"http://127.0.0.1:{port}/", method=method, body=body, raise_error=False)
        return answer.code, answer.body.decode()
    finally:
        server.stop()
        await server.close_all_connections()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "handler", [BaseHandler, ProtectedHandler, ProtectedAPIHandler, ProtectedWebSocketHandler]
)
def test_a_plain_application_is_told_what_is_missing(
    caplog: pytest.LogCaptureFixture, handler: type[RequestHandler], method: str
) -> None:
    code, body = asyncio.run(answer_of_plain_application(handler, method))
    assert code == 500
    assert "Traceback" not in body
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said[0] == (
        f"{handler.__name__} is served by tornado.web.Application, which has no sessions: "
        "build the application with stormcellar.Application"
    )
