# SPDX-License-Identifier: MIT
"""The mails of the site: templates/mail/ holds each as text, whose first line is the subject, and as HTML.

Mails leave in the background. So no answer waits for a mail server, and none tells by its time whether there
was anybody to write to. Links begin with the site's public address, whatever host a request named.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tornado.template import Loader

from accounts import Mail, Mailbox, Mailer, MailError, NoMailer, OneTimeToken, SmtpMailer
from sessions.engine import DEFAULT_TENANT
from settings import Settings

log = logging.getLogger("stormcellar.mail")

PATHS = {
    "reset_password": "/reset-password",
    "verify_email": "/verify-email",
    "change_email": "/account/email/confirm",
}
AT_ONCE = 4  # connections to the mail server
MOST_WAITING = 1000
LAST_MAILS_TIMEOUT_S = 10


def make_mailer(options: Settings) -> Mailer:
    """How mails leave, by the settings."""
    if options.smtp_url:
        return SmtpMailer(options.smtp_url, options.mail_from, options.site_name)
    if options.debug:
        return Mailbox()
    log.warning(
        "No mail leaves this server: nobody can get a new password or confirm an e-mail address. "
        "Set smtp_url and mail_from."
    )
    return NoMailer()


class Mails:
    """Writes mails from templates and has them sent.

    Args:
        folder: where the templates are.
        mailer: what sends them.
        site_name: the name that recipients know the site by.
        link_base: what links begin with: the site's origin, and perhaps a path.
    """

    def __init__(self, folder: Path, mailer: Mailer, *, site_name: str, link_base: str) -> None:
        self.mailer = mailer
        self._site_name = site_name
        self._link_base = link_base
        self._texts = Loader(str(folder), autoescape=None)
        self._pages = Loader(str(folder))
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def post_link(self, token: OneTimeToken | None) -> None:
        """Mail the link that carries this token; None: there is nobody to write to."""
        if token is not None:
            query = urlencode({"token": token.text, "tenantId": DEFAULT_TENANT})
            link = f"{self._link_base}{PATHS[token.purpose]}?{query}"
            self.post(token.email, token.purpose, link=link, lifetime=in_words(token.lifetime_s))

    def post(self, to: str, template: str, **variables: Any) -> None:
        """Have a mail written and sent, soon; what goes wrong then is logged."""
        if len(self._tasks) >= MOST_WAITING:
            log.error("a mail (%s) is dropped: %d others wait already", template, MOST_WAITING)
            return
        task = asyncio.get_running_loop().create_task(self._send(to, template, variables))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Let the mails go that wait, but for those that take too long."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=LAST_MAILS_TIMEOUT_S)
        for task in late:
            task.cancel()
        if late:
            log.error("%d mails are dropped: the server stops", len(late))

    def write(self, to: str, template: str, **variables: Any) -> Mail:
        """The mail that `templates/mail/<template>.txt` and `.html` make of the variables."""
        known = {"site_name": self._site_name, **variables}
        text = self._texts.load(f"{template}.txt").generate(**known).decode()
        head, _, body = text.strip().partition("\n")
        subject = head.removeprefix("Subject:").strip()
        html = self._pages.load(f"{template}.html").generate(subject=subject, **known).decode()
        return Mail(to, subject, body.strip() + "\n", html.strip() + "\n")

    async def _send(self, to: str, template: str, variables: dict[str, Any]) -> None:
        async with self._places:
            try:
                await self.mailer.send(self.write(to, template, **variables))
            except MailError as error:
                log.error("a mail (%s) was not sent: %s", template, error)
            except Exception as error:  # a mailer or a template of the site's own; its words may be private
                log.error("a mail (%s) was not sent: %s", template, type(error).__name__)
            else:
                log.info("a mail (%s) was sent", template)


def in_words(seconds: int) -> str:
    """A length of time as people say it: "1 hour", "90 minutes"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count, rest = divmod(seconds, size)
        if count and not rest:
            return f"{count} {unit}" + "s" * (count > 1)
    return f"{seconds} seconds"
