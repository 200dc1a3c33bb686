# SPDX-License-Identifier: MIT
"""The site that the kit's tests use: the packaged site, which a user does not change.

The site at the top level has modules of the same names, `server` and `handlers`. So the modules of this one
do not stay in sys.modules.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from stormcellar.application import Application, Site
from stormcellar.settings import Settings

FOLDER = Path(__file__).resolve().parents[1] / "site"
NAMES = ("server", "manage", "handlers")


def _take_out() -> dict[str, ModuleType]:
    """Remove the modules of a site from sys.modules, and return them."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] in NAMES}


def _load() -> dict[str, ModuleType]:
    others = _take_out()
    sys.path.insert(0, str(FOLDER))
    try:
        import_module("manage")
        return _take_out()
    finally:
        _take_out()
        sys.path.remove(str(FOLDER))
        sys.modules.update(others)


MODULES = _load()
SITE: Site = MODULES["server"].SITE
main = MODULES["manage"].main


def make_app(options: Settings, **more: Any) -> Application:
    """Return the packaged site's application, as server.py does."""
    application: Application = MODULES["server"].make_app(options, **more)
    return application
