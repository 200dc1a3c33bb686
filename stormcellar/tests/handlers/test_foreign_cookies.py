# SPDX-License-Identifier: MIT
"""Cookies with our names that another site set: on another port of this host, or for a parent domain.

They are no tokens. The server cannot clear them, and they belong to the other site's session, which goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stormcellar.application import Application
from stormcellar.dev.cookie_suffix import file_of, remember_suffix, with_remembered_suffix
from stormcellar.sessions import Tokens
from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import MakeApplication
from stormcellar.tests.handlers.parts import LIFETIME_S, with_settings
from stormcellar.tests.handlers.samples import NoteAPIHandler
from stormcellar.tests.handlers.test_hostile_cookies import request_with

REFRESH_PATH = "/auth/session/refresh"
PUBLIC_URL = "https://www.example.com"
NewClient = Callable[..., Client]


@pytest.fixture
def other_site(make_application: MakeApplication, tmp_path: Path) -> Application:
    """Another deployment of this program, with a database and keys of its own."""
    (tmp_path / "other").mkdir()
    return make_application(data_dir=tmp_path / "other", port=9999)


async def tokens_of(site: Application, user_id: str = "zoe") -> Tokens:
    await site.start()
    tokens = (await site.sessions.create_new_session(user_id)).new_tokens
    assert tokens
    return tokens


def plant(client: Client, tokens: Tokens, domain: str = "") -> None:
    client.plant("sAccessToken", tokens.access_token, domain=domain)
    client.plant("sRefreshToken", tokens.refresh_token or "", path=REFRESH_PATH, domain=domain)
    client.plant("sRefreshMarker", "1", domain=domain)
    client.plant("sFrontToken", tokens.front_token, domain=domain)


def values(client: Client, domain: str) -> dict[str, str]:
    return {name: cookie.value for (name, _, where), cookie in client.jar.items() if where == domain}


@pytest.mark.parametrize("is_expired", [False, True])
@pytest.mark.parametrize("domain", ["", "example.com"], ids=["another port", "a parent domain"])
@pytest.mark.gen_test
async def test_a_visitor_with_another_sites_cookies_is_a_guest(
    client: Client, other_site: Application, clock: FakeClock, domain: str, is_expired: bool
) -> None:
    """Guests' pages work, nothing is renewed for ever, and the other site's session lives on."""
    tokens = await tokens_of(other_site)
    plant(client, tokens, domain)
    before = values(client, domain)
    clock.advance(LIFETIME_S if is_expired else 0)
    for path in ("/", "/login", "/signup", "/forgot-password"):
        response = await client.get(path)
        assert (response.code, set_cookies(response)) == (200, {}), path
    assert json_of(await client.call("/sample/optional", method="GET")) == {"user_id": None}
    assert (await client.call("/sample/api", method="GET")).code == 401
    assert (await client.get("/dashboard")).headers["Location"].startswith("/refresh-session?")
    refused = await client.call(REFRESH_PATH, auth_mode="")
    assert (refused.code, set(set_cookies(refused))) == (401, {"sRefreshRefused"})
    assert refused.headers["front-token"] == "remove"
    assert (await client.get("/dashboard")).headers["Location"].startswith("/login?")
    assert (await client.get("/sample/note", follow=True)).code == 200
    assert client.address.startswith("/login?")
    assert values(client, domain).items() >= before.items()
    assert await other_site.sessions.refresh_session(tokens.refresh_token or "")


@pytest.mark.gen_test
async def test_a_guest_without_scripts_reaches_the_sign_in_page(
    client: Client, other_site: Application
) -> None:
    plant(client, await tokens_of(other_site), "example.com")
    response = await client.get("/auth/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert (response.code, client.address) == (200, "/login?redirectBack=/dashboard")


@pytest.mark.gen_test
async def test_sessions_of_two_sites_live_side_by_side(
    client: Client, other_site: Application, clock: FakeClock
) -> None:
    """The other site's cookies belong to a parent domain, so the browser sends both."""
    tokens = await tokens_of(other_site)
    plant(client, tokens, "example.com")
    before = values(client, "example.com")
    await client.sign_up()
    for _ in range(3):
        assert (await client.get("/dashboard")).code == 200
        assert (await client.call("/sample/api", method="GET")).code == 200
        assert (await client.post("/sample/note", {"a": "b"})).code == 200
        clock.advance(LIFETIME_S)
        refreshed = await client.refresh()
        assert (refreshed.code, json_of(refreshed)) == (200, {})
    clock.advance(LIFETIME_S)
    assert (await client.post("/sample/note", {"a": "b"}, follow=True)).code == 200
    assert (await client.post("/signout")).code == 303
    assert values(client, "example.com") == before
    assert (await client.get("/login")).code == 200
    assert await other_site.sessions.refresh_session(tokens.refresh_token or "")


