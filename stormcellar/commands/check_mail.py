# SPDX-License-Identifier: MIT
"""The part of `check` about mail: the mail server, and the mails that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stormcellar.accounts import MailError, Outbox
from stormcellar.commands.finding import Finding, error, note, warning
from stormcellar.sessions import SystemClock
from stormcellar.settings import Settings
from stormcellar.store import Database
from stormcellar.web.mails import make_smtp_mailer

STEP_S, CONVERSATION_S = 5.0, 15.0
OLD_S = 15 * 60.0
ADVICE = {
    "connection": "Correct host and port in smtp_url. Check that a firewall lets this machine connect.",
    "TLS": "Write smtps:// for port 465 and smtp+starttls:// for port 587. The host in smtp_url must be the "
    "name in the server's certificate.",
    "greeting": "Set smtp_ehlo_name to a host name that exists in DNS, or ask the mail server's operator to "
    "let this machine send.",
    "sign-in": "Correct user and password in smtp_url; percent-encode what is neither letter nor digit.",
    "sender": "Set mail_from to an address that this user of the mail server may send from.",
}


async def check_mail_server(options: Settings) -> AsyncIterator[Finding]:
    """Connect to the mail server, sign in and announce the sender. No mail is sent."""
    if not options.smtp_url:
        return
    mailer = make_smtp_mailer(options, timeout_s=STEP_S, conversation_s=CONVERSATION_S)
    try:
        await mailer.try_out()
    except MailError as failure:
        yield error(f"No mail can be sent: {failure}.", ADVICE.get(failure.stage, "Correct smtp_url."))
    else:
        yield note(f"The mail server {mailer.place} takes mails from {options.mail_from}.")


async def check_outbox(database: Database) -> AsyncIterator[Finding]:
    """Report the mails that wait."""
    state = await Outbox(database, clock=SystemClock(), keys=[]).state()
    if not state.waiting:
        return
    what = f"{state.waiting} mails wait, the oldest for {state.oldest_s / 60:.0f} min."
    if state.last_error:
        what += f" The last error: {state.last_error}."
    if state.oldest_s > OLD_S or state.last_error:
        yield warning(what, "`python manage.py list-mails` shows them; the server's log has every attempt.")
    else:
        yield note(what)
