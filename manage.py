# SPDX-License-Identifier: MIT
"""Commands for whoever runs the site: `python manage.py --help` lists them; see docs/commands.md."""

import sys

from commands.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
