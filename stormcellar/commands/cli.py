# SPDX-License-Identifier: MIT
"""From the words that were typed to a command that runs.

Settings come from the same places as those of server.py: `--name=value` anywhere on the line, the
environment, the file of --config. All other words are the command's own.

    0    done
    1    it could not be done; one sentence on standard error says why. `check`: there are errors
    2    the command line or a setting is wrong; nothing was begun
    130  stopped by Ctrl+C
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import fields

from stormcellar import terminal
from stormcellar.application import Site
from stormcellar.commands import (
    backup,
    check,
    copy_database,
    events,
    mails,
    new_page,
    rotate_secret,
    sessions,
    site,
    users,
)
from stormcellar.commands.command import Call, Command
from stormcellar.commands.output import CommandError
from stormcellar.commands.visible import visible_output
from stormcellar.sessions import StoreUnavailableError
from stormcellar.settings import NAMES_AND_CONFIG, Settings, SettingsError

GROUPS: dict[str, Sequence[Command]] = {
    "Users": users.COMMANDS,
    "Sessions": [*sessions.COMMANDS, *rotate_secret.COMMANDS],
    "What happened": events.COMMANDS,
    "The site": [*check.COMMANDS, *mails.COMMANDS, *backup.COMMANDS, *copy_database.COMMANDS],
    "The code": [*new_page.COMMANDS, *site.COMMANDS],
}

SETTINGS_NOTE = (
    "Settings come from the same places as those of server.py: --name=value, STORMCELLAR_NAME, --config=FILE."
)
EPILOG = f"`python manage.py COMMAND --help` shows one of them with an example. {SETTINGS_NOTE}"


def all_commands() -> list[Command]:
    return [command for group in GROUPS.values() for command in group]


def main(words: Sequence[str], site: Site) -> int:
    """Run one command; returns the exit code. What it prints steers no terminal.

    Args:
        words: the command line without the program's name.
        site: whose users, sessions and routes the commands work on.

    Raises:
        SystemExit: the command line is wrong (2), or help was asked for (0).
    """
    with visible_output():
        return _run(words, site)


def _run(words: Sequence[str], site: Site) -> int:
    settings_words, own = split(words)
    arguments = make_parser().parse_args(own)
    command: Command = arguments.command
    try:
        code = asyncio.run(command.run(Call(arguments, site, settings_words))) or 0
        terminal.flush()
        return code
    except SettingsError as error:
        return _complain(command, str(error), 2)
    except CommandError as error:
        return _complain(command, str(error), 1)
    except BrokenPipeError:  # standard output has no reader any more
        raise
    except (StoreUnavailableError, OSError) as error:
        return _complain(command, str(error), 1)
    except KeyboardInterrupt:
        return _complain(command, "stopped", 130)


def _complain(command: Command, message: str, code: int) -> int:
    print(f"{command.name}: {message.rstrip('.')}.", file=sys.stderr)
    return code


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that belong to settings, and all others."""
    switches = {entry.name for entry in fields(Settings) if entry.type is bool}
    settings_words: list[str] = []
    own: list[str] = []
    waiting = deque(words)
    while waiting:
        word = waiting.popleft()
        option, equals, _ = word.partition("=")
        name = option[2:].replace("-", "_") if option.startswith("--") else ""
        is_switch = name in switches or (name.startswith("no_") and name[3:] in switches)
        if not is_switch and name not in NAMES_AND_CONFIG:
            own.append(word)
            continue
        settings_words.append(word)
        if not is_switch and not equals and waiting:
            settings_words.append(waiting.popleft())
    return settings_words, own


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python manage.py",
        description="Commands for whoever runs the site.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in all_commands():
        one = commands.add_parser(
            command.name,
            help=first_sentence(command),
            description=command.about,
            epilog=f"Example: `python manage.py {command.example}`. {SETTINGS_NOTE}",
            allow_abbrev=False,
        )
        one.set_defaults(command=command)
        for argument in command.arguments:
            one.add_argument(argument.name, help=argument.about, **argument.options)
    return parser


def first_sentence(command: Command) -> str:
    return command.about.partition(". ")[0].rstrip(".") + "."
