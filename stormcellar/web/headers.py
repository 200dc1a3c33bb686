# SPDX-License-Identifier: MIT
"""The headers that every answer carries, put together once (OWASP ASVS 5.0, 3.4; OWASP secure headers)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate

from tornado.httputil import HTTPHeaders

from stormcellar.settings import Settings
from stormcellar.web.addresses import Addresses


def content_security_policy(scripts_call: str = "", forms_lead_to: Sequence[str] = ()) -> str:
    """Everything from this site, and nothing inline.

    Args:
        scripts_call: another origin that scripts may call, the API server's.
        forms_lead_to: other origins to which forms are sent, or the answers to forms redirect.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "font-src 'self'",
            " ".join(filter(None, ("connect-src 'self'", scripts_call))),
            "manifest-src 'self'",
            " ".join(("form-action 'self'", *forms_lead_to)),
            "base-uri 'none'",
            "object-src 'none'",
            "frame-ancestors 'none'",
        ]
    )


def default_headers(options: Settings) -> list[tuple[str, str]]:
    addresses = Addresses.of(options)
    headers = [
        ("Content-Security-Policy", content_security_policy(addresses.api_origin, addresses.other_pages)),
        ("X-Content-Type-Options", "nosniff"),
        # So that forms say where they come from, here or at the API server: else they have `Origin: null`.
        ("Referrer-Policy", "strict-origin-when-cross-origin" if addresses.api_origin else "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("Cache-Control", "private, no-store"),
        ("Vary", "Cookie, Sec-Fetch-Dest" + (", Origin" if answers_depend_on_origin(options) else "")),
    ]
    if options.cookie_secure and not options.debug:  # a tunnel's name is borrowed
        reach = "; includeSubDomains" if options.hsts_include_subdomains else ""
        headers.append(("Strict-Transport-Security", f"max-age={options.hsts_max_age_s}{reach}"))
    return headers


def answers_depend_on_origin(options: Settings) -> bool:
    """Tell whether CORS headers are sent to some origins and not to others."""
    return bool(options.trusted_origins or options.website_domain)


DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""The policy of an answer that shows nothing (OWASP, REST Security Cheat Sheet)."""


ABOUT_BODIES = (
    "Content-Type",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Cross-Origin-Resource-Policy",
    "Permissions-Policy",
)


def shorten_head(headers: HTTPHeaders, status: int) -> None:
    """Leave out what is about a body from redirects, and from JSON what only documents need.

    New tokens then fit beside the rest: nginx takes 4,096 bytes for the head of an answer unless it is told
    otherwise (proxy_buffer_size).
    """
    if is_redirect(status):
        for name in ABOUT_BODIES:
            headers.pop(name, None)
    elif headers.get("Content-Type", "").startswith("application/json"):
        headers["Content-Security-Policy"] = DATA_POLICY
        headers.pop("Permissions-Policy", None)


def is_redirect(status: int) -> bool:
    return 300 <= status < 400


class StandingHeaders:
    """Makes the headers that an answer begins with. Nothing in them is worked out more than once a second."""

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self.headers = {"Content-Type": "text/html; charset=UTF-8", **dict(headers)}
        self._second = 0
        self._date = ""

    def fresh(self) -> HTTPHeaders:
        second = int(time.time())  # the wall clock, as RFC 9110, section 6.6.1 has it, also in tests
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        headers = HTTPHeaders()
        for name, value in self.headers.items():
            headers[name] = value
        headers["Date"] = self._date
        return headers
