# SPDX-License-Identifier: MIT
"""The setting `database` chooses where users and sessions are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from stormcellar.tests.postgres import DATABASE, PASSWORD, PASSWORD_IN_ADDRESS, Cluster
from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env


@pytest.mark.postgres
def test_two_servers_with_one_secret_run_on_one_postgresql_database(
    tmp_path: Path, cluster: Cluster, postgres_url: str
) -> None:
    """Each with a folder of its own, as on two machines. The database's password gets into no log."""
    secret = "q7w3-e9r1-t5y8-u2i6-o4p0-a8s2-d5f7"
    environment = {"STORMCELLAR_DATABASE": postgres_url, "STORMCELLAR_SECRET": secret}
    with (
        ServerProcess(tmp_path / "one", environment=environment) as one,
        ServerProcess(tmp_path / "two", environment=environment) as two,
    ):
        keys = [urlopen(f"{server.url}/auth/jwt/jwks.json").read() for server in (one, two)]
        assert keys[0] == keys[1]
        assert urlopen(f"{two.url}/readyz").status == 200
        log = one.log + two.log
    assert cluster.execute("SELECT count(*) FROM signing_keys", DATABASE) == [(1,)]
    assert "PostgreSQL" in log
    assert PASSWORD not in log
    assert PASSWORD_IN_ADDRESS not in log
    assert not list(tmp_path.glob("*/*.sqlite3"))


def test_without_psycopg_the_start_says_what_to_install(tmp_path: Path) -> None:
    hidden = (
        "import sys; sys.modules['psycopg'] = None; import server\n"
        "from stormcellar.server.run import main; main(server.SITE)"
    )
    address = "--database=postgresql://kit:SHOWN@db/kit"
    done = subprocess.run(
        [sys.executable, "-c", hidden, address, f"--data-dir={tmp_path}"],
        cwd=SITE_DIR, env=process_env(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install -r requirements/postgres.txt" in done.stderr
    assert "SHOWN" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.postgres
def test_a_database_that_is_away_stops_the_start_with_a_sentence(
    tmp_path: Path, cluster: Cluster, postgres_url: str
) -> None:
    cluster.stop()
    environment = process_env(STORMCELLAR_DATABASE=postgres_url)
    done = subprocess.run(
        [sys.executable, "server.py", f"--data-dir={tmp_path}", "--port=0", "--database-wait-s=1"],
        cwd=SITE_DIR, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "waiting up to 1 s for the database: PostgreSQL: " in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "Stormcellar does not start: the database did not answer for 1 s (`database_wait_s`)"
    )
    assert "Traceback" not in done.stderr
    assert PASSWORD_IN_ADDRESS not in done.stderr
