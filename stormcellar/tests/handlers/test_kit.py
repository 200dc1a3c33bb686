# SPDX-License-Identifier: MIT
"""The test kit does what it says, and a page's own test can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stormcellar.application import Application
from stormcellar.sessions import Clock
from stormcellar.testing.client import Client
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.plugin import AsUser, DoTo, Node
from stormcellar.tests.handlers.parts import with_settings

TwoTabs = Callable[[Client], tuple[Client, Client]]
SIGN_IN = "<h1>Sign in</h1>"


@pytest.mark.gen_test
async def test_as_user_is_somebody_who_is_signed_in(as_user: AsUser) -> None:
    ann = await as_user("ann@example.com")
    bob = await as_user("bob@example.com")
    assert ann.user_id in await ann.page("/dashboard")
    assert bob.user_id in await bob.page("/dashboard")
    assert ann.user_id != bob.user_id


@pytest.mark.gen_test
async def test_as_user_once_more_is_a_second_device_of_the_same_person(as_user: AsUser) -> None:
    laptop, phone = await as_user(), await as_user()
    assert laptop.user_id == phone.user_id
    assert laptop.session_handle != phone.session_handle
    assert (await laptop.get("/dashboard")).code == (await phone.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_as_user_has_the_roles_that_were_asked_for(as_user: AsUser) -> None:
    ann, root = await as_user("ann@example.com"), await as_user("root@example.com", roles=["admin"])
    assert (await ann.get("/admin/users")).code == 403
    assert "ann@example.com" in await root.page("/admin/users")


@with_settings(email_verification="required")
@pytest.mark.gen_test
async def test_as_user_has_a_verified_address_if_it_was_asked_for(as_user: AsUser) -> None:
    assert (await (await as_user("ann@example.com")).get("/dashboard")).code == 403
    assert (await (await as_user("bob@example.com", verified=True)).get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_page_that_is_no_page_fails_the_test(as_user: AsUser) -> None:
    ann = await as_user()
    with pytest.raises(AssertionError, match="GET /nowhere 404"):
        await ann.page("/nowhere")


@pytest.mark.parametrize("settings", [{"refresh_mode": mode} for mode in ("page", "in_place", "detour")])
@pytest.mark.gen_test
async def test_an_expired_access_token_is_renewed_on_the_way_to_the_page(
    as_user: AsUser, expire_access_token: DoTo
) -> None:
    ann = await as_user()
    handle, before = ann.session_handle, ann.cookies
    await expire_access_token(ann)
    assert (await ann.call("/sample/api", method="GET")).code == 401
    assert ann.user_id in await ann.page("/dashboard")
    assert ann.address == "/dashboard"
    assert ann.session_handle == handle
    assert ann.cookies["sRefreshToken"] != before["sRefreshToken"]


@with_settings(public_url="https://www.example.com", cookie_prefix=True)
@pytest.mark.gen_test
async def test_expiring_knows_the_names_of_the_cookies(
    app: Application, client: Client, expire_access_token: DoTo
) -> None:
    client.origin = "https://www.example.com"
    await client.sign_up()
    await expire_access_token(client)
    assert (await client.get("/dashboard")).code == 302
    assert client.user_id in await client.page("/dashboard")


@pytest.mark.gen_test
async def test_expiring_one_browser_leaves_the_others_alone(
    as_user: AsUser, expire_access_token: DoTo
) -> None:
    ann, bob = await as_user("ann@example.com"), await as_user("bob@example.com")
    await expire_access_token(ann)
    assert (await ann.get("/dashboard")).code == 302
    assert (await bob.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_session_revoked_elsewhere_ends_here(as_user: AsUser, revoke_elsewhere: DoTo) -> None:
    ann, other_device = await as_user(), await as_user()
    cookies = ann.cookies
    await revoke_elsewhere(ann)
    assert ann.cookies == cookies
    assert SIGN_IN in await ann.page("/dashboard")
    assert (await other_device.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_lost_reply_leaves_a_browser_with_its_old_tokens_and_signed_in(
    as_user: AsUser, lose_reply: DoTo, expire_access_token: DoTo
) -> None:
    ann = await as_user()
    before = ann.cookies
    await lose_reply(ann)
    assert ann.cookies == before
    await expire_access_token(ann)
    assert ann.user_id in await ann.page("/dashboard")
    assert ann.front_token()["up"]["sc-gen"] == 1  # not 2: the same tokens came again


@pytest.mark.gen_test
async def test_two_tabs_share_their_cookies_and_may_renew_at_once(as_user: AsUser, two_tabs: TwoTabs) -> None:
    first, second = two_tabs(await as_user())
    answers = await asyncio.gather(first.refresh(), second.refresh())
    assert [answer.code for answer in answers] == [200, 200]
    assert first.cookies == second.cookies
    assert first.front_token()["up"]["sc-gen"] == 1
    await first.post("/signout")
    assert SIGN_IN in await second.page("/dashboard")


@pytest.mark.gen_test
async def test_a_second_node_knows_the_sessions_of_the_first_and_ends_them(
    as_user: AsUser, app: Application, second_node: Callable[..., Node]
) -> None:
    ann = await as_user()
    node = second_node(site_name="Second")
    there = node.visited_by(ann)
    page = await there.page("/dashboard")
    assert ann.user_id in page
    assert "· Second" in page
    assert node.app is not app
    await there.post("/signout")
    assert SIGN_IN in await ann.page("/dashboard")


@pytest.mark.gen_test
async def test_a_node_whose_clock_is_ahead_takes_tokens_for_expired_that_are_not(
    as_user: AsUser, second_node: Callable[..., Node], skew: Callable[[float], Clock]
) -> None:
    ann = await as_user()
    there = second_node(clock=skew(3600)).visited_by(ann)
    assert (await ann.get("/dashboard")).code == 200
    assert (await there.get("/dashboard")).code == 302
    assert ann.user_id in await there.page("/dashboard")


@pytest.mark.gen_test
async def test_a_device_whose_clock_is_wrong_keeps_no_cookies_that_have_expired_for_it(
    as_user: AsUser, skew: Callable[[float], Clock], clock: FakeClock
) -> None:
    ann = await as_user()
    ann.clock = skew(-86_400)
    assert (await ann.get("/dashboard")).code == 200
    ann.clock = skew(91 * 86_400)
    assert SIGN_IN in await ann.page("/dashboard")


@pytest.mark.gen_test
async def test_what_was_revoked_already_cannot_be_revoked_elsewhere(
    as_user: AsUser, revoke_elsewhere: Callable[[Client], Awaitable[None]]
) -> None:
    """A test that means something else than it does must not pass."""
    ann = await as_user()
    await revoke_elsewhere(ann)
    with pytest.raises(AssertionError, match="over already"):
        await revoke_elsewhere(ann)
