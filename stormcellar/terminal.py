# SPDX-License-Identifier: MIT
"""Standard output of server.py and manage.py: takes any text, and may be closed by its reader.

server.py --routes | head -1     ends without a traceback
PYTHONIOENCODING=ascii           a site named "Müller" is printed as M\\xfcller
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def any_output() -> Iterator[None]:
    """Prepare standard output for a program, and write all of it before the program ends.

    Raises:
        SystemExit: with 1 if the output could not be written. A closed pipe needs no message, since the
            reader has seen enough.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            flush()
    except BrokenPipeError:
        drop_output()
        sys.exit(1)
    except OSError as error:
        drop_output()
        sys.exit(f"The output cannot be written: {error.strerror}.")


@contextlib.contextmanager
def optional_output() -> Iterator[None]:
    """Go on if what is printed here cannot be written: a server serves without its announcement."""
    try:
        yield
        flush()
    except OSError:
        drop_output()


def flush() -> None:
    """Write what was printed. There is no standard output if the program was started with it closed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_output() -> None:
    """Let all that is printed from now on go nowhere, also what Python writes at its end."""
    with contextlib.suppress(OSError, ValueError):  # the second: it is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def takes_unicode() -> bool:
    """Check whether standard output can write every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").startswith("utf")
