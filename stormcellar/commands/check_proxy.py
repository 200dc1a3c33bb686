# SPDX-License-Identifier: MIT
"""The part of `check` that asks the own public URL and compares what arrives with what was sent."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from stormcellar.commands.check_head import NGINX_BYTES
from stormcellar.commands.finding import Finding, error, note, warning
from stormcellar.settings import Settings
from stormcellar.web.arrival import PART_PAUSE_S, SIGNATURE, sign
from stormcellar.web.proxies import Proxies, parsed

TIMEOUT_S = 10.0
FORGED = "203.0.113.77"  # RFC 5737: no visitor has this address
LARGE_BODY_BYTES = 1024 * 1024 + 1  # nginx takes 1 MiB by default
LARGE_COOKIE_BYTES = 6000
PATH = "/proxy-check"
KIND = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """An answer that came through the proxy: its status, when its body began, and what the server reports."""

    status: int
    first_part_s: float
    body: bytes

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.body)
        return report


class PublicAddress:
    """The site as visitors reach it."""

    def __init__(self, options: Settings) -> None:
        self._options = options
        self._url = urlsplit(options.public_url)

    def ask(
        self, query: str = "", body: bytes = b"", pause_s: float = 0, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a signed POST. With a pause, the second half of the body comes later than the first.

        Raises:
            OSError, http.client.HTTPException: there is no answer.
        """
        connection = self._connection()
        try:
            connection.putrequest("POST", PATH + query)
            signed = {"Content-Length": str(len(body)), SIGNATURE: sign(self._options, time.time())}
            for name, value in {**signed, **KIND, **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            half = len(body) // 2 if pause_s else len(body)
            connection.send(body[:half])
            if pause_s:
                time.sleep(pause_s)
                connection.send(body[half:])
            began = time.monotonic()
            answer = connection.getresponse()
            first = answer.read(1)
            first_part_s = time.monotonic() - began
            return Answer(answer.status, first_part_s, first + answer.read())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port or 443, timeout=TIMEOUT_S, context=context)
        return http.client.HTTPConnection(host, port or 80, timeout=TIMEOUT_S)


def check_proxy(options: Settings) -> Iterator[Finding]:
    """Ask the public URL, and name each difference between what was sent and what arrived."""
    site = PublicAddress(options)
    try:
        answer = site.ask(headers={"X-Forwarded-For": FORGED})
    except (OSError, http.client.HTTPException):
        return  # check_tls has said why
    if answer.status != http.client.OK:
        yield _no_report(options, answer.status)
        return
    report = answer.report
    yield from check_host(options, report)
    yield from check_scheme(options, report["headers"])
    yield from check_caller(options, report)
    yield from _check_sizes(options, site)
    yield from _check_waiting(site)


def _no_report(options: Settings, status: int) -> Finding:
    what = f"A request to {options.public_url}{PATH} is answered with {status}"
    if status == http.client.NOT_FOUND:
        return error(
            f"{what}, so it does not reach a server of this site with this secret.",
            "See that the proxy passes all paths on to servers of this version, and that `secret` is theirs.",
        )
    return error(f"{what}.", "See the proxy's log: it reaches no server, or it refuses the request.")


def check_host(options: Settings, report: Mapping[str, Any]) -> Iterator[Finding]:
    expected = urlsplit(options.public_url).netloc
    if str(report["host"]).lower() != expected:
        yield error(
            f"The proxy passes on the host name {report['host']}, but visitors type {expected}: the server "
            "refuses such requests with 400.",
            "Have the proxy pass Host on unchanged (nginx: proxy_set_header Host $http_host).",
        )


def check_scheme(options: Settings, headers: Mapping[str, str]) -> Iterator[Finding]:
    scheme, said = urlsplit(options.public_url).scheme, headers.get("X-Forwarded-Proto", "")
    if said and said.rpartition(",")[2].strip().lower() != scheme:
        yield warning(
            f"The proxy says that visitors come by {said}, but public_url is {scheme}. The server goes by "
            "public_url.",
            "See whether another proxy in front ends TLS, and whether public_url is right "
            "(nginx: proxy_set_header X-Forwarded-Proto $scheme).",
        )


