# SPDX-License-Identifier: MIT
"""Write docs/commands.md from what the commands say: `python -m stormcellar.commands.reference`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from stormcellar.commands.cli import GROUPS
from stormcellar.commands.command import Command

WIDTH = 110

HEAD = """\
# Commands

<!-- Made by `make docs` from the modules in stormcellar/commands/: change it there, not here. -->

`python manage.py COMMAND` works on the site's database, SQLite or PostgreSQL, also beside servers that run:
they hear of what changed within moments. In the clone it is `.venv/bin/python manage.py`. Run it as the user
who runs the server.

Settings come from the same places as those of `server.py` and may stand anywhere on the line: `--name=value`,
then `STORMCELLAR_NAME` in the environment, then the file of `--config`. So with settings in a file:

```sh
python manage.py list-users --config=/etc/stormcellar/stormcellar.conf
```

Results go to standard output, progress and one sentence about a failure to standard error. `--json` prints
JSON for scripts: an object, or for lists one a line. `python manage.py COMMAND --help` says the same as this
page.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | it could not be done; `check`: there are errors |
| 2 | the command line or a setting is wrong; nothing was begun |
| 130 | stopped by Ctrl+C |
"""


def markdown() -> str:
    """The page docs/commands.md."""
    return HEAD + "\n".join(line for group in GROUPS for line in _group(group)) + "\n"


def _group(name: str) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    for command in GROUPS[name]:
        yield from _command(command)


def _command(command: Command) -> Iterator[str]:
    yield ""
    yield f"### `{command.name}`"
    yield ""
    yield from textwrap.wrap(command.about, WIDTH, break_on_hyphens=False, break_long_words=False)
    yield ""
    yield "```sh"
    yield f"python manage.py {command.example}"
    yield "```"
    yield ""
    for argument in command.arguments:
        yield from textwrap.wrap(
            f"- `{argument.written}`: {argument.about}",
            WIDTH,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )


if __name__ == "__main__":
    print(markdown(), end="")
