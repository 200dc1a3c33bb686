# SPDX-License-Identifier: MIT
"""What the parts of a protected page cost, by pyperf (stormcellar/benchmarks/requirements-bench.txt).

    python stormcellar/benchmarks/micro.py             a table
    python stormcellar/benchmarks/micro.py --fast      sooner, and less exact

Beside what Tornado does of itself, or PyJWT, stands what the kit does in its place. A refresh is one after
the other on one session, with as durable a commit as in production; benchmarks/store.py has those of many
clients at once. All of them run on an event loop that goes on between the calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jwt as pyjwt
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest, parse_request_start_line
from tornado.template import Loader

from stormcellar.benchmarks.run import HERE, ROOT, installed_version, machine, postgres, request_for
from stormcellar.server.http_server import read_head
from stormcellar.sessions import SessionConfig, Sessions, SystemClock, access_token
from stormcellar.settings import Settings
from stormcellar.store import Database
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.web.templates import page_loader
from stormcellar.web.transfer import CookieJar, Transfer

DATABASE_VARIABLE = "STORMCELLAR_BENCHMARK_DATABASE"
SECRET = b"a secret of the benchmark, of no use to anybody"
ISSUER = "http://localhost:8888/auth"
USER_ID = "6a0c63a5-3c5b-4d0e-9f8e-2f3f6f4d7a11"
PARTS = {
    "get_session_hit": "get_session, token remembered",
    "get_session_miss": "get_session, token never seen",
    "pyjwt_decode": "PyJWT's decode with the same key",
    "transfer_cookie": "the session's cookie from the header",
    "tornado_cookie": "the same by Tornado's get_cookie",
    "mint": "an access token signed",
    "verify": "an access token verified",
    "refresh_sqlite": "a refresh, SQLite",
    "refresh_postgres": "a refresh, PostgreSQL",
    "read_head": "the head of a request read",
    "tornado_head": "the same by Tornado",
    "render": "the 2 KB page rendered",
    "tornado_render": "the same by Tornado's templates",
}
Call = Callable[[], Any]


# -- what is measured --------------------------------------------------------------------------------


async def engine(database: Database, **config: Any) -> Sessions:
    await database.open()
    sessions = Sessions(database, SessionConfig(secret=SECRET, issuer=ISSUER, **config))
    await sessions.start()
    return sessions


def sqlite() -> Database:
    return SqliteDatabase(Path(tempfile.mkdtemp()) / "kit.sqlite3")


async def new_tokens(sessions: Sessions) -> Any:
    session = await sessions.create_new_session(USER_ID)
    return session.new_tokens


async def get_session_hit() -> Call:
    sessions = await engine(sqlite())
    token = (await new_tokens(sessions)).access_token
    return lambda: sessions.get_session(token)


async def get_session_miss() -> Call:
    sessions = await engine(sqlite(), remembered_tokens=0)
    token = (await new_tokens(sessions)).access_token
    return lambda: sessions.get_session(token)


async def pyjwt_decode() -> Call:
    sessions = await engine(sqlite())
    token = (await new_tokens(sessions)).access_token
    key = sessions.keys.signing_key().public_key
    return lambda: pyjwt.decode(token, key, algorithms=["RS256"])


async def mint() -> Call:
    sessions = await engine(sqlite())
    key, now = sessions.keys.signing_key(), int(time.time())
    return lambda: access_token.mint(
        key,
        user_id=USER_ID,
        tenant_id="public",
        handle=USER_ID,
        refresh_token_hash1="0" * 64,
        anti_csrf_token=None,
        issuer=ISSUER,
        claims={},
        generation=0,
        payload_version=0,
        issued_at=now,
        expires_at=now + 3600,
    )


async def verify() -> Call:
    sessions = await engine(sqlite())
    token, key = (await new_tokens(sessions)).access_token, sessions.keys.signing_key().public_key

    def call() -> None:
        unverified = access_token.read(token, ("5",))
        assert unverified is not None
        assert access_token.verify(unverified, key, ISSUER) is not None

    return call


async def refresh(database: Database) -> Call:
    sessions = await engine(database)
    tokens = await new_tokens(sessions)

    async def call() -> None:
        nonlocal tokens
        refreshed = await sessions.refresh_session(tokens.refresh_token)
        tokens = refreshed.new_tokens

    return call


async def refresh_sqlite() -> Call:
    return await refresh(sqlite())


async def refresh_postgres() -> Call:
    from stormcellar.store.postgres import PostgresDatabase

    return await refresh(PostgresDatabase(os.environ[DATABASE_VARIABLE]))


async def head() -> bytes:
    """The head of a request with a session's cookies, as the benchmark of pages sends it."""
    tokens = await new_tokens(await engine(sqlite()))
    cookies = (
        f"sAccessToken={tokens.access_token}; sRefreshMarker=1; sFrontToken={tokens.front_token}; "
        f"st-last-access-token-update={int(time.time() * 1000)}"
    )
    return request_for("/page", 8888, cookies)


