# SPDX-License-Identifier: MIT
"""Two servers behind Caddy, with the site file of deploy/ except for ports and certificate authority."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stormcellar.tests.faults.test_deploy import wait_until
from stormcellar.tests.parts import require
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import ROOT, ServerProcess, free_port, process_env

pytestmark = [pytest.mark.faults, pytest.mark.postgres, pytest.mark.slow]

DEADLINE_S = 60.0
FIELDS = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": "tall ships sail 27 seas"}]


class Site:
    """Two servers and Caddy before them, which makes its own certificate for localhost."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        settings = (f"--public_url={self.url}", f"--database={database}", "--trusted_proxies=127.0.0.1, ::1")
        self.servers = [ServerProcess(folder / "data", *settings) for _ in range(2)]
        self._caddy: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for server in self.servers:
            server.start()
        config = self.folder / "Caddyfile"
        config.write_text(self.site_file())
        ports = [server.url.rpartition(":")[2] for server in self.servers]
        folders = {name: str(self.folder / name) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        servers = " ".join(f"127.0.0.1:{port}" for port in ports)
        environment = process_env(SITE="localhost", SERVERS=servers, **folders)
        command = [require("caddy"), "run", "--config", config, "--adapter", "caddyfile"]
        with (self.folder / "caddy.log").open("wb") as log:
            self._caddy = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=log)
        authority = self.folder / "XDG_DATA_HOME/caddy/pki/authorities/local/root.crt"
        wait_until(authority.exists, f"Caddy has its authority: {self.log}")
        self.tls = ssl.create_default_context(cafile=str(authority))
        wait_until(self.is_up, "Caddy serves")

    def site_file(self) -> str:
        """The file that the documentation tells to copy, for this machine."""
        text = (ROOT / "deploy/Caddyfile").read_text()
        ports = f"http_port {self.plain_port}\n\thttps_port {self.port}\n"
        options = f"{ports}\tadmin off\n\tskip_install_trust\n"
        assert text.count("\n{\n\tlog {") == 1
        return text.replace("\n{\n\tlog {", f"\n{{\n\t{options}\tlog {{")

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self._caddy is not None:
            self._caddy.terminate()
            self._caddy.wait(DEADLINE_S)
        for server in self.servers:
            server.stop()

    @property
    def log(self) -> str:
        return (self.folder / "caddy.log").read_text()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        """One request on a connection of its own; the answer is read."""
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.tls, timeout=DEADLINE_S)
        connection.request(method, path, body, {"Content-Type": "application/json", "rid": "x", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, _cluster: Cluster) -> Iterator[Site]:
    require("caddy")
    site = Site(tmp_path_factory.mktemp("caddy"), _cluster.url(_cluster.empty_database()))
    try:
        site.start()
        yield site
    finally:
        site.stop()


def test_a_session_begins_is_renewed_and_ends(site: Site) -> None:
    body = json.dumps({"formFields": FIELDS}).encode()
    assert site.ask("POST", "/auth/signup", body).status == 200
    signed_in = site.ask("POST", "/auth/signin", body, **{"st-auth-mode": "header"})
    assert signed_in.status == 200
    token = signed_in.headers["st-refresh-token"]
    renewed = site.ask("POST", "/auth/session/refresh", Authorization=f"Bearer {token}")
    assert renewed.status == 200
    bearer = f"Bearer {renewed.headers['st-access-token']}"
    assert site.ask("POST", "/auth/signout", Authorization=bearer).status == 200


def test_the_redirect_to_https_names_no_other_host(site: Site) -> None:
    found = {}
    for host in ("localhost", "evil.example"):
        connection = http.client.HTTPConnection("127.0.0.1", site.plain_port, timeout=DEADLINE_S)
        connection.request("GET", "/login?next=1", headers={"Host": host})
        answer = connection.getresponse()
        found[host] = (answer.status, answer.headers["Location"])
        connection.close()
    assert found == {"localhost": (308, "https://localhost/login?next=1"), "evil.example": (421, None)}


def test_a_head_that_the_kit_takes_passes_the_proxy(site: Site) -> None:
    assert site.ask("GET", "/", Cookie=f"other={'x' * 24_000}", Accept="text/html").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_addresses_for_operators_are_hidden(site: Site, path: str) -> None:
    answer = site.ask("GET", path)
    assert (answer.status, answer.headers["Server"]) == (404, None)


def test_the_log_holds_no_query_and_no_header(site: Site) -> None:
    site.ask("GET", "/reset-password?token=a-token-of-a-mail", Cookie="sAccessToken=a-token-of-a-session")
    wait_until(lambda: "/reset-password" in site.log, "Caddy has written a line")
    assert "a-token-of" not in site.log
