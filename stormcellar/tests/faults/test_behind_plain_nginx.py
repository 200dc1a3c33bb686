# SPDX-License-Identifier: MIT
"""nginx with `proxy_pass` and its default buffers: sessions begin, are renewed and end."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from stormcellar.tests.faults.nginx import Nginx
from stormcellar.tests.serving import ServerProcess, free_port

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PLAIN = """\
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass {server};
        proxy_set_header Host $http_host;
        proxy_buffer_size 4k;
        proxy_buffers 8 4k;
        proxy_busy_buffers_size 8k;
    }}
}}
"""
"""The buffers are the defaults where a page of memory has 4 KiB; elsewhere they are larger."""

EMAIL, PASSWORD = "a.person.with.a.long.name@department.example.com", "tall ships sail 27 seas"


class Visitor:
    """A browser that keeps cookies, whatever their path."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=30)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {"Origin": f"http://localhost:{self.port}", "Cookie": cookies, "Accept": "text/html"}
        connection.request(method, path, body, {**own, **headers})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                self.cookies.pop(name, None)
                if morsel.value:
                    self.cookies[name] = morsel.value
        return answer

    def send_form(self, path: str, **fields: str) -> http.client.HTTPResponse:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        return self.ask("POST", path, urlencode(fields), **form)

    def call(self, path: str, body: object = None, **headers: str) -> http.client.HTTPResponse:
        sent = {"Content-Type": "application/json", "rid": "x", "st-auth-mode": "cookie", **headers}
        return self.ask("POST", path, json.dumps(body) if body is not None else "", **sent)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("plain"), free_port()
    nginx = Nginx(folder / "nginx")
    settings = [f"--public_url=http://localhost:{port}", "--email_verification=required"]
    settings += ["--smtp_url=smtp://127.0.0.1:9", "--mail_from=no-reply@example.com"]
    with ServerProcess(folder / "data", *settings) as server:
        try:
            nginx.start(PLAIN.format(port=port, server=server.url.replace("localhost", "127.0.0.1")))
            yield port
        finally:
            nginx.stop()


def test_forms_begin_renew_and_end_a_session(port: int) -> None:
    """The sign-in comes over the session that the sign-up has begun."""
    visitor = Visitor(port)
    assert visitor.send_form("/signup", email=EMAIL, password=PASSWORD).status == 303
    assert visitor.send_form("/login", email=EMAIL, password=PASSWORD).status == 303
    assert visitor.ask("GET", "/auth/session/refresh/return?redirectBack=/account").status == 303
    assert visitor.ask("GET", "/dashboard").status == 403, "signed in, and the address is not confirmed"
    assert visitor.send_form("/signout").status == 303
    assert visitor.ask("GET", "/dashboard").headers["Location"].startswith("/login")


@pytest.mark.parametrize("method", ["cookie", "header"])
def test_scripts_begin_renew_and_end_a_session(port: int, method: str) -> None:
    visitor = Visitor(port)
    email = f"{method}.{EMAIL}"
    fields = {"formFields": [{"id": "email", "value": email}, {"id": "password", "value": PASSWORD}]}
    how = {"st-auth-mode": method}
    assert visitor.call("/auth/signup", fields, **how).status == 200
    signed_in = visitor.call("/auth/signin", fields, **how)
    assert signed_in.status == 200
    token = signed_in.headers.get("st-refresh-token")
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    renewed = visitor.call("/auth/session/refresh", **how, **bearer)
    assert renewed.status == 200
    token = renewed.headers.get("st-access-token")
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    assert visitor.call("/auth/signout", **how, **bearer).status == 200


def test_a_head_as_large_as_two_sessions_and_strange_cookies_arrives(port: int) -> None:
    """nginx takes 8 KiB for one line of a request; the Cookie line of one session has about 2 KiB."""
    visitor = Visitor(port)
    visitor.send_form("/signup", email=f"two.{EMAIL}", password=PASSWORD)
    assert len("; ".join(f"{name}={value}" for name, value in visitor.cookies.items())) < 2600
    visitor.cookies["another-program"] = "x" * 4000
    assert visitor.ask("GET", "/").status == 200
