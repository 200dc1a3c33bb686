# SPDX-License-Identifier: MIT
"""`make bench`: what a protected page costs, beside what people would use instead.

    make bench                  the table of the kit and of other ways with Tornado
    make bench ARGS=--peers     installs other frameworks, and has them in the table, too
    make bench ARGS=--write     all that this folder measures by itself, into benchmarks/RESULTS.md

Every variant is served by one process on one core, with its usual access log; the load comes from another
core over kept-open connections, with the same request headers for all, but for each one's own cookies. What
counts is CPU time per request as the operating system accounts it for the server and the processes that it
starts; the ratio is bare Tornado's divided by the variant's, so higher is better and 1 means "costs nothing".
Machines change their speed from second to second, so bare Tornado is measured before and after each variant,
in every round, and their mean is what this one is compared with. What a database server takes is not counted.
What is not installed is left out, and named below the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS_HINT = "make bench ARGS=--peers installs it"
CONNECTIONS = 8
ROWS = 24  # of the page
START_DEADLINE_S = 60
ANSWER_S = 20  # who has not answered by then hangs
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Variant:
    """One way to know who is looking at the page.

    Args:
        command: what serves it: a program of this folder and its arguments.
        module: the Python module that it needs besides the kit's own.
        database: whether it needs a PostgreSQL server.
    """

    label: str
    command: tuple[str, ...]
    module: str = ""
    database: bool = False

    @property
    def is_peer(self) -> bool:
        return self.command[0].startswith("peers/")

    def missing(self) -> str:
        """Why it cannot be measured here; "" if it can."""
        if self.command[0].endswith(".mjs"):
            installed = (HERE / "peers" / "node_modules" / "express").is_dir()
            return "" if installed else f"Node.js or its packages are missing; {PEERS_HINT}, where npm is"
        if self.is_peer:
            installed = next((ROOT / ".venv-peers").glob(f"lib/*/site-packages/{self.module}"), None)
            return "" if installed else f"{self.module} is not installed; {PEERS_HINT}"
        if self.module and find_spec(self.module) is None:
            return f"{self.module} is not installed (requirements/*.txt)"
        return ""

    def start(self, database: str, folder: str, under: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Serve it, with its files in that folder, by another program that runs it if one is named."""
        program = HERE / self.command[0]
        python = "node" if program.suffix == ".mjs" else PEER_PYTHON if self.is_peer else sys.executable
        more = [f"--database={database}"] if self.database else []
        return subprocess.Popen(
            [*under, python, program, *self.command[1:], *more],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
        )


def here(name: str, *more: str) -> tuple[str, ...]:
    return ("variants.py", name, *more)


VARIANTS = {
    "bare": Variant("bare Tornado, constant user ID", here("bare")),
    "decode_each_time": Variant("get_cookie + jwt.decode on each request", here("decode_each_time")),
    "remember": Variant("the same with a remembered verification", here("remember")),
    "signed_cookie": Variant("Tornado's get_signed_cookie + @authenticated", here("signed_cookie")),
    "row_per_request_sqlite": Variant("one row read per request, SQLite", here("row_per_request_sqlite")),
    "row_per_request_postgres": Variant(
        "one row read per request, PostgreSQL", here("row_per_request_postgres"), "psycopg", database=True
    ),
    "kit": Variant("**the kit**, everything on", here("kit")),
    "kit_postgres": Variant("the kit on PostgreSQL", here("kit"), "psycopg", database=True),
    "bare_uvloop": Variant("bare Tornado on uvloop", here("bare", "--uvloop"), "uvloop"),
    "kit_uvloop": Variant("the kit on uvloop", here("kit", "--uvloop"), "uvloop"),
    "fastapi": Variant("FastAPI + supertokens-python, uvicorn", ("peers/fastapi_site.py",), "fastapi"),
    "express": Variant("Express + supertokens-node", ("peers/express_site.mjs",)),
    "flask": Variant("Flask + Flask-Login, gunicorn", ("peers/flask_site.py",), "flask_login"),
    "django": Variant("Django + database sessions (SQLite), gunicorn", ("peers/django_site.py",), "django"),
}


@dataclass
class Measured:
    """One variant's rounds: CPU µs a request, requests a second, ms of latency, ratios to bare Tornado."""

    cpu_us: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def note(self, served: Served, seconds: float) -> float:
        """Measure for so long; the CPU µs a request."""
        cpu_us, per_second, p50_ms, p99_ms = measure(served, seconds)
        self.cpu_us.append(cpu_us)
        self.per_second.append(per_second)
        self.p50_ms.append(p50_ms)
        self.p99_ms.append(p99_ms)
        return cpu_us

    def ratio(self) -> str:
        """Their spread; "" if it was left out."""
        return spread(self.ratios, 2) if self.ratios else ""


