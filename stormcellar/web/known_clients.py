# SPDX-License-Identifier: MIT
"""The cookie of a browser from which somebody has signed in before.

Whoever guesses at an account shuts it for strangers, but not for its owner: signing in leaves a cookie, and
who shows it has a budget of failures of their own (accounts/limits.py). It opens nothing: the password is
needed all the same. It is bound to the addresses that were signed in with, not to a session, so signing out
leaves it; no address can be read from it.

    <id of the browser>.<day>-<signature>.<day>-<signature>...     one signature for each address

Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from stormcellar.server_secret import Signer
from stormcellar.sessions import Clock
from stormcellar.sessions.base64url import decode_base64url, encode_base64url

DAY_S = 24 * 60 * 60
KNOWN_DAYS = 180
RENEW_AFTER_DAYS = 30
MOST_ADDRESSES = 4
SIGNATURE_BYTES = 16
COOKIE = re.compile(rf"([\w-]{{22}})((?:\.[0-9]{{1,6}}-[\w-]{{22}}){{1,{MOST_ADDRESSES}}})", re.ASCII)


class KnownClients:
    """Makes the cookies of one site, and knows them again.

    Args:
        keys: the first signs the cookies, each is tried to recognise one; the same on every server.
        secure: whether they travel over https only.
        prefixed: whether the name has the prefix `__Host-`.
    """

    def __init__(
        self, keys: Sequence[bytes], clock: Clock, *, secure: bool, same_site: str, prefixed: bool
    ) -> None:
        self._signer = Signer(keys)
        self._clock = clock
        self.name = "__Host-sKnownClient" if prefixed else "sKnownClient"
        self.secure = secure
        self.same_site = same_site.capitalize()

    def id_for(self, cookie: str | None, address: str, password_version: int = 0) -> str | None:
        """Which browser this is, if it was signed in with this address (in its normal form) before.

        A browser is unknown again when the password of the account has changed: it may be that of a person
        from whom the account was won back.
        """
        browser, entries = _parts(cookie)
        address = _account(address, password_version)
        return browser if self._day_of(browser, entries, address) is not None else None

    def after_sign_in(self, cookie: str | None, address: str, password_version: int = 0) -> str | None:
        """The cookie to give to a browser that was signed in with; None: the one it has will do."""
        browser, entries = _parts(cookie)
        address = _account(address, password_version)
        day = self._day_of(browser, entries, address)
        if day is not None and self._today() - day < RENEW_AFTER_DAYS:
            return None
        if not any(self._is_fresh(entry) for entry in entries):
            browser, entries = secrets.token_urlsafe(16), []
        others = [entry for entry in entries if not self._is_for(browser, entry, address)]
        newest = f"{self._today()}-{self._signature(browser, self._today(), address)}"
        return ".".join([browser, newest, *others[: MOST_ADDRESSES - 1]])

    @property
    def expires_at(self) -> float:
        """Until when a browser is to keep a cookie that it gets now, in Unix seconds."""
        return self._clock.now() + KNOWN_DAYS * DAY_S

    def _today(self) -> int:
        return int(self._clock.now() // DAY_S)

    def _day_of(self, browser: str, entries: list[str], address: str) -> int | None:
        for entry in entries:
            if self._is_fresh(entry) and self._is_for(browser, entry, address):
                return int(entry.partition("-")[0])
        return None

    def _is_fresh(self, entry: str) -> bool:
        return self._today() - int(entry.partition("-")[0]) <= KNOWN_DAYS

    def _is_for(self, browser: str, entry: str, address: str) -> bool:
        day, _, signature = entry.partition("-")
        given = decode_base64url(signature) or b""
        return self._signer.is_signature(given, _signed(browser, int(day), address))

    def _signature(self, browser: str, day: int, address: str) -> str:
        signature = self._signer.sign(_signed(browser, day, address))[:SIGNATURE_BYTES]
        return encode_base64url(signature)


def _signed(browser: str, day: int, address: str) -> bytes:
    return f"known client\0{browser}\0{day}\0{address}".encode()


def _account(address: str, password_version: int) -> str:
    """What an entry is signed for. The first password leaves the entries of older versions good."""
    return f"{address}\0{password_version}" if password_version else address


def _parts(cookie: str | None) -> tuple[str, list[str]]:
    match = COOKIE.fullmatch(cookie or "")
    return (match[1], match[2][1:].split(".")) if match else ("", [])
