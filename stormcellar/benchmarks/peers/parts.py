# SPDX-License-Identifier: MIT
"""What the peers have in common: the user, the rows of the page, and how they say where they are."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).resolve().parent / "templates"
USER_ID = "6a0c63a5-3c5b-4d0e-9f8e-2f3f6f4d7a11"
USER_AGENT = "benchmark"  # of every request, as stormcellar/benchmarks/run.py sends it


def rows() -> list[tuple[int, int]]:
    """Number and amount of each row of the page; Django's templates do not multiply."""
    return [(number, number * 17) for number in range(24)]


def listen() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    return listening


def announce(listening: socket.socket, cookie: str) -> None:
    print(json.dumps({"port": listening.getsockname()[1], "cookie": cookie}), flush=True)


def log_into_nothing() -> None:
    """Each logs its requests as it does by itself, line by line, as a service manager would have it.

    Some do so to their standard output, which nobody reads after the first line.
    """
    sys.stdout = sys.stderr = open(os.devnull, "w", buffering=1)  # noqa: SIM115
    logging.basicConfig(level=logging.INFO)


def serve_with_gunicorn(application: Any, listening: socket.socket) -> None:
    """One worker of gunicorn's own kind with threads, which keeps connections open, and its access log."""
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{listening.fileno()}")
            self.cfg.set("workers", 1)
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 8)
            self.cfg.set("keepalive", 75)
            self.cfg.set("accesslog", os.devnull)
            self.cfg.set("errorlog", os.devnull)

        def load(self) -> Any:
            return application

    Server().run()
