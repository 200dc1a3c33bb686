# SPDX-License-Identifier: MIT
"""The program that the parent starts: it runs server.py, and reports to the parent how that went.

It imports nothing of the project by itself, so that it can report an error in any file. A report is one line
of JSON: `{"ready": true}` or `{"failure": {...}}` with the fields of `stormcellar.dev.failures.Failure`.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPORT_VARIABLE = "KIT_DEVELOPMENT_FD"


def is_child() -> bool:
    """Check whether a parent started this process."""
    return REPORT_VARIABLE in os.environ


def tell_ready() -> None:
    """Report that the server answers. From now on Ctrl+C is the parent's, which then ends this process."""
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    report({"ready": True})


def report(message: dict[str, Any]) -> None:
    os.write(int(os.environ[REPORT_VARIABLE]), json.dumps(message).encode() + b"\n")


def place(error: BaseException) -> tuple[str, int]:
    """Find the line of the project that an exception comes from; ("", 0) if there is none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_of_the_project(Path(frame.filename))]
    return (own[-1].filename, own[-1].lineno or 0) if own else ("", 0)


def is_of_the_project(path: Path) -> bool:
    folder = Path(sys.argv[0]).resolve().parent
    if not path.is_absolute() or not path.is_relative_to(folder) or path.is_relative_to(HERE):
        return False
    return not path.relative_to(folder).parts[0].startswith(".")


def failure(error: BaseException) -> dict[str, Any]:
    """Describe an exception for the error page."""
    sentence = error.code if isinstance(error, SystemExit) else None
    cause = error.__context__ if sentence and error.__context__ else error
    file, line = place(cause) if sentence is None else ("", 0)
    name = type(cause).__name__
    return {
        "title": str(sentence) if sentence else f"{name}: {cause}",
        "file": file,
        "line": line,
        "trace": "" if sentence else "".join(traceback.format_exception(error)),
    }


def main() -> None:
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            report({"failure": failure(error)})
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException as error:
        traceback.print_exc()
        report({"failure": failure(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
