# SPDX-License-Identifier: MIT
"""A web server without users, keys and database, in front of an API server on another host of its site."""

from __future__ import annotations

import asyncio
import html
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import jwt
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.websocket import websocket_connect

from stormcellar.api import credentials as auth_api
from stormcellar.api import emails as email_api
from stormcellar.application import Application
from stormcellar.sessions.remote_keys import COOLDOWN_S
from stormcellar.settings import Settings
from stormcellar.testing.client import BOUNDARY, FETCH, NAVIGATION, Client, json_of, multipart, set_cookies
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.handlers.conftest import CHEAP
from stormcellar.tests.handlers.samples import SAMPLES
from stormcellar.tests.site import SITE, make_app
from stormcellar.web.handler import ProtectedHandler
from stormcellar.web.live import EXPIRED

API, WWW = "https://api.example.com", "https://www.example.com"
LIFETIME_S = 3600


class Servers:
    """Both servers, and one browser that goes to either.

    Attributes:
        api, web: the browser at each of them; they share its cookies.
    """

    def __init__(
        self, api_app: Application, web_app: Application, ports: tuple[int, int], clock: FakeClock
    ) -> None:
        self.api_app, self.web_app, self.clock = api_app, web_app, clock
        self.web_port = ports[1]
        http_client = AsyncHTTPClient()
        self.api, self.web = (
            Client(http_client, f"http://127.0.0.1:{port}", clock, origin)
            for port, origin in zip(ports, (API, WWW), strict=True)
        )
        self.web.jar = self.api.jar

    async def visit(self, address: str) -> tuple[HTTPResponse, list[str]]:
        """Go to an address and wherever it leads; returns the last answer and each step's address."""
        steps = []
        for _ in range(10):
            origin, path = address[: len(WWW)], address[len(WWW) :]
            response = await {API: self.api, WWW: self.web}[origin].get(path)
            steps.append(f"{response.code} {address}")
            if "Location" not in response.headers:
                return response, steps
            address = urljoin(address, response.headers["Location"])
        raise AssertionError(f"a circle: {steps}")

    async def sign_up(self) -> str:
        """Somebody makes an account at the API server's own page; returns the user id."""
        await self.api.sign_up()
        return self.api.user_id

    def expire(self) -> None:
        self.clock.advance(LIFETIME_S)

    async def renew_by_script(self) -> HTTPResponse:
        """What the refresh page's script sends, from a page of the web server."""
        return await self.api.request(
            "POST",
            "/auth/session/refresh",
            headers={
                "Origin": WWW, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors",
                "Sec-Fetch-Dest": "empty", "rid": "session", "fdi-version": "3.1,4.0,4.1",
            },
        )  # fmt: skip


Story = Callable[[Servers], Awaitable[None]]


@asynccontextmanager
async def listening(application: Application, listener: Any) -> AsyncIterator[Application]:
    application.add_handlers(r".*", SAMPLES)
    http_server = HTTPServer(application)
    http_server.add_socket(listener)
    try:
        yield application
    finally:
        http_server.stop()
        await http_server.close_all_connections()
        await application.stop()


def tell(
    tmp_path: Path, story: Story, *, api: dict[str, Any] | None = None, web: dict[str, Any] | None = None
) -> None:
    """Tell a story about both servers; `api` and `web` are settings other than those for two hosts."""

    async def run() -> None:
        clock = FakeClock()
        (api_listener, api_port), (web_listener, web_port) = bind_unused_port(), bind_unused_port()
        api_app = make_app(
            Settings(
                **{
                    "data_dir": tmp_path / "api", "public_url": API, "website_domain": WWW,
                    "cookie_domain": "example.com", "access_token_jitter_percent": 0, **(api or {}),
                }
            ),
            clock=clock, password_parameters=CHEAP, generate_key=cheap_keys(),
        )  # fmt: skip
        web_app = make_app(
            Settings(
                **{
                    "data_dir": tmp_path / "web", "public_url": WWW, "api_domain": API,
                    "cookie_domain": "example.com",
                    "jwks_url": f"http://127.0.0.1:{api_port}/auth/jwt/jwks.json", **(web or {}),
                }
            ),
            clock=clock,
        )  # fmt: skip
        async with listening(api_app, api_listener), listening(web_app, web_listener):
            await story(Servers(api_app, web_app, (api_port, web_port), clock))

    asyncio.run(run())


