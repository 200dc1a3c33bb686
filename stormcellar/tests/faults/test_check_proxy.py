# SPDX-License-Identifier: MIT
"""`manage.py check --tls` through a real nginx: a good proxy has no findings, each mistake is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stormcellar.commands.check_proxy import check_proxy
from stormcellar.commands.finding import Finding
from stormcellar.settings import load
from stormcellar.tests.browser.proxy import make_certificate
from stormcellar.tests.faults.nginx import Nginx
from stormcellar.tests.serving import SITE_DIR, ServerProcess, free_port, process_env

pytestmark = [pytest.mark.faults, pytest.mark.slow]

GOOD = {
    "proxy_set_header Host": "$http_host",
    "proxy_set_header X-Forwarded-For": "$remote_addr",
    "proxy_set_header X-Forwarded-Proto": "$scheme",
    "proxy_set_header Upgrade": "$http_upgrade",
    "proxy_set_header Connection": "$checked_connection",
    "proxy_http_version": "1.1",
    "client_max_body_size": "10m",
    "large_client_header_buffers": "4 32k",
    "proxy_buffer_size": "16k",
    "proxy_buffers": "8 16k",
}
SITE = """\
map $http_upgrade $checked_connection {{ default upgrade; "" ""; }}
server {{
    listen 127.0.0.1:{port} ssl;
    server_name localhost;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    {lines}
    location / {{ proxy_pass {server}; }}
}}
"""
SECRET = "VSN7mTkGbZ1Q4xUe0pJdYwLh3CfRaOi9"


class Checked:
    """A server, an nginx in front, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.certificate = make_certificate(folder, "localhost")
        self.nginx = Nginx(folder / "nginx")
        self.settings = [
            f"--public_url=https://localhost:{self.port}",
            "--trusted_proxies=127.0.0.1",
            f"--data_dir={folder / 'data'}",
        ]
        environment = {"STORMCELLAR_SECRET": SECRET}
        self.server = ServerProcess(folder / "data", *self.settings[:2], environment=environment)

    def start_nginx(self, **changes: str | None) -> None:
        """Start nginx with some lines changed or left out; each is named by its last word."""
        lines = dict(GOOD)
        for name, value in changes.items():
            (key,) = [key for key in lines if key.split()[-1].replace("-", "_").lower() == name]
            if value is None:
                del lines[key]
            else:
                lines[key] = value
        self.nginx.start(
            SITE.format(
                port=self.port,
                certificate=self.certificate,
                server=self.server.url.replace("localhost", "127.0.0.1"),
                lines="\n    ".join(f"{key} {value};" for key, value in lines.items()),
            )
        )

    def findings(self, *settings: str, **changes: str | None) -> list[Finding]:
        """What the command says about the proxy."""
        self.start_nginx(**changes)
        try:
            return list(check_proxy(load([*self.settings, *settings], {"STORMCELLAR_SECRET": SECRET})))
        finally:
            self.nginx.stop()


@pytest.fixture(autouse=True)
def trusted_certificate(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(checked.certificate))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    checked = Checked(tmp_path_factory.mktemp("checked"))
    with checked.server:
        yield checked


def test_a_good_proxy_has_only_notes(checked: Checked) -> None:
    """With the whole command, which measures the head of a sign-in answer too."""
    checked.start_nginx()
    try:
        command = [sys.executable, "manage.py", "check", "--tls", "--json", *checked.settings]
        environment = process_env(SSL_CERT_FILE=str(checked.certificate), STORMCELLAR_SECRET=SECRET)
        done = subprocess.run(
            command,
            cwd=SITE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        checked.nginx.stop()
    assert done.stderr == ""
    said = [json.loads(line) for line in done.stdout.splitlines()]
    about_proxy = [finding for finding in said if "roxy" in finding["what"] or "head of" in finding["what"]]
    assert {finding["level"] for finding in about_proxy} == {"note"}, about_proxy
    assert any("head of the sign-in answer" in finding["what"] for finding in about_proxy)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"host": None}, "error", "passes on the host name 127.0.0.1:"),
        ({"x_forwarded_for": '""'}, "error", "sends no X-Forwarded-For"),
        ({"x_forwarded_for": None}, "error", "as the visitor wrote it"),
        ({"x_forwarded_proto": "http"}, "warning", "visitors come by http, but public_url is https"),
        ({"client_max_body_size": "1m"}, "error", "A body of 1,048,577 bytes is answered with 413"),
        ({"large_client_header_buffers": "4 4k"}, "error", "bytes of cookies is answered with 400"),
        ({"proxy_buffer_size": "4k", "proxy_buffers": "8 4k"}, "warning", "answers 502 when the head"),
        ({"upgrade": None}, "warning", "does not pass Upgrade on"),
    ],
)
def test_a_mistake_of_the_proxy_is_named(
    checked: Checked, changes: dict[str, str | None], level: str, words: str
) -> None:
    found = [finding for finding in checked.findings(**changes) if finding.level != "note"]
    assert [finding.level for finding in found] == [level], found
    assert words in found[0].what
    assert found[0].advice


def errors(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.level == "error"]


def test_a_proxy_that_is_not_listed_is_named(checked: Checked) -> None:
    """The command has the settings that the server should have."""
    (what,) = errors(checked.findings("--trusted_proxies=10.0.0.1"))
    assert "X-Forwarded-For from 127.0.0.1 is not believed" in what


def test_a_server_with_another_secret_is_named(checked: Checked) -> None:
    (what,) = errors(checked.findings("--secret=" + SECRET[::-1]))
    assert "does not reach a server of this site with this secret" in what
