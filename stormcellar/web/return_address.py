# SPDX-License-Identifier: MIT
"""Where a visitor may be sent after signing in or renewing the session: this site's own paths only, and
those of its pages if another server shows them.

static/return-address.js holds the same rule for the browser; tests/return_addresses.json is run against both.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

LONGEST_ADDRESS = 8192  # nginx takes no longer request line, unless told otherwise

# Visible ASCII. Browsers read a backslash in the path as a slash; "//host" would be another site.
_ADDRESS = re.compile(r"(?P<path>/(?!/)[!\"$->@-\[\]-~]*)(?:[?#][!-~]*)?")
# Browsers resolve "." and ".." segments, so no page has such an address.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|\Z)", re.IGNORECASE)
# What is "//host" or "/\\host" for a program that decodes the path; browsers leave control characters out.
_HOST = re.compile(r"/[\x00-\x20\x7f]*[/\\]")
# Going back to where the session is renewed or ended would lead in a circle.
_CIRCLE = re.compile(r"\A/(?:refresh-session|signout)(?:/|\Z)|/session/refresh(?:/|\Z)")


def return_address(value: str | None, fallback: str = "/", website: str = "") -> str:
    """Answer `value` if it is a path on this site, with query and fragment as they are; else `fallback`.

    With `website`, the origin of the server that shows the pages, addresses there are fine as well; the
    same rule holds for their path. The work grows with the length of the text, and no faster.

    Never raises, whatever the text. `fallback` is the program's own and is not checked.

    Source: OWASP ASVS 5.0, 3.7.2; CWE-601; URL (WHATWG).
    """
    if value is None or len(value) > LONGEST_ADDRESS:
        return fallback
    own_part = value.removeprefix(website)  # begins with a slash, or the origin was another one
    address = _ADDRESS.fullmatch(own_part)
    if address is None:
        return fallback
    path = address["path"]
    decoded = unquote(path, "latin-1") if "%" in path else path
    if _DOT_SEGMENT.search(path) or _HOST.match(decoded) or _CIRCLE.search(decoded):
        return fallback
    return value
