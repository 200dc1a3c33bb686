# SPDX-License-Identifier: MIT
"""Where a visitor may be sent after signing in or renewing the session: this site's own paths only, and
those of its pages if another server shows them.

static/return-address.js holds the same rule for the browser; tests/return_addresses.json is run against both.
"""

from __future__ import annotations

import re

LONGEST_ADDRESS = 2048

# Visible ASCII without the backslash, which browsers read as a slash; "//host" would be another site.
_ADDRESS = re.compile(r"/(?!/)[!-\[\]-~]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# An empty, "." or ".." segment, a backslash, a control character: what proxies and browsers read differently.
_UNSAFE_PATH = re.compile(r"//|\\|[\x00-\x1f\x7f]|/\.\.?(?:/|\Z)")
# Going back to where the session is renewed or ended would lead in a circle.
_CIRCLE = re.compile(r"\A/(?:refresh-session|signout)(?:/|\Z)|/session/refresh(?:/|\Z)")


def return_address(value: str | None, fallback: str = "/dashboard", website: str = "") -> str:
    """Answer `value` if it is a path on this site, with query and fragment as they are; else `fallback`.

    With `website`, the origin of the server that shows the pages, addresses there are fine as well; the
    same rule holds for their path.

    Never raises, whatever the text. `fallback` is the program's own and is not checked.

    Source: OWASP ASVS 5.0, 3.7.2; CWE-601.
    """
    if value is None or len(value) > LONGEST_ADDRESS:
        return fallback
    own_part = value.removeprefix(website)  # begins with a slash, or the origin was another one
    if not _ADDRESS.fullmatch(own_part):
        return fallback
    path, decoded = "", re.split(r"[?#]", own_part, maxsplit=1)[0]
    while decoded != path:  # each round takes one layer of percent-encoding off, so this ends
        path = decoded
        if _UNSAFE_PATH.search(path) or _CIRCLE.search(path):
            return fallback
        decoded = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), path)
    return value
