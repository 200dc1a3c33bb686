# SPDX-License-Identifier: MIT
"""The test kit's fixtures, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from stormcellar.testing.visitor import Visitor

AsUser = Callable[..., Visitor]
DoTo = Callable[[Visitor], None]


def test_as_user_is_somebody_who_is_signed_in_and_once_more_a_second_device(as_user: AsUser) -> None:
    laptop, phone = as_user("ann@example.com"), as_user("ann@example.com", has_scripts=False)
    bob = as_user("bob@example.com")
    assert laptop.user_id() == phone.user_id() != bob.user_id()
    assert laptop.cookie("sAccessToken") != phone.cookie("sAccessToken")


def test_an_expired_access_token_is_renewed_on_the_way_to_the_page(
    as_user: AsUser, expire_access_token: DoTo
) -> None:
    ann = as_user()
    user_id, before = ann.user_id(), ann.cookie("sRefreshToken")
    expire_access_token(ann)
    assert ann.context.request.get(f"{ann.site}/dashboard").status == 401
    ann.goto("/dashboard?again")
    ann.arrive("/dashboard?again")
    assert ann.user_id() == user_id
    assert ann.cookie("sRefreshToken") != before
    assert ann.refreshes == 1


def test_a_session_revoked_elsewhere_ends_here(as_user: AsUser, revoke_elsewhere: DoTo) -> None:
    ann, other_device = as_user(), as_user()
    revoke_elsewhere(ann)
    ann.goto("/dashboard?again")
    ann.arrive_at_sign_in(wanted="/dashboard?again")
    assert other_device.is_signed_in()


def test_a_lost_reply_leaves_a_browser_with_its_old_tokens_and_signed_in(
    as_user: AsUser, lose_reply: DoTo, expire_access_token: DoTo
) -> None:
    ann = as_user()
    before = ann.cookie("sRefreshToken")
    lose_reply(ann)
    assert ann.cookie("sRefreshToken") == before
    expire_access_token(ann)
    ann.goto("/dashboard?again")
    ann.arrive("/dashboard?again")
    expect(ann.page.locator("#user-id")).to_be_visible()
    assert ann.cookie("sRefreshToken") != before
