# SPDX-License-Identifier: MIT
"""What holds for every route: it says who may use it, and its answers carry the headers that protect them.

The tests walk the route table, so routes that are added are covered too.
Source: OWASP ASVS 5.0, 3.4 and 14.3; RFC 9110, sections 9 and 15.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tornado.httpclient import HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.routing import PathMatches, Router, URLSpec
from tornado.web import Application as TornadoApplication
from tornado.web import RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketHandler

from stormcellar.application import Application
from stormcellar.routes import plain_routes
from stormcellar.settings import Settings
from stormcellar.testing.client import Client, json_of, set_cookies
from stormcellar.tests import site as server
from stormcellar.tests.handlers.parts import example_path, implements, own_routes, with_settings
from stormcellar.tests.serving import SITE_DIR, process_env
from stormcellar.tests.site import SITE
from stormcellar.web.access import AccessUnsaid, access, check_access, describe
from stormcellar.web.handler import BaseHandler, ProtectedHandler
from stormcellar.web.headers import DATA_POLICY

ROOT = Path(__file__).parents[3]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SELF = ("script-src", "style-src", "img-src", "font-src", "connect-src", "manifest-src", "form-action")
NONE = ("default-src", "base-uri", "object-src", "frame-ancestors")


# -- access -----------------------------------------------------------------------------------------


def handlers_of(router: Any) -> Iterator[type[RequestHandler]]:
    """Every handler that a router leads to, through whatever routers are in between."""
    for rule in router.rules:
        if isinstance(rule.target, Router):
            yield from handlers_of(rule.target)
        else:
            yield rule.target


@pytest.mark.gen_test
async def test_every_handler_that_can_be_reached_says_who_may_use_it(app: Application) -> None:
    """Those among them that Tornado adds by itself; there must be none."""
    found = list(handlers_of(app.default_router))
    assert {route.handler_class for route in SITE.route_table(app.options)} <= set(found)
    for handler in found:
        assert issubclass(handler, ProtectedHandler) or access(handler).startswith("public: ")
    assert access(app.settings["default_handler_class"]).startswith("public: ")


@pytest.mark.parametrize("handler", [RequestHandler, BaseHandler, StaticFileHandler])
def test_the_application_does_not_start_with_a_route_that_leaves_its_access_unsaid(
    handler: type[RequestHandler], tmp_path: Path
) -> None:
    class ForgottenHandler(handler):  # type: ignore[valid-type, misc]
        pass

    table = [*SITE.route_table(Settings()), URLSpec(r"/forgotten", ForgottenHandler, {})]
    with pytest.raises(AccessUnsaid, match=r"ForgottenHandler does not say who may use it"):
        check_access(table)
    with pytest.raises(AccessUnsaid):
        Application(Settings(data_dir=tmp_path), table, folder=SITE.folder)


def test_a_handler_says_so_by_protecting_or_with_a_reason() -> None:
    class OpenHandler(BaseHandler):
        public = "a reason"

    class ClosedHandler(ProtectedHandler):
        pass

    assert access(OpenHandler) == "public: a reason"
    assert access(ClosedHandler) == "protected"


def test_a_command_lists_all_routes_with_their_access(tmp_path: Path) -> None:
    command = [sys.executable, str(SITE_DIR / "server.py"), "--routes"]
    printed = subprocess.run(
        command, cwd=tmp_path, env=process_env(), capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == describe(SITE.route_table(Settings()))
    for route in SITE.route_table(Settings()):
        (line,) = (
            line for line in printed.splitlines() if line.split()[0] == route.regex.pattern.rstrip("$")
        )
        assert line.endswith(access(route.handler_class))
    assert list(tmp_path.iterdir()) == [], "listing makes no file"


@pytest.mark.parametrize("what", ["--help", "--routes", "--openapi"])
def test_whoever_reads_only_the_beginning_of_it_meets_no_error(what: str) -> None:
    command = [sys.executable, str(SITE_DIR / "server.py"), what]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, env=process_env(), stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.gen_test
async def test_protected_routes_let_no_guest_in(client: Client, app: Application) -> None:
    for path, handler in own_routes(app):
        if not issubclass(handler, ProtectedHandler):
            continue
        for method in METHODS:
            headers = {"Accept": "text/html", "Sec-Fetch-Site": "none"}
            page = await client.request(method, path, headers=headers)
            assert page.code == (401 if handler.speaks_json else 303), f"{method} {path}"
            data = await client.call(path, method=method)
            assert data.code == 401, f"{method} {path}"
            assert data.body == b"" or json_of(data) == {"message": "unauthorised"}, f"{method} {path}"


# -- headers ----------------------------------------------------------------------------------------


def check_headers(response: HTTPResponse, *, secure: bool = False) -> None:
    """What every answer must carry."""
    headers = response.headers
    is_document = headers.get("Content-Type", "").startswith("text/html") and response.code < 300
    if is_document or headers["Content-Security-Policy"] != DATA_POLICY:
        policy = {name: rest for name, *rest in map(str.split, headers["Content-Security-Policy"].split(";"))}
        assert policy == {**{name: ["'self'"] for name in SELF}, **{name: ["'none'"] for name in NONE}}
        assert "camera=()" in headers["Permissions-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in headers
    assert ("Strict-Transport-Security" in headers) is secure
    if response.body:
        assert "Content-Type" in headers
        assert (
            not headers["Content-Type"].startswith("text/") or "charset=" in headers["Content-Type"].lower()
        )


def check_storage(response: HTTPResponse, path: str) -> None:
    """Nothing is stored, besides what is the same for everybody."""
    control = response.headers["Cache-Control"]
    if path == "/refresh-session" and response.code == 200:
        assert control == "public, max-age=300"
    elif path.endswith("/jwks.json") and response.code == 200:
        assert control.startswith("max-age=")
    else:
        assert control == "private, no-store"
        assert "Etag" not in response.headers


@pytest.mark.parametrize("signed_in", [False, True], ids=["guest", "signed in"])
@pytest.mark.gen_test
async def test_every_answer_carries_the_headers_that_protect_it(
    client: Client, app: Application, signed_in: bool
) -> None:
    """Whatever the method and whoever asks; redirects and errors too."""
    if signed_in:
        await client.sign_up()
    for path, _ in own_routes(app):
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"):
            for accept in ("text/html", "application/json") if method == "GET" else ("text/html",):
                # Without a word where it comes from, so that nothing unsafe is done on this walk.
                response = await client.request(method, path, headers={"Accept": accept})
                assert response.code < 500, f"{method} {path}"
                check_headers(response)
                check_storage(response, path)


@pytest.mark.parametrize(
    "path", ["/none", "/static/none.css", "/static/", "/static/../server.py", "/sample/fail?how=raise"]
)
@pytest.mark.gen_test
async def test_error_pages_carry_them_too(client: Client, path: str) -> None:
    for method in METHODS:
        for headers in ({"Accept": "text/html"}, {"Accept": "application/json"}):
            response = await client.request(method, path, headers={**headers, "Sec-Fetch-Site": "none"})
            assert response.code >= 400
            check_headers(response)
            check_storage(response, path)


@with_settings(public_url="https://www.example.com")
@pytest.mark.gen_test
async def test_https_holds_for_a_month_and_for_this_host_alone(client: Client) -> None:
    """Until the operator says more; over plain HTTP the header has no place."""
    client.origin = "https://www.example.com"
    for path in ("/", "/dashboard", "/auth/jwt/jwks.json", "/static/style.css", "/none"):
        response = await client.get(path)
        check_headers(response, secure=True)
        assert response.headers["Strict-Transport-Security"] == f"max-age={30 * 86400}"


@with_settings(
    public_url="https://www.example.com", hsts_include_subdomains=True, hsts_max_age_s=2 * 365 * 86400
)
@pytest.mark.gen_test
async def test_https_holds_for_sub_domains_where_the_settings_say_so(client: Client) -> None:
    client.origin = "https://www.example.com"
    header = (await client.get("/")).headers["Strict-Transport-Security"]
    assert header == "max-age=63072000; includeSubDomains"


@pytest.mark.gen_test
async def test_no_page_has_anything_inline(client: Client) -> None:
    """The policy would refuse it, and only a browser would tell."""
    paths = ["/", "/login", "/signup", "/refresh-session", "/refresh-session/stopped", "/none"]
    pages = [await client.get(path) for path in paths]
    await client.sign_up()
    pages += [await client.get(path) for path in ("/", "/dashboard", "/sample/paid", "/none")]
    for page in pages:
        text = page.body.decode()
        assert "<style" not in text
        assert " style=" not in text
        assert "javascript:" not in text
        assert not any(f" on{event}=" in text for event in ("click", "submit", "load", "error", "input"))
        assert all(" src=" in tag for tag in text.split("<script")[1:])


@pytest.mark.gen_test
async def test_static_files_are_cached_by_their_version_and_else_asked_for_anew(client: Client) -> None:
    page = (await client.get("/")).body.decode()
    versioned = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert versioned.startswith("/static/style.css?v=")
    response = await client.get(versioned)
    assert response.code == 200
    check_headers(response)
    assert "max-age=" in response.headers["Cache-Control"]
    assert response.headers["Content-Type"].startswith("text/css")

    plain = await client.get("/static/session.js")
    assert plain.headers["Cache-Control"] == "no-cache"
    again = await client.get("/static/session.js", headers={"If-None-Match": plain.headers["Etag"]})
    assert (again.code, again.body) == (304, b"")


# -- methods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed_in", [False, True], ids=["guest", "signed in"])
@pytest.mark.gen_test
async def test_head_is_get_without_the_body(client: Client, app: Application, signed_in: bool) -> None:
    if signed_in:
        await client.sign_up()
    for path, handler in own_routes(app):
        if not implements(handler, "GET") or issubclass(handler, WebSocketHandler):
            continue
        get = await client.get(path)
        head = await client.request("HEAD", path, headers={"Accept": "text/html"})
        assert (head.code, head.body) == (get.code, b""), path
        own = {"Date", "X-Request-Id", "Content-Length", "Set-Cookie", "Front-Token"}
        assert {*head.headers} - own == {*get.headers} - own, path
        for name in {*get.headers} - own:
            assert head.headers[name] == get.headers[name], path


@pytest.mark.gen_test
async def test_options_tells_the_methods_and_needs_no_session(client: Client, app: Application) -> None:
    for path, handler in own_routes(app):
        if issubclass(handler, WebSocketHandler):
            continue  # a handshake has no preflight
        response = await client.request("OPTIONS", path, headers={"Accept": "*/*"})
        if issubclass(handler, StaticFileHandler):
            assert response.code == 405
            continue
        assert (response.code, response.body, set_cookies(response)) == (204, b"", {}), path
        expected = {name for name in (*METHODS, "OPTIONS") if name != "HEAD" and implements(handler, name)}
        assert set(response.headers["Allow"].split(", ")) - {"HEAD"} == expected, path
        assert ("HEAD" in response.headers["Allow"]) is ("GET" in expected), path


@pytest.mark.gen_test
async def test_methods_that_are_not_there_get_405(client: Client, app: Application) -> None:
    await client.sign_up()
    await app.accounts.add_role(client.user_id, "admin")  # who may not come in is told no methods
    for path, handler in own_routes(app):
        for method in (*METHODS, "TRACE", "CONNECTS", "get"):
            if method in METHODS and (implements(handler, method) or method == "HEAD"):
                continue
            headers = {"Accept": "text/html", "Sec-Fetch-Site": "none"}
            response = await client.request(method, path, headers=headers)
            assert response.code == 405, f"{method} {path}"
            allowed = "OPTIONS" if issubclass(handler, BaseHandler) else "GET"
            assert allowed in response.headers["Allow"].split(", "), f"{method} {path}"
            assert "X-Request-Id" in response.headers, f"{method} {path}"
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/dashboard/",
        "/Dashboard",
        "/dashboard/none",
        "//dashboard",
        "/./dashboard",
        "/%2e%2e/dashboard",
        "/dashboard%00",
        "/dashboard;x",
        "/%ff%fe",
        "/\xe9".encode().decode("latin1"),
        "/" + "a" * 4000,
        "/auth",
        "/auth/none",
        "/AUTH/signin",
    ],
)
@pytest.mark.gen_test
async def test_addresses_that_are_not_there_get_404(client: Client, path: str) -> None:
    page = await client.get(path)
    assert page.code == 404
    assert b"<h1>Not Found</h1>" in page.body
    data = await client.call(path, method="GET")
    assert (data.code, set(json_of(data))) == (404, {"message", "requestId"})
    assert (await client.post(path)).code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/../dashboard",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/%2e%2e%2fserver.py",
        "/static/..\\server.py",
        "/static/..%5cserver.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/./../stormcellar/settings.py",
        "/static/behaviours/../../server.py",
        "/static/%00",
        "/static/style.css%00.js",
        "/static/%ff",
        "/static/.",
        "/static/..",
        "/static/behaviours",
        "/static/behaviours/",
        "/static/" + "a" * 3000,
        "/server.py",
        "/var/secret",
        "/.git/config",
    ],
)
@pytest.mark.gen_test
async def test_nothing_outside_the_static_folder_is_served(client: Client, path: str) -> None:
    """No listing either."""
    response = await client.get(path)
    assert 400 <= response.code < 500
    for secret in (b"import", b"root:", b"[core]", b"reveal-password.js"):
        assert secret not in response.body


# -- public keys ------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_public_keys_are_where_verifiers_look_for_them(client: Client) -> None:
    """RFC 7517; `Cache-Control` says until when the set may be kept."""
    response = await client.get("/auth/jwt/jwks.json")
    (key,) = json_of(response)["keys"]
    assert key.keys() == {"kty", "kid", "n", "e", "alg", "use"}
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert key["kid"].startswith("d-")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cache-Control"].endswith(", must-revalidate")


def test_every_route_has_an_example_that_it_matches() -> None:
    """What the walks of the route table rest on."""
    for route in SITE.route_table(Settings()):
        assert isinstance(route.matcher, PathMatches)
        assert route.regex.match(example_path(route.regex.pattern))


def a_request(address: str) -> HTTPServerRequest:
    line = RequestStartLine("GET", address, "HTTP/1.1")
    return HTTPServerRequest(
        start_line=line, headers=HTTPHeaders({"Host": "localhost"}), connection=Mock(context=None)
    )


def test_a_route_with_a_plain_address_is_looked_up_unless_an_earlier_one_takes_that_address() -> None:
    class Here(BaseHandler):
        public = "a sample"

    table = [
        URLSpec(r"/plain", Here),
        URLSpec(r"/a.c", Here),
        URLSpec(r"/abc", Here),
        URLSpec(r"/either/?", Here),
        URLSpec(r"/plain", Here, {"second": True}),
        URLSpec(r"/of/([0-9]+)", Here),
    ]
    assert plain_routes(table) == {"/plain": table[0]}


def test_every_address_leads_where_tornado_would_lead_it(tmp_path: Path) -> None:
    application = server.make_app(Settings(data_dir=tmp_path))
    for address, route in plain_routes(SITE.route_table(application.options)).items():
        request = a_request(address)
        looked_up: Any = application.find_handler(request)
        tried: Any = TornadoApplication.find_handler(application, request)
        assert looked_up.handler_class is tried.handler_class is route.handler_class
        assert looked_up.handler_kwargs == tried.handler_kwargs


def test_handlers_that_are_added_later_come_first(tmp_path: Path) -> None:
    class Mine(BaseHandler):
        public = "a sample"

    application = server.make_app(Settings(data_dir=tmp_path))
    application.add_handlers(".*", [("/dashboard", Mine)])
    found: Any = application.find_handler(a_request("/dashboard"))
    assert found.handler_class is Mine
