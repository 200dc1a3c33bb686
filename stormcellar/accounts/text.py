# SPDX-License-Identifier: MIT
"""What text a database can keep, what text people can see, and when two texts are the same."""

from __future__ import annotations

import re
import unicodedata

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The inside of a character class: characters that nobody sees, or that change how their neighbours appear.

Source: Unicode 16, DerivedCoreProperties.txt (Default_Ignorable_Code_Point) and PropList.txt (Bidi_Control),
with the controls and line separators.
"""
_HIDDEN = re.compile(f"[{HIDDEN}]")


def is_storable(text: str) -> bool:
    """False for what PostgreSQL's text type (NUL) or UTF-8 (lone surrogates) has no room for."""
    return _UNSTORABLE.search(text) is None


def has_hidden(text: str) -> bool:
    """Tell whether a text has control characters, characters without width, or marks of direction."""
    return _HIDDEN.search(text) is not None


def folded(text: str) -> str:
    """Return a key that is the same for all spellings of a text: composed or not, wide or not, any case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
