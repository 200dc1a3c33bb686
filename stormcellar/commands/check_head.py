# SPDX-License-Identifier: MIT
"""How large the head of a sign-in answer is with the site's real settings and code.

A copy of the site is started on an empty database in a temporary folder, and one user signs in there. Nothing
of the real site is read or changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tornado.netutil import bind_sockets

from stormcellar.accounts import NoMailer
from stormcellar.application import Site
from stormcellar.commands.finding import Finding, note, warning
from stormcellar.server.http_server import make_http_server
from stormcellar.settings import Settings

NGINX_BYTES = 4096  # proxy_buffer_size: one page of memory; ingress-nginx has the same
EMAIL = "a.new.user.with.a.long.name@department.example.com"
SHOWN = 3


async def check_head(options: Settings, site: Site) -> AsyncIterator[Finding]:
    head = await sign_in_head(options, site)
    if head.startswith(b"HTTP/1.1 303"):
        yield judge(head)
    else:
        line = head.partition(b"\r\n")[0].decode("latin1")
        yield note(f"A trial sign-in to measure the head of its answer was answered with {line!r}.")


def judge(head: bytes) -> Finding:
    """Compare a head with what common proxies take by default."""
    what = f"The head of the sign-in answer has {len(head):,} bytes for a new user."
    if len(head) <= NGINX_BYTES:
        return note(f"{what} nginx and ingress-nginx take {NGINX_BYTES:,} unless they are told otherwise.")
    lines = sorted(head.split(b"\r\n"), key=len, reverse=True)[:SHOWN]
    largest = ", ".join(f"{line[:40].decode('latin1')}... ({len(line):,})" for line in lines)
    return warning(
        f"{what} nginx and ingress-nginx take {NGINX_BYTES:,} by default, and answer 502 to every sign-in. "
        f"The largest lines are {largest}.",
        "In nginx set proxy_buffer_size 16k, proxy_buffers 8 16k and proxy_busy_buffers_size 32k "
        "(ingress-nginx: the annotation nginx.ingress.kubernetes.io/proxy-buffer-size: 16k), or put less "
        "into the access token.",
    )


async def sign_in_head(options: Settings, site: Site) -> bytes:
    """Sign a new user up and in; return the head of the answer to the sign-in form."""
    with tempfile.TemporaryDirectory() as folder:
        trial = dataclasses.replace(
            options,
            data_dir=Path(folder),
            database="",
            secret=secrets.token_urlsafe(48),
            debug=False,
            processes=1,
            rate_limits=False,
            password_hash_threads=1,
        )
        application = site.make_app(trial, mailer=NoMailer())
        server = make_http_server(application)
        try:
            await application.start()
            password = secrets.token_urlsafe(20)
            await application.accounts.sign_up(EMAIL, password)
            (listening,) = sockets = bind_sockets(0, "127.0.0.1")
            server.add_sockets(sockets)
            return await _post(listening.getsockname()[1], trial, {"email": EMAIL, "password": password})
        finally:
            server.stop()
            await server.close_all_connections()
            await application.stop()


async def _post(port: int, options: Settings, fields: dict[str, str]) -> bytes:
    """Send the sign-in form as a browser does; return the head of the answer as it is on the wire."""
    origin = options.origin or f"http://localhost:{port}"
    body = urlencode(fields).encode()
    lines = [
        "POST /login HTTP/1.1",
        f"Host: {urlsplit(origin).netloc}",
        f"Origin: {origin}",
        "Sec-Fetch-Site: same-origin",
        "Accept: text/html",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=256 * 1024)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head
