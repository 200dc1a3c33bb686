# SPDX-License-Identifier: MIT
"""Sentences for the operator: which setting makes a refused request pass.

They are in the log always, and on the page in development only.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from stormcellar.web.target import hostname


class Refused(HTTPError):
    """A request that a setting may be the reason to refuse.

    Attributes:
        advice: what to change.
    """

    def __init__(self, status: int, advice: str) -> None:
        super().__init__(status, "%s", advice)
        self.advice = advice


def on_host(host: str, origin: str | None) -> str:
    """Say why the name in a request is not answered.

    Args:
        origin: of the setting `public_url`, or nothing.
    """
    if not origin:
        return (
            f"the request is for {host!r}, but public_url is empty, so only localhost is answered: "
            "set public_url to the address that visitors type"
        )
    return (
        f"the request is for {host!r}, but public_url is {origin}: if visitors type that name, set "
        "public_url to it; else have the proxy pass on the Host header, or send the one of public_url"
    )


def on_origin(request: HTTPServerRequest, own_origin: str) -> str:
    """Say why a request that may change something is refused."""
    origin = request.headers.get("Origin")
    if origin is None and "Sec-Fetch-Site" not in request.headers:
        return (
            "the request does not say where it comes from: programs send JSON with its Content-Type, or a "
            "token in Authorization; a handler that takes forms of other servers says accepts_cross_site"
        )
    if origin is None or origin == "null":
        return (
            "a page without an origin sent the request: a handler that takes it says so by accepts_cross_site"
        )
    if hostname(host_of(origin)) in (hostname(request.host), hostname(host_of(own_origin))):
        return (
            f"the browser shows {origin!r}, but this server takes itself for {own_origin}: set public_url to "
            "what the browser shows, and trusted_proxies to the proxy that speaks https"
        )
    return f"another site sent the request: if {origin!r} is yours, add it to trusted_origins"


def host_of(origin: str) -> str:
    """The host and port of an origin; "" if it has none or cannot be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
