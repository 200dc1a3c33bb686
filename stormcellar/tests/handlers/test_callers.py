# SPDX-License-Identifier: MIT
"""Other people's programs and proxies: which of their requests are let in, and what a refusal advises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tornado.web import RedirectHandler, URLSpec

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, SDK, Client, json_of
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.tests.handlers.samples import SAMPLES
from stormcellar.tests.handlers.test_cross_site import EVIL, FORM, HOSTILE, JSON
from stormcellar.tests.handlers.test_framing import exchange, listening, statuses
from stormcellar.web.access import AccessUnsaid, check_access, describe
from stormcellar.web.handler import BaseHandler, ProtectedHandler

PUBLIC_URL = "https://www.example.com"
APP_ORIGINS = (
    "capacitor://localhost",
    "ionic://localhost",
    "chrome-extension://" + 8 * "abcd",
    "tauri://localhost",
)


class WebhookHandler(BaseHandler):
    """POST /webhook: what a shop reports, or the browser that it sends back."""

    public = "the payment service proves itself by its signature"
    accepts_cross_site = "the payment service reports here, and sends browsers back"

    async def post(self) -> None:
        user_id = self.session.user_id if self.session else None
        self.finish({"user_id": user_id, "email": self.get_body_argument("email", "")})


class Moved(RedirectHandler):
    public = "an old address"


@pytest.fixture
def more_routes() -> Sequence[Any]:
    return [*SAMPLES, ("/webhook", WebhookHandler), ("/old", Moved, {"url": "/"})]


# -- requests of other sites ------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "content"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.gen_test
async def test_a_handler_that_accepts_other_sites_sees_no_session_of_theirs(
    client: Client, headers: dict[str, str], content: tuple[str, bytes]
) -> None:
    """Whatever cookies arrive: with SameSite=Lax the browser sends none."""
    await client.sign_up()
    sent = {"Origin": "", "Content-Type": content[0], **headers}
    response = await client.request("POST", "/webhook", headers=sent, body=content[1])
    assert response.code == 200
    assert json_of(response)["user_id"] is None
    assert (await client.request("POST", "/sample/note", headers=sent, body=content[1])).code == 403


@pytest.mark.gen_test
async def test_a_handler_that_accepts_other_sites_knows_who_sends_our_own_form(client: Client) -> None:
    await client.sign_up()
    assert json_of(await client.post("/webhook", {"email": "a"})) == {"user_id": client.user_id, "email": "a"}


def test_the_route_list_tells_which_handlers_accept_other_sites() -> None:
    (line,) = describe([URLSpec("/webhook", WebhookHandler)]).splitlines()
    assert f"takes other sites' requests: {WebhookHandler.accepts_cross_site}" in line


def test_accepting_other_sites_needs_a_reason_and_a_public_handler() -> None:
    class NoReason(WebhookHandler):
        accepts_cross_site = True  # type: ignore[assignment]

    class Protected(ProtectedHandler):
        accepts_cross_site = "it cannot work"

    for handler, advice in ((NoReason, "does not say why"), (Protected, "has no session")):
        with pytest.raises(AccessUnsaid, match=advice):
            check_access([URLSpec("/x", handler)])


# -- apps and extensions ----------------------------------------------------------------------------


@with_settings(trusted_origins=APP_ORIGINS)
@pytest.mark.parametrize("origin", APP_ORIGINS)
@pytest.mark.gen_test
async def test_an_app_in_a_webview_signs_in_once_its_origin_is_listed(client: Client, origin: str) -> None:
    headers = {**SDK, "st-auth-mode": "header", "Origin": origin, "Sec-Fetch-Site": "cross-site"}
    body = b'{"formFields": [{"id": "email", "value": "a@example.com"}, {"id": "password", "value": "%s"}]}'
    sent = {**headers, "Content-Type": "application/json"}
    signed = await client.request("POST", "/auth/signup", headers=sent, body=body % PASSWORD.encode())
    assert json_of(signed)["status"] == "OK"
    assert signed.headers["Access-Control-Allow-Origin"] == origin
    bearer = {**headers, "Authorization": f"Bearer {signed.headers['st-refresh-token']}"}
    assert (await client.request("POST", "/auth/session/refresh", headers=bearer, body=b"")).code == 200
    foreign = {**sent, "Origin": origin + "x"}
    assert (await client.request("POST", "/auth/signup", headers=foreign, body=b"{}")).code == 403


@pytest.mark.gen_test
async def test_a_session_in_a_header_needs_no_listed_origin(client: Client) -> None:
    """No browser adds it by itself. A foreign token beside our cookies is no such proof."""
    await client.sign_up()
    token = client.cookies["sAccessToken"]
    headers = {"Origin": "capacitor://localhost", "Sec-Fetch-Site": "cross-site"}
    for bearer, status in ((token, 200), ("a.b.c", 403), ("proxy", 403)):
        sent = {**headers, "Authorization": f"Bearer {bearer}"}
        assert (await client.request("POST", "/sample/api", headers=sent, body=b"a=b")).code == status


@with_settings(token_transfer_method="cookie")
@pytest.mark.gen_test
async def test_a_token_in_a_header_that_does_not_count_proves_nothing(client: Client) -> None:
    await client.sign_up()
    sent = {"Origin": EVIL, "Authorization": f"Bearer {client.cookies['sAccessToken']}"}
    assert (await client.request("POST", "/sample/note", headers=sent, body=b"a=b")).code == 403


# -- hosts ------------------------------------------------------------------------------------------

OURS = (
    "www.example.com",
    "www.example.com:443",
    "WWW.Example.COM.",
    "www.example.com.:443",
    "localhost.:8888",
)
FOREIGN = (
    "www.example.com:80",
    "example.com",
    "www.example.com.evil.example",
    "evil.example",
    "..",
    ":443",
    "",
)


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.gen_test
async def test_our_host_is_served_however_it_is_written(app: Application) -> None:
    async with listening(app) as (_, port):

        async def status(target: str, host: str) -> list[int]:
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            return statuses(await exchange(port, head.encode()))

        for host in OURS:
            assert await status("/login", host) == [200], host
            assert await status(f"https://{host}/login?a=http://b/", "evil.example") == [200], host
            assert await status(f"HTTP://{host}", "evil.example") == [200], host
        for host in FOREIGN:
            assert await status("/login", host) == [400], host
            assert await status(f"https://{host}/login", "www.example.com") == [400], host
        assert await status("https://www.example.com?next=/login", "x") == [200]
        assert await status("ftp://www.example.com/login", "www.example.com") == [404]


# -- advice -----------------------------------------------------------------------------------------

LOCAL_ADVICE = [
    ({"Host": "www.example.com"}, 400, "public_url"),
    ({"Origin": "https://localhost"}, 403, "public_url"),
    ({"Origin": EVIL}, 403, "trusted_origins"),
    ({"Origin": "null"}, 403, "accepts_cross_site"),
    ({"Origin": ""}, 403, "accepts_cross_site"),
]


@pytest.mark.parametrize("settings", [{"debug": True}, {}], ids=["development", "production"])
@pytest.mark.parametrize(("headers", "status", "setting"), LOCAL_ADVICE)
@pytest.mark.gen_test
async def test_a_refusal_names_the_setting_to_change(
    client: Client,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    headers: dict[str, str],
    status: int,
    setting: str,
) -> None:
    """In the log always, on the page in development only."""
    sent = {"Accept": "text/html", "Sec-Fetch-Site": "", "Content-Type": FORM[0], **headers}
    response = await client.request("POST", "/login", headers=sent, body=FORM[1])
    assert response.code == status
    assert any(setting in message and message.startswith("POST /login") for message in caplog.messages)
    assert (setting in response.body.decode()) is bool(settings)


@with_settings(public_url=PUBLIC_URL)
@pytest.mark.gen_test
async def test_a_wrong_public_url_is_named_beside_what_the_browser_shows(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    sent = {"Host": "localhost", "Sec-Fetch-Site": "", "Origin": "https://localhost:8443"}
    assert (await client.request("POST", "/login", headers=sent, body=FORM[1])).code == 403
    assert "public_url" in caplog.text
    assert "https://localhost:8443" in caplog.text
    assert PUBLIC_URL in caplog.text


# -- caches and methods -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "varies"),
    [({"trusted_origins": ("https://app.example.com",)}, True), ({}, False)],
    ids=["trusted origins", "none"],
)
@pytest.mark.gen_test
async def test_answers_that_depend_on_the_origin_say_so_to_caches(client: Client, varies: bool) -> None:
    """Also where the request has none: a cache may keep that answer for a trusted origin."""
    for path in (
        "/",
        "/auth/jwt/jwks.json",
        "/auth/.well-known/openid-configuration",
        "/sample/api",
        "/none",
    ):
        for headers in ({"Origin": ""}, {"Origin": "https://app.example.com"}):
            response = await client.get(path, headers=headers)
            assert ("Origin" in response.headers["Vary"].split(", ")) is varies, path


@pytest.mark.gen_test
async def test_a_method_that_a_redirect_does_not_have_gets_405_with_allow(client: Client) -> None:
    for method in ("POST", "DELETE", "TRACE"):
        response = await client.request(method, "/old")
        assert (response.code, response.headers["Allow"]) == (405, "GET"), method
    assert (await client.get("/old")).code == 301


@pytest.mark.gen_test
async def test_a_program_posts_json_without_telling_where_it_comes_from(client: Client) -> None:
    """A form cannot send the type. One that browsers send from forms still needs more."""
    await client.sign_up()
    for kind, status in (("application/json", 200), ("text/plain", 403), ("application/json-x", 403)):
        headers = {"Origin": "", "Sec-Fetch-Site": "", "Content-Type": kind}
        assert (await client.request("POST", "/sample/api", headers=headers, body=JSON[1])).code == status
