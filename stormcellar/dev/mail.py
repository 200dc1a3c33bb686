# SPDX-License-Identifier: MIT
"""The mails that did not leave: a mailbox for development. Its routes are there with `debug` on only."""

from __future__ import annotations

from tornado.web import HTTPError

from stormcellar.accounts import Mailbox
from stormcellar.dev.key import DeveloperOnly


class DevMailHandler(DeveloperOnly):
    """What the pages of the mailbox share."""

    public = "in development everybody is the developer"

    async def mailbox(self) -> Mailbox:
        await self.app.mails.finish()  # the mails of the last request are there
        mailer = self.app.mails.mailer
        if not isinstance(mailer, Mailbox):
            raise HTTPError(404)  # mails leave by SMTP
        return mailer


class MailboxHandler(DevMailHandler):
    """GET /dev/mail: the last mails, newest first."""

    async def get(self) -> None:
        self.render("dev/mailbox.html", mails=(await self.mailbox()).numbered())


class MailHandler(DevMailHandler):
    """GET /dev/mail/7: one mail as text. GET /dev/mail/7/html: as HTML."""

    async def get(self, number: str, html: str) -> None:
        mail = (await self.mailbox()).find(int(number))
        if mail is None:
            raise HTTPError(404)
        if html:
            self.finish(mail.html)
        else:
            self.render("dev/mail.html", mail=mail, number=number)
