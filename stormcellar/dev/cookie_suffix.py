# SPDX-License-Identifier: MIT
"""Give the site's cookies names of their own when another site on the same host uses the same names.

Browsers keep cookies by host, not by port. So two sites on localhost overwrite each other's cookies. A
development server that meets cookies of another site writes a suffix into the file `cookie-suffix` in
data_dir, and starts again with it. The setting cookie_suffix comes first; delete the file to go back to the
plain names.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from stormcellar.settings import Settings, SettingsError, ensure_data_dir

FILE = "cookie-suffix"


def file_of(options: Settings) -> Path:
    return options.data_dir / FILE


def with_remembered_suffix(options: Settings) -> Settings:
    """Return the settings with the suffix of the file, if there is one and the settings leave room for it."""
    if not _has_room(options):
        return options
    with contextlib.suppress(OSError, UnicodeDecodeError, SettingsError):
        return replace(options, cookie_suffix=file_of(options).read_text(encoding="ascii").strip())
    return options


def remember_suffix(options: Settings) -> bool:
    """Write a suffix for the next start, unless the settings leave no room for it. Returns whether it did."""
    if not _has_room(options):
        return False
    try:
        (ensure_data_dir(options) / FILE).write_text(f"_{options.port}\n", encoding="ascii")
    except (OSError, SettingsError):
        return False
    return True


def _has_room(options: Settings) -> bool:
    """Only a developer's site whose cookies no other server reads."""
    shared = options.website_domain or options.cookie_domain or options.verify_only
    return options.debug and not shared and not options.prefixes_cookies and not options.cookie_suffix
