# SPDX-License-Identifier: MIT
"""What server.py and manage.py do before they import anything that takes time or may be missing."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec

from stormcellar.packages import install_command

PACKAGES = ("tornado", "jwt", "cryptography")


def begin() -> None:
    """Have SIGTERM and SIGINT end the program, and check that the packages are installed.

    Without a handler, process 1 of a container ignores both signals. The imports take half a second.

    Raises:
        SystemExit: as `check_packages`.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    check_packages("server.py")


def check_packages(program: str) -> None:
    """Check that the packages of the running kit are installed.

    Raises:
        SystemExit: a package is missing; the message says which, and how to run the program with it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        sys.exit(
            f"Stormcellar does not start: {missing[0]} is not installed for this Python. Type "
            f"`.venv/bin/python {program}` (`make run` makes .venv), or install it: {install_command('run')}."
        )
