# SPDX-License-Identifier: MIT
"""What the log says of requests: never a query, which may carry a one-time token, and never a cookie."""

from __future__ import annotations

import logging

from tornado.web import HTTPError, RequestHandler

from stormcellar.events.logs import only_handler
from stormcellar.web.renewal_table import is_speculative

log = logging.getLogger("stormcellar.access")


def log_request(served: RequestHandler) -> None:
    """Log one line a request: status, method, path, time taken, and the client's address.

    As JSON the same stands in fields of its own, too. Successful health probes and scrapes are left out.
    """
    status, request = served.get_status(), served.request
    # What a browser fetches ahead of time gets 503 where it would renew a session; nothing has failed.
    is_fine = status < 500 or (status == 503 and is_speculative(request))
    if status < 400 and not getattr(served, "logs_success", True):
        return
    level = logging.INFO if is_fine else logging.ERROR
    if not log.isEnabledFor(level):
        return
    path, duration_ms = printable(request.path), round(1000 * request.request_time(), 1)
    message = f"{status} {request.method} {path} {duration_ms:.1f} ms {request.remote_ip}"
    fields = {
        "method": request.method,
        "path": path,
        "status": status,
        "duration_ms": duration_ms,
        "client_address": request.remote_ip,
    }
    handler = only_handler(log, level)
    if handler is not None:
        handler.write_line(logging.getLevelName(level), log.name, message, fields)
    else:
        log.log(level, "%s", message, extra={"fields": fields})


def printable(text: str) -> str:
    """Text from a client in visible ASCII, so that it forges no line and steers no terminal."""
    return text.encode("unicode_escape").decode()


def log_failure(handler: RequestHandler, error: BaseException | None) -> None:
    """Why a request was refused, on one line whatever was sent; what nobody expected, with its traceback."""
    request = handler.request
    if isinstance(error, HTTPError):
        if message := error.get_message():
            log.warning("%s %s: %d %r", request.method, printable(request.path), error.status_code, message)
    else:
        log.error("%s %s failed", request.method, printable(request.path), exc_info=error)
