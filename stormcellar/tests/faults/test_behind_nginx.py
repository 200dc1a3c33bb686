# SPDX-License-Identifier: MIT
"""Two servers on PostgreSQL behind nginx, with the site file of deploy/ but for ports and certificate."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import re
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.websocket import websocket_connect

from stormcellar.sessions.base64url import encode_base64url
from stormcellar.tests.browser.proxy import make_certificate
from stormcellar.tests.faults.browsers import Browser, at
from stormcellar.tests.faults.history import History
from stormcellar.tests.faults.nginx import Nginx
from stormcellar.tests.faults.test_deploy import children, wait_until
from stormcellar.tests.figures import Figures
from stormcellar.tests.parts import require
from stormcellar.tests.postgres import Cluster
from stormcellar.tests.serving import ROOT, ServerProcess, free_port

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

DEADLINE_S = 60.0
MIB = 1024 * 1024
REPLACEMENTS, RESTARTS = 2, 4


class Site:
    """Two servers and nginx before them.

    Attributes:
        url: what visitors type.
        tls: how they recognise the site.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self.certificate = make_certificate(folder, "localhost")
        self.tls = ssl.create_default_context(cafile=str(self.certificate))
        arguments = ("--processes=2", f"--public_url={self.url}", f"--database={database}", "--drain_s=5")
        self.servers = [ServerProcess(folder / "data", *arguments) for _ in range(2)]
        self._nginx = Nginx(folder)

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self._nginx.start(self.site_file())

    def site_file(self) -> str:
        """The file that the documentation tells to copy, for this machine."""
        text = (ROOT / "deploy/nginx.conf").read_text()
        for example, server in zip(("127.0.0.1:8001", "127.0.0.1:8002"), self.servers, strict=True):
            assert example in text
            text = text.replace(example, server.url.removeprefix("http://").replace("localhost", "127.0.0.1"))
        text = re.sub(r"ssl_certificate(_key)? .*;", rf"ssl_certificate\1 {self.certificate};", text)
        text = re.sub(r"access_log \S+", f"access_log {self.folder}/access.log", text)
        text = re.sub(r"error_log +\S+", f"error_log {self.folder}/error.log", text)
        text = re.sub(r"listen \[::\].*;", "", text)
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.plain_port};")
        text = text.replace("listen 443 ", f"listen 127.0.0.1:{self.port} ")
        return text.replace("www.example.com", "localhost")

    def stop(self) -> None:
        self._nginx.stop()
        for server in self.servers:
            server.stop()

    @property
    def log(self) -> str:
        return (self.folder / "access.log").read_text()

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, context=self.tls, timeout=DEADLINE_S)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        """One request on a connection of its own; the answer is read."""
        connection = self.connection()
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, _cluster: Cluster) -> Iterator[Site]:
    require("nginx")
    site = Site(tmp_path_factory.mktemp("nginx"), _cluster.url(_cluster.empty_database()))
    try:
        site.start()
        yield site
    finally:
        site.stop()
    for server in site.servers:
        assert "Traceback" not in server.log


def run(site: Site, story: Callable[[SimpleAsyncHTTPClient], object]) -> None:
    async def tell() -> None:
        defaults = {"ca_certs": str(site.certificate)}
        client = SimpleAsyncHTTPClient(force_instance=True, max_clients=50, defaults=defaults)
        await asyncio.wait_for(story(client), DEADLINE_S)  # type: ignore[arg-type]
        client.close()

    asyncio.run(tell())


numbers = itertools.count()


async def newcomer(client: SimpleAsyncHTTPClient, site: Site) -> Browser:
    browser = Browser(client, History(), at(site.url), f"visitor{next(numbers)}@example.com")
    await browser.sign_up()
    return browser


def test_people_sign_in_read_renew_and_sign_out_on_both_servers(site: Site) -> None:
    async def story(client: SimpleAsyncHTTPClient) -> None:
        browser = await newcomer(client, site)
        for _ in range(4):
            assert await browser.read()
        assert await browser.refresh()
        assert await browser.read()
        kept = browser.copy()
        await browser.sign_out()
        await asyncio.sleep(0)
        assert not await kept.refresh()

    run(site, story)
    for server in site.servers:
        port = server.url.rpartition(":")[2]
        wait_until(lambda: port in site.log, "both servers were asked")  # noqa: B023


def test_a_guest_is_led_to_the_sign_in_page_of_the_site_that_he_sees(site: Site) -> None:
    answer = site.ask("GET", "/dashboard", Accept="text/html")
    assert answer.status == 303
    location = answer.headers["Location"]
    assert location.startswith(("/login?", f"{site.url}/login?"))
    assert answer.headers["Strict-Transport-Security"]