@pytest.mark.gen_test
async def test_signing_out_clears_no_cookie_of_another_site(client: Client, other_site: Application) -> None:
    tokens = await tokens_of(other_site)
    plant(client, tokens)
    for path in ("/signout", "/auth/session/refresh/signout"):
        response = await client.post(path, follow=True)
        assert response.code == 200, client.visited
        assert client.cookies["sAccessToken"] == tokens.access_token
    assert await other_site.sessions.get_session(tokens.access_token)


@pytest.mark.gen_test
async def test_the_cookie_of_another_sites_old_backend_keeps_nobody_out(client: Client) -> None:
    client.plant("sIdRefreshToken", "x", domain="example.com")
    assert (await client.get("/login")).code == 200
    await client.sign_up()
    for _ in range(2):
        assert (await client.call("/sample/api", method="GET")).code == 200
        assert (await client.refresh()).code == 200


@pytest.mark.gen_test
async def test_a_planted_token_that_looks_like_ours_leads_to_one_refresh(
    client: Client, app: Application
) -> None:
    """A token with our issuer whose signature is wrong, in a cookie that cannot be cleared."""
    genuine = (await tokens_of(app)).access_token
    client.plant("sAccessToken", genuine[:-20] + "A" * 20, domain="example.com")
    client.plant("sRefreshMarker", "1", domain="example.com")
    assert (await client.get("/", follow=True)).code == 200
    assert "GET /auth/session/refresh/return?redirectBack=/ 303" in client.visited
    for path in ("/", "/login", "/dashboard"):
        assert (await client.get(path, follow=True)).code == 200
        assert not [visit for visit in client.visited if "refresh" in visit], client.visited
    await client.sign_up()
    assert (await client.refresh()).code in (200, 202)


@with_settings(cookie_suffix="_8888")
@pytest.mark.gen_test
async def test_with_a_suffix_two_sites_on_one_host_keep_their_sessions(
    client: Client, other_site: Application, clock: FakeClock
) -> None:
    tokens = await tokens_of(other_site)
    plant(client, tokens)
    await client.sign_up()
    assert {"sAccessToken_8888", "sRefreshToken_8888", "sRefreshMarker_8888"} <= client.cookies.keys()
    clock.advance(LIFETIME_S)
    assert (await client.refresh()).code == 200
    assert (await client.get("/dashboard")).code == 200
    await client.post("/signout")
    assert client.cookies["sAccessToken"] == tokens.access_token
    assert "sAccessToken_8888" not in client.cookies
    assert await other_site.sessions.refresh_session(tokens.refresh_token or "")


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_a_developer_is_told_once_about_the_cookies_of_another_site(
    client: Client, other_site: Application, caplog: pytest.LogCaptureFixture
) -> None:
    plant(client, await tokens_of(other_site))
    for _ in range(3):
        await client.get("/")
    told = [record.getMessage() for record in caplog.records if "another site" in record.getMessage()]
    assert len(told) == 1
    assert "http://localhost:9999/auth" in told[0]


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_a_development_server_takes_other_cookie_names_when_it_meets_another_site(
    client: Client, app: Application, other_site: Application
) -> None:
    assert with_remembered_suffix(app.options) == app.options
    await client.get("/")
    plant(client, await tokens_of(other_site))
    await client.get("/")
    renamed = with_remembered_suffix(app.options)
    assert renamed.cookie_suffix == f"_{app.options.port}"
    assert with_remembered_suffix(replace(app.options, debug=False)).cookie_suffix == ""
    assert with_remembered_suffix(replace(app.options, cookie_suffix="_mine")).cookie_suffix == "_mine"
    file_of(app.options).write_text("not a suffix at all\n")
    assert with_remembered_suffix(app.options) == app.options


@pytest.mark.parametrize(
    "shared",
    [
        {"website_domain": "https://www.example.com", "public_url": "https://api.example.com"},
        {"public_url": "https://www.example.com"},
        {"debug": False},
    ],
)
def test_cookies_that_other_servers_read_keep_their_names(tmp_path: Path, shared: dict[str, Any]) -> None:
    options = Settings(**{"data_dir": tmp_path, "debug": True, **shared})
    assert not remember_suffix(options)
    file_of(options).write_text("_8889\n")
    assert with_remembered_suffix(options) == options


# -- the credential that counts -----------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ["token of another site", "opaque", "x.y.z"])
@pytest.mark.gen_test
async def test_our_cookie_counts_beside_a_foreign_authorization_header(
    client: Client, other_site: Application, clock: FakeClock, foreign: str
) -> None:
    """A proxy may add one to each request: pages, endpoints, the refresh and the detour."""
    if foreign == "token of another site":
        foreign = (await tokens_of(other_site)).access_token
    headers = {"Authorization": f"Bearer {foreign}"}
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert (await client.call(REFRESH_PATH, headers=headers)).code == 200
    assert (await client.call("/sample/api", method="GET", headers=headers)).code == 200
    assert (await client.get("/dashboard", headers=headers)).code == 200
    clock.advance(LIFETIME_S)
    response = await client.post("/sample/note", {"a": "b"}, headers=headers, follow=True)
    assert (response.code, len(client.visited)) == (200, 3), client.visited
    assert (await client.get("/dashboard", headers=headers)).code == 200


