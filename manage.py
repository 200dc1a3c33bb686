# SPDX-License-Identifier: MIT
"""Commands for the site's operator: `python manage.py --help` lists them; see docs/commands.md."""

import sys

from stormcellar import terminal

try:
    from server import SITE
    from stormcellar.commands import cli
except ModuleNotFoundError as missing:
    if missing.name not in ("tornado", "jwt", "cryptography"):
        raise
    sys.exit(
        f"{missing.name} is not installed for this Python. In the clone type `.venv/bin/python manage.py` "
        "(`make run` makes .venv); elsewhere install requirements/run.txt."
    )


def main(words: list[str]) -> int:
    """Run a command; return its exit code."""
    return cli.main(words, SITE)


if __name__ == "__main__":
    with terminal.any_output():
        sys.exit(main(sys.argv[1:]))
