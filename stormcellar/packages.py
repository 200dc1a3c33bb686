# SPDX-License-Identifier: MIT
"""The packages that the kit needs: by the lists of a clone, or by the extras of the installed package."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

LISTS = Path(__file__).resolve().parents[1] / "requirements"
"""In a clone. An installed package has no such folder beside it."""


def install_command(name: str) -> str:
    """Return the command that installs an optional part, such as "postgres"; "run" is the kit itself."""
    if (LISTS / f"{name}.txt").exists():
        return f"`.venv/bin/python -m pip install -r requirements/{name}.txt`"
    extra = "" if name == "run" else f"[{name}]"
    return f"`.venv/bin/python -m pip install 'stormcellar{extra}'`"


def requirements(*extras: str) -> list[str]:
    """Return what the kit and these optional parts need, each as in a requirements file."""
    if LISTS.exists():
        texts = [(LISTS / f"{name}.txt") for name in ("run", *extras)]
        lines = [
            line for path in texts if path.exists() for line in path.read_text(encoding="utf-8").split("\n")
        ]
        return [line for line in lines if line and not line.startswith(("#", "-"))]
    try:
        asked = metadata.requires("stormcellar") or []
    except metadata.PackageNotFoundError:
        return []
    return [text for line in asked if (text := _of_extras(line, extras))]


def _of_extras(line: str, extras: tuple[str, ...]) -> str:
    """Return the requirement without its condition; "" if it belongs to another extra."""
    text, _, condition = line.partition(";")
    extra = re.search(r"extra == [\"']([\w-]+)[\"']", condition)
    return text.strip() if extra is None or extra[1] in extras else ""
