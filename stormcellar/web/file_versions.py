# SPDX-License-Identifier: MIT
"""Which version of a file a client may continue to download.

Source: RFC 9110, sections 8.8.3 (ETag), 13.1.5 (If-Range) and 14.2 (Range).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from email.utils import parsedate_to_datetime

MOST_KEPT = 10_000


class FileVersions:
    """Makes the entity tags of files. Each file is read again only after it has changed.

    Args:
        version_of: hashes the content of a file; ValueError if it is too large for that.
    """

    def __init__(self, version_of: Callable[[str], str]) -> None:
        self._version_of = version_of
        self._known: dict[str, tuple[tuple[int, int], str | None]] = {}

    def etag(self, path: str) -> str | None:
        """Return the entity tag of a file as it is now; None if it is too large to be hashed."""
        found = os.stat(path)
        state = (found.st_mtime_ns, found.st_size)
        known = self._known.get(path)
        if known is None or known[0] != state:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            known = self._known[path] = (state, self._hash(path))
        return known[1]

    def _hash(self, path: str) -> str | None:
        try:
            return f'"{self._version_of(path)}"'
        except ValueError:
            return None


def is_same_version(if_range: str, etag: str | None, last_modified: str | None) -> bool:
    """Whether If-Range names exactly this version, so that a part of the file may be sent.

    A weak tag never does. A date must be the very one of Last-Modified.
    """
    if_range = if_range.strip(" \t")
    if if_range.startswith(('"', "W/")):
        return if_range == etag
    if last_modified is None:
        return False
    try:
        return parsedate_to_datetime(if_range) == parsedate_to_datetime(last_modified)
    except (ValueError, TypeError, IndexError):  # no date
        return False
