# SPDX-License-Identifier: MIT
"""Commands for whoever runs the site: `python manage.py --help` lists them; see docs/commands.md."""

import sys

import terminal

try:
    from commands.cli import main
except ModuleNotFoundError as missing:
    if missing.name not in ("tornado", "jwt", "cryptography"):
        raise
    sys.exit(
        f"{missing.name} is not installed for this Python. In the clone type `.venv/bin/python manage.py` "
        "(`make run` makes .venv); elsewhere install requirements-run.txt."
    )

if __name__ == "__main__":
    with terminal.any_output():
        sys.exit(main(sys.argv[1:]))