class Served:
    """A variant in a process of its own, on core 0 if there are two."""

    def __init__(
        self,
        name: str,
        database: str = "",
        folder: str = tempfile.gettempdir(),
        under: Sequence[str] = (),
    ) -> None:
        with on_core(0):  # what is started inherits it, threads and workers included
            self._process = VARIANTS[name].start(database, folder, under)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{name} does not start; what it said stands above")
        said = json.loads(line)
        self.port, self.cookie = said["port"], said["cookie"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        return sum(map(cpu_s, family(self.pid)))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def family(pid: int) -> list[int]:
    """A process and all that it has started, and these."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(member for child in children for member in family(int(child)))]
    return []


def cpu_s(pid: int) -> float:
    """What a process and its threads have taken of all cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextlib.contextmanager
def on_core(number: int) -> Iterator[None]:
    """Run here, and start there, on the first or second of the cores that there are."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def request_for(path: str, port: int, cookie: str) -> bytes:
    """The same for all, but for the cookies."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/html\r\nUser-Agent: benchmark\r\n"
        "Sec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\n"
        + (f"Cookie: {cookie}\r\n" if cookie else "")
        + "\r\n"
    ).encode()


def look(served: Served) -> None:
    """Ask once, and see whether it is the page: the user, and every row."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:  # gunicorn's worker comes later than its port
        try:
            with socket.create_connection(("127.0.0.1", served.port), START_DEADLINE_S) as connection:
                answer = answer_to(connection, request_for("/page", served.port, served.cookie))
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    if answer.count(b"6a0c63a5-") != 2 or answer.count(b"in good order") != ROWS:
        raise ConnectionError(answer.decode())


def answer_to(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = b""
    while b"</html>" not in answer[-16:]:
        received = connection.recv(65536)
        if not received:
            raise ConnectionError(answer.decode())
        answer += received
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer.decode())
    return answer


def ask(port: int, request: bytes, seconds: float, latencies: list[float]) -> None:
    """Ask for a page again and again on one connection."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            answer_to(connection, request)
            latencies.append((time.perf_counter() - began) * 1000)


def load(port: int, request: bytes, seconds: float, connections: int = CONNECTIONS) -> list[float]:
    """Ask from so many connections at once; the latencies in ms, sorted."""
    latencies: list[float] = []
    with ThreadPoolExecutor(connections) as pool:
        asking = [pool.submit(ask, port, request, seconds, latencies) for _ in range(connections)]
    for one in asking:
        one.result()  # or what went wrong
    return sorted(latencies)


def measure(served: Served, seconds: float) -> tuple[float, float, float, float]:
    """CPU µs a request, requests a second, p50 and p99 in ms."""
    cpu_before, began = served.cpu_s(), time.perf_counter()
    latencies = load(served.port, request_for("/page", served.port, served.cookie), seconds)
    cpu, took = served.cpu_s() - cpu_before, time.perf_counter() - began
    count = len(latencies)
    return 1e6 * cpu / count, count / took, latencies[count // 2], latencies[int(count * 0.99)]


@contextlib.contextmanager
def postgres(needed: bool) -> Iterator[str]:
    """The address of a database in a server of our own; "" if none can be started here."""
    try:
        from stormcellar.tests.parts import find_postgres
        from stormcellar.tests.postgres import DATABASE, PASSWORD, Cluster

        programs = find_postgres() if needed else None
    except ImportError:  # the tests' packages are not installed
        programs = None
    if programs is None:
        yield ""
        return
    cluster = Cluster(programs, fsync=True)
    try:
        cluster.start()
        cluster.execute(f"CREATE ROLE kit LOGIN PASSWORD '{PASSWORD}'")
        cluster.execute(f"CREATE DATABASE {DATABASE} OWNER kit")
        yield cluster.url(DATABASE)
    finally:
        cluster.remove()


def run(names: Sequence[str], rounds: int, seconds: float) -> tuple[dict[str, Measured], dict[str, str]]:
    """Measure each; the results, and why the others were left out."""
    left_out = {name: reason for name in names if (reason := VARIANTS[name].missing())}
    there = [name for name in names if name not in left_out]
    needs_postgres = any(VARIANTS[name].database for name in there)
    with tempfile.TemporaryDirectory() as folder, postgres(needs_postgres) as database:
        if not database:
            reason = "there is no PostgreSQL server, or not what `make test` installs"
            left_out |= {name: reason for name in there if VARIANTS[name].database}
        there = [name for name in there if name not in left_out]
        return _run(there, rounds, seconds, database, folder), left_out


def _run(
    names: Sequence[str], rounds: int, seconds: float, database: str, folder: str
) -> dict[str, Measured]:
    results = {name: Measured() for name in names}
    servers: dict[str, Served] = {}
    try:
        for name in names:
            servers[name] = Served(name, database, folder)
        with on_core(1):
            for served in servers.values():
                look(served)
                measure(served, min(1.0, seconds))  # warm up
            for number in range(rounds):
                _round(results, servers, seconds)
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
    finally:
        for served in servers.values():
            served.stop()
    return results


def _round(results: dict[str, Measured], servers: dict[str, Served], seconds: float) -> None:
    bare = results["bare"]
    before = bare.note(servers["bare"], seconds)
    for name, served in servers.items():
        if name != "bare":
            cpu_us = results[name].note(served, seconds)
            after = bare.note(servers["bare"], seconds)
            results[name].ratios.append((before + after) / 2 / cpu_us)
            before = after
    bare.ratios.append(1.0)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(results: dict[str, Measured], left_out: dict[str, str]) -> str:
    """The results: medians of all rounds."""
    lines = [
        "| variant | CPU µs a request | ratio to bare (min to max) | requests/s | p50 ms | p99 ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    median = statistics.median
    for name, measured in results.items():
        lines.append(
            f"| {VARIANTS[name].label} | {median(measured.cpu_us):.0f} | {measured.ratio()} "
            f"| {median(measured.per_second):.0f} | {median(measured.p50_ms):.1f} "
            f"| {median(measured.p99_ms):.1f} |"
        )
    left = [f"Left out: {VARIANTS[name].label}: {reason}." for name, reason in left_out.items()]
    return "\n".join([*lines, "", *left]).strip()


def machine() -> str:
    model: Any = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed_version(name)))
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


