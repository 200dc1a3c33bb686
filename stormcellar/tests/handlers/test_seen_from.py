# SPDX-License-Identifier: MIT
"""What is read from a User-Agent header: two names, and nothing that is not there."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from stormcellar.web.device import SeenFrom

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = {
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/156.0.0.0 Safari/537.36": "Chrome on Linux",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/156.0.0.0 Safari/537.36 Edg/156.0": (
        "Edge on Windows"
    ),
    f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/150.0.0.0 Safari/537.36 OPR/120.0": "Opera on Windows",
    f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36": (
        "Samsung Internet on Android"
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/156.0.0.0 Safari/537.36": "Chrome on ChromeOS",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/156.0.0.0 Safari/537.36": "Chrome on Linux",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Windows",
    "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0": "Firefox on Android",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " FxiOS/140.0 Mobile/15E148 Safari/605.1.15": "Firefox on iOS",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " CriOS/150.0 Mobile/15E148 Safari/604.1": "Chrome on iPadOS",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.5 Safari/605.1.15": "Safari on macOS",
    "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 9)": "An app on Android",
    "okhttp/4.12.0": "Unknown device",
    "curl/8.5.0": "Unknown device",
    "": "Unknown device",
    "Firefoxy/1 Windowsill Chromeplated": "Unknown device",
    "\x00<script>\xff": "Unknown device",
    "x" * 600 + " Firefox/1": "Unknown device",
}


def seen(agent: str) -> SeenFrom:
    request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "localhost", "User-Agent": agent}),
    )
    request.remote_ip = "203.0.113.7"
    return SeenFrom.of(request)


@pytest.mark.parametrize(("agent", "device"), AGENTS.items(), ids=range(len(AGENTS)))
def test_browser_and_system_are_read_by_name(agent: str, device: str) -> None:
    found = seen(agent)
    assert found.device == device
    assert found.address == "203.0.113.7"
    assert SeenFrom.from_text(found.to_text()) == found


@pytest.mark.parametrize("text", ["", "x", "[]", "5", "null", '"x"', "{}", '{"other": 1}'])
def test_of_any_other_text_nothing_is_known(text: str) -> None:
    assert SeenFrom.from_text(text) == SeenFrom()
