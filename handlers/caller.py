# SPDX-License-Identifier: MIT
"""Who is calling: what a request's own headers say of where it comes from and what it can do with an answer.

Source: Fetch Metadata (W3C), RFC 6454 (Origin), Prefetch/Prerender (`Sec-Purpose`), htmx reference.
"""

from __future__ import annotations

from collections.abc import Collection

from tornado.httputil import HTTPServerRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DOCUMENT_DESTINATIONS = frozenset({"document", "iframe", "frame", "embed", "object", "fencedframe"})
SDK_HEADERS = ("rid", "fdi-version", "st-auth-mode")
CORS_HEADERS = ("content-type", *SDK_HEADERS, "anti-csrf", "authorization")


def wants_document(request: HTTPServerRequest) -> bool:
    """Whether the answer will be shown as a page, so that a redirect makes sense.

    Browsers say so (`Sec-Fetch-Dest`); of other callers those are taken for it that ask for HTML.
    """
    destination = request.headers.get("Sec-Fetch-Dest")
    if destination is not None and destination != "empty":
        return destination in DOCUMENT_DESTINATIONS
    if destination == "empty" or is_htmx(request):
        return False
    return "text/html" in request.headers.get("Accept", "")


def is_htmx(request: HTTPServerRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def comes_from_client(request: HTTPServerRequest) -> bool:
    """Whether one of SuperTokens' clients calls, or another program that speaks JSON; no form does."""
    return _content_type(request) == "application/json" or any(
        name in request.headers for name in SDK_HEADERS
    )


def is_speculative(request: HTTPServerRequest) -> bool:
    """Whether a browser fetches this ahead of time, perhaps never to show it (prefetch, prerender)."""
    purposes = (request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    return any(word in purpose for purpose in purposes for word in ("prefetch", "preview", "prerender"))


def is_same_site(request: HTTPServerRequest, own_origin: str, trusted_origins: Collection[str]) -> bool:
    """Whether a request that may change something comes from our own pages or from a trusted site.

    Browsers say where a request comes from, in two headers that no page can forge. A caller that sends
    neither is not a browser, or a very old one: it must show that it could set a header which a foreign
    page's form cannot (with a JSON body or none), or bring its token in a header itself.
    """
    headers = request.headers
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site in ("same-origin", "none"):
        return True
    if origin is not None:
        return origin == own_origin or origin in trusted_origins
    if site is not None:
        return False
    if headers.get("Authorization", "").startswith("Bearer "):
        return True
    harmless_body = _content_type(request) == "application/json" or not request.body
    return harmless_body and any(name in headers for name in SDK_HEADERS)


def _content_type(request: HTTPServerRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def cors_headers(asked: str) -> list[str]:
    """Which headers trusted sites' scripts may send: the SDKs' own, and whatever else they ask for."""
    names = [name.strip().lower() for name in asked.split(",")]
    wanted = [name for name in names if name and name.replace("-", "").isalnum() and name.isascii()]
    return list(dict.fromkeys([*CORS_HEADERS, *wanted]))


def hostname(host: str) -> str:
    """The name in a Host header, lower-case, without its port; IPv6 in its brackets."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
