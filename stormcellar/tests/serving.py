# SPDX-License-Identifier: MIT
"""Programs of the packaged site as processes of their own. They import the kit from this repository."""

from __future__ import annotations

from pathlib import Path

from stormcellar.testing import serving
from stormcellar.testing.serving import free_port as free_port

ROOT = Path(__file__).resolve().parents[2]
SITE_DIR = ROOT / "stormcellar" / "site"


def process_env(**extra: str) -> dict[str, str]:
    """As that of stormcellar.testing.serving; Python finds the kit as well."""
    return serving.process_env(**{"PYTHONPATH": str(ROOT), **extra})


class ServerProcess(serving.ServerProcess):
    """server.py of the packaged site."""

    folder = SITE_DIR
    base_environment = staticmethod(process_env)
