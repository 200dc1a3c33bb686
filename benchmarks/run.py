# SPDX-License-Identifier: MIT
"""`make bench`: what a protected page costs, beside what people would use instead.

Every variant is served by one process on one core; the load comes from another core over kept-open
connections. Rounds are interleaved, so that a machine that changes its speed changes it for all. What
counts is CPU time per request as the operating system accounts it for the server's process; the ratio is
bare Tornado's divided by the variant's, so higher is better and 1 means "costs nothing".

`--write` puts the table into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VARIANTS = {
    "bare": "bare Tornado, constant user ID",
    "decode_each_time": "get_cookie + jwt.decode on each request",
    "remember": "the same with a remembered verification",
    "signed_cookie": "Tornado's get_signed_cookie + @authenticated",
    "kit": "**the kit**, everything on",
}
CONNECTIONS = 8
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """One variant's rounds: CPU µs a request, requests a second, and latencies in ms."""

    cpu_us: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


class Served:
    """A variant in a process of its own, on core 0 if there are two."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "variants.py", name], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port, self.cookie = said["port"], said["cookie"]
        pin(self._process.pid, 0)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def pin(pid: int, core: int) -> None:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def ask(served: Served, seconds: float, latencies: list[float]) -> None:
    """Ask for the page again and again on one connection."""
    cookie = f"Cookie: {served.cookie}\r\n" if served.cookie else ""
    request = (
        f"GET /page HTTP/1.1\r\nHost: localhost:{served.port}\r\nAccept: text/html\r\n"
        f"Sec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\n{cookie}\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.sendall(request)
            answer = b""
            while b"</html>" not in answer[-16:]:
                received = connection.recv(65536)
                if not received:
                    raise ConnectionError(answer.decode())
                answer += received
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(answer.decode())
            latencies.append((time.perf_counter() - began) * 1000)


def measure(served: Served, seconds: float) -> tuple[float, float, float, float]:
    """CPU µs a request, requests a second, p50 and p99 in ms."""
    latencies: list[float] = []
    threads = [threading.Thread(target=ask, args=(served, seconds, latencies)) for _ in range(CONNECTIONS)]
    cpu_before, began = served.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu, took = served.cpu_s() - cpu_before, time.perf_counter() - began
    count = len(latencies)
    latencies.sort()
    return 1e6 * cpu / count, count / took, latencies[count // 2], latencies[int(count * 0.99)]


def run(names: list[str], rounds: int, seconds: float) -> dict[str, Measured]:
    results = {name: Measured() for name in names}
    servers = {name: Served(name) for name in names}
    pin(0, 1)
    try:
        for served in servers.values():
            measure(served, 1.0)  # warm up
        for number in range(rounds):
            for name, served in servers.items():
                figures = measure(served, seconds)
                for kept, figure in zip(vars(results[name]).values(), figures, strict=True):
                    kept.append(figure)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    finally:
        for served in servers.values():
            served.stop()
    return results


def table(results: dict[str, Measured]) -> str:
    """The results, with the ratios paired round by round."""
    lines = [
        "| variant | CPU µs a request | ratio to bare (min to max) | requests/s | p50 ms | p99 ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    bare = results["bare"]
    for name, measured in results.items():
        pairs = [one / other for one, other in zip(bare.cpu_us, measured.cpu_us, strict=True)]
        median = statistics.median
        lines.append(
            f"| {VARIANTS[name]} | {median(measured.cpu_us):.0f} "
            f"| {median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}) "
            f"| {median(measured.per_second):.0f} | {median(measured.p50_ms):.1f} "
            f"| {median(measured.p99_ms):.1f} |"
        )
    return "\n".join(lines)


def machine() -> str:
    model: Any = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ", ".join(f"{name} {version(name)}" for name in ("tornado", "pyjwt", "cryptography"))
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="per variant and round")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    options = parser.parse_args()
    text = table(run(list(dict.fromkeys(["bare", *options.only])), options.rounds, options.seconds))
    print(f"{machine()}\n\n{text}")
    if options.write:
        heading = "# Results\n\nMade by `make bench ARGS=--write`; see run.py for what is measured.\n\n"
        (HERE / "RESULTS.md").write_text(f"{heading}{time.strftime('%Y-%m-%d')}, {machine()}.\n\n{text}\n")


if __name__ == "__main__":
    main()
