# SPDX-License-Identifier: MIT
"""The setting event_loop: the server runs on asyncio's own loop, or on uvloop where that is installed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stormcellar import server as processes
from stormcellar.settings import Settings
from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env

TELL_LOOP = (
    "import asyncio, server\n"
    "from stormcellar.server import run\n"
    "async def serve(application, announce, serve=run.serve):\n"
    "    print('it runs on', type(asyncio.get_running_loop()).__module__, flush=True)\n"
    "    await serve(application, announce)\n"
    "run.serve = serve\n"
    "run.main(server.SITE)\n"
)


def loop_module(name: str) -> str:
    found = []

    async def look() -> None:
        found.append(type(asyncio.get_running_loop()).__module__)

    processes.event_loop(Settings(event_loop=name))(look())  # type: ignore[arg-type]
    return found[0]


def test_by_default_it_is_asyncios_own_loop() -> None:
    assert loop_module("asyncio").startswith("asyncio.")


def test_uvloop_is_taken_where_the_setting_says_so() -> None:
    pytest.importorskip("uvloop")
    assert loop_module("uvloop") == "uvloop"


def test_without_uvloop_the_start_says_what_to_install(tmp_path: Path) -> None:
    hidden = (
        "import sys; sys.modules['uvloop'] = None; import server\n"
        "from stormcellar.server.run import main; main(server.SITE)"
    )
    command = [sys.executable, "-c", hidden, f"--data_dir={tmp_path}", "--event-loop=uvloop"]
    done = subprocess.run(
        command, cwd=SITE_DIR, env=process_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Stormcellar does not start: event_loop is uvloop, but that cannot be used")
    assert "pip install -r requirements/uvloop.txt`, or leave event_loop at asyncio" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_on_uvloop_answers_and_drains(tmp_path: Path, workers: int) -> None:
    pytest.importorskip("uvloop")
    program = (sys.executable, "-c", TELL_LOOP) if workers == 1 else (sys.executable, "server.py")
    server = ServerProcess(tmp_path, "--event-loop=uvloop", f"--processes={workers}", program=program)
    with server:
        with urllib.request.urlopen(f"{server.url}/login") as answer:
            assert answer.status == 200
        assert server.stop() == 0
    assert ("it runs on uvloop" in server.log) == (workers == 1)
    assert "Traceback" not in server.log
