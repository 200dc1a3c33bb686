# SPDX-License-Identifier: MIT
"""What is decided by the head of a request, before any of its body is kept: its method, and its length.

    no body is needed (GET, HEAD, OPTIONS, a method that the handler lacks)    64 KiB
    a form without files                                                       max_form_bytes, 1 MiB
    any other body                                                             max_body_bytes, 10 MiB

A handler may ask for less, or for larger bodies, by `max_body_bytes`; a form without files stays below
`max_form_bytes`, because all of it is decoded at once. A large body that a redirect passes on is dropped.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, stream_request_body

from stormcellar.settings import Settings
from stormcellar.web.caller import SAFE_METHODS
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler, implemented_methods


def admitted(
    request: HTTPServerRequest, handler: type[RequestHandler], options: Settings
) -> type[RequestHandler]:
    """The handler, if its class takes a request of this method and a body of the length that is announced.

    A body that comes in chunks announces none; Tornado counts it and breaks off where it grows too long.
    """
    method = request.method or ""
    if not issubclass(handler, BaseHandler) and method not in (methods := implemented_methods(handler)):
        return refuse_method(methods)
    if "Content-Length" not in request.headers and "Transfer-Encoding" not in request.headers:
        return handler
    limit = _most_bytes(request, handler, options)
    connection = cast(HTTP1Connection, request.connection)
    announced_bytes = _announced_bytes(request)
    connection.set_max_body_size(max(limit, announced_bytes))
    if announced_bytes <= limit:
        streamed: type[RequestHandler] | None = getattr(handler, "for_large_bodies", None)
        return streamed if streamed and announced_bytes > SMALL_BODY_BYTES else handler
    return TooLargeJSONHandler if getattr(handler, "speaks_json", False) else TooLargeHandler


def _most_bytes(request: HTTPServerRequest, handler: type[RequestHandler], options: Settings) -> int:
    """The length of the body that a handler takes of this request."""
    method = request.method or ""
    if method in SAFE_METHODS or method not in implemented_methods(handler):
        return SMALL_BODY_BYTES
    own: int = getattr(handler, "max_body_bytes", None) or options.max_body_bytes
    if "urlencoded" in request.headers.get("Content-Type", "").lower():
        return min(own, options.max_form_bytes)
    return own


def _announced_bytes(request: HTTPServerRequest) -> int:
    announced = request.headers.get("Content-Length", "")
    return int(announced) if re.fullmatch("[0-9]{1,15}", announced, re.ASCII) else 0


@stream_request_body
class RefusingHandler(BaseHandler):
    """Refuses whatever comes, after a body of usual size was dropped.

    A client that is still writing does not read the answer.
    """

    public = "it only refuses"
    status: ClassVar[int]

    def initialize(self, **_kwargs: Any) -> None:
        super().initialize()

    async def prepare(self) -> None:
        self.is_prepared = True  # there is nothing to protect
        if _announced_bytes(self.request) > self.app.options.max_body_bytes:
            await self.refuse()

    def data_received(self, chunk: bytes) -> None:
        pass

    async def refuse(self, *_args: Any, **_kwargs: Any) -> None:
        if _announced_bytes(self.request) > SMALL_BODY_BYTES:
            self.set_header("Connection", "close")
        raise HTTPError(self.status)

    get = head = post = put = patch = delete = options = refuse


class TooLargeHandler(RefusingHandler):
    """413."""

    status = 413


class TooLargeJSONHandler(TooLargeHandler):
    """The same for callers who read JSON."""

    speaks_json = True


class MethodRefusedHandler(RefusingHandler):
    """405 for a handler that is not ours, such as one for files: Tornado's own answer has no `Allow`."""

    status = 405
    allowed: ClassVar[tuple[str, ...]] = ()

    def _methods(self) -> str:
        return ", ".join(self.allowed)


def refuse_method(allowed: tuple[str, ...]) -> type[RequestHandler]:
    """Make the handler that names the methods that are allowed; one class for each set of them."""
    if allowed not in _REFUSING:
        _REFUSING[allowed] = type("MethodRefused", (MethodRefusedHandler,), {"allowed": allowed})
    return _REFUSING[allowed]


_REFUSING: dict[tuple[str, ...], type[MethodRefusedHandler]] = {}
