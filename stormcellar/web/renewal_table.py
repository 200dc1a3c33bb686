# SPDX-License-Identifier: MIT
"""The one table that says how a caller renews its session, and what a caller without a session gets.

The server reads TABLE from the top. The first row that fits the request decides. docs/pages.md shows the same
table (`python -m handlers.renewal_table` prints it), and the tests send a request for each row.

Source: Fetch Metadata (W3C); Fetch (WHATWG), request destinations; headers of htmx, Turbo, Unpoly and pjax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tornado.httputil import HTTPServerRequest

Renewal = Literal["page", "detour", "401", "503"]
"""
page: a redirect to the refresh page, or what `refresh_mode` says instead.
detour: a redirect to an address below the refresh cookie's path, and back: 303 for GET and HEAD, else 307.
401: the caller renews the session itself, or follows no redirect.
503: nothing is renewed; the browser asks again when the visitor opens the page.
"""
Guest = Literal["sign-in", "HX-Redirect", "401", "503"]
"""
sign-in: a redirect to the sign-in page.
HX-Redirect: 401 with the header that makes htmx leave the page for the sign-in page.
"""

SPECULATION_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
SDK_HEADERS = ("rid", "fdi-version", "st-auth-mode")
PAGE_LIBRARY_HEADERS = ("Turbo-Frame", "X-Turbo-Request-Id", "X-Up-Version", "X-PJAX")
FOLLOWS_NO_REDIRECT = frozenset({"serviceworker", "report", "webidentity", "dictionary"})
FRAMES = frozenset({"iframe", "frame", "embed", "object", "fencedframe"})
FILE_TYPES = ("image/", "text/css", "video/", "audio/", "font/", "application/font")


class Call(NamedTuple):
    """What a request says of its caller; a header that is missing is ""."""

    method: str
    mode: str
    destination: str
    site: str
    accept: str
    is_script: bool  # X-Requested-With, as jQuery and older libraries send it
    is_htmx: bool
    is_library: bool
    is_sdk: bool
    is_speculative: bool

    @classmethod
    def of(cls, request: HTTPServerRequest) -> Call:
        headers = request.headers
        return cls(
            request.method or "",
            headers.get("Sec-Fetch-Mode", ""),
            headers.get("Sec-Fetch-Dest", ""),
            headers.get("Sec-Fetch-Site", ""),
            headers.get("Accept", ""),
            headers.get("X-Requested-With") == "XMLHttpRequest",
            headers.get("HX-Request") == "true",
            any(name in headers for name in PAGE_LIBRARY_HEADERS),
            any(name in headers for name in SDK_HEADERS),
            is_speculative(request),
        )

    @property
    def is_navigation(self) -> bool:
        return self.mode == "navigate" or self.destination == "document"

    @property
    def asks_for_page(self) -> bool:
        return "text/html" in self.accept and not self.is_script

    @property
    def is_read(self) -> bool:
        return self.method in ("GET", "HEAD")


class Caller(NamedTuple):
    """A row: who calls, by what the server knows it, and what it gets.

    Attributes:
        renewal: if the access token has expired.
        guest: if there is no session, or the session is over.
        reads_pages: whether an error is answered with a page; otherwise with JSON.
    """

    name: str
    signs: str
    fits: Callable[[Call], bool]
    renewal: Renewal
    guest: Guest
    reads_pages: bool = False


SPECULATION = Caller(
    "Prefetch, prerender",
    "`Sec-Purpose`, `Purpose`, `X-Purpose` or `X-Moz`",
    lambda call: call.is_speculative,
    "503",
    "503",
    reads_pages=True,
)
SDK = Caller(
    "SuperTokens' SDKs, `fetch` of `session.js`",
    "`rid`, `fdi-version` or `st-auth-mode`",
    lambda call: call.is_sdk,
    "401",
    "401",
)
TABLE = (
    SPECULATION,
    SDK,
    Caller(
        "Script, image, style of a page on another origin",
        "`Sec-Fetch-Site: cross-site` or `same-site`, and no navigation",
        lambda call: call.site in ("cross-site", "same-site") and not call.is_navigation,
        "401",
        "401",
    ),
    Caller(
        "Service worker, report of the browser, WebSocket",
        "`Sec-Fetch-Dest: serviceworker`, `report`, `webidentity` or `dictionary`; "
        "`Sec-Fetch-Mode: websocket`",
        lambda call: call.destination in FOLLOWS_NO_REDIRECT or call.mode == "websocket",
        "401",
        "401",
    ),
    Caller(
        "`<iframe>`, `<frame>`, `<embed>`, `<object>`",
        "`Sec-Fetch-Dest: iframe`, `frame`, `embed`, `object` or `fencedframe`",
        lambda call: call.destination in FRAMES,
        "detour",
        "401",
        reads_pages=True,
    ),
    Caller(
        "`<img>`, `<video>`, `<audio>`, `<track>`, `<script>`, `<link>`, font, worker",
        "each other `Sec-Fetch-Dest`, except `document` and `empty`",
        lambda call: call.destination not in ("", "document", "empty"),
        "detour",
        "401",
    ),
    Caller(
        "`<a download>`",
        "`Sec-Fetch-Mode: navigate`, `Sec-Fetch-Dest: empty`, `Accept` without `text/html`; GET, HEAD",
        lambda call: (
            call.is_navigation and call.destination == "empty" and not call.asks_for_page and call.is_read
        ),
        "detour",
        "401",
    ),
    Caller(
        "Event stream",
        "`Accept: text/event-stream`",
        lambda call: "text/event-stream" in call.accept,
        "detour",
        "401",
    ),
    Caller("htmx", "`HX-Request: true`", lambda call: call.is_htmx, "detour", "HX-Redirect"),
    Caller(
        "Turbo, Unpoly, pjax",
        "`Turbo-Frame`, `X-Turbo-Request-Id`, `X-Up-Version` or `X-PJAX`; "
        "`Accept: text/vnd.turbo-stream.html`",
        lambda call: call.is_library or "text/vnd.turbo-stream.html" in call.accept,
        "detour",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "Link, address bar; a navigation that a service worker passes on",
        "`Sec-Fetch-Mode: navigate` or `Sec-Fetch-Dest: document`; GET, HEAD",
        lambda call: call.is_navigation and call.is_read,
        "page",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "Form",
        "the same; every other method",
        lambda call: call.is_navigation,
        "detour",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "Script or service worker that asks for a page",
        "`Sec-Fetch-Dest: empty`, `Accept` with `text/html`, no `X-Requested-With: XMLHttpRequest`",
        lambda call: call.destination == "empty" and call.asks_for_page,
        "detour",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "`fetch`, `XMLHttpRequest`, `sendBeacon` of an own page",
        "`Sec-Fetch-Dest: empty`, or `X-Requested-With: XMLHttpRequest`",
        lambda call: call.destination == "empty" or call.is_script,
        "detour",
        "401",
    ),
    Caller(
        "Link or address bar in a browser without Fetch Metadata, crawler",
        "`Accept` with `text/html`; GET, HEAD",
        lambda call: call.asks_for_page and call.is_read,
        "page",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "Form in a browser without Fetch Metadata",
        "`Accept` with `text/html`; every other method",
        lambda call: call.asks_for_page,
        "detour",
        "sign-in",
        reads_pages=True,
    ),
    Caller(
        "Image, style or font in a browser without Fetch Metadata",
        "`Accept` begins with such a type; GET, HEAD",
        lambda call: call.accept.startswith(FILE_TYPES) and call.is_read,
        "detour",
        "401",
    ),
    Caller("Another program", "everything else", lambda call: True, "401", "401"),
)


def caller_of(request: HTTPServerRequest) -> Caller:
    """Find the row that fits a request."""
    call = Call.of(request)
    return next(row for row in TABLE if row.fits(call))


def is_speculative(request: HTTPServerRequest) -> bool:
    """Tell whether a browser fetches this ahead of time and may never show it (prefetch, prerender)."""
    purposes = (request.headers.get(name, "") for name in SPECULATION_HEADERS)
    return any(word in purpose for purpose in purposes for word in ("prefetch", "preview", "prerender"))


def as_markdown() -> str:
    """Write the table as it is in docs/pages.md."""
    head = "| who calls | how the server knows | expired token | no session |\n| --- | --- | --- | --- |"
    rows = (f"| {row.name} | {row.signs} | {row.renewal} | {row.guest} |" for row in TABLE)
    return "\n".join((head, *rows))


if __name__ == "__main__":
    print(as_markdown())
