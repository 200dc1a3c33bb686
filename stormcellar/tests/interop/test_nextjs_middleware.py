# SPDX-License-Identifier: MIT
"""The Next.js middleware of SuperTokens' published React package renews sessions of this server.

It calls the refresh endpoint from Node.js: JSON, without Origin, Fetch Metadata and `rid`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stormcellar.tests.parts import require_npm_package
from stormcellar.tests.serving import ServerProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "nextjs_middleware.mjs"


def test_nextjs_middleware_keeps_a_session_across_expiries(tmp_path: Path) -> None:
    require_npm_package("supertokens-auth-react")
    with ServerProcess(tmp_path, "--access_token_lifetime_s=4") as server:
        done = subprocess.run(
            ["node", SCRIPT, server.url, "4"], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"signUp": "OK", "before": 200, "rounds": [[401, 302, "/dashboard", 200]] * 3}