def link(response: HTTPResponse, text: str) -> str:
    """Where the link with this text leads."""
    found = re.search(rf'<a [^>]*href="([^"]*)"[^>]*>{text}<', response.body.decode())
    assert found, response.body
    return html.unescape(found[1])


# -- who comes in -----------------------------------------------------------------------------------


def test_whoever_signed_in_at_the_api_server_is_known_here(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        user_id = await servers.sign_up()
        page = await servers.web.get("/dashboard")
        assert page.code == 200
        assert user_id in page.body.decode()
        assert set_cookies(page) == {}
        assert "You are signed in" in (await servers.web.get("/")).body.decode()

    tell(tmp_path, story)


def test_nothing_is_kept_here(tmp_path: Path) -> None:
    """No database, no secret, no folder for them; and of the API server's addresses none."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        await servers.web.get("/dashboard")
        assert [path.name for path in tmp_path.iterdir()] == ["api"]
        theirs = {"handlers.sign_in", "handlers.recovery"} | {part.__name__ for part in (auth_api, email_api)}
        for route in SITE.route_table(servers.api_app.options):
            if route.handler_class.__module__ in theirs:
                path = re.sub(r"/\?\$$|\$$", "", route.regex.pattern).replace("\\", "")
                for method in ("GET", "POST"):
                    headers = {"Sec-Fetch-Site": "same-origin"}
                    response = await servers.web.request(method, path, headers=headers)
                    assert response.code == HTTPStatus.NOT_FOUND, path

    tell(tmp_path, story)


@pytest.mark.parametrize("mode", ["page", "in_place"])
def test_everybody_without_a_valid_token_gets_the_refresh_page(tmp_path: Path, mode: str) -> None:
    """Other backends set no cookie that would tell who may hold a refresh token."""

    async def story(servers: Servers) -> None:
        for token in ("", "garbage", "a.b.c"):
            if token:
                servers.web.plant("sAccessToken", token)
            response = await servers.web.get("/sample/note?a=1")
            if mode == "page":
                assert response.code == 302
                assert response.headers["Location"] == "/refresh-session?redirectBack=/sample/note%3Fa%3D1"
                response = await servers.web.get(response.headers["Location"])
            assert b"data-refresh" in response.body
        page = response.body.decode()
        assert f'<meta name="session-api" content="{API}/auth" data-keep-cookies>' in page
        assert f'data-sign-in="{API}/login"' in page
        detour = f"{API}/auth/session/refresh/return?redirectBack="
        assert detour + "https%3A%2F%2Fwww.example.com%2Fsample%2Fnote%3Fa%3D1" in link(response, "Continue")
        policy = response.headers["Content-Security-Policy"]
        assert f"connect-src 'self' {API};" in policy
        assert f"form-action 'self' {API};" in policy

    tell(tmp_path, story, web={"refresh_mode": mode})


def test_what_cannot_follow_a_redirect_to_another_server_gets_401(tmp_path: Path) -> None:
    """A frame can: its navigation is redirected to any origin, and brings the cookies of the same site."""
    part = {**FETCH, "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}
    frame = {**NAVIGATION, "Sec-Fetch-Dest": "iframe"}
    turbo = {**FETCH, "Accept": "text/html", "X-Turbo-Request-Id": "1"}

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        for headers in (part, FETCH):
            assert (await servers.web.request("GET", "/sample/note", headers=headers)).code == 401
        renewal = (await servers.web.request("GET", "/sample/note", headers=frame)).headers["Location"]
        assert renewal.startswith(f"{API}/auth/session/refresh/return?redirectBack=")
        page = await servers.web.request("GET", "/sample/note", headers=turbo)
        assert page.headers["Location"] == "/refresh-session?redirectBack=/sample/note"

    tell(tmp_path, story)


def test_the_refresh_pages_script_may_renew_the_session_from_here(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        assert (await servers.web.get("/dashboard")).code == 302
        renewed = await servers.renew_by_script()
        assert renewed.code == 200
        assert renewed.headers["Access-Control-Allow-Origin"] == WWW
        assert renewed.headers["Access-Control-Allow-Credentials"] == "true"
        assert "front-token" in renewed.headers["Access-Control-Expose-Headers"]
        assert (await servers.web.get("/dashboard")).code == 200

    tell(tmp_path, story)


def test_the_api_server_lets_no_other_sites_script_do_that(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        for origin in ("https://evil.example", "https://example.com", WWW + ":8443", "null"):
            refused = await servers.api.request(
                "POST", "/auth/session/refresh", headers={"Origin": origin, "Sec-Fetch-Site": "same-site"}
            )
            assert refused.code == 403
            assert "Access-Control-Allow-Origin" not in refused.headers

    tell(tmp_path, story)


# -- without script ---------------------------------------------------------------------------------


def test_without_script_the_session_is_renewed_at_the_api_server_and_the_page_shown(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        page, _ = await servers.visit(f"{WWW}/sample/note?a=1&b=%20")
        back, steps = await servers.visit(link(page, "Continue"))
        assert back.code == 200
        assert steps[0].startswith(f"303 {API}/auth/session/refresh/return?")
        assert steps[1:] == [f"200 {WWW}/sample/note?a=1&b=%20"]

    tell(tmp_path, story)


def test_in_detour_mode_that_takes_no_click(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        page, steps = await servers.visit(f"{WWW}/dashboard")
        assert [step[:3] for step in steps] == ["303", "303", "200"]
        assert "Dashboard" in page.body.decode()

    tell(tmp_path, story, web={"refresh_mode": "detour"})


def test_a_page_for_everybody_renews_before_it_takes_a_visitor_for_a_guest(tmp_path: Path) -> None:
    """Where the API server is this kit: it marks those who may hold a refresh token."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        page, steps = await servers.visit(f"{WWW}/")
        assert steps[-1] == f"200 {WWW}/"
        assert "You are signed in" in page.body.decode()

    tell(tmp_path, story)


def test_whose_session_is_over_signs_in_at_the_api_server_and_returns(tmp_path: Path) -> None:
    """Once it is known that there is no session, the refresh page has nothing more to offer."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        handle = servers.api.session_handle
        servers.expire()
        await servers.api_app.sessions.revoke_session(handle, owner=None)
        page, _ = await servers.visit(f"{WWW}/sample/note?a=1")
        _, steps = await servers.visit(link(page, "Continue"))
        sign_in = f"{API}/login?redirectBack=https%3A//www.example.com/sample/note%3Fa%3D1"
        assert steps[1:] == [f"303 {WWW}/sample/note?a=1", f"200 {sign_in}"]
        signed_in = await servers.api.post(
            sign_in.removeprefix(API),
            {
                "email": "ann@example.com",
                "password": "tall ships sail 27 seas",
                "redirectBack": f"{WWW}/sample/note?a=1",
            },
        )
        assert (signed_in.code, signed_in.headers["Location"]) == (303, f"{WWW}/sample/note?a=1")
        form = await servers.api.get(sign_in.removeprefix(API))
        assert f"form-action 'self' {WWW};" in form.headers["Content-Security-Policy"]
        assert (await servers.visit(signed_in.headers["Location"]))[0].code == 200

    tell(tmp_path, story)


@pytest.mark.parametrize(
    "back", ["https://evil.example/", WWW + ".evil.example/", WWW + "//evil.example", "https://example.com/"]
)
def test_the_api_server_sends_people_back_to_nowhere_else(tmp_path: Path, back: str) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        response = await servers.api.get(f"/auth/session/refresh/return?redirectBack={back}")
        assert (response.code, response.headers["Location"]) == (303, "/dashboard")
        response = await servers.api.get(f"/login?redirectBack={back}")
        assert (response.code, response.headers["Location"]) == (303, "/dashboard")

    tell(tmp_path, story)


def test_links_lead_to_the_api_server_and_back(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        home = await servers.web.get("/")
        back = "redirectBack=https%3A%2F%2Fwww.example.com%2F"
        assert link(home, "Sign in") == f"{API}/login?{back}dashboard"
        assert link(home, "Sign up") == f"{API}/signup?{back}dashboard"
        await servers.sign_up()
        home = await servers.web.get("/")
        assert f'action="{API}/signout?{back}" data-behaviour="sign-out"' in home.body.decode()
        left = await servers.api.post(
            f"/signout?{back}", headers={"Origin": WWW, "Sec-Fetch-Site": "same-site"}
        )
        assert (left.code, left.headers["Location"]) == (303, f"{WWW}/")
        _, steps = await servers.visit(f"{WWW}/dashboard")
        assert steps[-1].startswith(f"200 {API}/login?")

    tell(tmp_path, story)


def test_people_sign_in_where_the_operator_says(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        servers.web.plant("st-last-access-token-update", "1")
        response = await servers.web.get("/dashboard")
        back = "redirectBack=https%3A//www.example.com/dashboard"
        assert response.headers["Location"] == f"https://login.example.com/in?app=1&{back}"
        home = (await servers.web.get("/")).body.decode()
        assert "https://login.example.com/in?app=1&amp;redirectBack" in home
        assert "Sign up</a>" not in home

    tell(tmp_path, story, web={"sign_in_url": "https://login.example.com/in?app=1"})


def test_that_may_be_a_page_of_the_web_servers_own(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        servers.web.plant("st-last-access-token-update", "1")
        response = await servers.web.get("/dashboard")
        assert response.headers["Location"] == "/welcome?redirectBack=/dashboard"

    tell(tmp_path, story, web={"sign_in_url": "/welcome"})


# -- forms and scripts ------------------------------------------------------------------------------


def test_a_form_that_comes_too_soon_is_sent_once_more_by_the_refresh_page(tmp_path: Path) -> None:
    """Sent round by another server it would come back with `Origin: null`, as anybody's."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        fields = {"text": 'two\r\nlines "&<', "empty": ""}
        response = await servers.web.post("/sample/note?a=1", fields)
        page = response.body.decode()
        assert response.code == HTTPStatus.UNAUTHORIZED
        assert '<form method="post" action="/sample/note?a=1" data-repeat hidden>' in page
        assert "Please send it again" in page
        repeated = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
        }
        assert repeated == fields
        await servers.renew_by_script()
        arrived = json_of(await servers.web.post("/sample/note?a=1", repeated))
        assert arrived["fields"]["text"] == ['two\r\nlines "&<']

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (f"multipart/form-data; boundary={BOUNDARY}", multipart({"a": "1"}, {"f": b"1"})),
        ("text/plain", b"a=1"),
        ("application/x-www-form-urlencoded", b"a=%FF"),
        ("application/x-www-form-urlencoded", b"%C3%A9=1"),
        ("application/x-www-form-urlencoded", b"a=" + b"1" * 300_000),
    ],
    ids=["a file", "no form", "not UTF-8", "a name in another script", "large"],
)  # fmt: skip
def test_what_a_page_could_not_send_as_it_was_is_not_repeated(
    tmp_path: Path, content_type: str, body: bytes
) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        servers.expire()
        response = await servers.web.request(
            "POST",
            "/sample/note",
            headers={
                "Content-Type": content_type, "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin",
            },
            body=body,
        )  # fmt: skip
        assert response.code == HTTPStatus.UNAUTHORIZED
        assert b"data-refresh" in response.body
        assert b"data-repeat" not in response.body

    tell(tmp_path, story)


