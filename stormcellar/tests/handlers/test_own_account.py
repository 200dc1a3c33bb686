# SPDX-License-Identifier: MIT
"""The pages of one's own account, as a browser without script sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.sessions import Session
from stormcellar.testing.client import PASSWORD, Client, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.mailbox import last_path, last_token, mails
from stormcellar.tests.handlers.parts import with_settings
from stormcellar.tests.support import SITE
from stormcellar.tests.test_templates import Page
from stormcellar.web.auth_time import SENSITIVE_WITHIN_S

NewClient = Callable[..., Client]
EMAIL, NEW_EMAIL, BOB = "ann@example.com", "new@example.com", "bob@example.com"
NEW_PASSWORD, THIRD_PASSWORD = "eleven calm wolves hum", "seven loud bells ring"
SENSITIVE = ("/account/password", "/account/email", "/account/delete")


@pytest.fixture
def settings() -> dict[str, Any]:
    """In development mails stay in a mailbox."""
    return {"debug": True}


async def change_password(
    client: Client, current: str = PASSWORD, new: str = NEW_PASSWORD, **headers: str
) -> HTTPResponse:
    fields = {"current-password": current, "password": new}
    return await client.post("/account/password", fields, headers=headers)


async def ask_for_email(client: Client, email: str = NEW_EMAIL) -> HTTPResponse:
    return await client.post("/account/email", {"email": email})


async def is_signed_in(client: Client) -> bool:
    by_token = (await client.call("/sample/api", method="GET")).code == 200
    by_refresh = (await client.refresh()).code == 200
    assert by_token == by_refresh
    return by_token


async def signs_in(client: Client, email: str, password: str) -> bool:
    return (await client.post("/login", {"email": email, "password": password})).code == 303


def errors_of(response: HTTPResponse) -> set[str]:
    assert response.code == 422, response.code
    return {name.removesuffix("-error") for name in Page(response.body.decode()).ids() if "-error" in name}


# -- the page ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_page_says_who_one_is_and_leads_on(client: Client, new_client: NewClient) -> None:
    await client.sign_up()
    page = (await client.get("/account")).body.decode()
    assert EMAIL in page
    assert ">not confirmed<" in page
    assert "Here only." in page
    await new_client().sign_in()
    page = (await client.get("/account")).body.decode()
    assert "1 other place." in page
    links = {link["href"] for link in Page(page).all("a")}
    assert {*SENSITIVE, "/account/sessions"} <= links


@pytest.mark.gen_test
async def test_the_address_can_be_confirmed_from_the_page(client: Client, app: Application) -> None:
    await client.sign_up()
    await client.post("/verify-email/send", {"redirectBack": "/account"})
    await client.post("/verify-email", {"token": await last_token(app)})
    assert ">confirmed<" in (await client.get("/account")).body.decode()


@pytest.mark.parametrize("path", SENSITIVE)
@pytest.mark.gen_test
async def test_what_can_cost_the_account_asks_for_a_recent_sign_in(
    client: Client, clock: FakeClock, app: Application, path: str
) -> None:
    await client.sign_up()
    clock.advance(SENSITIVE_WITHIN_S + 1)
    for response in (await client.get(path), await client.post(path, {"email": EMAIL, "password": PASSWORD})):
        assert response.code == 303
        assert response.headers["Location"].startswith(f"/confirm-password?redirectBack={path}")
    assert await app.accounts.get_by_email(EMAIL) is not None
    await client.post("/confirm-password", {"password": PASSWORD})
    assert (await client.get(path)).code == 200


@with_settings(debug=True, email_verification="required")
@pytest.mark.gen_test
async def test_whoever_mistyped_the_address_can_correct_it_before_it_is_confirmed(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    assert (await client.get("/dashboard")).code == 403
    assert (await client.get("/account")).code == 200
    assert (await ask_for_email(client)).code == 200
    assert (
        await client.post("/account/email/confirm", {"token": await token_for(app, NEW_EMAIL)})
    ).code == 303
    assert (await client.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_a_page_of_an_account_that_is_gone_leads_to_sign_in(client: Client, app: Application) -> None:
    await client.sign_up()
    await app.accounts.delete(client.user_id)
    for path in ("/account", "/confirm-password", *SENSITIVE[1:]):
        assert (await client.get(path)).code in (302, 303)
    assert (await ask_for_email(client)).code in (303, 307)


# -- password ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_new_password_ends_all_other_sessions_and_this_one_goes_on_with_new_tokens(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone, copy = new_client(), new_client()
    await client.sign_up()
    await phone.sign_in()
    copy.jar = dict(client.jar)  # somebody has copied this browser's tokens
    old_handle = client.session_handle
    done = await change_password(client)
    assert (done.code, done.headers["Location"]) == (303, "/account?notice=new-password")
    assert b"Your new password is saved" in (await client.get(done.headers["Location"])).body
    assert client.session_handle != old_handle
    assert await is_signed_in(client)
    assert not await is_signed_in(phone)
    assert (await copy.call("/sample/api", method="GET")).code == 401
    assert (await copy.refresh()).code == 202, "ask again, with the cookies that the browser has by now"
    assert (await copy.refresh()).code == 401
    assert await signs_in(new_client(), EMAIL, NEW_PASSWORD)
    assert not await signs_in(new_client(), EMAIL, PASSWORD)
    assert [(mail.to, mail.subject) for mail in await mails(app)] == [
        (EMAIL, f"Your password at {SITE} was changed")
    ]


@pytest.mark.gen_test
async def test_the_current_password_is_asked_for(client: Client, app: Application) -> None:
    await client.sign_up()
    for wrong in ("", "wrong", NEW_PASSWORD):
        assert errors_of(await change_password(client, wrong)) == {"current-password"}
    assert (await client.get("/dashboard")).code == 200
    assert await mails(app) == []


@pytest.mark.parametrize("password", ["", "short", EMAIL, "password1"])
@pytest.mark.gen_test
async def test_a_weak_password_is_refused_and_ends_nothing(
    client: Client, new_client: NewClient, password: str
) -> None:
    phone = new_client()
    await client.sign_up()
    await phone.sign_in()
    answer = await change_password(client, new=password)
    assert errors_of(answer) == {"password"}
    fields = Page(answer.body.decode()).all("input")
    assert all(not field.get("value") for field in fields if field.get("type") == "password")
    assert await is_signed_in(phone)


@pytest.mark.gen_test
async def test_of_two_changes_at_once_one_is_made_and_one_session_left(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone = new_client()
    await client.sign_up()
    user_id = client.user_id
    await phone.sign_in()
    answers = await asyncio.gather(
        change_password(client, new=NEW_PASSWORD), change_password(phone, new=THIRD_PASSWORD)
    )
    assert sorted(answer.code for answer in answers)[0] == 303
    assert [answer.code for answer in answers].count(303) == 1
    winner, password = ((client, NEW_PASSWORD), (phone, THIRD_PASSWORD))[answers[1].code == 303]
    user = await app.accounts.get(user_id)
    assert user
    assert user.password_version == 1
    assert await signs_in(new_client(), EMAIL, password)
    assert winner.session_handle in await app.sessions.get_all_session_handles_for_user(user_id)


@pytest.mark.gen_test
async def test_a_sign_in_with_the_old_password_does_not_outlive_a_change_that_overtakes_it(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    thief, create = new_client(), app.sessions.create_new_session

    async def overtaken(*arguments: Any, **options: Any) -> Session:
        app.sessions.create_new_session = create  # type: ignore[method-assign]
        assert (await change_password(client)).code == 303
        return await create(*arguments, **options)

    app.sessions.create_new_session = overtaken  # type: ignore[method-assign]
    assert not await signs_in(thief, EMAIL, PASSWORD)
    assert await app.sessions.get_all_session_handles_for_user(client.user_id) == [client.session_handle]


@pytest.mark.gen_test
async def test_other_sites_can_change_nothing(client: Client) -> None:
    await client.sign_up()
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await change_password(client, **headers)).code == 403
    for path, fields in (
        ("/account/email", {"email": NEW_EMAIL}),
        ("/account/delete", {"email": EMAIL}),
        ("/account/sessions", {"which": "others"}),
        ("/confirm-password", {"password": PASSWORD}),
    ):
        assert (await client.post(path, fields, headers=headers)).code == 403
    assert (await client.get("/dashboard")).code == 200


# -- address ----------------------------------------------------------------------------------------


async def token_for(app: Application, email: str) -> str:
    """The token of the newest mail to an address that carries one."""
    await app.mails.finish()
    mailbox: Any = app.mails.mailer
    mailbox.mails = type(mailbox.mails)([mail for mail in mailbox.mails if mail.to == email], maxlen=100)
    return await last_token(app)


@pytest.mark.gen_test
async def test_the_walk_to_a_new_address(client: Client, new_client: NewClient, app: Application) -> None:
    await client.sign_up()
    sent = await ask_for_email(client, " New@Example.com")
    assert NEW_EMAIL in sent.body.decode()
    notice, link = await mails(app)
    assert (notice.to, link.to) == (EMAIL, NEW_EMAIL)
    assert NEW_EMAIL in notice.text
    assert EMAIL in (await client.get("/account")).body.decode(), "nothing has changed yet"
    assert await signs_in(new_client(), EMAIL, PASSWORD)

    token = await token_for(app, NEW_EMAIL)
    path = await last_path(app)
    for _ in range(2):  # looking spends nothing
        page = (await new_client().get(path)).body.decode()
        assert EMAIL in page
        assert NEW_EMAIL in page
    done = await client.post("/account/email/confirm", {"token": token})
    assert done.headers["Location"] == "/account?notice=new-email"
    page = (await client.get("/account")).body.decode()
    assert NEW_EMAIL in page
    assert ">confirmed<" in page
    assert (await mails(app))[0].to == EMAIL
    assert await signs_in(new_client(), NEW_EMAIL, PASSWORD)
    assert not await signs_in(new_client(), EMAIL, PASSWORD)


@pytest.mark.gen_test
async def test_a_link_works_once(client: Client, new_client: NewClient, app: Application) -> None:
    await client.sign_up()
    await ask_for_email(client)
    token = await token_for(app, NEW_EMAIL)
    assert (await new_client().post("/account/email/confirm", {"token": token})).code == 200
    for method in ("get", "post"):
        again = await getattr(client, method)(f"/account/email/confirm?token={token}")
        assert again.code == 422
        assert b"used already" in again.body


@pytest.mark.gen_test
async def test_a_link_for_another_account_changes_that_one_and_not_ones_own(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    bob = new_client()
    await bob.sign_up(BOB)
    await ask_for_email(client)
    done = await bob.post("/account/email/confirm", {"token": await token_for(app, NEW_EMAIL)})
    assert done.code == 200
    assert BOB in (await bob.get("/account")).body.decode()
    assert NEW_EMAIL in (await client.get("/account")).body.decode()


@pytest.mark.gen_test
async def test_tokens_for_something_else_change_no_address(client: Client, app: Application) -> None:
    await client.sign_up()
    await client.post("/forgot-password", {"email": EMAIL})
    reset_token = await last_token(app)
    for token in (reset_token, "", "x", "\ud800".encode(errors="replace").decode()):
        assert (await client.post("/account/email/confirm", {"token": token})).code == 422
    await ask_for_email(client)
    change_token = await token_for(app, NEW_EMAIL)
    refused = await client.post("/reset-password", {"token": change_token, "password": NEW_PASSWORD})
    assert refused.code == 422
    assert (await client.post("/verify-email", {"token": change_token})).code == 422


@pytest.mark.gen_test
async def test_nobody_learns_from_it_who_is_registered(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await new_client().sign_up(BOB)
    free, taken = await ask_for_email(client), await ask_for_email(client, BOB)
    assert free.code == taken.code == 200
    assert free.body.replace(NEW_EMAIL.encode(), b"") == taken.body.replace(BOB.encode(), b"")
    to_bob = [mail for mail in await mails(app) if mail.to == BOB]
    assert ["already" in mail.subject for mail in to_bob] == [True]
    assert "http" not in to_bob[0].text
    assert len(await mails(app)) == 4


@pytest.mark.parametrize("email", ["", "ann", EMAIL, "a\0b@example.com", "<script>@example.com"])
@pytest.mark.gen_test
async def test_an_address_that_cannot_be_is_asked_for_again(
    client: Client, app: Application, email: str
) -> None:
    await client.sign_up()
    answer = await ask_for_email(client, email)
    assert errors_of(answer) == {"email"}
    assert b"<script>@" not in answer.body
    assert await mails(app) == []


@pytest.mark.gen_test
async def test_a_new_password_stops_a_change_of_address_that_is_under_way(
    client: Client, app: Application
) -> None:
    """Whoever has stolen a session and asked for an address of their own must not get the account."""
    await client.sign_up()
    await ask_for_email(client)
    token = await token_for(app, NEW_EMAIL)
    await change_password(client)
    assert (await client.post("/account/email/confirm", {"token": token})).code == 422


@pytest.mark.gen_test
async def test_the_token_gets_into_no_other_address(client: Client) -> None:
    page = await client.get("/account/email/confirm?token=x")
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert (await client.get("/account/email/confirm")).headers["Location"] == "/account"


@pytest.mark.gen_test
async def test_mails_for_a_new_address_are_limited(client: Client) -> None:
    await client.sign_up()
    codes = [(await ask_for_email(client, f"new{number}@example.com")).code for number in range(30)]
    assert codes[0] == 200
    assert codes[-1] == 429


# -- deletion ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_deleted_account_is_gone_with_all_its_sessions(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone = new_client()
    await client.sign_up()
    user_id = client.user_id
    await phone.sign_in()
    await app.accounts.add_role(user_id, "editor")
    await ask_for_email(client)
    done = await client.post("/account/delete", {"email": EMAIL.upper()})
    assert (done.code, done.headers["Location"]) == (303, "/account/deleted")
    assert '"prerenderCache"' in done.headers["Clear-Site-Data"]
    assert set_cookies(done)["sAccessToken"].value == ""
    assert b"Goodbye" in (await client.get("/account/deleted")).body
    for browser in (client, phone):
        assert not await is_signed_in(browser)
    assert await app.accounts.get(user_id) is None
    assert await app.accounts.roles(user_id) == []
    assert not await signs_in(new_client(), EMAIL, PASSWORD)
    tables = ("users", "one_time_tokens", "user_roles", "sessions")
    for table in tables:
        rows = await app.database.read(
            lambda connection, table=table: connection.execute(f"SELECT * FROM {table}").fetchall()  # type: ignore[misc]
        )
        assert all(user_id not in row for row in rows), table
    assert (await mails(app))[0].subject == f"Your account at {SITE} is deleted"
    await new_client().sign_up()


@pytest.mark.parametrize("typed", ["", "yes", BOB, "ann@example.co"])
@pytest.mark.gen_test
async def test_nothing_is_deleted_unless_the_address_is_typed(client: Client, typed: str) -> None:
    await client.sign_up()
    assert errors_of(await client.post("/account/delete", {"email": typed})) == {"email"}
    assert (await client.get("/account")).code == 200


@pytest.mark.gen_test
async def test_looking_deletes_nothing(client: Client) -> None:
    await client.sign_up()
    for method in ("GET", "HEAD", "OPTIONS"):
        await client.request(method, f"/account/delete?email={EMAIL}", headers={"Accept": "text/html"})
    assert (await client.get("/account")).code == 200
