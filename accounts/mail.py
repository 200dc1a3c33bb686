# SPDX-License-Identifier: MIT
"""Mails, and the ways they leave: by SMTP, into a mailbox for development, or not at all.

    smtp://host:25                       without encryption: for a mail server on this machine
    smtp+starttls://user:password@host   encrypted from the second command on; port 587
    smtps://user:password@host           encrypted from the first byte on; port 465

Certificates are always verified. No error says an address or what was in a mail: servers repeat both in
their answers, and logs are read by people who may not read mail.

Source: RFC 5321, RFC 5322, RFC 6531 (addresses in any script), RFC 8314 (port 465), RFC 3834 (machines
that write mail).
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from collections import deque
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from typing import Protocol
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
SMTP_TIMEOUT_S = 15  # for each step of a conversation
MAILBOX_SIZE = 100


@dataclass(frozen=True)
class Mail:
    """A mail as text and as HTML that say the same. Only the subject shows in the representation."""

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


class MailError(Exception):
    """A mail could not be handed over. The message names no address and nothing of the mail."""


class Mailer(Protocol):
    """What sends mails. A clone may bring its own: a class with this one coroutine."""

    async def send(self, mail: Mail) -> None:
        """Hand a mail over.

        Raises:
            MailError: it was not taken.
        """


class SmtpMailer:
    """Hands mails to an SMTP server, each over a connection of its own.

    Args:
        url: see the top of this file; user and password are percent-encoded where needed.
        sender: the address that mails come from.
        sender_name: the name beside it.
        tls: how certificates are checked; None: as the system does.
        timeout_s: how long the server may take for each step.
    """

    def __init__(
        self,
        url: str,
        sender: str,
        sender_name: str = "",
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = SMTP_TIMEOUT_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("an SMTP address begins with smtp://, smtp+starttls:// or smtps:// and a host")
        self._scheme, self._host = parts.scheme, parts.hostname
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._from = Address(sender_name, addr_spec=sender)
        self._tls = tls or ssl.create_default_context()
        self._timeout_s = timeout_s

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._send, mail)

    def _send(self, mail: Mail) -> None:
        try:
            message = self._message(mail)
            with self._connect() as server:
                if self._scheme == "smtp+starttls":
                    server.starttls(context=self._tls)
                if self._user:
                    server.login(self._user, self._password)
                # Named here: some releases of Python cannot read an address like ann@[127.0.0.1] in a header.
                server.send_message(message, self._from.addr_spec, [mail.to])
        except Exception as error:  # SMTP, sockets, TLS, and whatever the email package makes of an address
            # Not as its cause either: a traceback would show what the message leaves out.
            raise MailError(f"{self._scheme}://{self._host}:{self._port}: {_outline(error)}") from None

    def _connect(self) -> smtplib.SMTP:
        if self._scheme == "smtps":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = _address(mail.to)
        message["Subject"] = mail.subject
        message["Date"] = localtime()
        message["Message-ID"] = make_msgid(domain=self._from.domain)
        message["Auto-Submitted"] = "auto-generated"
        # Every server passes it on unharmed, also one that takes seven bits and short lines only.
        message.set_content(mail.text, cte="quoted-printable")
        message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
        return message


class Mailbox:
    """Sends nothing and keeps the last mails in memory, newest first: for development and tests."""

    def __init__(self) -> None:
        self.mails: deque[Mail] = deque(maxlen=MAILBOX_SIZE)
        self._received = 0

    async def send(self, mail: Mail) -> None:
        self._received += 1
        self.mails.appendleft(mail)

    def numbered(self) -> list[tuple[int, Mail]]:
        """Each mail with its number, which stays its own: the first was 1."""
        return [(self._received - index, mail) for index, mail in enumerate(self.mails)]

    def find(self, number: int) -> Mail | None:
        return dict(self.numbered()).get(number)


class NoMailer:
    """Where mail is not set up: everything goes on as if mails were sent, and none is."""

    async def send(self, mail: Mail) -> None:
        raise MailError("mail is not set up")


def _address(text: str) -> Address:
    """The email package's own parser (`addr_spec=`) takes no local part in another script."""
    local, _, domain = text.rpartition("@")
    if not local or not domain:
        raise ValueError("not an address")
    if local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(username=local, domain=domain)


def _outline(error: Exception) -> str:
    """What went wrong, without the words of the server."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        return f"the recipient was refused ({', '.join(codes)})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{type(error).__name__} ({error.smtp_code})"
    if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException) and error.strerror:
        return f"{type(error).__name__} ({error.strerror})"
    return type(error).__name__
