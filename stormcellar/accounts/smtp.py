# SPDX-License-Identifier: MIT
"""Sending mails by SMTP.

    smtp://host:25                       without encryption: for a mail server on this machine
    smtp+starttls://user:password@host   encrypted from the second command on; port 587
    smtps://user:password@host           encrypted from the first byte on; port 465

Certificates are always verified. Each conversation runs in a thread that the end of the process does not wait
for, and a conversation that takes too long is cut off.

Source: RFC 5321, RFC 4616 (PLAIN, UTF-8), RFC 6531 (SMTPUTF8), RFC 8314 (port 465).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import smtplib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from stormcellar.accounts.mail import Mail, MailError, Stage
from stormcellar.accounts.mail_message import message_bytes, smtp_address

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
SMTP_TIMEOUT_S = 15.0  # for each step of a conversation
CONTENT_TIMEOUT_S = 60.0  # for the last step: servers scan the mail before they answer
CONVERSATION_S = 120.0  # for all steps together
PERMANENT_STAGES = ("recipient", "content")
"""Here a 5xx answer is about this mail. At the other stages it is about the configuration of the site or of
the mail server, which the operator can repair while the mail waits."""


class SmtpMailer:
    """Delivers mails to an SMTP server, each over its own connection.

    Args:
        url: see the top of this file; user and password are percent-encoded where needed.
        sender: the address that mails come from.
        sender_name: the name beside it.
        ehlo_name: the host name of this machine in the greeting; empty: as the system names it.
        tls: how certificates are checked; None: as the system does.
        timeout_s: how long the server may take for each step.
        conversation_s: how long all steps together may take.
    """

    def __init__(
        self,
        url: str,
        sender: str,
        sender_name: str = "",
        *,
        ehlo_name: str = "",
        tls: ssl.SSLContext | None = None,
        timeout_s: float = SMTP_TIMEOUT_S,
        conversation_s: float = CONVERSATION_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("an SMTP address begins with smtp://, smtp+starttls:// or smtps:// and a host")
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = parts.port or DEFAULT_PORTS[parts.scheme]
        self.user, self.password = unquote(parts.username or ""), unquote(parts.password or "")
        self.sender, self.sender_name = smtp_address(sender), sender_name
        self.ehlo_name = ehlo_name
        self.tls = tls or ssl.create_default_context()
        self.timeout_s = timeout_s
        self._conversation_s = conversation_s

    @property
    def place(self) -> str:
        """The server's address without user and password."""
        return f"{self.scheme}://{self.host}:{self.port}"

    async def send(self, mail: Mail) -> None:
        await self._converse(lambda conversation: conversation.send(mail))

    async def try_out(self) -> None:
        """Connect, sign in and announce the sender's address, but send no mail.

        Raises:
            MailError: a mail could not be sent either.
        """
        await self._converse(_Conversation.try_out)

    async def _converse(self, work: Callable[[_Conversation], None]) -> None:
        conversation = _Conversation(self)
        try:
            await asyncio.wait_for(_in_daemon_thread(lambda: work(conversation)), self._conversation_s)
        except asyncio.TimeoutError:
            message = f"{self.place}: no end within {self._conversation_s:.0f} s"
            raise MailError(message, stage=conversation.stage) from None
        except Exception as error:  # SMTP, sockets, TLS, and what the email package raises for a mail
            # Not as its cause either: a traceback would show what the message leaves out.
            outline = f"{self.place}: {conversation.outline(error)}"
            raise MailError(
                outline, permanent=conversation.is_permanent(error), stage=conversation.stage
            ) from None
        finally:
            conversation.cut()