def check_caller(options: Settings, report: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the server learns the visitor's address, and the visitor cannot choose it."""
    peer, caller, headers = report["peer"], report["caller"], report["headers"]
    forwarded_for = headers.get("X-Forwarded-For", "")
    proxies, address = Proxies(options.trusted_proxies), parsed(peer)
    if forwarded_for.rpartition(",")[2].strip() == FORGED:
        yield error(
            "The proxy passes X-Forwarded-For on as the visitor wrote it, so visitors choose their address.",
            "Have the proxy set the header (nginx: proxy_set_header X-Forwarded-For $remote_addr).",
        )
    elif not forwarded_for:
        others = [name for name in ("Forwarded", "X-Real-Ip") if name in headers]
        hint = f" It sends {' and '.join(others)}." if others else ""
        yield error(
            f"The proxy sends no X-Forwarded-For, so every visitor has its address {peer}, in the log and "
            f"for the rate limits.{hint}",
            "Have the proxy send it (nginx: proxy_set_header X-Forwarded-For $remote_addr).",
        )
    elif address is not None and not proxies.trusts(address):
        yield error(
            f"X-Forwarded-For from {peer} is not believed, so every visitor has that address.",
            f"Add {peer} to trusted_proxies.",
        )
    else:
        yield from _check_last_address(proxies, caller)


def _check_last_address(proxies: Proxies, caller: str) -> Iterator[Finding]:
    address = parsed(caller)
    if caller == FORGED or (address is not None and proxies.trusts(address)):
        yield note(
            "This command and the proxy are on machines that trusted_proxies lists, so the address of a "
            "visitor could not be compared.",
            "Run the command on another machine with the same settings to see it.",
        )
    else:
        yield note(f"The server takes the address {caller} for that of this command.")


def _check_sizes(options: Settings, site: PublicAddress) -> Iterator[Finding]:
    """Large bodies and heads, in both directions."""
    body_bytes = min(options.max_body_bytes, LARGE_BODY_BYTES)
    status = _status(site, body=b"x" * body_bytes)
    if status != http.client.OK:
        yield error(
            f"A body of {body_bytes:,} bytes is answered with {_said(status)}, but max_body_bytes is "
            f"{options.max_body_bytes:,}.",
            "Raise the proxy's limit (nginx: client_max_body_size 10m) or lower max_body_bytes.",
        )
    status = _status(site, headers={"Cookie": "other=" + "x" * LARGE_COOKIE_BYTES})
    if status != http.client.OK:
        yield error(
            f"A request with {LARGE_COOKIE_BYTES:,} bytes of cookies is answered with {_said(status)}.",
            "Raise the proxy's limit (nginx: large_client_header_buffers 4 32k).",
        )
    status = _status(site, query=f"?head={NGINX_BYTES}")
    if status != http.client.OK:
        yield warning(
            f"The proxy answers {_said(status)} when the head of an answer has more than {NGINX_BYTES:,} "
            "bytes. A sign-in with many claims has.",
            "In nginx set proxy_buffer_size 16k, proxy_buffers 8 16k and proxy_busy_buffers_size 32k.",
        )


def _status(
    site: PublicAddress, query: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> int:
    """The status of an answer; 0 if the connection ended without one."""
    try:
        return site.ask(query, body, headers=headers).status
    except (OSError, http.client.HTTPException):
        return 0


def _said(status: int) -> str:
    return str(status) if status else "the end of the connection"


def _check_waiting(site: PublicAddress) -> Iterator[Finding]:
    """Bodies that come slowly, answers that come in parts, and upgrades to WebSockets."""
    try:
        slow = site.ask(body=b"x" * 2000, pause_s=PART_PAUSE_S)
        parts = site.ask("?parts=1")
        upgrade = site.ask(headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    except (OSError, http.client.HTTPException) as failure:
        what = failure or type(failure).__name__
        yield warning(f"A later request got no answer: {what}.", "See the proxy's log.")
        return
    if slow.status == http.client.OK and slow.report["body_s"] > PART_PAUSE_S / 2:
        yield note(
            "The proxy passes bodies on while they arrive, so a visitor with a slow line keeps a connection "
            "of the server busy.",
            "Let it collect them first (nginx: proxy_request_buffering on, its default).",
        )
    if parts.status == http.client.OK and parts.first_part_s > PART_PAUSE_S / 2:
        yield warning(
            "The proxy holds answers back until they are complete, so event streams do not arrive.",
            "Have it heed X-Accel-Buffering: no, or switch the buffering of answers off.",
        )
    if upgrade.status == http.client.OK and "Upgrade" not in upgrade.report["headers"]:
        yield warning(
            "The proxy does not pass Upgrade on, so WebSockets cannot open: pages learn of the end of a "
            "session only at the next request.",
            "Pass Upgrade and Connection on (nginx: as in deploy/nginx.conf).",
        )
