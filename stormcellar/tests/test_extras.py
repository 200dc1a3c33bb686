# SPDX-License-Identifier: MIT
"""A part below extras/ goes when its folder goes: the rest starts, says what it serves, and is as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stormcellar.extras import Extra, installed
from stormcellar.tests.serving import ROOT, SITE_DIR, process_env

PARTS = sorted(path.parent.name for path in (ROOT / "stormcellar" / "extras").glob("*/__init__.py"))

# Starts an application and calls upon it: what it serves, and whether somebody new gets in.
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from urllib.parse import urlencode
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
import server
from stormcellar.settings import Settings

async def main():
    options = Settings(data_dir=Path(sys.argv[1]))
    app = server.make_app(options)
    await app.start()
    http, (socket, port) = HTTPServer(app), bind_unused_port()
    http.add_socket(socket)
    site = f"http://localhost:{port}"
    form = urlencode({"email": "ann@example.com", "password": "tall ships sail 27 seas"})
    headers = {"Origin": site, "Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Cookie": "x=y"}
    signed_up = await AsyncHTTPClient().fetch(
        HTTPRequest(site + "/signup", "POST", headers, form, follow_redirects=False), raise_error=False)
    cookies = "; ".join(line.split(";")[0] for line in signed_up.headers.get_list("Set-Cookie"))
    async def code(path):
        headers = {"Accept": "text/html", "Cookie": cookies}
        request = HTTPRequest(site + path, headers=headers, follow_redirects=False)
        return (await AsyncHTTPClient().fetch(request, raise_error=False)).code
    codes = {path: await code(path) for path in ("/login", "/dashboard", "/account")}
    http.stop()
    await app.stop()
    handlers = sorted({route.handler_class.__module__ for route in server.SITE.route_table(options)})
    print(json.dumps({"signed_up": signed_up.code, "codes": codes, "handlers": handlers}))

asyncio.run(main())
"""


def call_upon(site: Path) -> dict[str, object]:
    command = [sys.executable, "-c", PROGRAM, str(site / "data")]
    done = subprocess.run(
        command, cwd=site, env=process_env(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def copy_of_the_kit(to: Path, *without: str) -> Path:
    """All that a clone runs, but for some parts."""
    leave = shutil.ignore_patterns("__pycache__", "tests", "benchmarks", "tools")
    shutil.copytree(ROOT / "stormcellar", to / "stormcellar", ignore=leave)
    shutil.copytree(SITE_DIR, to, ignore=leave, dirs_exist_ok=True)
    for part in without:
        shutil.rmtree(to / "stormcellar" / "extras" / part)
    return to


@pytest.mark.slow
@pytest.mark.parametrize("without", [[], *([part] for part in PARTS), PARTS], ids="+".join)
def test_a_kit_without_a_part_starts_and_serves_all_the_rest(tmp_path: Path, without: list[str]) -> None:
    found = call_upon(copy_of_the_kit(tmp_path, *without))
    assert found["signed_up"] == 303
    assert found["codes"] == {"/login": 303, "/dashboard": 200, "/account": 200}
    served = str(found["handlers"])
    for part in PARTS:
        assert (f"extras.{part}." in served) is (part not in without)


def test_nothing_outside_a_part_imports_it() -> None:
    extras = ROOT / "stormcellar" / "extras"
    aside = {extras / part for part in PARTS} | {ROOT / "stormcellar" / "tests"}
    for source in (ROOT / "stormcellar").rglob("*.py"):
        if aside & {*source.parents}:
            continue
        text = source.read_text(encoding="utf-8")
        assert not any(f"extras.{part}" in text for part in PARTS), source
    for part in PARTS:
        others = [f"extras.{other}" for other in PARTS if other != part]
        for source in (extras / part).rglob("*.py"):
            assert not any(other in source.read_text(encoding="utf-8") for other in others), source


@pytest.mark.skipif("passkeys" not in PARTS, reason="the part has been deleted")
def test_a_part_whose_library_is_missing_is_off_and_the_log_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = [
        name
        for name in sys.modules
        if name.split(".")[0] == "webauthn" or name.startswith("stormcellar.extras.passkeys")
    ]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "webauthn", None)
    caplog.set_level("INFO")
    installed.cache_clear()
    try:
        found = installed()
    finally:
        installed.cache_clear()
    assert [part.__module__.split(".")[2] for part in found] == [part for part in PARTS if part != "passkeys"]
    assert (
        "webauthn is not installed (`.venv/bin/python -m pip install -r requirements/passkeys.txt`)"
        in caplog.text
    )


def test_the_parts_are_those_of_the_folders() -> None:
    assert [part.__module__ for part in installed()] == [f"stormcellar.extras.{part}.part" for part in PARTS]
    assert all(issubclass(part, Extra) for part in installed())
