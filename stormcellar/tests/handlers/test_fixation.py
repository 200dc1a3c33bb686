# SPDX-License-Identifier: MIT
"""Who signs in gets a session of their own: the one before ends, and nothing that was planted lives on.

Source: OWASP ASVS 5.0, 7.2.4; CWE-384.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import LIFETIME_S

NewClient = Callable[..., Client]
REFRESH_PATH = "/auth/session/refresh"


async def by_form(client: Client, path: str, email: str) -> None:
    response = await client.post(path, {"email": email, "password": PASSWORD})
    assert response.code == 303


async def by_json(client: Client, path: str, email: str) -> None:
    path = {"/login": "/auth/signin", "/signup": "/auth/signup"}[path]
    fields = [{"id": "email", "value": email}, {"id": "password", "value": PASSWORD}]
    assert json_of(await client.call(path, {"formFields": fields}))["status"] == "OK"


Way = Callable[..., object]
EACH_WAY = pytest.mark.parametrize("sign", [by_form, by_json])


def copy_of(client: Client, new_client: NewClient) -> Client:
    """Another browser with the same cookies."""
    copy = new_client()
    copy.jar = dict(client.jar)
    return copy


async def assert_is_over(copy: Client) -> None:
    assert (await copy.call("/sample/api", method="GET")).code == 401
    assert (await copy.refresh()).code in (
        202,
        401,
    )  # 202: ask again, with the cookies that are there by then
    assert (await copy.refresh()).code == 401


@EACH_WAY
@pytest.mark.parametrize(
    ("path", "email"),
    [("/login", "ann@example.com"), ("/login", "bob@example.com"), ("/signup", "carol@example.com")],
    ids=["same person again", "somebody else", "somebody new"],
)
@pytest.mark.gen_test
async def test_signing_in_over_a_live_session_ends_it(
    client: Client, new_client: NewClient, app: Application, sign: Way, path: str, email: str
) -> None:
    await new_client().sign_up("bob@example.com")
    await client.sign_up("ann@example.com")
    ann, old = client.user_id, copy_of(client, new_client)
    await sign(client, path, email)  # type: ignore[misc]
    assert client.session_handle != old.session_handle
    assert (await client.get("/dashboard")).code == 200
    await assert_is_over(old)
    left = [client.session_handle] if client.user_id == ann else []
    assert await app.sessions.get_all_session_handles_for_user(ann) == left


@EACH_WAY
@pytest.mark.gen_test
async def test_it_ends_although_its_access_token_has_expired(
    client: Client, new_client: NewClient, clock: FakeClock, sign: Way
) -> None:
    await client.sign_up("ann@example.com")
    old = copy_of(client, new_client)
    clock.advance(LIFETIME_S)
    await sign(client, "/login", "ann@example.com")  # type: ignore[misc]
    await assert_is_over(old)


@pytest.mark.gen_test
async def test_a_session_in_headers_ends_too(client: Client, new_client: NewClient) -> None:
    await client.sign_up("ann@example.com")
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
    first = await new_client().call("/auth/signin", {"formFields": fields}, auth_mode="header")
    token = {"Authorization": f"Bearer {first.headers['st-access-token']}"}
    assert (await new_client().call("/sample/api", headers=token)).code == 200
    await new_client().call("/auth/signin", {"formFields": fields}, auth_mode="header", headers=token)
    assert (await new_client().call("/sample/api", headers=token)).code == 401


@pytest.mark.gen_test
async def test_other_browsers_stay_signed_in(client: Client, new_client: NewClient) -> None:
    await client.sign_up("ann@example.com")
    other = new_client()
    await other.sign_in("ann@example.com")
    assert other.session_handle != client.session_handle
    assert (await client.get("/dashboard")).code == 200
    await client.post("/signout")
    assert (await other.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_sign_in_that_fails_ends_nothing(client: Client) -> None:
    await client.sign_up("ann@example.com")
    before = client.cookies
    await client.post("/login", {"email": "ann@example.com", "password": "not her password"})
    await client.post("/signup", {"email": "ann@example.com", "password": PASSWORD})
    assert client.cookies == before
    assert (await client.get("/dashboard")).code == 200


@EACH_WAY
@pytest.mark.gen_test
async def test_planted_tokens_do_not_become_the_victims(
    client: Client, new_client: NewClient, sign: Way
) -> None:
    """An attacker's own tokens in the victim's browser: after signing in, they lead to nobody."""
    await new_client().sign_up("victim@example.com")
    attacker = new_client()
    await attacker.sign_up("mallory@example.com")
    client.jar = dict(attacker.jar)
    planted = client.session_handle
    await sign(client, "/login", "victim@example.com")  # type: ignore[misc]
    assert client.session_handle != planted
    assert client.user_id != attacker.user_id
    page = await client.get("/dashboard")
    assert client.user_id.encode() in page.body
    assert planted.encode() not in page.body
    await assert_is_over(attacker)


@pytest.mark.gen_test
async def test_a_planted_refresh_token_is_overwritten(client: Client, new_client: NewClient) -> None:
    await new_client().sign_up("victim@example.com")
    attacker = new_client()
    await attacker.sign_up("mallory@example.com")
    client.plant("sRefreshToken", attacker.cookies["sRefreshToken"], path=REFRESH_PATH)
    await client.sign_in("victim@example.com")
    victim = client.user_id
    assert (await client.refresh()).code == 200
    assert client.user_id == victim


@pytest.mark.gen_test
async def test_handles_and_ids_are_never_taken_from_a_request(client: Client, new_client: NewClient) -> None:
    """Neither from cookies that scripts write, nor from fields, queries or headers."""
    other = new_client()
    await other.sign_up("bob@example.com")
    claims = {
        "session_handle": other.session_handle,
        "sessionHandle": other.session_handle,
        "user_id": other.user_id,
        "userId": other.user_id,
    }
    query = "&".join(f"{name}={value}" for name, value in claims.items())
    fields = {"email": "ann@example.com", "password": PASSWORD, **claims}
    await client.post(f"/signup?{query}", fields, headers={"X-User-Id": other.user_id})
    assert client.session_handle != other.session_handle
    ann = client.user_id
    assert ann != other.user_id

    for name in ("sFrontToken", "st-last-access-token-update"):
        client.jar.pop((name, "/", ""))
        client.plant(name, other.cookies[name])
    page = await client.get(f"/dashboard?{query}")
    assert ann.encode() in page.body
    assert other.user_id.encode() not in page.body
    await client.post("/signout", claims)
    assert (await other.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_planted_marker_only_costs_its_visitor_one_way_more(client: Client) -> None:
    client.plant("sRefreshMarker", "1")
    assert (await client.get("/dashboard")).headers["Location"].startswith("/refresh-session?")
    await client.get("/auth/session/refresh/return?redirectBack=/dashboard", follow=True)
    assert client.visited[-1] == "GET /login?redirectBack=/dashboard 200"


@pytest.mark.gen_test
async def test_an_answer_that_is_late_leaves_the_session_that_came_after_it(
    new_client: Callable[..., Client],
) -> None:
    """A call of the old session is answered when somebody has signed in over it: the new cookies stay."""
    client = new_client()
    await client.sign_up()
    late = new_client()
    late.jar = dict(client.jar)
    await client.sign_in()
    for answer in (await late.refresh(), await late.call("/auth/signout"), await late.refresh()):
        assert answer.code in (200, 202, 401)
        assert "front-token" not in answer.headers
        assert not {"sAccessToken", "sRefreshToken", "sFrontToken"} & set(set_cookies(answer))
    assert (await client.get("/dashboard")).code == 200