class _Conversation:
    """One connection to the mail server, used by one thread. Another thread may cut it off."""

    def __init__(self, mailer: SmtpMailer) -> None:
        self._mailer = mailer
        self._socket: socket.socket | None = None
        self._is_cut = False
        self.stage: Stage = "address"

    def send(self, mail: Mail) -> None:
        to = smtp_address(mail.to)
        mail = replace(mail, to=to, key=mail.key or secrets.token_hex(16))
        content = message_bytes(mail, self._mailer.sender, self._mailer.sender_name)
        server = self._open()
        self._give_sender(server, "" if to.isascii() else " SMTPUTF8")
        self.stage = "recipient"
        _expect(server.docmd("RCPT", f"TO:<{to}>"), 250, 251)
        self.stage = "content"
        if server.sock is not None:
            server.sock.settimeout(max(CONTENT_TIMEOUT_S, self._mailer.timeout_s))
        _expect(server.data(content), 250)
        with contextlib.suppress(Exception):  # the server has the mail, whatever happens to the goodbye
            server.quit()

    def try_out(self) -> None:
        server = self._open()
        self._give_sender(server, "")
        with contextlib.suppress(Exception):
            server.rset()
            server.quit()

    def cut(self) -> None:
        """End the conversation from another thread. Does nothing if it has ended."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    # -- steps --------------------------------------------------------------------------------------

    def _open(self) -> smtplib.SMTP:
        """Connect, encrypt and sign in."""
        mailer = self._mailer
        self.stage = "connection"
        self._hold(socket.create_connection((mailer.host, mailer.port), mailer.timeout_s))
        if mailer.scheme == "smtps":
            self._encrypt()
        server = smtplib.SMTP(local_hostname=mailer.ehlo_name or None, timeout=mailer.timeout_s)
        server.sock = self._socket
        self.stage = "greeting"
        _expect(server.getreply(), 220)
        server.ehlo_or_helo_if_needed()
        if mailer.scheme == "smtp+starttls":
            self._start_tls(server)
        if mailer.user:
            self.stage = "sign-in"
            _sign_in(server, mailer.user, mailer.password)
        return server

    def _start_tls(self, server: smtplib.SMTP) -> None:
        self.stage = "TLS"
        if not server.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError
        _expect(server.docmd("STARTTLS"), 220)
        self._encrypt()
        # What the server said before was not protected (RFC 3207, section 4.2), nor what it sent ahead.
        server.sock, server.file = self._socket, None
        server.helo_resp = server.ehlo_resp = None
        server.esmtp_features, server.does_esmtp = {}, False
        self.stage = "greeting"
        server.ehlo_or_helo_if_needed()

    def _encrypt(self) -> None:
        self.stage = "TLS"
        assert self._socket is not None  # noqa: S101 - it has just been connected
        self._hold(self._mailer.tls.wrap_socket(self._socket, server_hostname=self._mailer.host))

    def _hold(self, connected: socket.socket) -> None:
        self._socket = connected
        if self._is_cut:
            connected.close()
            raise ConnectionAbortedError

    def _give_sender(self, server: smtplib.SMTP, options: str) -> None:
        if options:
            self.stage = "address"
            if not server.has_extn("smtputf8"):
                raise smtplib.SMTPNotSupportedError
            server.command_encoding = "utf-8"
        self.stage = "sender"
        _expect(server.docmd("MAIL", f"FROM:<{self._mailer.sender}>{options}"), 250)

    # -- what went wrong ----------------------------------------------------------------------------

    def is_permanent(self, error: Exception) -> bool:
        """Whether another attempt with this mail would fail too."""
        if self.stage == "address":
            return True
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
        return self.stage in PERMANENT_STAGES and 500 <= code < 600

    def outline(self, error: Exception) -> str:
        """Say what failed, without the words of the server."""
        name = type(error).__name__
        if self.stage == "address":
            if isinstance(error, smtplib.SMTPNotSupportedError):
                return "the server does not support SMTPUTF8, which an address in another script needs"
            return "the recipient's address cannot be used in a mail"
        if isinstance(error, smtplib.SMTPNotSupportedError):
            what = "no encryption" if self.stage == "TLS" else "no way to sign in that is known here"
            return f"{name} (the server offers {what})"
        if isinstance(error, smtplib.SMTPResponseException):
            if self.stage in PERMANENT_STAGES or self.stage == "sender":
                return f"the {self.stage} was refused ({error.smtp_code})"
            return f"{name} ({error.smtp_code})"
        if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException) and error.strerror:
            return f"{name} ({error.strerror})"
        return name


def _expect(reply: tuple[int, bytes], *codes: int) -> None:
    if reply[0] not in codes:
        raise smtplib.SMTPResponseException(*reply)


def _sign_in(server: smtplib.SMTP, user: str, password: str) -> None:
    """Sign in; smtplib itself takes nothing but ASCII for user and password."""
    if user.isascii() and password.isascii():
        server.login(user, password)
        return
    methods = server.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in methods:
        reply = server.docmd("AUTH", f"PLAIN {_base64(f'{chr(0)}{user}{chr(0)}{password}')}")
    elif "LOGIN" in methods:
        _expect(server.docmd("AUTH", "LOGIN"), 334)
        _expect(server.docmd(_base64(user)), 334)
        reply = server.docmd(_base64(password))
    else:
        raise smtplib.SMTPNotSupportedError
    if reply[0] != 235:
        raise smtplib.SMTPAuthenticationError(*reply)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _in_daemon_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Run blocking work in a thread of its own, which does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, daemon=True, name="smtp").start()
    return future
