# SPDX-License-Identifier: MIT
"""One line a request: never a query, which may carry a one-time token, and never a cookie."""

from __future__ import annotations

import logging

from tornado.web import RequestHandler

log = logging.getLogger("stormcellar.access")


def log_request(handler: RequestHandler) -> None:
    status = handler.get_status()
    level = logging.INFO if status < 500 else logging.ERROR
    request = handler.request
    log.log(level, "%d %s %s %.1f ms", status, request.method, request.path, 1000 * request.request_time())
