# SPDX-License-Identifier: MIT
"""How many machine instructions a protected page takes, beside bare Tornado's: counted, without a clock.

    python stormcellar/benchmarks/instructions.py

Machines differ, and one machine differs from hour to hour; the instructions that a program executes do not.
Each server runs under valgrind (callgrind), which counts them while the same page is asked for again and
again; the ratio is bare Tornado's divided by the variant's. What the kernel does for a page is not counted,
nor how long memory lets an instruction wait: run.py's CPU time has both.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stormcellar.benchmarks.run import VARIANTS, Served, answer_to, machine, request_for, spread

NAMES = ("bare", "decode_each_time", "remember", "signed_cookie", "row_per_request_sqlite", "kit")
TIMES = 3
PAGES = 1000  # so many that the garbage collector's rounds are spread evenly
MISSING = "Left out: valgrind is not installed."


class Counted:
    """A variant that is served under valgrind, its counts written into a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self._out = folder / f"{name}.out"
        options = ("--tool=callgrind", f"--callgrind-out-file={self._out}", f"--log-file={self._out}.log")
        self._served = Served(name, folder=str(folder), under=("valgrind", *options))
        self._dumps = 0

    def __enter__(self) -> Counted:
        port = self._served.port
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._request = request_for("/page", port, self._served.cookie)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._served.stop()

    def ask(self, pages: int) -> None:
        for _ in range(pages):
            answer_to(self._connection, self._request)

    def instructions(self, pages: int) -> float:
        """Instructions a page."""
        self._control("--zero")
        self.ask(pages)
        self._control("--dump")
        self._dumps += 1
        text = Path(f"{self._out}.{self._dumps}").read_text(encoding="utf-8")
        found = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) / pages

    def _control(self, wish: str) -> None:
        command = ["callgrind_control", wish, str(self._served.pid)]
        environment = {**os.environ, "TMPDIR": str(self._out.parent)}  # where valgrind listens
        subprocess.run(command, env=environment, check=True, capture_output=True)


def run(names: Sequence[str], times: int, pages: int) -> dict[str, list[float]]:
    """Instructions a page, so many times for each variant."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with Counted(name, Path(folder)) as counted:
                counted.ask(max(1, pages // 5))  # warm up
                found[name] = [counted.instructions(pages) for _ in range(times)]
    return found


def table(found: dict[str, list[float]]) -> str:
    bare = statistics.median(found["bare"])
    lines = [
        "| variant | instructions a page, thousands (min to max) | ratio to bare |",
        "| --- | ---: | ---: |",
    ]
    for name, counts in found.items():
        thousands = spread([count / 1000 for count in counts])
        lines.append(f"| {VARIANTS[name].label} | {thousands} | {bare / statistics.median(counts):.2f} |")
    return "\n".join(lines)


def report(times: int = TIMES, pages: int = PAGES) -> str:
    return table(run(NAMES, times, pages)) if shutil.which("valgrind") else MISSING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--pages", type=int, default=PAGES)
    options = parser.parse_args()
    print(f"{machine()}\n\n{report(options.times, options.pages)}")


if __name__ == "__main__":
    main()
