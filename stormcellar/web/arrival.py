# SPDX-License-Identifier: MIT
"""POST /proxy-check: what of a request arrives here, for `manage.py check --tls`.

The command sends requests to the public URL and compares them with what this handler reports: that shows
what the proxies in between change. A caller who does not know the server's secret gets 404.

    ?head=4000   the head of the answer has at least so many bytes, as that of a sign-in
    ?parts=1     the answer comes in two parts, the second one a second after the first
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Any

from stormcellar.secret_files import load_or_create_secret
from stormcellar.server_secret import derive_key
from stormcellar.settings import Settings
from stormcellar.web.handler import BaseHandler

SIGNATURE = "X-Proxy-Check"
LIFETIME_S = 60
PART_PAUSE_S = 1.0
MOST_HEAD_BYTES = 32 * 1024


def sign(options: Settings, now: float) -> str:
    """Return the value of the header that opens this handler: a time, and its signature."""
    key = derive_key(load_or_create_secret(options), "proxy check")
    written = str(int(now))
    return f"{written}.{hmac.new(key, written.encode(), hashlib.sha256).hexdigest()}"


def is_signed(options: Settings, value: str, now: float) -> bool:
    written = value.partition(".")[0]
    if not (written.isascii() and written.isdigit() and len(written) <= 12):
        return False
    if abs(int(written) - now) > LIFETIME_S:
        return False
    return hmac.compare_digest(value.encode(), sign(options, int(written)).encode())


class ArrivalHandler(BaseHandler):
    """Reports how a request has arrived."""

    public = "`manage.py check` asks with a signature; other callers get 404"

    def check_host(self) -> None:
        """A wrong host name is one of the things to report."""

    def check_cross_site(self) -> None:
        """The signature shows who asks."""

    async def get_session(self) -> None:
        return None

    async def post(self) -> None:
        if not is_signed(self.app.options, self.request.headers.get(SIGNATURE, ""), time.time()):
            self.write_failure(404)
            return
        wanted = self.get_query_argument("head", "0")
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 6:
            self._pad(min(int(wanted), MOST_HEAD_BYTES))
        if self.get_query_argument("parts", ""):
            await self._answer_in_parts()
        else:
            self.finish(self._report())

    def _report(self) -> dict[str, Any]:
        request = self.request
        address: Any = request.connection.context.address  # type: ignore[union-attr]
        names = ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip", "Upgrade")
        return {
            "peer": address[0] if isinstance(address, tuple) else "",
            "caller": request.remote_ip,
            "host": request.host,
            "headers": {name: request.headers[name] for name in names if name in request.headers},
            "body_bytes": len(request.body),
            "body_s": request.request_time(),
        }

    def _pad(self, head_bytes: int) -> None:
        """Fill the head with lines like those of cookies. The usual headers come on top."""
        for start in range(0, head_bytes, 1000):
            self.add_header("X-Padding", "x" * min(1000, head_bytes - start))

    async def _answer_in_parts(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        for part in ("first", "second"):
            self.write(f"data: {part}\n\n")
            await self.flush()
            await asyncio.sleep(PART_PAUSE_S if part == "first" else 0)
