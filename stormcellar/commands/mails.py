# SPDX-License-Identifier: MIT
"""Commands for the mails that wait in the outbox."""

from __future__ import annotations

from stormcellar.commands.command import JSON, Call, Command
from stormcellar.commands.output import print_json


async def list_mails(call: Call) -> None:
    async with call.open() as application:
        mails = await application.mails.delivery.outbox.list()
    for mail in mails:
        if call.arguments.json:
            print_json(mail._asdict())
            continue
        words = f"{mail.template}  {mail.age_s / 60:.0f} min old  {mail.attempts} attempts"
        words += f"  next in {max(0, mail.due_in_s):.0f} s"
        print(f"{words}  {mail.last_error}".rstrip())


async def retry_mails(call: Call) -> None:
    async with call.open() as application:
        count = await application.mails.delivery.outbox.retry_all()
    print(f"The servers attempt {count} mails within some seconds.")


COMMANDS = (
    Command(
        "list-mails",
        list_mails,
        "List the mails that wait to be sent, at most 100, the oldest first: which mail, its age, attempts, "
        "the next attempt and the last error. Addresses and texts are encrypted and not shown.",
        "list-mails",
        (JSON,),
    ),
    Command(
        "retry-mails",
        retry_mails,
        "Have the servers attempt every waiting mail now, for example after the mail server was repaired.",
        "retry-mails",
    ),
)
