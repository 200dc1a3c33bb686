# SPDX-License-Identifier: MIT
"""Development behind a tunnel, or in the local network: the tools are open to the developer alone."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stormcellar.application import Application
from stormcellar.dev.key import COOKIE, developer_key
from stormcellar.server.run import announce
from stormcellar.settings import Settings
from stormcellar.testing.client import Client
from stormcellar.tests.handlers.parts import with_settings

TUNNEL = {"debug": True, "public_url": "https://a-name.tunnel.example"}
NETWORK = {"debug": True, "public_url": "http://192.168.1.20:8888", "address": "0.0.0.0"}
TOOLS = ("/dev/mail", "/dev/mail/1", "/dev/why")


@pytest.fixture
def visitor(client: Client, app: Application) -> Client:
    """A browser that has typed the public URL."""
    client.origin = app.options.public_url
    return client


async def sign_up(visitor: Client, app: Application) -> str:
    """Sign up; return the text of the page that follows."""
    assert (await visitor.sign_up()).code == 303
    return (await visitor.get("/dashboard", headers={"Host": host_of(app)})).body.decode()


def host_of(app: Application) -> str:
    return urlsplit(app.options.origin).netloc


@pytest.mark.parametrize("settings", [TUNNEL, NETWORK], ids=["tunnel", "network"])
@pytest.mark.gen_test
async def test_other_people_find_no_tools(visitor: Client, app: Application) -> None:
    """Mails hold links that open accounts."""
    page = await sign_up(visitor, app)
    assert "/dev/" not in page
    for path in TOOLS:
        assert (await visitor.get(path)).code == 404, path
    for path in ("/dev/open", "/dev/open?key=", "/dev/open?key=guessed"):
        answer = await visitor.get(path)
        assert (answer.code, "Set-Cookie" in answer.headers) == (404, False), path


@pytest.mark.parametrize("settings", [TUNNEL, NETWORK], ids=["tunnel", "network"])
@pytest.mark.gen_test
async def test_the_printed_address_opens_them(visitor: Client, app: Application) -> None:
    assert (await visitor.get(f"/dev/open?key={developer_key(app.options)}")).code == 303
    page = await sign_up(visitor, app)
    assert "/dev/why" in page
    assert (await visitor.get("/dev/mail")).code == 200


@with_settings(**TUNNEL)
@pytest.mark.gen_test
async def test_behind_a_tunnel_the_cookie_is_secure(visitor: Client, app: Application) -> None:
    answer = await visitor.get(f"/dev/open?key={developer_key(app.options)}")
    (line,) = [line for line in answer.headers.get_list("Set-Cookie") if line.startswith(COOKIE)]
    assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(line.split("; "))
    assert "Strict-Transport-Security" not in answer.headers, "the name belongs to the tunnel"


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_on_loopback_they_are_open(client: Client) -> None:
    assert (await client.get("/dev/mail")).code == 200


def test_the_terminal_prints_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Settings(data_dir=tmp_path, **TUNNEL)  # type: ignore[arg-type]
    announce(options, ["http://127.0.0.1:8888"])
    assert f"https://a-name.tunnel.example/dev/open?key={developer_key(options)}" in capsys.readouterr().out
    announce(Settings(data_dir=tmp_path, debug=True), ["http://127.0.0.1:8888"])
    assert "/dev/open" not in capsys.readouterr().out