def test_plain_http_leads_to_https(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.plain_port, timeout=DEADLINE_S)
    connection.request("GET", "/login?next=1", headers={"Host": "localhost"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, "https://localhost/login?next=1")
    connection.close()


def test_a_redirect_names_no_other_host(site: Site) -> None:
    """A request for another name gets no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", site.plain_port, timeout=DEADLINE_S)
    connection.request("GET", "/login", headers={"Host": "evil.example"})
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()


def test_a_head_that_the_kit_takes_passes_the_proxy(site: Site) -> None:
    cookies = "; ".join(f"other{number}={'x' * 4000}" for number in range(6))
    assert site.ask("GET", "/", Cookie=cookies, Accept="text/html").status == 200
    assert site.ask("GET", "/", Cookie=f"other={'x' * 24_000}", Accept="text/html").status == 200


def test_no_answer_names_a_version(site: Site) -> None:
    refused = site.ask("GET", "/readyz")  # by nginx itself
    assert (refused.status, refused.headers["Server"]) == (404, "nginx")
    connection = http.client.HTTPConnection("127.0.0.1", site.plain_port, timeout=DEADLINE_S)
    connection.request("GET", "/", headers={"Host": "localhost"})
    assert connection.getresponse().headers["Server"] == "nginx"
    connection.close()


def test_a_socket_opens_through_the_proxy_and_closes_when_its_session_ends(site: Site) -> None:
    async def story(client: SimpleAsyncHTTPClient) -> None:
        browser = await newcomer(client, site)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        request = HTTPRequest(
            site.url.replace("https", "wss") + "/ws/session",
            headers={"Cookie": cookies, "Origin": site.url},
            ca_certs=str(site.certificate),
        )
        socket = await websocket_connect(request)
        await browser.sign_out()
        while await socket.read_message() is not None:
            pass
        assert socket.close_code == 4001

    run(site, story)


def test_an_upload_goes_through_up_to_what_the_server_takes(site: Site) -> None:
    """The answer to one of 9 MiB is the kit's, with its headers; 11 MiB stop at the proxy."""
    headers = {"Origin": site.url, "Content-Type": "application/octet-stream"}
    taken = site.ask("POST", "/proxy-check", b"x" * (9 * MIB), **headers)
    assert taken.status == 404  # it has no signature, and was taken as a whole
    assert taken.headers["Content-Security-Policy"]
    refused = site.ask("POST", "/proxy-check", b"x" * (11 * MIB), **headers)
    assert refused.status == 413
    assert "Content-Security-Policy" not in refused.headers


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nobody_outside_sees_how_the_servers_are(site: Site, path: str) -> None:
    assert site.ask("GET", path).status == 404


def test_the_proxy_writes_no_token_down(site: Site) -> None:
    token = encode_base64url(b"a token of a mailed link")
    assert site.ask("GET", f"/reset-password?token={token}", Accept="text/html").status < 500
    wait_until(lambda: "/reset-password" in site.log, "nginx has written a line")  # after the answer
    assert token not in site.log


class Visitors:
    """Threads that read pages and send forms over and over, on connections that they keep."""

    def __init__(self, site: Site, count: int) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._site = site
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(count)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _visit(self) -> None:
        connection = self._site.connection()
        body = json.dumps({"formFields": [{"id": "email", "value": "?"}, {"id": "password", "value": ""}]})
        headers = {"Content-Type": "application/json", "rid": "emailpassword"}
        while not self._over.is_set():
            for method, path in (("GET", "/"), ("POST", "/auth/signin")):
                try:
                    connection.request(method, path, body if method == "POST" else None, headers)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{method}: {error!r}")
                    connection.close()
                    continue
                self.answers += 1
                if answer.status != 200:
                    self.failures.append(f"{method}: {answer.status}")
            time.sleep(0.005)
        connection.close()


def test_replacing_all_workers_of_both_servers_fails_no_request(site: Site, figures: Figures) -> None:
    """Pages and forms alike: what may not be asked twice is not retried by the proxy."""
    with Visitors(site, 6) as visitors:
        for server in site.servers * REPLACEMENTS:
            before, answers = children(server.pid), visitors.answers
            os.kill(server.pid, signal.SIGHUP)
            wait_until(lambda: len(children(server.pid) - before) == 2, "new workers are there")  # noqa: B023
            wait_until(lambda: not children(server.pid) & before, "the old ones are gone")  # noqa: B023
            wait_until(lambda: visitors.answers > answers, "visitors are answered")  # noqa: B023
    tried = f"{visitors.answers} requests, {2 * REPLACEMENTS} replacements"
    figures.none("new code fails no request", "nginx, two servers", visitors.failures, tried)


def test_while_one_server_stops_and_starts_the_other_serves(site: Site, figures: Figures) -> None:
    """Whoever waits to be accepted by the one that stops is still answered."""
    address = urlsplit(site.servers[0].url)
    site.servers[0].command.append(f"--port={address.port}")  # where nginx expects it
    with Visitors(site, 6) as visitors:
        for _ in range(RESTARTS):
            assert site.servers[0].stop() == 0
            answers = visitors.answers
            wait_until(lambda: visitors.answers > answers + 100, "visitors are answered without it")  # noqa: B023
            site.servers[0].start()
            answers = visitors.answers
            wait_until(lambda: visitors.answers > answers + 100, "visitors are answered")  # noqa: B023
    tried = f"{visitors.answers} requests, {RESTARTS} restarts"
    figures.none("a restart of one server fails no request", "nginx, two servers", visitors.failures, tried)


def test_a_session_goes_on_when_one_server_was_killed(site: Site) -> None:
    """Last, since that server stays away. Messages of nginx would quote queries, and so mailed tokens."""
    site.servers[0].kill()

    async def story(client: SimpleAsyncHTTPClient) -> None:
        browser = await newcomer(client, site)
        assert await browser.read()
        assert await browser.refresh()

    run(site, story)
    assert "request:" not in (site.folder / "error.log").read_text()
