# SPDX-License-Identifier: MIT
"""Public keys of another server, from its JWKS address (RFC 7517).

They are kept for CACHE_S and then fetched again in the background, while the old ones go on verifying. An
unknown key id has them fetched at once, though never sooner than COOLDOWN_S after the last try. So an
address that is out of reach matters to nobody whose key is known here.

Source: RFC 8725, sections 3.1, 3.5 and 3.10.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.clock import Clock
from stormcellar.sessions.access_token import MAX_STRING_CHARACTERS
from stormcellar.sessions.base64url import decode_base64url

log = logging.getLogger("stormcellar.sessions")

CACHE_S = 4 * 60 * 60
COOLDOWN_S = 2.0
TIME_LIMIT_S = 5.0
MAX_DOCUMENT_BYTES = 256 * 1024
KEY_BITS = range(2048, 8192 + 1)


@dataclass(frozen=True)
class RemoteKey:
    kid: str
    public_key: rsa.RSAPublicKey


class RemoteKeys:
    """The public keys of another server, as this process knows them.

    Args:
        url: its JWKS address.
        fetch: gets a document, in a thread unless it is a coroutine function. It raises OSError,
            HTTPException or ValueError if it cannot, and must end in bounded time. By default
            `fetch_document`.
    """

    def __init__(
        self, url: str, clock: Clock, *, fetch: Callable[[str], bytes | Awaitable[bytes]] | None = None
    ) -> None:
        self.url = url
        self._clock = clock
        self._fetch = fetch or fetch_document
        self._keys: dict[str, RemoteKey] = {}
        self._tried_at = self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever fetched."""
        return not self._keys

    def find(self, kid: str) -> RemoteKey | None:
        """The key of exactly this id, if it is known here."""
        return self._keys.get(kid)

    async def find_or_reload(self, kid: str) -> RemoteKey | None:
        """As `find`, fetching the keys if need be; who comes during a fetch waits for that one."""
        async with self._lock:
            if kid not in self._keys and self._is_over(self._tried_at, COOLDOWN_S):
                await self._load()
        return self._keys.get(kid)

    async def load(self) -> None:
        """Fetch the keys now. Failing is only logged: those that are known stay."""
        async with self._lock:
            await self._load()

    def renew_if_old(self) -> None:
        """Have keys that were kept for long enough fetched again, in the background."""
        under_way = self._renewal is not None and not self._renewal.done()
        if self._is_due() and not under_way:
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def stop(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def _renew(self) -> None:
        async with self._lock:
            if self._is_due():  # a request may have been quicker
                await self._load()

    def _is_due(self) -> bool:
        return self._is_over(self._fetched_at, CACHE_S) and self._is_over(self._tried_at, COOLDOWN_S)

    def _is_over(self, since: float, length_s: float) -> bool:
        return not 0 <= self._clock.now() - since < length_s  # a clock that was set back ends it too

    async def _load(self) -> None:
        try:
            keys = await asyncio.to_thread(parse_jwks, await self._document())
        except (OSError, HTTPException, ValueError) as error:
            log.warning("the keys at %s cannot be fetched: %s", self.url, error)
        else:
            if new := keys.keys() - self._keys.keys():
                log.info("new keys at %s: %s", self.url, ", ".join(sorted(new)))
            self._keys = keys
            self._fetched_at = self._clock.now()
        finally:
            self._tried_at = self._clock.now()

    async def _document(self) -> bytes:
        if inspect.iscoroutinefunction(self._fetch):
            document: bytes = await self._fetch(self.url)
            return document
        return await asyncio.to_thread(cast("Callable[[str], bytes]", self._fetch), self.url)


class _SameOriginRedirects(HTTPRedirectHandler):
    def redirect_request(self, request: Request, *more: Any) -> Request | None:
        target = more[-1]
        if urlsplit(target)[:2] != urlsplit(request.full_url)[:2]:
            raise URLError(f"it redirects to another host, {target}")
        return super().redirect_request(request, *more)


def fetch_document(url: str) -> bytes:
    """The document at an address, for programs without an HTTP client that has an overall time limit.

    The body takes TIME_LIMIT_S or little more; headers that drip byte by byte are not bounded.

    Raises:
        OSError, HTTPException: it cannot be reached, or answers with an error or another site's address.
        ValueError: it is larger than MAX_DOCUMENT_BYTES.
    """
    deadline = time.monotonic() + TIME_LIMIT_S
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - stormcellar/settings.py admits no other scheme
    document = bytearray()
    with build_opener(_SameOriginRedirects).open(request, timeout=TIME_LIMIT_S) as response:
        while part := response.read1(MAX_DOCUMENT_BYTES):
            document += part
            if len(document) > MAX_DOCUMENT_BYTES:
                raise ValueError(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("it takes too long")
    return bytes(document)


def parse_jwks(document: bytes) -> dict[str, RemoteKey]:
    """The keys of a JWKS that may sign access tokens, by id; others in it are for something else.

    Raises:
        ValueError: it is none, or no key in it is of use.
    """
    try:
        jwks = json.loads(document)
    except RecursionError:
        raise ValueError("the document is not a JWKS") from None
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the document is not a JWKS")
    keys = {key.kid: key for key in map(_parse_key, listed) if key is not None}
    if not keys:
        raise ValueError("there is no RS256 key of 2048 bits or more for signatures in the document")
    return keys


def _parse_key(jwk: Any) -> RemoteKey | None:
    """A public RSA key for signatures (RFC 7518, section 6.3.1), or None."""
    if not isinstance(jwk, dict) or "d" in jwk:  # a private key that is published proves nothing any more
        return None
    if (jwk.get("kty"), jwk.get("use"), jwk.get("alg")) != ("RSA", "sig", "RS256"):
        return None
    kid, modulus, exponent = jwk.get("kid"), _integer(jwk.get("n")), _integer(jwk.get("e"))
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_STRING_CHARACTERS:
        return None
    if modulus.bit_length() not in KEY_BITS or exponent.bit_length() > 32:
        return None
    try:
        return RemoteKey(kid, rsa.RSAPublicNumbers(exponent, modulus).public_key())
    except ValueError:
        return None


def _integer(text: Any) -> int:
    """Base64url, big-endian; some servers pad the text or lead with a zero byte. 0 for anything else."""
    data = decode_base64url(text.rstrip("=")) if isinstance(text, str) else None
    return int.from_bytes(data or b"", "big")
