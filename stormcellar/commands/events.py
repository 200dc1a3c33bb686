# SPDX-License-Identifier: MIT
"""The command that shows the audit log."""

from __future__ import annotations

from stormcellar.application import Application
from stormcellar.commands.command import JSON, USER, Argument, Call, Command, find_user
from stormcellar.commands.output import CommandError, moment, print_json
from stormcellar.events.audit import AuditEvent

DAY_S = 86_400
PAGE = 500
COLUMNS = ("name", "user_id", "session_handle", "client_address", "request_id", "detail", "occurrences")


async def list_events(call: Call) -> None:
    arguments = call.arguments
    if (arguments.days is not None and arguments.days < 1) or arguments.limit < 1:
        raise CommandError("--days and --limit take whole numbers from 1 on")
    async with call.open() as application:
        now = application.sessions.clock.now()
        left, last = arguments.limit, None
        while left > 0 and (
            page := await application.audit.events(
                user_id=await _user_id(application, arguments.user),
                session_handle=arguments.session,
                name=arguments.name,
                since=None if arguments.days is None else now - arguments.days * DAY_S,
                before=last,
                limit=min(left, PAGE),
            )
        ):
            left, last = left - len(page), page[-1]
            for event in page:
                if arguments.json:
                    print_json(as_record(event))
                else:
                    print(as_line(event))


async def _user_id(application: Application, name: str | None) -> str | None:
    """By address only the users of now are found, by their ID also those who are gone."""
    return (await find_user(application, name)).user_id if name and "@" in name else name


def as_record(event: AuditEvent) -> dict[str, object]:
    return {"at_ms": int(event.time * 1000), **{column: getattr(event, column) for column in COLUMNS}}


def as_line(event: AuditEvent) -> str:
    times = f"{event.occurrences} times" if event.occurrences > 1 else ""
    known = (event.user_id, event.session_handle, event.client_address, event.detail, times)
    return "  ".join((moment(event.time), event.name, *filter(None, known)))


COMMANDS = (
    Command(
        "list-events",
        list_events,
        "Show the audit log, the newest event first: time (UTC), what happened, user ID, session, client "
        "address and detail, as far as they are known.",
        "list-events --user ann@example.com --days 7",
        (
            Argument(
                "--user",
                "Only those of this user: an e-mail address, or a user ID, also of an account that is gone.",
                USER.options,
            ),
            Argument("--session", "Only those of this session.", {"metavar": "HANDLE"}),
            Argument("--name", "Only those of this name, such as 'sign-in failed'.", {"metavar": "NAME"}),
            Argument("--days", "Only those of the last days.", {"type": int, "metavar": "DAYS"}),
            Argument(
                "--limit",
                "At most so many; 100 by default.",
                {"type": int, "default": 100, "metavar": "NUMBER"},
            ),
            JSON,
        ),
    ),
)
