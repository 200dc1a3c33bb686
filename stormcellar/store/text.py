# SPDX-License-Identifier: MIT
"""What text a database can keep, and so what no id in it can be."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """False for what PostgreSQL's text type (NUL) or UTF-8 (lone surrogates) has no room for."""
    return _UNSTORABLE.search(text) is None