async def second_session(app: Application) -> Tokens:
    return await tokens_of(app, "eve")


@pytest.mark.parametrize("path", ["/auth", "/", REFRESH_PATH + "/"])
@pytest.mark.gen_test
async def test_a_garbled_refresh_cookie_under_another_path_is_ignored(client: Client, path: str) -> None:
    await client.sign_up()
    client.plant("sRefreshToken", "garbage", path=path)
    for _ in range(2):
        response = await client.refresh()
        assert (response.code, json_of(response)) == (200, {})


@pytest.mark.gen_test
async def test_the_refresh_token_of_another_session_is_not_exchanged(
    client: Client, app: Application
) -> None:
    """Another host planted it for a parent domain, beside the visitor's own tokens or instead of one."""
    await client.sign_up()
    user_id = client.user_id
    planted = await second_session(app)
    client.plant("sRefreshToken", planted.refresh_token or "", path=REFRESH_PATH, domain="example.com")
    answers = [(await client.refresh()).code for _ in range(3)]
    assert answers == [202, 200, 202], "one more request for each refresh, which clients send by themselves"
    assert client.user_id == user_id
    assert (await client.get("/dashboard")).code == 200
    del client.jar["sRefreshToken", REFRESH_PATH, ""]
    client.jar.pop(("sRefreshTidied", REFRESH_PATH, ""), None)
    assert (await client.refresh()).code == 401
    assert await app.sessions.refresh_session(planted.refresh_token or ""), "it was not touched"


@pytest.mark.gen_test
async def test_duplicates_that_cannot_be_cleared_are_cleared_once(client: Client, app: Application) -> None:
    """Under a path or domain that the server does not know; 202 again and again would never end."""
    await client.sign_up()
    planted = await second_session(app)
    client.plant("sRefreshToken", planted.refresh_token or "", path="/auth")
    assert (await client.refresh()).code == 202
    assert (await client.refresh()).code == 200


# -- names ------------------------------------------------------------------------------------------


SPACES = ["\xa0", "\x85", "\x1f", "\x0b", "\x0c", "\u2003", "\ufeff"]


@with_settings(public_url=PUBLIC_URL, cookie_prefix=True)
@pytest.mark.parametrize("space", SPACES, ids=ascii)
@pytest.mark.gen_test
async def test_only_spaces_and_tabs_are_stripped_from_cookie_names(app: Application, space: str) -> None:
    """Another host may set a cookie of such a name, which browsers do not take for a __Host- cookie."""
    name = "__Host-sAccessToken"
    sent = space.encode().decode("latin1") if ord(space) > 255 else space
    for cookie in (f"{sent}{name}=x", f"a=b; {sent}{name}=x", f"{name}{sent}=x", f"{name.lower()}=x"):
        assert request_with(app, NoteAPIHandler, cookie).transfer.cookies(name) == [], ascii(cookie)
    for cookie in (f" \t{name} \t= x\t", f"a=b;{name}=x"):
        assert request_with(app, NoteAPIHandler, cookie).transfer.cookies(name) == ["x"]


@with_settings(cookie_same_site="strict")
@pytest.mark.gen_test
async def test_every_cookie_follows_the_same_site_setting(client: Client, clock: FakeClock) -> None:
    """Those of a session, of the renewal, of known browsers and of refused refreshes."""
    seen: dict[str, Any] = {}

    async def note(response: Any) -> None:
        client._keep_cookies(response)
        seen.update({cookie.name: cookie.same_site for cookie in client.jar.values()})

    await note(await client.sign_up())
    clock.advance(LIFETIME_S)
    await note(await client.get("/auth/session/refresh/return?redirectBack=/dashboard"))
    client.jar.pop(("sRefreshToken", REFRESH_PATH, ""))
    await note(await client.refresh())
    assert {"sRefreshRounds", "sKnownClient", "sRefreshRefused", "sAccessToken"} <= seen.keys()
    planted_by_the_client = {"sFrontToken", "st-last-access-token-update"}
    wrong = {name for name, value in seen.items() if value != "Strict"} - planted_by_the_client
    assert wrong == set()


@pytest.mark.gen_test
async def test_clients_that_write_readable_cookies_are_left_to_do_so(
    client: Client, new_client: NewClient
) -> None:
    """SuperTokens' clients tell sign-out and expiry from a change that they make themselves."""
    readable = {"sFrontToken", "st-last-access-token-update"}
    await client.sign_up()
    assert not readable & set(set_cookies(await client.call("/auth/signout")))
    assert not readable & set(set_cookies(await client.refresh()))
    await client.sign_in()
    assert readable <= set(set_cookies(await client.post("/signout")))
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
    assert not readable & set(set_cookies(await client.call("/auth/signin", {"formFields": fields})))
