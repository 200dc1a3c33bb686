# SPDX-License-Identifier: MIT
"""What tests of mailed links say: look into the mailbox, take the token out of the last mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from stormcellar.accounts import Mail, Mailbox
from stormcellar.application import Application


async def mails(app: Application) -> Sequence[Mail]:
    """All mails so far, newest first. The application must have `debug` on, or be given a Mailbox."""
    await app.mails.finish()
    assert isinstance(app.mails.mailer, Mailbox)
    return list(app.mails.mailer.mails)


async def last_link(app: Application) -> str:
    """The address in the newest mail: the same in its text and in its HTML."""
    mail = (await mails(app))[0]
    (in_text,) = re.findall(r"^https?://\S+$", mail.text, re.MULTILINE)
    (in_html,) = re.findall(r'href="([^"]+)"', mail.html)
    assert in_html.replace("&amp;", "&") == in_text
    return in_text


async def last_token(app: Application) -> str:
    return parse_qs(urlsplit(await last_link(app)).query)["token"][0]


async def last_path(app: Application) -> str:
    """The address without its origin, for a client that knows the origin."""
    link = urlsplit(await last_link(app))
    return f"{link.path}?{link.query}"
