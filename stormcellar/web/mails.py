# SPDX-License-Identifier: MIT
"""The mails of the site: templates/mail/ has each as text, whose first line is the subject, and as HTML.

A request stores its mails in the outbox before it answers, and a background task sends them. So no answer
waits for a mail server, and no mail is lost when a server stops. Links begin with the site's public address,
whatever host a request named.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from stormcellar.accounts import Delivery, Mail, Mailbox, Mailer, NoMailer, OneTimeToken, Outbox, SmtpMailer
from stormcellar.accounts.smtp import CONVERSATION_S, SMTP_TIMEOUT_S
from stormcellar.sessions.engine import DEFAULT_TENANT
from stormcellar.settings import Settings
from stormcellar.web.templates import page_loader, text_loader

log = logging.getLogger("stormcellar.mail")

PATHS = {
    "reset_password": "/reset-password",
    "verify_email": "/verify-email",
    "change_email": "/account/email/confirm",
}
NOTICE_LIFETIME_S = 24 * 60 * 60  # for mails without a token


def make_mailer(options: Settings) -> Mailer:
    """Choose how mails leave, by the settings."""
    if options.smtp_url:
        return make_smtp_mailer(options)
    if options.debug:
        return Mailbox()
    log.warning(
        "No mail leaves this server: users cannot get a new password or confirm an e-mail address. "
        "Set smtp_url and mail_from."
    )
    return NoMailer()


def make_smtp_mailer(
    options: Settings, *, timeout_s: float = SMTP_TIMEOUT_S, conversation_s: float = CONVERSATION_S
) -> SmtpMailer:
    """Make what sends mails to smtp_url."""
    ehlo_name = options.smtp_ehlo_name or urlsplit(options.public_url).hostname or ""
    if ":" in ehlo_name and not ehlo_name.startswith("["):
        ehlo_name = f"[IPv6:{ehlo_name}]"
    return SmtpMailer(
        options.smtp_url,
        options.mail_from,
        options.site_name,
        ehlo_name=ehlo_name,
        timeout_s=timeout_s,
        conversation_s=conversation_s,
    )


class Mails:
    """Writes mails from templates and has them sent.

    Args:
        folder: the site's templates; the mails are in `mail/` there, or among the kit's.
        outbox: where mails wait.
        mailer: what sends them.
        site_name: the name that recipients know the site by.
        link_base: what links begin with: the site's origin, and perhaps a path.

    Attributes:
        delivery: sends the mails, and knows how many wait.
    """

    def __init__(
        self, folder: Path, outbox: Outbox, mailer: Mailer, *, site_name: str, link_base: str
    ) -> None:
        self.delivery = Delivery(outbox, mailer)
        self._site_name = site_name
        self._link_base = link_base
        self._texts = text_loader(folder)
        self._pages = page_loader(folder)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def mailer(self) -> Mailer:
        return self.delivery.mailer

    async def open(self) -> None:
        """Bring the outbox up to date and start sending."""
        await self.delivery.outbox.open()
        self.delivery.start()

    async def maintain(self) -> None:
        await self.delivery.maintain()

    async def stop(self) -> None:
        """Stop sending. Mails that wait are sent after the next start, or by another server."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.delivery.stop()

    async def finish(self) -> None:
        """Attempt every mail that waits: for tests and for the mailbox of development."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.delivery.finish()

    async def post_link(self, token: OneTimeToken | None) -> None:
        """Store the mail with the link that carries this token; None: there is nothing to send.

        Raises:
            StoreUnavailableError: the mail could not be stored, so it will not be sent.
        """
        if token is not None:
            await self._put_link(token, is_decoy=False)

    async def post_link_or_decoy(self, token: OneTimeToken | None, decoy: OneTimeToken) -> None:
        """Store the mail with the link that carries this token.

        None: the same work is done for a mail with the decoy, which is never sent. So the time of this
        request and of the next one does not tell whether there was an account.
        """
        await self._put_link(token or decoy, is_decoy=token is None)

    def link(self, token: OneTimeToken) -> str:
        """Return the link that carries this token."""
        query = urlencode({"token": token.text, "tenantId": DEFAULT_TENANT})
        return f"{self._link_base}{PATHS[token.purpose]}?{query}"

    def post(self, to: str, template: str, **variables: Any) -> asyncio.Task[None]:
        """Store a mail that the template makes of these variables.

        Await the result, so that the mail is stored before the request is answered. Errors are logged.
        """
        task = asyncio.get_running_loop().create_task(self._post(to, template, variables))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _post(self, to: str, template: str, variables: dict[str, Any]) -> None:
        try:
            await self._put(to, template, NOTICE_LIFETIME_S, variables)
        except Exception as error:  # the database, or a template of the site; its words may be private
            log.error("a mail (%s) was not stored: %s", template, type(error).__name__)

    async def _put_link(self, token: OneTimeToken, *, is_decoy: bool) -> None:
        variables = {"link": self.link(token), "lifetime": in_words(token.lifetime_s)}
        await self._put(token.email, token.purpose, token.lifetime_s, variables, is_decoy=is_decoy)

    async def _put(
        self,
        to: str,
        template: str,
        lifetime_s: float,
        variables: dict[str, Any],
        *,
        is_decoy: bool = False,
    ) -> None:
        if not self.delivery.is_possible:
            if not is_decoy:
                log.error("a mail (%s) was not sent: mail is not set up", template)
            return
        mail = self.write(to, template, **variables)
        if not await self.delivery.put(mail, template, lifetime_s=lifetime_s, is_decoy=is_decoy):
            log.error("a mail (%s) is dropped: too many others wait already", template)

    def write(self, to: str, template: str, **variables: Any) -> Mail:
        """Return the mail that `templates/mail/<template>.txt` and `.html` make of the variables."""
        known = {"site_name": self._site_name, **variables}
        text = self._texts.load(f"mail/{template}.txt").generate(**known).decode()
        head, _, body = text.strip().partition("\n")
        subject = head.removeprefix("Subject:").strip()
        html = self._pages.load(f"mail/{template}.html").generate(subject=subject, **known).decode()
        return Mail(to, subject, body.strip() + "\n", html.strip() + "\n")


def in_words(seconds: int) -> str:
    """A length of time as people say it: "1 hour", "90 minutes"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count, rest = divmod(seconds, size)
        if count and not rest:
            return f"{count} {unit}" + "s" * (count > 1)
    return f"{seconds} seconds"
