# SPDX-License-Identifier: MIT
"""Templates rendered without a server, with the names that handlers give to every page."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tornado.template import Loader

ROOT = Path(__file__).parent.parent
NOW_S = 1_800_000_000
SESSION = SimpleNamespace(
    user_id="7f0a4c0e-3a5b-4f7e-9a53-0c6a8f2f1d11",
    handle="8c3e4a1e-6b67-4d36-9d86-0a6f3fe1f1c2",
    tenant_id="public",
    issued_at=NOW_S - 600,
    expires_at=NOW_S + 3000,
)


def render(template: str, *, path: str = "/", **variables: Any) -> str:
    """A page as the server would send it for the address `path`; `session=SESSION` signs somebody in."""
    every_page = {
        "session": None,
        "site_name": "Stormcellar",
        "api_base_path": "/auth",
        "debug": False,
        "now_s": NOW_S,
        "request": SimpleNamespace(path=path),
        "static_url": lambda name, include_version=True: f"/static/{name}{'?v=1' if include_version else ''}",
    }
    page = Loader(str(ROOT / "templates")).load(template)
    return page.generate(**{**every_page, **variables}).decode()
