# SPDX-License-Identifier: MIT
"""How much more two processes serve than one: the dashboard of somebody who is signed in, `--processes=2`.

    python stormcellar/benchmarks/scaling.py

On four cores or more the servers have cores of their own and the load comes from the others: then requests a
second are simply compared. On fewer the load generator would take what it is to measure. There both servers
run at once, on two cores, and the generator beside them; what counts is the CPU time of the worker that was
busiest. If it had its core for itself, it would be busy all the time, and the other would wait:

    requests/s of one process  = requests / its CPU seconds
    requests/s of two          = requests / CPU seconds of the busier of the two

So the second counts what sharing costs: caches, the kernel's locks, the database, and connections that are
not spread evenly. How much is due to that alone shows the same with the mean of both workers' CPU seconds.
How much the machine itself loses with both cores busy shows in two servers of one process each, which have
nothing in common. Rounds take turns; the ratio is paired round by round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stormcellar.benchmarks.run import cpu_s, load, machine, request_for, spread
from stormcellar.benchmarks.start import Site

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


def measure(sites: Sequence[tuple[Site, str]], seconds: float) -> tuple[float, float, float]:
    """Figures of one round, as Scaling has them: of servers that are asked at once, each with its cookie."""
    workers = [pid for site, _ in sites for pid in workers_of(site)]
    before = [cpu_s(pid) for pid in workers]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(sites)) as pool:
        asked = [
            pool.submit(
                load, site.port, request_for(PATH, site.port, cookie), seconds, CONNECTIONS // len(sites)
            )
            for site, cookie in sites
        ]
    count = sum(len(one.result()) for one in asked)
    took = time.perf_counter() - began
    taken = [cpu_s(pid) - was for pid, was in zip(workers, before, strict=True)]
    return count / took, count / max(taken), count / statistics.mean(taken)


def workers_of(site: Site) -> list[int]:
    return site.processes[1:] or site.processes  # without the supervisor


def place(workers: Sequence[int], cores: Sequence[int]) -> None:
    """Workers on cores of their own."""
    for number, pid in enumerate(workers):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cores[number % len(cores)]})


ONE, TWO, APART = "one process", "two processes", "two servers apart"


def run(rounds: int, seconds: float) -> dict[str, Scaling]:
    """The figures of one process, of two, and of two servers that share nothing."""
    cores = sorted(os.sched_getaffinity(0))
    found = {ONE: Scaling(), TWO: Scaling(), APART: Scaling()}
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as elsewhere:
        with Site(Path(here), "--no-rate-limits") as site, Site(Path(elsewhere), "--no-rate-limits") as other:
            cookie, others_cookie = site.sign_up(), other.sign_up()
        with (
            Site(Path(here)) as one,
            Site(Path(here), "--processes=2") as two,
            Site(Path(elsewhere)) as another,
        ):
            asked = {
                ONE: [(one, cookie)],
                TWO: [(two, cookie)],
                APART: [(one, cookie), (another, others_cookie)],
            }
            for sites in asked.values():
                place([pid for site, _ in sites for pid in workers_of(site)], cores[:2])
                measure(sites, min(1.0, seconds))  # warm up
            if len(cores) >= 4:
                os.sched_setaffinity(0, cores[2:])
            try:
                for _ in range(rounds):
                    for name, sites in asked.items():
                        for kept, figure in zip(
                            vars(found[name]).values(), measure(sites, seconds), strict=True
                        ):
                            kept.append(figure)
            finally:
                os.sched_setaffinity(0, cores)
    return found


ROWS = {
    "requests/s": "per_second",
    "requests/s if the busiest worker had a core for itself": "capacity",
    "the same if connections were spread evenly": "even",
}


def table(found: dict[str, Scaling]) -> str:
    lines = [
        f"| dashboard, {CONNECTIONS} connections "
        f"| {ONE} | {TWO} | ratio (min to max), target {TARGET} | {APART}, which share nothing | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for what, figure in ROWS.items():
        one, two, apart = (getattr(found[name], figure) for name in (ONE, TWO, APART))
        lines.append(
            f"| {what} | {statistics.median(one):.0f} | {statistics.median(two):.0f} | {ratio(one, two)} "
            f"| {statistics.median(apart):.0f} | {ratio(one, apart)} |"
        )
    return "\n".join(lines)


def ratio(one: Sequence[float], two: Sequence[float]) -> str:
    return spread([second / first for first, second in zip(one, two, strict=True)], 2)


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
