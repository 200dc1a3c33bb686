# SPDX-License-Identifier: MIT
"""Accounts stand alone: whoever knows users and passwords need not know HTTP or sessions."""

import subprocess
import sys


def test_accounts_bring_in_neither_tornado_nor_sessions_nor_a_database_driver() -> None:
    code = "import stormcellar.accounts, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "stormcellar.accounts.users" in loaded
    assert not {
        "tornado",
        "stormcellar.sessions",
        "stormcellar.web",
        "stormcellar.settings",
        "sqlite3",
        "psycopg",
    } & set(loaded)
