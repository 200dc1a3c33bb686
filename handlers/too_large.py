# SPDX-License-Identifier: MIT
"""How large a body may be: decided by its length as announced, before any of it is kept."""

from __future__ import annotations

import re
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, stream_request_body

from handlers.base import BaseHandler


def admitted(
    request: HTTPServerRequest, handler: type[RequestHandler], most_bytes: int
) -> type[RequestHandler]:
    """The handler, if its class takes a body of the length that the request announces.

    A body that comes in chunks announces none; Tornado counts it and breaks off where it grows too long.

    Args:
        most_bytes: what classes take that do not say `max_body_bytes` themselves.
    """
    limit = getattr(handler, "max_body_bytes", None) or most_bytes
    if "Content-Length" not in request.headers and "Transfer-Encoding" not in request.headers:
        return handler
    connection = cast(HTTP1Connection, request.connection)
    announced_bytes = _announced_bytes(request)
    connection.set_max_body_size(max(limit, announced_bytes))
    if announced_bytes <= limit:
        return handler
    return TooLargeJSONHandler if getattr(handler, "speaks_json", False) else TooLargeHandler


def _announced_bytes(request: HTTPServerRequest) -> int:
    announced = request.headers.get("Content-Length", "")
    return int(announced) if re.fullmatch("[0-9]{1,15}", announced, re.ASCII) else 0


@stream_request_body
class TooLargeHandler(BaseHandler):
    """413, after a body of usual size was dropped: whoever is still writing does not read the answer."""

    public = "it only refuses"

    async def prepare(self) -> None:
        if _announced_bytes(self.request) > self.app.options.max_body_bytes:
            await self.refuse()

    def data_received(self, chunk: bytes) -> None:
        pass

    async def refuse(self, *_args: Any, **_kwargs: Any) -> None:
        self.set_header("Connection", "close")
        raise HTTPError(413)

    get = head = post = put = patch = delete = options = refuse


class TooLargeJSONHandler(TooLargeHandler):
    """The same for callers who read JSON."""

    speaks_json = True
