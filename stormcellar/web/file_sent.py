# SPDX-License-Identifier: MIT
"""Tells the refresh page that the address to which it led was a download, so that it does not wait for ever.

A browser that gets a file stays on the page that it has. static/file-sent.js is the other half.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tornado.httputil import HTTPHeaders

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

AWAITED = "sFileAwaited"
SENT = "sFileSent"
KEPT_S = 60
_NUMBER = re.compile(r"[0-9]{1,10}")


def tell_refresh_page(handler: BaseHandler, headers: HTTPHeaders) -> None:
    """Repeat the refresh page's number if this answer changes no page: an attachment, 204 or 205."""
    disposition = headers.get("Content-Disposition", "")
    if not disposition.lower().startswith("attachment") and handler.get_status() not in (204, 205):
        return
    number = handler.transfer.cookie(AWAITED)
    if number is not None and _NUMBER.fullmatch(number):
        handler.set_cookie(
            SENT,
            number,
            expires=handler.app.clock.now() + KEPT_S,
            samesite=handler.app.options.cookie_same_site.capitalize(),
            secure=handler.app.options.cookie_secure,
        )
