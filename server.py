# SPDX-License-Identifier: MIT
"""Start here: your site's folder, its pages, and the server.

python server.py --help      every setting
python server.py --routes    every route, and who may use it
python server.py --openapi   the JSON endpoints, as an OpenAPI 3.1 description
"""

from pathlib import Path
from typing import Any

from stormcellar.start import begin

if __name__ == "__main__":
    begin()

from handlers.routes import routes
from stormcellar import Application, Settings, Site

SITE = Site(Path(__file__).resolve().parent, routes)


def make_app(options: Settings, **more: Any) -> Application:
    """Return the Tornado application for these settings."""
    return SITE.make_app(options, **more)


if __name__ == "__main__":
    from stormcellar.server.run import main

    main(SITE)