def test_scripts_get_the_answers_that_their_clients_act_on(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        stranger = await servers.web.call("/sample/api", method="GET")
        assert (stranger.code, json_of(stranger)) == (401, {"message": "unauthorised"})
        user_id = await servers.sign_up()
        assert json_of(await servers.web.call("/sample/api", method="GET")) == {"user_id": user_id}
        token = servers.api.cookies["sAccessToken"]
        servers.api.jar.clear()
        bearer = {"Authorization": f"Bearer {token}"}
        answer = await servers.web.call("/sample/api", method="GET", headers=bearer)
        assert json_of(answer) == {"user_id": user_id}
        servers.expire()
        late = await servers.web.call("/sample/api", method="GET", headers=bearer)
        assert (late.code, json_of(late)) == (401, {"message": "try refresh token"})
        for response in (stranger, late):
            assert set_cookies(response) == {}
            assert "front-token" not in response.headers

    tell(tmp_path, story)


@pytest.mark.parametrize(
    ("version", "accepted"), [("2", False), ("3", True), ("4", True), ("5", True), ("6", False)]
)
def test_tokens_of_old_and_new_backends_are_taken_alike(tmp_path: Path, version: str, accepted: bool) -> None:
    async def story(servers: Servers) -> None:
        user_id = await servers.sign_up()
        key = servers.api_app.sessions.keys.signing_key()
        claims = servers.api.front_token()["up"]
        older = {
            name: value for name, value in claims.items() if name not in ("rsub", "tId", "sc-gen", "sc-ver")
        }
        headers = {"kid": key.kid, "version": version}
        if version == "4":
            older["tId"] = "public"
        token = jwt.encode(claims if version > "4" else older, key.private_key, "RS256", headers=headers)
        servers.web.jar.clear()
        servers.web.plant("sAccessToken", token)
        response = await servers.web.get("/dashboard")
        assert (response.code, user_id in response.body.decode()) == (
            (200, True) if accepted else (302, False)
        )

    tell(tmp_path, story)


# -- limits -----------------------------------------------------------------------------------------


def test_a_session_that_was_revoked_over_there_lasts_here_until_its_token_expires(tmp_path: Path) -> None:
    """No news of revocations comes here; the documentation says so."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        await servers.api_app.sessions.revoke_session(servers.api.session_handle, owner=None)
        assert (await servers.web.get("/dashboard")).code == 200
        servers.expire()
        assert (await servers.web.get("/dashboard")).code == 302
        assert (await servers.renew_by_script()).code == 401

    tell(tmp_path, story)


def test_while_no_key_was_ever_fetched_nobody_is_sent_away(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        keys = servers.web_app.sessions.keys
        url, keys.url = keys.url, "http://127.0.0.1:1/jwks.json"
        await servers.sign_up()
        for path in ("/dashboard", "/"):
            response = await servers.web.get(path)
            assert (response.code, response.headers["Retry-After"]) == (503, "2")
            assert set_cookies(response) == {}
        ready = await servers.web.get("/readyz")
        assert (ready.code, json_of(ready)["checks"]) == (503, {"accepting": True, "keys": False})
        keys.url = url
        servers.clock.advance(COOLDOWN_S)
        assert (await servers.web.get("/dashboard")).code == 200
        assert (await servers.web.get("/readyz")).code == 200

    tell(tmp_path, story)


def test_claims_hold_here_as_the_token_has_them(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        refused = await servers.web.get("/sample/paid")
        assert refused.code == 403
        assert b"paid" in refused.body
        assert json_of(await servers.web.call("/sample/paid/api", method="GET")) == {
            "message": "invalid claim",
            "claimValidationErrors": [
                {"id": "paid", "reason": {"message": "value does not exist", "expectedValue": True}}
            ],
        }
        await servers.api.post("/sample/pay")
        assert (await servers.web.get("/sample/paid")).code == 200

    tell(tmp_path, story)


def test_an_address_may_have_to_be_verified_here_too(tmp_path: Path) -> None:
    async def story(servers: Servers) -> None:
        await servers.sign_up()
        refused = await servers.web.get("/dashboard")
        assert refused.code == 403
        assert b"st-ev" in refused.body

    tell(tmp_path, story, api={"email_verification": "optional"}, web={"email_verification": "required"})


def test_what_cannot_be_done_here_fails_with_a_sentence_for_the_developer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class CheckingHandler(ProtectedHandler):
        check_database = True

        async def get(self) -> None:
            self.finish()

    async def story(servers: Servers) -> None:
        servers.web_app.add_handlers(r".*", [("/checking", CheckingHandler)])
        await servers.sign_up()
        for method, path in (("GET", "/checking"), ("POST", "/sample/pay"), ("POST", "/sample/leave")):
            headers = {"Sec-Fetch-Site": "same-origin"}
            response = await servers.web.request(method, path, headers=headers)
            assert response.code == 500
            assert "VerifyOnlyError" in caplog.text
            caplog.clear()
        assert (await servers.web.get("/dashboard")).code == 200

    with caplog.at_level(logging.ERROR):
        tell(tmp_path, story)


def test_a_socket_lives_as_long_as_its_access_token(tmp_path: Path) -> None:
    """Whether the session was renewed is not known here; the client renews, and connects again."""

    async def story(servers: Servers) -> None:
        await servers.sign_up()
        headers = {
            "Host": urlsplit(WWW).netloc,
            "Origin": WWW,
            "Cookie": f"sAccessToken={servers.api.cookies['sAccessToken']}",
        }
        address = f"ws://127.0.0.1:{servers.web_port}/ws/session"
        socket = await websocket_connect(HTTPRequest(address, headers=headers))
        servers.expire()
        await servers.web_app.live.check_deadlines()
        assert await socket.read_message() is None
        assert socket.close_code == EXPIRED

    tell(tmp_path, story)
