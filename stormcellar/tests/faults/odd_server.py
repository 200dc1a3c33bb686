# SPDX-License-Identifier: MIT
"""server.py with a handler that hangs and a folder of large files, for tests of how processes end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tornado.web import RequestHandler, StaticFileHandler

from stormcellar.application import Application, Site
from stormcellar.server.run import main
from stormcellar.settings import Settings
from stormcellar.tests.site import SITE


class HangingHandler(RequestHandler):
    def get(self) -> None:
        time.sleep(600)


class OddSite(Site):
    def make_app(self, options: Settings, **more: Any) -> Application:
        application = super().make_app(options, **more)
        files = {"path": os.environ.get("LARGE_FILES", "/nowhere")}
        application.add_handlers(".*", [("/hang", HangingHandler), ("/large/(.*)", StaticFileHandler, files)])
        return application


if __name__ == "__main__":
    main(OddSite(SITE.folder, SITE.routes))
