# SPDX-License-Identifier: MIT
"""Commands for the site's operator: `python manage.py --help` lists them; see docs/commands.md."""

import sys

from stormcellar.start import check_packages

check_packages("manage.py")

from server import SITE
from stormcellar import terminal
from stormcellar.commands import cli


def main(words: list[str]) -> int:
    """Run a command; return its exit code."""
    return cli.main(words, SITE)


if __name__ == "__main__":
    with terminal.any_output():
        sys.exit(main(sys.argv[1:]))
