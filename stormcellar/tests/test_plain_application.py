# SPDX-License-Identifier: MIT
"""The kit's handlers on an application that has no sessions: the log says what is missing."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from stormcellar.web.handler import BaseHandler

pytestmark = pytest.mark.kit


async def request_to_plain_application() -> None:
    socket, port = bind_unused_port()
    server = HTTPServer(Application([("/", BaseHandler)]))
    server.add_sockets([socket])
    try:
        await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/", raise_error=False)
    except HTTPClientError:
        pass  # Tornado closes the connection of a handler that cannot be built
    finally:
        server.stop()
        await server.close_all_connections()


def test_a_plain_application_is_told_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="tornado.application"):
        asyncio.run(request_to_plain_application())
    errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert errors == [
        "BaseHandler is served by tornado.web.Application, which has no sessions: "
        "build the application with stormcellar.Application"
    ]
