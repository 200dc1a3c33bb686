# SPDX-License-Identifier: MIT
"""server.py with a handler that hangs and a folder of large files, for tests of how processes end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tornado.web import RequestHandler, StaticFileHandler

import server

make_app = server.make_app


class HangingHandler(RequestHandler):
    def get(self) -> None:
        time.sleep(600)


def make_odd_app(*arguments: Any, **more: Any) -> server.Application:
    application = make_app(*arguments, **more)
    files = {"path": os.environ.get("LARGE_FILES", "/nowhere")}
    application.add_handlers(".*", [("/hang", HangingHandler), ("/large/(.*)", StaticFileHandler, files)])
    return application


server.make_app = make_odd_app

if __name__ == "__main__":
    server.main()
