# SPDX-License-Identifier: MIT
"""Change the server secret while users stay signed in.

A server must open the tokens of every other server. So the next secret is first known to all of them (step
1), then they change over to it (step 2). What the database keeps sealed is sealed again in the background.
The earlier secret is needed until each session has been renewed once; then it is removed (step 3).

Where the setting `secret` is used, the command cannot change it. It then says for each step what to set.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stormcellar.accounts import NoMailer
from stormcellar.application import Application
from stormcellar.commands.command import JSON, YES, Argument, Call, Command
from stormcellar.commands.output import CommandError, Progress, confirm, print_json
from stormcellar.secret_files import NEXT, OLD, SECRET, new_secret, read_lines, server_secret, write_lines
from stormcellar.server_secret import fingerprint
from stormcellar.sessions.session_store import ALIVE, SessionStore
from stormcellar.settings import Settings
from stormcellar.store import Connection
from stormcellar.store.sealed import SealedCount

BATCH = 500
RELOAD = "Reload every server (`systemctl reload stormcellar`, or SIGHUP)"
LATER = "Then run `python manage.py rotate-secret` again"


class Status(NamedTuple):
    """What still needs an earlier secret.

    Attributes:
        secrets: the fingerprints of this configuration, that of the current secret first.
        servers: for each process that serves now, the fingerprints of its secrets.
        sealed: how many values of the database are sealed with the current secret, an earlier one, and one
            that is unknown.
        sessions: how many live sessions were last renewed before the current secret was in use.
    """

    secrets: tuple[str, ...]
    servers: list[tuple[str, ...]]
    sealed: SealedCount
    sessions: int


async def rotate_secret(call: Call) -> None:
    arguments, options = call.arguments, call.settings()
    if arguments.lost:
        return await _give_up_lost_secret(call, options)
    async with call.open() as application:
        status = await _status(application)
        if arguments.status:
            return _show(call, status)
        if arguments.finish:
            return await _finish(call, application, status)
        return _next_step(call, options, status)


async def _status(application: Application) -> Status:
    sealed = SealedCount()
    for column in application.sealed_columns:
        sealed += await column.count(application.database)
    newest = await application.secret_register.newest()
    since_ms = newest.first_used_at_ms if newest else 0
    parameters = {
        "now": application.sessions.clock.now(),
        "session_lifetime_s": application.sessions.config.session_lifetime_s,
        "since": since_ms / 1000,
    }
    sql = f"SELECT count(*) FROM sessions WHERE rotated_at < :since AND {ALIVE}"  # noqa: S608
    sessions = await application.database.read(lambda c: c.execute(sql, parameters).fetchone()[0])
    secret = server_secret(application.options)
    return Status(
        secret.fingerprints,
        await application.presence.secrets_of_servers(),
        sealed,
        sessions if secret.others else 0,
    )


def _show(call: Call, status: Status) -> None:
    if call.arguments.json:
        print_json({**status._asdict(), "sealed": status.sealed._asdict()})
        return
    current, *others = status.secrets
    print(f"The current secret has the fingerprint {current}.")
    print(f"Other secrets that are accepted: {', '.join(others) or 'none'}.")
    print(
        f"Server processes that use the current secret: {_using(status, current)} of {len(status.servers)}."
    )
    print(
        f"Sealed values in the database: {status.sealed.current} by the current secret, "
        f"{status.sealed.earlier} by others, {status.sealed.unreadable} that no secret opens."
    )
    print(f"Sessions that need an earlier secret: {status.sessions}.")


def _using(status: Status, secret: str) -> int:
    return sum(1 for secrets in status.servers if secrets[:1] == (secret,))


# -- step 1 and step 2 ----------------------------------------------------------------------------------


def _next_step(call: Call, options: Settings, status: Status) -> None:
    if options.secret:
        return _say_what_to_set(call, status)
    waiting = read_lines(options.data_dir / NEXT)
    if not waiting:
        prepared = new_secret()
        write_lines(options.data_dir / NEXT, [prepared.encode()])
        return _say(
            call,
            {"step": 1, "next": fingerprint(prepared.encode())},
            f"Step 1 of 3: {options.data_dir / NEXT} has the next secret.",
            f"{RELOAD}; servers on other machines need the file too. {LATER}.",
        )
    chosen = fingerprint(waiting[0])
    unaware = [secrets for secrets in status.servers if chosen not in secrets]
    if unaware and not call.arguments.force:
        raise CommandError(
            f"{len(unaware)} of {len(status.servers)} server processes do not know the next secret "
            f"({chosen}) yet and would sign users out. {RELOAD} and run the command again. If these "
            "processes are gone, add --force"
        )
    current = read_lines(options.data_dir / SECRET)
    write_lines(options.data_dir / OLD, list(dict.fromkeys([*current, *read_lines(options.data_dir / OLD)])))
    write_lines(options.data_dir / SECRET, waiting)
    write_lines(options.data_dir / NEXT, [])
    return _say(
        call,
        {"step": 2, "current": chosen},
        f"Step 2 of 3: the server's secret is now the one with the fingerprint {chosen}.",
        f"{RELOAD}; servers on other machines need the files `{SECRET}` and `{OLD}` too. They seal the "
        "database's values again by themselves. `python manage.py rotate-secret --status` shows how far they "
        "are; --finish removes the earlier secret.",
    )


def _say_what_to_set(call: Call, status: Status) -> None:
    current, *others = status.secrets
    if not others:
        prepared = new_secret()
        lines = (
            f"Step 1 of 3: add this secret to the setting old_secrets of every server: {prepared}",
            f"{RELOAD}. Then exchange the two: `secret` gets the new one, `old_secrets` the earlier one "
            "(step 2), and reload again.",
        )
        return _say(call, {"step": 1, "next": fingerprint(prepared.encode()), "secret": prepared}, *lines)
    using = _using(status, current)
    lines = (
        f"The current secret is {current}, and {using} of {len(status.servers)} server processes use it. "
        f"Accepted too: {', '.join(others)}.",
        "Step 2 of 3: when every server accepts both, exchange them: `secret` gets the new one, "
        "`old_secrets` the earlier one. Step 3: `python manage.py rotate-secret --finish` says when the "
        "earlier one can go.",
    )
    return _say(call, {"step": 2, "current": current, "others": others}, *lines)


# -- step 3 ---------------------------------------------------------------------------------------------


async def _finish(call: Call, application: Application, status: Status) -> None:
    options, current = application.options, status.secrets[0]
    if read_lines(options.data_dir / NEXT):
        raise CommandError("A next secret waits for step 2. Run the command without --finish first")
    behind = len(status.servers) - _using(status, current)
    if behind and not call.arguments.force:
        raise CommandError(
            f"{behind} of {len(status.servers)} server processes use another secret. {RELOAD} first. If "
            "these processes are gone, add --force"
        )
    progress = Progress(status.sealed.earlier, "values")
    progress.advance((await application.seal_again()).earlier)
    progress.finish()
    if status.sessions:
        confirm(
            f"{status.sessions} sessions have not been renewed since the change. Their users are signed out. "
            "Go on?",
            yes=call.arguments.yes,
        )
    write_lines(options.data_dir / OLD, [])
    also = " Remove it from the setting old_secrets too." if options.old_secrets else ""
    _say(
        call,
        {"step": 3, "current": current, "signed_out": status.sessions},
        f"Step 3 of 3: only the secret {current} counts from the next reload on.{also}",
        f"{RELOAD}, and remove the file `{OLD}` on other machines.",
    )


# -- a lost secret --------------------------------------------------------------------------------------


async def _give_up_lost_secret(call: Call, options: Settings) -> None:
    """Delete what no secret opens, and every session, so that servers start with the secret they have."""
    if options.verify_only:
        raise CommandError("This server keeps no sessions. Run the command where they are kept")
    application = call.site.make_app(options, mailer=NoMailer())
    try:
        await _open_tables(application)
        if await application.presence.secrets_of_servers() and not call.arguments.force:
            raise CommandError(
                "Servers run on this database, so its secret is not lost. Stop them first. If they "
                "are gone, add --force"
            )
        sealed = SealedCount()
        for column in application.sealed_columns:
            sealed += await column.count(application.database)
        if not sealed.unreadable and await _knows_newest(application):
            raise CommandError("The secret of this configuration opens everything. Nothing was changed")
        confirm(
            f"Every user is signed out, and {sealed.unreadable} values that no secret opens are given up. "
            "Go on?",
            yes=call.arguments.yes,
        )
        kept = 0
        for column in application.sealed_columns:
            is_factor = column.table == "authenticators"
            delete = not is_factor or call.arguments.remove_second_factors
            found = await column.seal_again(application.database, delete_unreadable=delete)
            kept += 0 if delete else found.unreadable
        ended = 0
        while gone := await application.database.write(_delete_sessions):
            ended += gone
        await application.secret_register.forget()
    finally:
        await application.stop()
    lines = [f"{ended} sessions are over. The servers can start with this secret."]
    if kept:
        lines.append(
            f"{kept} users have an authenticator app whose secret cannot be read, so they cannot sign in. "
            "Let each in by `python manage.py remove-second-factor` when you know who asks. To remove all "
            "of them, run this command again with --remove-second-factors before the start."
        )
    _say(call, {"sessions": ended, "given_up": sealed.unreadable - kept, "second_factors": kept}, *lines)


async def _open_tables(application: Application) -> None:
    """Open the database as far as that needs no secret."""
    await application.database.open()
    await application.presence.open()
    await application.secret_register.open()
    await SessionStore(application.database).migrate()
    await application.mails.delivery.outbox.open()
    for extra in application.extras:
        await extra.open()


async def _knows_newest(application: Application) -> bool:
    newest = await application.secret_register.newest()
    return newest is None or newest.fingerprint in server_secret(application.options).fingerprints


def _delete_sessions(connection: Connection) -> int:
    return connection.execute(
        "DELETE FROM sessions WHERE handle IN (SELECT handle FROM sessions LIMIT :batch)", {"batch": BATCH}
    ).rowcount


def _say(call: Call, record: dict[str, Any], *lines: str) -> None:
    if call.arguments.json:
        print_json(record)
    else:
        print("\n".join(lines))


COMMANDS = (
    Command(
        "rotate-secret",
        rotate_secret,
        "Change the server secret in three steps, without signing users out. The first call makes the next "
        "secret, which every server must know before the second call changes over to it. The third call, "
        "with --finish, removes the earlier secret. After each call the servers are reloaded. Each call "
        "says what to do next.",
        "rotate-secret",
        (
            Argument(
                "--status",
                "Show what still needs an earlier secret; change nothing.",
                {"action": "store_true"},
            ),
            Argument(
                "--finish",
                "Seal what is left, then remove the earlier secrets. Sessions that were not renewed since "
                "the change end.",
                {"action": "store_true"},
            ),
            Argument(
                "--lost",
                "The secret is lost: give up what it sealed, and sign every user out, so that the servers "
                "start again. Stop them first.",
                {"action": "store_true"},
            ),
            Argument(
                "--remove-second-factors",
                "With --lost: remove authenticator apps that cannot be read, so that the password alone lets "
                "their users in.",
                {"action": "store_true"},
            ),
            Argument("--force", "Do not wait for server processes that are gone.", {"action": "store_true"}),
            YES,
            JSON,
        ),
    ),
)
