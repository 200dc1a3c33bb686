# SPDX-License-Identifier: MIT
"""How long a server takes from its start to its first answer, and how much memory it holds while idle.

    python stormcellar/benchmarks/start.py

The time runs from the moment at which `python server.py` is started until GET /login is answered in full; the
median of ten starts, with the data of an earlier one, and with an empty folder, where keys and tables must be
made. Memory is that of the operating system: the resident set (RSS), and the proportional one (PSS), in which
pages that several processes share count by parts; for one process alone, ten seconds after its start, and
again after a thousand pages, and for each process of several, the supervisor beside.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stormcellar.benchmarks.run import ROOT, answer_to, family, machine, request_for

STARTS = 10
IDLE_S = 10.0
PAGES = 1000
TARGET_S, TARGET_MB = 0.5, 60
PATH = "/login"
PASSWORD = "only for the benchmark 27"


class Site:
    """`python server.py` with its default settings, on a port of its own; its log goes nowhere."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.began = time.perf_counter()
        command = [sys.executable, "server.py", "--port=0", f"--data-dir={data_dir}", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://localhost:(\d+)", line)
        if found is None:
            raise SystemExit(f"server.py does not start: {line}")
        self.port = int(found[1])

    @property
    def processes(self) -> list[int]:
        return family(self._process.pid)

    def get(self, path: str = PATH, cookie: str = "") -> bytes:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            return answer_to(connection, request_for(path, self.port, cookie))

    def sign_up(self) -> str:
        """The Cookie header of somebody new."""
        fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
        request = urllib.request.Request(
            f"http://localhost:{self.port}/auth/signup",
            json.dumps({"formFields": fields}).encode(),
            {"Content-Type": "application/json", "rid": "emailpassword", "st-auth-mode": "cookie"},
        )
        with urllib.request.urlopen(request) as answer:
            lines = answer.headers.get_all("Set-Cookie", [])
        cookies = [line.partition(";")[0] for line in lines if "Path=/;" in line]
        return "; ".join(cookie for cookie in cookies if not cookie.endswith("="))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def first_answer_s(data_dir: Path) -> float:
    with Site(data_dir) as site:
        site.get()
        return time.perf_counter() - site.began


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB (10^6 bytes)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rss, pss = (int(re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE)[1]) for name in ("Rss", "Pss"))  # type: ignore[index]
    return rss * 1024 / 1e6, pss * 1024 / 1e6


def starts(count: int) -> dict[str, list[float]]:
    """Seconds to the first answer, by what is in the folder."""
    with tempfile.TemporaryDirectory() as used:
        first_answer_s(Path(used))
        found = {"with data": [], "empty": []}
        for _ in range(count):
            found["with data"].append(first_answer_s(Path(used)))
            with tempfile.TemporaryDirectory() as empty:
                found["empty"].append(first_answer_s(Path(empty)))
    return found


def memory(idle_s: float, pages: int) -> list[tuple[str, float, float]]:
    """What, RSS and PSS in MB."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with Site(Path(folder)) as site:
            site.get()
            time.sleep(idle_s)
            rows.append(("one process, idle", *memory_mb(site.processes[0])))
            for _ in range(pages):
                site.get()
            rows.append((f"the same after {pages:,} pages", *memory_mb(site.processes[0])))
        with Site(Path(folder), "--processes=2") as site:
            site.get()
            time.sleep(idle_s)
            supervisor, *workers = site.processes
            rows += [(f"worker {n} of 2, idle", *memory_mb(pid)) for n, pid in enumerate(workers, 1)]
            rows.append(("their supervisor", *memory_mb(supervisor)))
    return rows


def table(times: dict[str, list[float]], rows: list[tuple[str, float, float]]) -> str:
    lines = [
        f"| start to first answer (target {TARGET_S} s with data) | median s | min to max |",
        "| --- | ---: | ---: |",
    ]
    for what, seconds in times.items():
        lines.append(
            f"| folder {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |"
        )
    lines += ["", f"| memory (target {TARGET_MB} MB a process) | RSS MB | PSS MB |", "| --- | ---: | ---: |"]
    lines += [f"| {what} | {rss:.1f} | {pss:.1f} |" for what, rss, pss in rows]
    return "\n".join(lines)


def report(count: int = STARTS, idle_s: float = IDLE_S, pages: int = PAGES) -> str:
    text = table(starts(count), memory(idle_s, pages))
    return f"{text}\n\nLoad of the machine at the end: {', '.join(f'{one:.1f}' for one in os.getloadavg())}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    parser.add_argument("--pages", type=int, default=PAGES)
    options = parser.parse_args()
    print(f"{machine()}\n\n{report(options.starts, options.idle_s, options.pages)}")


if __name__ == "__main__":
    main()
