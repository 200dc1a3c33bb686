# SPDX-License-Identifier: MIT
"""Mails, what sends them, and the mailbox for development. `stormcellar/accounts/smtp.py` sends by SMTP.

No error contains an address or the text of a mail. Mail servers repeat both in their answers, and people who
may not read mail can read logs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Protocol

MAILBOX_SIZE = 100

Stage = Literal["address", "connection", "TLS", "greeting", "sign-in", "sender", "recipient", "content"]
"""The part of a delivery that failed."""


@dataclass(frozen=True)
class Mail:
    """A mail as text and as HTML with the same words. The representation shows only the subject.

    Attributes:
        key: identifies the mail. It is the same at each attempt, so that a mail server or a mail program can
            recognise a mail that arrives twice. Empty: the mailer chooses one.
    """

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    key: str = field(repr=False, default="")


class MailError(Exception):
    """A mail was not delivered. The message contains no address and nothing of the mail.

    Attributes:
        permanent: a later attempt would fail too.
        stage: what failed.
    """

    def __init__(self, message: str, *, permanent: bool = False, stage: Stage = "connection") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.stage = stage


class Mailer(Protocol):
    """What sends mails. A site may bring its own: a class with this one coroutine."""

    async def send(self, mail: Mail) -> None:
        """Deliver a mail.

        Raises:
            MailError: the mail was not taken. Unless the error is permanent, the mail is sent again later.
        """


class Mailbox:
    """Keeps the last mails in memory, newest first, and sends none: for development and tests."""

    def __init__(self) -> None:
        self.mails: deque[Mail] = deque(maxlen=MAILBOX_SIZE)
        self._received = 0

    async def send(self, mail: Mail) -> None:
        self._received += 1
        self.mails.appendleft(mail)

    def numbered(self) -> list[tuple[int, Mail]]:
        """Return each mail with its number. The first mail had number 1; numbers are never reused."""
        return [(self._received - index, mail) for index, mail in enumerate(self.mails)]

    def find(self, number: int) -> Mail | None:
        return dict(self.numbered()).get(number)


class NoMailer:
    """The mailer of a site without mail: every mail is refused."""

    async def send(self, mail: Mail) -> None:
        raise MailError("mail is not set up", permanent=True)
