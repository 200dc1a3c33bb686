# SPDX-License-Identifier: MIT
"""A real SMTP server on this machine, for tests that let mails leave."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "kit@example.com", "p@ss:w/rd %"
LOGIN = "kit%40example.com:p%40ss%3Aw%2Frd%20%25"
"""The two as they stand in a URL."""


@dataclass
class PostOffice:
    """What a server took; `refuse` is what it answers to every recipient instead, such as "550 <{}> no"."""

    taken: list[Envelope] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refuse: str = ""
    refuse_sender: str = ""
    refuse_greeting: bool = False
    greetings: list[str] = field(default_factory=list)
    password: str = PASSWORD

    def __post_init__(self) -> None:
        self.arrived = asyncio.Event()

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        if self.refuse_greeting:
            return ["550 who are you?"]
        session.host_name = hostname
        self.greetings.append(hostname)
        return responses

    async def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str) -> str:
        return "550 who are you?" if self.refuse_greeting else "250 localhost"

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse_sender:
            return self.refuse_sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse:
            return self.refuse.format(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.taken.append(envelope)
        self.arrived.set()
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        is_right = (data.login, data.password) == (USER.encode(), self.password.encode())
        return AuthResult(success=is_right, handled=False)

    @contextmanager
    def open_in_thread(self, **options: Any) -> Iterator[str]:
        """Serve beside a test that has no event loop of its own; yields `host:port`."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        serving = self.open(**options)
        try:
            yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def message(self) -> EmailMessage:
        """The one mail that was taken."""
        (envelope,) = self.taken
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message

    @asynccontextmanager
    async def open(
        self, *, tls: ssl.SSLContext | None = None, port: int = 0, **options: Any
    ) -> AsyncIterator[str]:
        """Serve on 127.0.0.1, by default on a free port; yields `host:port`.

        `tls` is for smtps, `options` go to SMTP.
        """

        def conversation() -> SMTP:
            return SMTP(self, hostname="localhost", authenticator=self.authenticate, **options)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(conversation, "127.0.0.1", port, ssl=tls)
        try:
            yield "{}:{}".format(*server.sockets[0].getsockname())
        finally:
            server.close()
