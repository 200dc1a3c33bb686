# SPDX-License-Identifier: MIT
"""Commands for users: create, list, lock, give roles, let in without a second factor, delete."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from functools import partial

from stormcellar.accounts import FieldErrors, User
from stormcellar.application import Application
from stormcellar.commands.command import JSON, USER, YES, Argument, Call, Command, find_user
from stormcellar.commands.output import CommandError, confirm, moment, print_json, until_ctrl_c
from stormcellar.web.mails import in_words
from stormcellar.web.new_password import set_password

PAGE = 500
REASON = "command line"

ROLE = Argument("role", "The name of a role: 1 to 64 visible characters.", {"metavar": "ROLE"})


async def create_user(call: Call) -> None:
    async with call.open() as application:
        password = read_password()
        try:
            user = await application.accounts.sign_up(call.arguments.email, password)
        except FieldErrors as error:
            raise CommandError("; ".join(error.errors.values())) from error
        application.journal.record("signed up", user_id=user.user_id, detail=REASON)
        if call.arguments.verified:
            token = await application.accounts.create_email_verification(user.user_id)
            user = await application.accounts.verify_email(token.text) if token else user
        for role in call.arguments.role:
            await _add_role(application, user, role)
        if call.arguments.json:
            print_json(as_record(user, call.arguments.role))
        else:
            print(f"Created {user.email} with the user ID {user.user_id}.")


def read_password() -> str:
    """From the terminal, twice and unseen; otherwise the first line of standard input."""
    with until_ctrl_c():
        if sys.stdin.isatty():
            password = getpass.getpass("Password: ")
            if getpass.getpass("Once more: ") != password:
                raise CommandError("The two passwords differ")
            return password
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("No password came on standard input; it must be the first line there")
    return password


async def list_users(call: Call) -> None:
    arguments = call.arguments
    async with call.open() as application:
        last: User | None = None
        while page := await application.accounts.list(limit=PAGE, after=last):
            last = page[-1]
            roles = await application.accounts.roles_of([user.user_id for user in page])
            for user in page:
                own = roles.get(user.user_id, [])
                if (arguments.locked and not user.locked) or (arguments.role and arguments.role not in own):
                    continue
                if arguments.json:
                    print_json(as_record(user, own))
                else:
                    print(as_line(user, own))


def as_record(user: User, roles: Sequence[str]) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "email": user.email,
        "email_verified": user.email_verified,
        "locked": user.locked,
        "roles": list(roles),
        "created_at_ms": user.created_at_ms,
    }


def as_line(user: User, roles: Sequence[str]) -> str:
    states = [*(["locked"] if user.locked else []), *([] if user.email_verified else ["unverified"])]
    notes = [*states, *([f"roles: {', '.join(roles)}"] if roles else [])]
    return (
        f"{user.user_id:<36}  {moment(user.created_at_ms / 1000)}  {user.email}  {'; '.join(notes)}".rstrip()
    )


async def set_password_of_user(call: Call) -> None:
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        password = read_password()
        try:
            ended = await set_password(application, user, password, detail=REASON)
        except FieldErrors as error:
            raise CommandError("; ".join(error.errors.values())) from error
        sentence = f"has a new password; {ended} sessions ended"
        _report(call, user, True, "password_set", sentence, ended)


async def reset_link(call: Call) -> None:
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        token = await application.accounts.create_password_reset(user.email)
        if token is None:
            raise CommandError(f"{user.email} is locked; unlock the account first")
        application.journal.record("reset link made", user_id=user.user_id, detail=REASON)
        link, lifetime = application.mails.link(token), in_words(token.lifetime_s)
        if call.arguments.json:
            print_json({"user_id": user.user_id, "link": link, "lifetime_s": token.lifetime_s})
        else:
            print(link)
            print(f"It works once, within {lifetime}, for {user.email}.", file=sys.stderr)


async def lock_user(call: Call) -> None:
    """The lock first: whoever signs in between it and the end of the sessions is refused by it."""
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        changed = await application.accounts.lock(user.user_id)
        application.journal.record("account locked", user_id=user.user_id, detail=REASON)
        ended = await application.sessions.revoke_all_sessions_for_user(user.user_id, reason=REASON)
        _report(call, user, changed, "locked", f"is locked; {len(ended)} sessions ended", len(ended))


async def unlock_user(call: Call) -> None:
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        changed = await application.accounts.unlock(user.user_id)
        application.journal.record("account unlocked", user_id=user.user_id, detail=REASON)
        _report(call, user, changed, "unlocked", "may sign in again")


async def set_role(call: Call) -> None:
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        changed = call.arguments.role not in await application.accounts.roles(user.user_id)
        await _add_role(application, user, call.arguments.role)
        _report(call, user, changed, "role_set", f"has the role {call.arguments.role}")


async def _add_role(application: Application, user: User, role: str) -> None:
    try:
        await application.account_claims.change_roles(application.sessions, user.user_id, add=[role])
    except ValueError as error:
        raise CommandError(f"{user.email} cannot have this role: {error}") from error
    application.journal.record("roles changed", user_id=user.user_id, detail=f"{REASON}: +{role}")


async def remove_role(call: Call) -> None:
    role = call.arguments.role
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        if role not in await application.accounts.roles(user.user_id):
            raise CommandError(f"{user.email} has no role {role}")
        await application.account_claims.change_roles(application.sessions, user.user_id, remove=[role])
        application.journal.record("roles changed", user_id=user.user_id, detail=f"{REASON}: -{role}")
        _report(call, user, True, "role_removed", f"has the role {role} no more")


async def remove_second_factor(call: Call) -> None:
    """Sessions that still lack it go on by themselves: they ask the store."""
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        removed = [await extra.remove_second_factor(user.user_id) for extra in application.extras]
        if not any(removed):
            raise CommandError(f"{user.email} has no second factor")
        application.journal.record("factor removed", user_id=user.user_id, detail=f"{REASON}: second factor")
        _report(call, user, True, "second_factor_removed", "gets in without a second factor")


async def delete_user(call: Call) -> None:
    """The sessions first: should the rest fail, the user is still found, and it can be tried again. They end
    once more after it, for whoever signed in meanwhile."""
    async with call.open() as application:
        user = await find_user(application, call.arguments.user)
        question = f"Delete {user.email} ({user.user_id}) for good?"
        confirm(question, yes=call.arguments.yes)
        end_all = partial(application.sessions.revoke_all_sessions_for_user, user.user_id, reason=REASON)
        ended = await end_all()
        deleted = await application.accounts.delete(user.user_id)
        application.journal.record("account deleted", user_id=user.user_id, detail=REASON)
        ended += await end_all()
        _report(call, user, deleted, "deleted", f"is deleted; {len(ended)} sessions ended", len(ended))


def _report(
    call: Call, user: User, changed: bool, what: str, sentence: str, ended: int | None = None
) -> None:
    """One line for people or one object for scripts: `what` says whether anything had to be done."""
    if call.arguments.json:
        record: dict[str, object] = {"user_id": user.user_id, what: changed}
        print_json(record if ended is None else {**record, "sessions_ended": ended})
    else:
        print(f"{user.email} {sentence}{'' if changed else ' (as before)'}.")


COMMANDS = (
    Command(
        "create-user",
        create_user,
        "Create an account. The password is asked for on the terminal, or is the first line of standard "
        "input; the command line, which others on the machine can see, takes none.",
        "create-user ann@example.com --verified --role admin",
        (
            Argument("email", "The e-mail address that the user signs in with.", {"metavar": "EMAIL"}),
            Argument(
                "--verified", "Take the address as verified: no mail need prove it.", {"action": "store_true"}
            ),
            Argument(
                "--role",
                "Give the user this role; may be repeated.",
                {"action": "append", "default": [], "metavar": "ROLE"},
            ),
            JSON,
        ),
    ),
    Command(
        "list-users",
        list_users,
        "List the users, the oldest account first: user ID, time of sign-up (UTC), address, state and roles.",
        "list-users --locked",
        (
            Argument("--locked", "Only those who are locked.", {"action": "store_true"}),
            Argument("--role", "Only those who have this role.", {"metavar": "ROLE"}),
            JSON,
        ),
    ),
    Command(
        "set-password",
        set_password_of_user,
        "Give a user a new password. It is asked for twice on a terminal; otherwise it is the first line of "
        "standard input. The command line, which others on the machine can see, takes none. All sessions of "
        "the user end. The user gets no mail about it.",
        "set-password ann@example.com",
        (USER, JSON),
    ),
    Command(
        "reset-link",
        reset_link,
        "Print a link with which a user chooses a new password, once. It is for sites without mail: give it "
        "to the user on a safe way, and be certain who is asking, because the link opens the account. It "
        "works as a mailed link does: all sessions end, the address counts as confirmed, and passkeys and "
        "authenticator apps that were added before the address was confirmed are removed.",
        "reset-link ann@example.com",
        (USER, JSON),
    ),
    Command(
        "lock-user",
        lock_user,
        "Keep a user out, at once and on every server. All sessions of the user end. Signing in is answered "
        "as with a wrong password and a forgotten password as for an unknown address, so that strangers "
        "learn nothing; mailed links open nothing any more.",
        "lock-user ann@example.com",
        (USER, JSON),
    ),
    Command(
        "unlock-user",
        unlock_user,
        "Let a locked user in again, with the password of before.",
        "unlock-user ann@example.com",
        (USER, JSON),
    ),
    Command(
        "set-role",
        set_role,
        "Give a user a role. With the setting `roles_in_token` every live session has it at once.",
        "set-role ann@example.com admin",
        (USER, ROLE, JSON),
    ),
    Command(
        "remove-role",
        remove_role,
        "Take a role from a user. With the setting `roles_in_token` no live session has it any more.",
        "remove-role ann@example.com admin",
        (USER, ROLE, JSON),
    ),
    Command(
        "remove-second-factor",
        remove_second_factor,
        "Let a user in who has lost the authenticator app and all recovery codes. It is off then, and the "
        "user may set up another. Be certain who is asking: from then on the password opens the account, and "
        "no mail tells the owner, as commands send none.",
        "remove-second-factor ann@example.com",
        (USER, JSON),
    ),
    Command(
        "delete-user",
        delete_user,
        "Delete an account for good. All its sessions end; the address is free again.",
        "delete-user ann@example.com --yes",
        (USER, YES, JSON),
    ),
)
