# SPDX-License-Identifier: MIT
"""How much more two processes serve than one: the dashboard of somebody who is signed in, `--processes=2`.

    python benchmarks/scaling.py

On four cores or more the servers have cores of their own and the load comes from the others: then requests a
second are simply compared. On fewer the load generator would take what it is to measure. There both servers
run at once, on two cores, and the generator beside them; what counts is the CPU time of the worker that was
busiest. If it had its core for itself, it would be busy all the time, and the other would wait:

    requests/s of one process  = requests / its CPU seconds
    requests/s of two          = requests / CPU seconds of the busier of the two

So the second counts what sharing costs: caches, the kernel's locks, the database, and connections that are
not spread evenly. How much is due to that alone shows the same with the mean of both workers' CPU seconds.
Rounds of one and of two take turns; the ratio is paired round by round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.run import cpu_s, load, machine, request_for
from benchmarks.start import Site

CONNECTIONS = 32
TARGET = 1.8
PATH = "/dashboard"


@dataclass
class Scaling:
    """By round: requests a second as the wall clock says, and as CPU time would allow.

    Args:
        capacity: if the busiest worker were busy all the time.
        even: the same if the others were as busy.
    """

    per_second: list[float] = field(default_factory=list)
    capacity: list[float] = field(default_factory=list)
    even: list[float] = field(default_factory=list)


def measure(site: Site, cookie: str, seconds: float) -> tuple[float, float, float]:
    """Figures of one round, as Scaling has them."""
    workers = site.processes[1:] or site.processes
    before = [cpu_s(pid) for pid in workers]
    began = time.perf_counter()
    count = len(load(site.port, request_for(PATH, site.port, cookie), seconds, CONNECTIONS))
    took = time.perf_counter() - began
    taken = [cpu_s(pid) - was for pid, was in zip(workers, before, strict=True)]
    return count / took, count / max(taken), count / statistics.mean(taken)


def place(site: Site, cores: list[int]) -> None:
    """Workers on cores of their own."""
    for number, pid in enumerate(site.processes[1:] or site.processes):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cores[number % len(cores)]})


def run(rounds: int, seconds: float) -> dict[int, Scaling]:
    """The figures of one process and of two."""
    cores = sorted(os.sched_getaffinity(0))
    found = {1: Scaling(), 2: Scaling()}
    with tempfile.TemporaryDirectory() as folder:
        with Site(Path(folder), "--no-rate-limits") as site:
            cookie = site.sign_up()
        with Site(Path(folder)) as one, Site(Path(folder), "--processes=2") as two:
            sites = {1: one, 2: two}
            for site in sites.values():
                place(site, cores[:2])
                measure(site, cookie, min(1.0, seconds))  # warm up
            if len(cores) >= 4:
                os.sched_setaffinity(0, cores[2:])
            try:
                for _ in range(rounds):
                    for number, site in sites.items():
                        figures = measure(site, cookie, seconds)
                        for kept, figure in zip(vars(found[number]).values(), figures, strict=True):
                            kept.append(figure)
            finally:
                os.sched_setaffinity(0, cores)
    return found


def table(found: dict[int, Scaling]) -> str:
    one, two = found[1], found[2]
    rows = {
        "requests/s": (one.per_second, two.per_second),
        "requests/s if the busiest worker had a core for itself": (one.capacity, two.capacity),
        "the same if connections were spread evenly": (one.even, two.even),
    }
    lines = [
        f"| dashboard, {CONNECTIONS} connections "
        f"| one process | two processes | ratio (min to max), target {TARGET} |",
        "| --- | ---: | ---: | ---: |",
    ]
    for what, (first, second) in rows.items():
        ratio = pairs(first, second)
        lines.append(
            f"| {what} | {statistics.median(first):.0f} | {statistics.median(second):.0f} "
            f"| {statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}) |"
        )
    return "\n".join(lines)


def pairs(one: list[float], two: list[float]) -> list[float]:
    return [second / first for first, second in zip(one, two, strict=True)]


def report(rounds: int = 7, seconds: float = 3.0) -> str:
    cores = len(os.sched_getaffinity(0))
    which = (
        "The load came from cores of its own: what counts is requests/s."
        if cores >= 4
        else f"With {cores} cores the load generator takes part of them: the second row counts."
    )
    return f"{which}\n\n{table(run(rounds, seconds))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="per server and round")
    options = parser.parse_args()
    print(f"{machine()}\n\n{report(options.rounds, options.seconds)}")


if __name__ == "__main__":
    main()
