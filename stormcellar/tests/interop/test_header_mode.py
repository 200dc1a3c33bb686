# SPDX-License-Identifier: MIT
"""SuperTokens' published client for mobile apps, unmodified, under Node.js: tokens travel in headers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stormcellar.tests.parts import require, require_npm_package
from stormcellar.tests.serving import ROOT, ServerProcess

pytestmark = pytest.mark.npm


def test_react_native_signs_up_calls_renews_and_signs_out(tmp_path: Path) -> None:
    """The example itself, with an access token that expires while it waits."""
    require("npm")
    require_npm_package("supertokens-react-native", "examples")
    program = (sys.executable, str(ROOT / "examples/run.py"), "header_mode")
    with ServerProcess(tmp_path, "--access_token_lifetime_s=2", program=program) as server:
        done = subprocess.run(
            ["node", ROOT / "examples/.build/header_mode.mjs", server.url, "app@example.com", "2.2"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        said[entry["what"]] = entry["value"]
    events = said.pop("events")
    assert said == {
        "sign up": "OK",
        "session exists": True,
        "user": True,
        "call": {"status": 200, "cookies": None},
        "late calls": [200, 200, 200],
        "refresh": True,
        "after sign out": False,
        "refused": 401,
    }
    assert events[0] == "SESSION_CREATED"
    assert "REFRESH_SESSION" in events
    assert events[-2:] == ["SIGN_OUT", "UNAUTHORISED"]
