# SPDX-License-Identifier: MIT
"""base64url without padding (RFC 7515, appendix C), and only in its one canonical spelling."""

from __future__ import annotations

import base64
import binascii


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes | None:
    """The bytes, or None unless `text` is exactly what encoding them gives.

    Python's decoder takes padding, line ends and leftover bits as they come; a token that may be spelled
    in several ways is a token that slips past comparisons.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if encode_base64url(data) == text else None
