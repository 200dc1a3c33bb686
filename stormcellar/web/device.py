# SPDX-License-Identifier: MIT
"""What is remembered of a client, for the page where people see their sessions: address, browser and system.

Only two names are taken from the User-Agent header. They are what the browser says of itself, and good for
telling one's own devices apart, no more.

Source: RFC 9110, section 10.1.5; MDN, "Browser detection using the user agent".
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest

from stormcellar.sessions import SessionInformation

LONGEST_AGENT = 512

# The first that fits: many browsers also name those that they are made of, or want to be taken for.
BROWSERS = (
    (r"\bEdg(?:e|A|iOS)?/", "Edge"),
    (r"\bOPR/|\bOPT/|\bOpera\b", "Opera"),
    (r"\bSamsungBrowser/", "Samsung Internet"),
    (r"\bVivaldi/", "Vivaldi"),
    (r"\bFirefox/|\bFxiOS/", "Firefox"),
    (r"\bChrom(?:e|ium)/|\bCriOS/|\bHeadlessChrome/", "Chrome"),
    (r"\bVersion/.*\bSafari/", "Safari"),
)
SYSTEMS = (
    (r"\biPhone\b|\biPod\b", "iOS"),
    (r"\biPad\b", "iPadOS"),
    (r"\bAndroid\b", "Android"),
    (r"\bWindows\b", "Windows"),
    (r"\bCrOS\b", "ChromeOS"),
    (r"\bMacintosh\b|\bMac OS X\b", "macOS"),
    (r"\bLinux\b|\bX11\b", "Linux"),
)


@dataclass(frozen=True)
class SeenFrom:
    """Where a session was seen from. "" stands for what is not known."""

    address: str = ""
    browser: str = ""
    system: str = ""

    @classmethod
    def of(cls, request: HTTPServerRequest) -> SeenFrom:
        agent = request.headers.get("User-Agent", "")[:LONGEST_AGENT]
        return cls(request.remote_ip or "", _first(BROWSERS, agent), _first(SYSTEMS, agent))

    @classmethod
    def from_text(cls, text: str) -> SeenFrom:
        """What `to_text` wrote; nothing known for any other text."""
        with contextlib.suppress(ValueError, TypeError):
            known = json.loads(text)
            if isinstance(known, list) and all(isinstance(part, str) for part in known):
                return cls(*known)
        return cls()

    def to_text(self) -> str:
        """What the engine keeps beside a session, twice: without names it takes half the room."""
        return json.dumps([self.address, self.browser, self.system], separators=(",", ":"))

    @property
    def device(self) -> str:
        """For people: "Firefox on Linux"."""
        if self.browser and self.system:
            return f"{self.browser} on {self.system}"
        return self.browser or (f"An app on {self.system}" if self.system else "Unknown device")


@dataclass(frozen=True)
class Device:
    """A session as its user sees it. Times are Unix seconds; `seen_at` is that of the last renewal."""

    handle: str
    is_this: bool
    first: SeenFrom
    last: SeenFrom
    began_at: float
    seen_at: float

    @classmethod
    def of(cls, information: SessionInformation, this: str = "") -> Device:
        first = SeenFrom.from_text(information.created_from)
        return cls(
            handle=information.session_handle,
            is_this=information.session_handle == this,
            first=first,
            last=SeenFrom.from_text(information.refreshed_from) if information.refreshed_from else first,
            began_at=information.time_created / 1000,
            seen_at=information.time_refreshed / 1000,
        )


def _first(patterns: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for pattern, name in patterns if re.search(pattern, agent)), "")
