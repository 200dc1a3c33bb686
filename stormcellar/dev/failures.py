# SPDX-License-Identifier: MIT
"""Why the saved files cannot be started, and the page that shows it in the browser."""

from __future__ import annotations

import html
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tornado.web import Application, RequestHandler

from stormcellar.settings import is_loopback

LINES_AROUND = 5
RETRY_S = 2
STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem }
body { color: #222; background: #fff }
h1 { font-size: 1.3rem }
pre { background: #f4f4f4; padding: 1rem; overflow-x: auto }
mark { background: #ffd9d9; color: inherit; display: block }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 }
  pre { background: #252525 }
  mark { background: #602020 }
}
"""


@dataclass(frozen=True)
class Failure:
    """What the child reported.

    Attributes:
        title: the exception and its message, or the sentence with which server.py ended.
        file, line: where it happened; "" and 0 if that is not in the project.
        trace: the traceback as text; "" if the sentence says enough.
    """

    title: str
    file: str = ""
    line: int = 0
    trace: str = ""


def excerpt(path: str, line: int) -> Sequence[tuple[int, str]]:
    """The lines around a line of a file, with their numbers; none if the file cannot be read."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    first = max(line - LINES_AROUND, 1)
    return list(enumerate(lines[first - 1 : line + LINES_AROUND], first))


def page(failure: Failure) -> str:
    """The error page, which asks again every two seconds."""
    parts = [f"<h1>{html.escape(failure.title)}</h1>"]
    if failure.file:
        parts.append(f"<p>{html.escape(failure.file)}, line {failure.line}</p>")
        shown = excerpt(failure.file, failure.line)
        lines = [f"{number:5}  {html.escape(text)}" for number, text in shown]
        marked = [
            f"<mark>{text}</mark>" if number == failure.line else f"{text}\n"
            for (number, _), text in zip(shown, lines, strict=True)
        ]
        parts.append(f"<pre>{''.join(marked)}</pre>")
    if failure.trace:
        parts.append(
            f"<details><summary>Traceback</summary><pre>{html.escape(failure.trace)}</pre></details>"
        )
    parts.append("<p>The server starts again when you save a file. This page then shows the site.</p>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The server does not start</title>'
        f'<meta http-equiv="refresh" content="{RETRY_S}"><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>"
    )


def is_own_host(name: str, origin: str) -> bool:
    """Check that a request names this machine: any site's name can be made to lead here (DNS rebinding)."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost" or name == urlsplit(origin).hostname
    return True


def is_reached_by_others(origin: str) -> bool:
    """Whether visitors on other machines can type the site's address: they get no traceback."""
    return bool(origin) and not is_loopback(urlsplit(origin).hostname or "")


class FailureHandler(RequestHandler):
    """Every address and method: 503 with the failure."""

    def initialize(self, failure: Failure, origin: str) -> None:
        self.failure = failure
        self.origin = origin

    def prepare(self) -> None:
        self.set_status(503)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.set_header("Retry-After", str(RETRY_S))
        if is_reached_by_others(self.origin) or not is_own_host(self.request.host_name, self.origin):
            self.finish("The server does not start. Its terminal says why.")
        elif "text/html" in self.request.headers.get("Accept", ""):
            self.finish(page(self.failure))
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"The server does not start. {self.failure.title}\n{self.failure.trace}")


def failure_application(failure: Failure, origin: str) -> Application:
    return Application(
        default_handler_class=FailureHandler,
        default_handler_args={"failure": failure, "origin": origin},
        log_function=lambda _: None,
    )
