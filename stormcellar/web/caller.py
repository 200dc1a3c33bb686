# SPDX-License-Identifier: MIT
"""Where a request comes from, as its headers say: our own pages, a trusted site, an SDK, or another site.

Source: Fetch Metadata (W3C), RFC 6454 (Origin).
"""

from __future__ import annotations

from collections.abc import Collection

from tornado.httputil import HTTPServerRequest

from stormcellar.web.renewal_table import SDK_HEADERS

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CORS_HEADERS = ("content-type", *SDK_HEADERS, "anti-csrf", "authorization")


def comes_from_client(request: HTTPServerRequest) -> bool:
    """Whether one of SuperTokens' clients calls, or another program that speaks JSON; no form does."""
    return _content_type(request) == "application/json" or any(
        name in request.headers for name in SDK_HEADERS
    )


def is_same_site(request: HTTPServerRequest, own_origin: str, trusted_origins: Collection[str]) -> bool:
    """Whether a request that may change something comes from our own pages or from a trusted site.

    Browsers say where a request comes from, in two headers that no page can forge. A caller that sends
    neither is not a browser, or a very old one. It must show that it could do what a foreign page's form
    cannot: name JSON as the type of the body, bring its token in a header, or, without a body, send a header
    of the SDKs.
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
    if _content_type(request) == "application/json":
        return True
    return not request.body and any(name in headers for name in SDK_HEADERS)


def _content_type(request: HTTPServerRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip(" \t").lower()


def get_all_cors_headers() -> list[str]:
    """Return the headers that SuperTokens' clients send, for an Access-Control-Allow-Headers of your own.

    Source: the function of that name in SuperTokens' backend SDKs.
    """
    return list(CORS_HEADERS)


def cors_headers(asked: str) -> list[str]:
    """Which headers trusted sites' scripts may send: the SDKs' own, and whatever else they ask for."""
    names = [name.strip(" \t").lower() for name in asked.split(",")]
    wanted = [name for name in names if name and name.replace("-", "").isalnum() and name.isascii()]
    return list(dict.fromkeys([*CORS_HEADERS, *wanted]))


def is_digits(text: str) -> bool:
    """Whether the text is one or more of the digits 0 to 9; str.isdigit accepts further characters."""
    return text.isascii() and text.isdigit()
