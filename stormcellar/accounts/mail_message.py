# SPDX-License-Identifier: MIT
"""The bytes of a mail.

This module writes the lines with addresses and names itself. The email package of some Python releases
decodes encoded words in an address while it folds a header, and so lets an address add headers
(CVE-2024-6923). Only the body, which has no address in it, comes from that package.

Source: RFC 5322, RFC 2047 (encoded words), RFC 6532 (UTF-8 in headers), RFC 3834 (automatic mails).
"""

from __future__ import annotations

import email.policy
import re
import unicodedata
from email.header import Header
from email.message import EmailMessage
from email.utils import formatdate

from stormcellar.accounts.mail import Mail

START_OF_ENCODED_WORD = "=?"
LONGEST_PLAIN = 60  # characters; a longer text is folded into encoded words

_ENCODED_WORD = re.compile(r"=\?.*\?=")
_ATOMS = re.compile(r"[A-Za-z0-9 ]+")
_LOCAL_PART = re.compile(r'[^\s<>@"\\,;:]+|"(?:[^"\\]|\\.)+"')
_DOMAIN = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")


def message_bytes(mail: Mail, sender: str, sender_name: str) -> bytes:
    """Return the mail as it is sent.

    Args:
        mail: its address is as `smtp_address` returns it, and its key is not empty.
        sender: an address as `smtp_address` returns it.
        sender_name: the name beside the sender's address.

    Raises:
        ValueError: a line of the head would contain a control character.
    """
    head = {
        "From": f"{_phrase(sender_name)} <{sender}>" if sender_name else sender,
        "To": mail.to,
        "Subject": _words(mail.subject, "Subject"),
        "Date": formatdate(localtime=True),
        "Message-ID": f"<{mail.key}@{sender.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",
    }
    for value in head.values():
        if _has_control(value.replace("\r\n ", "")):
            raise ValueError("a control character in the head of a mail")
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return lines.encode() + _body(mail)


def smtp_address(address: str) -> str:
    """Return the address as SMTP takes it: a domain in another script becomes its `xn--` form.

    Raises:
        ValueError: this is no address, or the domain has no `xn--` form that stands for the same name.
    """
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        encoded = domain.encode("idna").decode()
        if encoded.encode().decode("idna") != unicodedata.normalize("NFC", domain).lower():
            raise ValueError("the domain stands for two different names")
        domain = encoded
    if not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError("not an address")
    if _has_control(local) or _ENCODED_WORD.search(local):
        raise ValueError("not an address")
    return f"{local}@{domain}"


def _body(mail: Mail) -> bytes:
    """Return the rest of the message: the lines about its content, an empty line and both texts."""
    body = EmailMessage()
    # Quoted-printable passes servers that take only seven bits and short lines.
    body.set_content(mail.text, cte="quoted-printable")
    body.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return body.as_bytes(policy=email.policy.SMTP)


def _phrase(name: str) -> str:
    """Return a display name for an address line."""
    words = _words(name, "From")
    if words.startswith(START_OF_ENCODED_WORD) or _ATOMS.fullmatch(words):
        return words
    escaped = re.sub(r'(["\\])', r"\\\1", words)
    return f'"{escaped}"'


def _words(text: str, header: str) -> str:
    """Return text for a header, in encoded words unless it is short plain ASCII."""
    text = " ".join("".join(" " if _is_control(one) else one for one in text).split())
    if text.isascii() and START_OF_ENCODED_WORD not in text and len(text) <= LONGEST_PLAIN:
        return text
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _has_control(text: str) -> bool:
    return any(map(_is_control, text))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp")
