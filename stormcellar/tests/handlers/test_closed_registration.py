# SPDX-License-Identifier: MIT
"""A site on which only operators make accounts: what visitors and clients are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.testing.plugin import AsUser
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.web.sign_up import CLOSED

CLOSED_SITE = with_settings(registration="closed")
NewClient = Callable[..., Client]


@CLOSED_SITE
@pytest.mark.gen_test
async def test_the_page_says_that_sign_up_is_closed_and_makes_no_account(
    app: Application, client: Client
) -> None:
    page = await client.get("/signup?redirectBack=/dashboard")
    assert page.code == 200
    assert CLOSED in page.body.decode()
    assert "<form" not in page.body.decode().partition("<h1>")[2]
    refused = await client.post("/signup", {"email": "ann@example.com", "password": PASSWORD})
    assert refused.code == 403
    assert CLOSED in refused.body.decode()
    assert await app.accounts.list() == []


@CLOSED_SITE
@pytest.mark.gen_test
async def test_clients_are_told_in_the_words_of_the_protocol(app: Application, client: Client) -> None:
    await app.start()
    fields = [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
    response = await client.call("/auth/signup", {"formFields": fields})
    assert response.code == 200
    assert json_of(response) == {"status": "SIGN_UP_NOT_ALLOWED", "reason": f"{CLOSED} (ERR_CODE_007)"}
    assert "sAccessToken" not in client.cookies
    assert await app.accounts.list() == []


@CLOSED_SITE
@pytest.mark.gen_test
async def test_users_sign_in_and_no_page_leads_to_sign_up(
    app: Application, as_user: AsUser, new_client: NewClient
) -> None:
    ann = await as_user("ann@example.com")
    assert (await ann.get("/dashboard")).code == 200
    for path in ("/", "/login"):
        assert "/signup" not in (await new_client().get(path)).body.decode()
    assert (await ann.get("/signup")).code == 303


@pytest.mark.gen_test
async def test_an_open_site_leads_to_sign_up(client: Client) -> None:
    for path in ("/", "/login"):
        assert "/signup" in (await client.get(path)).body.decode()


@pytest.mark.gen_test
async def test_a_link_from_an_operator_sets_a_password_on_a_site_without_mail(
    app: Application, as_user: AsUser, new_client: NewClient
) -> None:
    """`manage.py reset-link` prints this link."""
    ann = await as_user("ann@example.com")
    token = await app.accounts.create_password_reset("ann@example.com")
    assert token
    path = app.mails.link(token).partition("://")[2].partition("/")[2]
    assert (await new_client().get(f"/{path}")).code == 200
    body = {"token": token.text, "password": "eleven calm wolves hum"}
    assert (await new_client().post("/reset-password", body)).code == 303
    assert (await ann.get("/dashboard")).code != 200
    await ann.sign_in("ann@example.com", "eleven calm wolves hum")