async def request() -> HTTPServerRequest:
    line, headers = read_head(None, await head())  # type: ignore[arg-type]
    return HTTPServerRequest(headers=headers, start_line=parse_request_start_line(line))


async def transfer_cookie() -> Call:
    asked = await request()
    jar = CookieJar(Settings(), SystemClock())
    return lambda: Transfer(jar, asked, "any").cookie(jar.access)


async def tornado_cookie() -> Call:
    asked = await request()

    def call() -> str:
        asked.__dict__.pop("_cookies", None)  # it would remember them for this request
        return asked.cookies["sAccessToken"].value

    return call


async def measured_head() -> Call:
    sent = await head()
    return lambda: read_head(None, sent)  # type: ignore[arg-type]


async def tornado_head() -> Call:
    sent = await head()
    return lambda: HTTP1Connection._parse_headers(None, sent)  # type: ignore[arg-type]


async def render() -> Call:
    page = page_loader(HERE / "templates").load("page.html")
    return lambda: page.generate(user_id=USER_ID)


async def tornado_render() -> Call:
    page = Loader(str(HERE / "templates")).load("page.html")
    return lambda: page.generate(user_id=USER_ID)


MAKERS: dict[str, Callable[[], Awaitable[Call]]] = {
    "get_session_hit": get_session_hit,
    "get_session_miss": get_session_miss,
    "pyjwt_decode": pyjwt_decode,
    "transfer_cookie": transfer_cookie,
    "tornado_cookie": tornado_cookie,
    "mint": mint,
    "verify": verify,
    "refresh_sqlite": refresh_sqlite,
    "refresh_postgres": refresh_postgres,
    "read_head": measured_head,
    "tornado_head": tornado_head,
    "render": render,
    "tornado_render": tornado_render,
}


# -- how it is measured ------------------------------------------------------------------------------


class Part:
    """One part, ready to be called so many times, on an event loop of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._call: Call | None = None

    def __call__(self, loops: int) -> float:
        """Seconds that so many calls take."""
        return self._loop.run_until_complete(self._measure(loops))

    async def _measure(self, loops: int) -> float:
        if self._call is None:
            self._call = await MAKERS[self._name]()
        call = self._call
        if not asyncio.iscoroutine(first := call()):
            began = time.perf_counter()
            for _ in range(loops):
                call()
            return time.perf_counter() - began
        await first
        began = time.perf_counter()
        for _ in range(loops):
            await call()
        return time.perf_counter() - began


def work() -> None:
    """What pyperf calls, here and in its own processes."""
    import pyperf

    runner = pyperf.Runner(processes=5, values=3)
    for name in PARTS:
        if name != "refresh_postgres" or DATABASE_VARIABLE in os.environ:
            runner.bench_time_func(name, Part(name))


def measure(*arguments: str) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation in µs, by part."""
    with tempfile.TemporaryDirectory() as folder, postgres(bool(installed_version("psycopg"))) as database:
        path = Path(folder) / "micro.json"
        environment = {**os.environ, "TMPDIR": folder, **({DATABASE_VARIABLE: database} if database else {})}
        command = [sys.executable, __file__, "--measure", f"--output={path}", "--quiet"]
        inherited = f"--inherit-environ={DATABASE_VARIABLE},TMPDIR"
        subprocess.run([*command, inherited, *arguments], check=True, cwd=ROOT, env=environment)
        found = json.loads(path.read_text())
    return {name: (1e6 * mean, 1e6 * spread) for name, mean, spread in map(figures, found["benchmarks"])}


def figures(benchmark: dict[str, Any]) -> tuple[str, float, float]:
    """Name, mean and standard deviation in seconds, from pyperf's JSON."""
    from statistics import mean, pstdev

    values = [value for run in benchmark["runs"] for value in run.get("values", [])]
    return benchmark["metadata"]["name"], mean(values), pstdev(values)


def table(found: dict[str, tuple[float, float]]) -> str:
    lines = ["| part | µs (mean) | standard deviation |", "| --- | ---: | ---: |"]
    for name, label in PARTS.items():
        if name in found:
            mean, spread = found[name]
            lines.append(f"| {label} | {mean:.1f} | {spread:.1f} |")
    left = [f"Left out: {label}." for name, label in PARTS.items() if name not in found]
    return "\n".join([*lines, "", *left]).strip()


def report(*arguments: str) -> str:
    if not installed_version("pyperf"):
        return "Left out: pyperf is not installed (stormcellar/benchmarks/requirements-bench.txt)."
    return f"By pyperf {installed_version('pyperf')}.\n\n{table(measure(*arguments))}"


if __name__ == "__main__":
    if {"--measure", "--worker"} & set(sys.argv):
        sys.argv = [argument for argument in sys.argv if argument != "--measure"]
        work()
    else:
        print(f"{machine()}\n\n{report(*sys.argv[1:])}")
