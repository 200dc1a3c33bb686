# SPDX-License-Identifier: MIT
"""The headers that every answer carries, put together once (OWASP ASVS 5.0, 3.4; OWASP secure headers)."""

from __future__ import annotations

from settings import Settings

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        "frame-ancestors 'none'",
    ]
)
HSTS_S = 2 * 365 * 24 * 60 * 60


def default_headers(options: Settings) -> list[tuple[str, str]]:
    headers = [
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        # With no-referrer browsers send `Origin: null` with forms, which tells us nothing.
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("Cache-Control", "private, no-store"),
        ("Vary", "Cookie, Sec-Fetch-Dest"),
    ]
    if options.cookie_secure:
        headers.append(("Strict-Transport-Security", f"max-age={HSTS_S}; includeSubDomains"))
    return headers
