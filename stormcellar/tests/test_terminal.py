# SPDX-License-Identifier: MIT
"""What server.py and manage.py print: any text, in any encoding, into pipes that close."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env

pytestmark = pytest.mark.slow

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
SITE = "--site_name=Müllers Café"


def shell(line: str, data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh, in which $p is Python and $d names the folder of the data."""
    variables = {"p": sys.executable, "d": f"--data_dir={data_dir}"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=SITE_DIR, env=process_env(**variables, **environment), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_site_with_an_umlaut_starts_where_the_output_is_ascii(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", SITE, "--log_format=text", environment=ASCII)
    with server:
        assert server.url
    assert r"M\xfcllers Caf\xe9 is at http://" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("name", ["server.py --help", "server.py --routes", "manage.py check --json"])
def test_what_is_printed_in_ascii_has_no_traceback(name: str, tmp_path: Path) -> None:
    done = shell(f"$p {name} $d '{SITE}'", tmp_path, **ASCII)
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout


def test_commands_print_addresses_in_ascii_and_valid_json(tmp_path: Path) -> None:
    made = shell("printf 'Ω-not-a-word-9\\n' | $p manage.py create-user jörg@example.com $d", tmp_path)
    assert made.returncode == 0, made.stderr
    listed = shell("$p manage.py list-users --json $d", tmp_path, **ASCII)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.isascii()
    in_unicode = shell("$p manage.py list-users --json $d", tmp_path, PYTHONIOENCODING="utf-8")
    read = [json.loads(line) for line in listed.stdout.splitlines()]
    assert read == [json.loads(line) for line in in_unicode.stdout.splitlines()]
    plain = shell("$p manage.py list-users $d", tmp_path, **ASCII)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout


PROGRAMS = pytest.mark.parametrize(
    "name", ["server.py --help", "server.py --routes", "server.py --openapi", "manage.py --help"]
)


@PROGRAMS
def test_a_reader_that_closes_the_pipe_causes_no_message(name: str, tmp_path: Path) -> None:
    done = shell(f"$p {name} | true", tmp_path)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@PROGRAMS
def test_a_full_disk_gives_one_sentence(name: str, tmp_path: Path) -> None:
    done = shell(f"$p {name} >/dev/full", tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["server.py --help", "server.py --routes", "manage.py check"])
def test_closed_standard_output_causes_no_message(name: str, tmp_path: Path) -> None:
    done = shell(f"$p {name} >&-", tmp_path)
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


@pytest.mark.parametrize("output", [">/dev/full", ">&-", "> >(true)"])
def test_a_server_serves_when_its_announcement_cannot_be_written(output: str, tmp_path: Path) -> None:
    """It is still there when the health check asks, and ends by SIGTERM without an error."""
    line = f"""
        p0=$($p -c 'from stormcellar.tests.serving import free_port; print(free_port())')
        $p server.py --port=$p0 $d {output} & pid=$!
        curl="$p -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)'"
        for try in $(seq 100); do
            eval "$curl http://127.0.0.1:$p0/healthz" 2>/dev/null && answered=yes && break
            kill -0 $pid || break
        done
        kill $pid && wait $pid && echo "ended after an answer: $answered" >&2
    """
    done = shell(line, tmp_path)
    assert "ended after an answer: yes" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
