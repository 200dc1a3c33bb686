# SPDX-License-Identifier: MIT
"""A WebSocket of a test: `socket = await ann.connect("/ws/prices")`."""

from __future__ import annotations

import json
from typing import Any

from tornado.websocket import WebSocketClientConnection


class Socket:
    """An open WebSocket. Messages about the session, such as the request to renew it, are in `notices`.

    Attributes:
        notices: what the server said of the session, by now.
    """

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self.notices: list[Any] = []

    async def send(self, message: str | bytes) -> None:
        await self._connection.write_message(message, binary=isinstance(message, bytes))

    async def receive(self) -> str | bytes:
        """Return the next message of the page's own.

        Raises:
            AssertionError: the socket was closed instead.
        """
        message = await self._next()
        assert message is not None, f"closed with {self.close_code}: {self._connection.close_reason}"
        return message

    async def closed(self) -> int | None:
        """Wait until the server closes the socket; return the code. Messages before that are dropped."""
        while await self._next() is not None:
            pass
        return self.close_code

    @property
    def close_code(self) -> int | None:
        """The code that the server closed with: 4001 if the session ended; None if the socket is open."""
        return self._connection.close_code

    def close(self) -> None:
        self._connection.close()

    async def _next(self) -> str | bytes | None:
        while True:
            message = await self._connection.read_message()
            if message is None or isinstance(message, bytes) or not is_notice(message):
                return message
            self.notices.append(json.loads(message))


def is_notice(message: str) -> bool:
    """Tell whether the kit, not the page, has sent this message: an object whose only key is `session`."""
    try:
        found = json.loads(message)
    except ValueError:
        return False
    return isinstance(found, dict) and [*found] == ["session"]