PACKAGES = ("tornado", "pyjwt", "cryptography", "psycopg", "uvloop")
PEER_PACKAGES = ("fastapi", "supertokens_python", "uvicorn", "flask", "flask_login", "gunicorn", "django")


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def peer_versions() -> str:
    """What is in .venv-peers and node_modules, from what their installers wrote there."""
    installed = (ROOT / ".venv-peers").glob("lib/*/site-packages/*.dist-info")
    names = sorted(path.stem.lower().replace("-", " ") for path in installed)
    found = [name for name in names if name.split()[0] in PEER_PACKAGES]
    for package in ("express", "supertokens-node"):
        path = HERE / "peers" / "node_modules" / package / "package.json"
        if path.exists():
            found.append(f"{package} {json.loads(path.read_text())['version']}")
    return ", ".join(found)


def with_bare(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(["bare", *names]))


def write(names: Sequence[str], rounds: int, seconds: float) -> None:
    """Everything that is measured here by itself, and what other programs of this folder have written."""
    from stormcellar.benchmarks import instructions, micro, scaling, start

    results, left_out = run(with_bare(names), rounds, seconds)
    own = {name: one for name, one in results.items() if not VARIANTS[name].is_peer}
    peers = {name: one for name, one in results.items() if name == "bare" or VARIANTS[name].is_peer}
    sections = {
        "A protected page": table(own, {n: why for n, why in left_out.items() if not VARIANTS[n].is_peer}),
        "Other frameworks": "\n\n".join(
            [
                peer_versions() or "None is installed.",
                table(peers, {n: why for n, why in left_out.items() if VARIANTS[n].is_peer}),
            ]
        ),
        "Machine instructions": instructions.report(),
        "Its parts": micro.report(),
        "Start and memory": start.report(),
        "Two processes": scaling.report(),
    }
    keep_run(results)
    (HERE / "RESULTS.md").write_text(page(sections), encoding="utf-8")


IN_RUNS = ("kit", "kit_postgres", "remember", "signed_cookie", "decode_each_time")


def keep_run(results: dict[str, Measured], path: Path = HERE / "results" / "runs.md") -> None:
    """Add a run to those before it, which RESULTS.md shows too: one run on one machine proves little."""
    if not path.exists():
        labels = [VARIANTS[name].label for name in IN_RUNS]
        heads = f"| ratio to bare Tornado | {' | '.join(labels)} |"
        rule = f"| --- {'| ---: ' * len(labels)}|"
        path.write_text(f"# Every run\n\n{heads}\n{rule}\n", encoding="utf-8")
    ratios = [results[name].ratio() if name in results else "" for name in IN_RUNS]
    with path.open("a", encoding="utf-8") as runs:
        runs.write(f"| {time.strftime('%Y-%m-%d')}, {machine()} | {' | '.join(ratios)} |\n")


def page(sections: dict[str, str], others: Path = HERE / "results") -> str:
    """RESULTS.md: these sections, and then the pages that lie in a folder, one level deeper."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    lines = [
        "# Results",
        "",
        "Made by `make bench ARGS=--write`; what is measured stands in each program of this folder.",
        "",
        f"{time.strftime('%Y-%m-%d')}, {machine()}. Load of the machine at the end: {load}.",
    ]
    for title, text in sections.items():
        lines += ["", f"## {title}", "", text.strip()]
    for path in sorted(others.glob("*.md")):
        lines += ["", re.sub("^#", "##", path.read_text(encoding="utf-8").strip(), flags=re.MULTILINE)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.0, help="per variant and round")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, help="these, beside bare")
    parser.add_argument("--peers", action="store_true", help="other frameworks too; make installs them first")
    parser.add_argument(
        "--write", action="store_true", help="all there is, into stormcellar/benchmarks/RESULTS.md"
    )
    options = parser.parse_args()
    names = options.only or [name for name, one in VARIANTS.items() if options.peers or not one.is_peer]
    if options.write:
        write(options.only or list(VARIANTS), options.rounds, options.seconds)
    else:
        text = table(*run(with_bare(names), options.rounds, options.seconds))
        print(f"{machine()}\n\n{text}")


if __name__ == "__main__":
    main()
