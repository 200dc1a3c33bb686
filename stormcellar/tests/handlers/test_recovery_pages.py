# SPDX-License-Identifier: MIT
"""The pages behind mailed links, as a browser without script sees them: GET shows, POST spends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.accounts import SmtpMailer
from stormcellar.application import Application
from stormcellar.sessions import Session
from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD, Client, json_of, set_cookies
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.mailbox import last_path, last_token, mails
from stormcellar.tests.handlers.parts import LIFETIME_S, fail_to_end_sessions, with_settings
from stormcellar.tests.smtp import PostOffice
from stormcellar.tests.support import HERE, SITE
from stormcellar.tests.test_templates import Page

NewClient = Callable[..., Client]
EMAIL, BOB = "ann@example.com", "bob@example.com"
NEW_PASSWORD = "eleven calm wolves hum"
REQUIRED = with_settings(debug=True, email_verification="required")
OPTIONAL = with_settings(debug=True, email_verification="optional")


@pytest.fixture
def settings() -> dict[str, Any]:
    """In development mails stay in a mailbox."""
    return {"debug": True}


def title(response: HTTPResponse) -> str:
    return re.findall(r"<h1[^>]*>(.*?)</h1>", response.body.decode())[0]


async def forget(client: Client, email: str = EMAIL) -> HTTPResponse:
    return await client.post("/forgot-password", {"email": email})


async def reset(client: Client, token: str, password: str = NEW_PASSWORD) -> HTTPResponse:
    return await client.post("/reset-password", {"token": token, "password": password})


# -- a new password ---------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_walk_to_a_new_password(client: Client, new_client: NewClient, app: Application) -> None:
    await client.sign_up()
    stranger = new_client()
    login = await stranger.get("/login")
    assert 'href="/forgot-password"' in login.body.decode()
    assert title(await stranger.get("/forgot-password")) == "Forgot your password?"
    assert title(await forget(stranger)) == "Look into your mail"

    form = await stranger.get(await last_path(app))
    assert title(form) == "Choose a new password"
    (hidden,) = [field for field in Page(form.body.decode()).all("input") if field["type"] == "hidden"]
    assert (hidden["name"], hidden["value"]) == ("token", await last_token(app))

    done = await reset(stranger, hidden["value"])
    assert (done.code, done.headers["Location"]) == (303, "/login?after=new-password")
    assert set_cookies(done) == {}
    login = await stranger.get(done.headers["Location"])
    assert "Your new password is saved" in login.body.decode()
    await stranger.sign_in(password=NEW_PASSWORD)
    refused = await new_client().post("/login", {"email": EMAIL, "password": PASSWORD})
    assert refused.code == 422


@pytest.mark.gen_test
async def test_a_new_password_ends_every_session_and_this_browsers_too(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone = new_client()
    await client.sign_up()
    await phone.sign_in()
    await forget(client)
    done = await reset(client, await last_token(app))
    assert "sAccessToken" not in client.cookies
    assert done.headers["front-token"] == "remove"
    assert title(await client.get(done.headers["Location"])) == "Sign in"
    assert (await phone.call("/sample/api", method="GET")).code == 401
    assert (await phone.refresh()).code == 401


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.gen_test
async def test_a_reset_that_breaks_off_leaves_no_old_session_that_the_link_cannot_end(
    client: Client, new_client: NewClient, app: Application, failing: int
) -> None:
    """Whichever time sessions cannot be ended: the same link does it, or they have ended already."""
    phone = new_client()
    await client.sign_up()
    await phone.sign_in()
    await forget(new_client())
    fail_to_end_sessions(app, failing)
    token = await last_token(app)
    assert (await reset(new_client(), token)).code == 503
    if failing == 1:
        assert (await reset(new_client(), token)).code == 303
    assert (await phone.call("/sample/api", method="GET")).code == 401
    assert (await phone.refresh()).code == 401
    await client.sign_in(password=NEW_PASSWORD)


@pytest.mark.parametrize("way", ["form", "json"])
@pytest.mark.gen_test
async def test_a_sign_in_with_the_old_password_does_not_outlive_a_reset_that_overtakes_it(
    client: Client, new_client: NewClient, app: Application, way: str
) -> None:
    """Its password was still right when it was checked, and the sessions ended before this one began."""
    await client.sign_up()
    user_id, thief = client.user_id, new_client()
    await forget(client)
    create = app.sessions.create_new_session

    async def overtaken(*arguments: Any, **options: Any) -> Session:
        app.sessions.create_new_session = create  # type: ignore[method-assign]
        assert (await reset(new_client(), await last_token(app))).code == 303
        return await create(*arguments, **options)

    app.sessions.create_new_session = overtaken  # type: ignore[method-assign]
    if way == "form":
        assert (await thief.post("/login", {"email": EMAIL, "password": PASSWORD})).code == 422
    else:
        fields = [{"id": "email", "value": EMAIL}, {"id": "password", "value": PASSWORD}]
        answer = await thief.call("/auth/signin", {"formFields": fields})
        assert json_of(answer) == {"status": "WRONG_CREDENTIALS_ERROR"}
    assert thief.cookies == {}
    assert await app.sessions.get_all_session_handles_for_user(user_id) == []
    await thief.sign_in(password=NEW_PASSWORD)


@pytest.mark.gen_test
async def test_somebody_else_signed_in_here_stays_so(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    bob = new_client()
    await bob.sign_up(BOB)
    await forget(bob)
    await reset(bob, await last_token(app))
    assert (await bob.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_known_and_unknown_addresses_get_the_same_page(client: Client, app: Application) -> None:
    await client.sign_up()
    known, unknown = await forget(client, EMAIL), await forget(client, BOB)
    assert known.code == unknown.code == 200
    assert known.body.replace(EMAIL.encode(), b"") == unknown.body.replace(BOB.encode(), b"")
    own = {"Content-Length", "Date"}
    assert {*known.headers} == {*unknown.headers}
    assert all(known.headers[name] == unknown.headers[name] for name in {*known.headers} - own)
    assert [mail.to for mail in await mails(app)] == [EMAIL]


@pytest.mark.parametrize("email", ["ann", "", "a@b", "<script>@example.com", "a\0@example.com"])
@pytest.mark.gen_test
async def test_an_invalid_address_is_asked_for_again(client: Client, email: str) -> None:
    answer = await forget(client, email)
    assert (answer.code, title(answer)) == (422, "Forgot your password?")
    assert 'id="email-error"' in answer.body.decode()
    assert "<script>@" not in answer.body.decode()


@pytest.mark.gen_test
async def test_looking_at_the_link_spends_nothing(client: Client, app: Application) -> None:
    """Mail scanners open every link, some of them more than once, and by HEAD."""
    await client.sign_up()
    await forget(client)
    path = await last_path(app)
    for method in ("GET", "HEAD", "GET", "OPTIONS"):
        assert (await client.request(method, path, headers={"Accept": "*/*"})).code < 300
    assert (await reset(client, await last_token(app))).code == 303


@pytest.mark.gen_test
async def test_a_weak_password_is_asked_for_again_with_the_same_link(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await forget(client)
    token = await last_token(app)
    for password in ("", "short", EMAIL, "password1"):
        answer = await reset(client, token, password)
        assert answer.code == 422
        page = Page(answer.body.decode())
        assert [field["value"] for field in page.all("input") if field.get("name") == "token"] == [token]
        assert "password-error" in page.ids()
    assert (await reset(client, token)).code == 303


@pytest.mark.gen_test
async def test_a_link_that_opens_nothing_says_so_and_offers_another(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    await forget(client)
    spent = await last_token(app)
    await reset(client, spent)
    await forget(client)
    too_old = await last_token(app)
    clock.advance(3600)
    for token in (spent, too_old, "x", ""):
        answer = await reset(client, token)
        assert answer.code == 422
        assert "has been used already, or it is too old" in answer.body.decode()
        assert 'href="/forgot-password"' in answer.body.decode()
    await client.sign_in(password=NEW_PASSWORD)


@pytest.mark.gen_test
async def test_a_link_without_its_token_leads_to_where_one_is_asked_for(client: Client) -> None:
    answer = await client.get("/reset-password")
    assert (answer.code, answer.headers["Location"]) == (303, "/forgot-password")


@pytest.mark.gen_test
async def test_of_twenty_at_once_one_wins(client: Client, new_client: NewClient, app: Application) -> None:
    await client.sign_up()
    await forget(client)
    token = await last_token(app)
    passwords = [f"{NEW_PASSWORD} {number}" for number in range(20)]
    answers = await asyncio.gather(*(reset(new_client(), token, password) for password in passwords))
    codes = [answer.code for answer in answers]
    assert sorted(codes) == [303] + [422] * 19
    await client.sign_in(password=passwords[codes.index(303)])


# -- the token stays where it is ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
@pytest.mark.gen_test
async def test_a_page_whose_address_carries_a_token_tells_nobody_its_address(
    client: Client, path: str
) -> None:
    assert (await client.get(f"{path}?token=x")).headers["Referrer-Policy"] == "no-referrer"
    assert (await client.get("/forgot-password")).headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
@pytest.mark.gen_test
async def test_a_session_that_has_expired_does_not_lead_the_token_round_by_other_addresses(
    client: Client, clock: FakeClock, path: str
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    assert (await client.get(f"{path}?token=x")).code == 200


@pytest.mark.gen_test
async def test_an_old_browser_can_send_the_form_of_a_page_that_has_no_referrer(
    client: Client, app: Application
) -> None:
    """It says `Origin: null`, and nothing else; the token in the form is what no other site knows."""
    await client.sign_up()
    await forget(client)
    old = {"Origin": "null", "Sec-Fetch-Site": ""}
    fields = {"token": await last_token(app), "password": NEW_PASSWORD}
    for headers in (
        {**old, "Sec-Fetch-Site": "cross-site"},
        {**old, "Origin": "https://evil.example"},
        {"Origin": "", "Sec-Fetch-Site": ""},
    ):
        assert (await client.post("/reset-password", fields, headers=headers)).code == 403
    assert (await client.post("/reset-password", {"password": NEW_PASSWORD}, headers=old)).code == 403
    assert (await client.post("/signout", {"token": "x"}, headers=old)).code == 403
    assert (await client.post("/reset-password", fields, headers=old)).code == 303


# -- an address to confirm ---------------------------------------------------------------------------


@REQUIRED
@pytest.mark.gen_test
async def test_the_walk_to_a_confirmed_address(client: Client, app: Application) -> None:
    """Signing up mails the link; until it is followed, protected pages say what is missing."""
    await client.sign_up()
    assert [mail.subject for mail in await mails(app)] == [f"Confirm your e-mail address for {SITE}"]
    closed = await client.get("/dashboard?tab=2")
    assert (closed.code, title(closed)) == (403, "Please confirm your e&#8209;mail address")
    assert 'href="/dashboard?tab=2"' in closed.body.decode()

    page = await client.get(await last_path(app))
    assert title(page) == "Confirm your e&#8209;mail address"
    assert (await client.get("/dashboard")).code == 403
    done = await client.post("/verify-email", {"token": await last_token(app)})
    assert (done.code, title(done)) == (200, "Thank you")
    assert (await client.get("/dashboard")).code == 200


@REQUIRED
@pytest.mark.gen_test
async def test_the_page_that_says_so_sends_the_mail_again(client: Client, app: Application) -> None:
    await client.sign_up()
    closed = Page((await client.get("/sample/note?x=1&y=2")).body.decode())
    assert [form["action"] for form in closed.all("form")] == ["/signout", "/verify-email/send"]
    (hidden,) = [field for field in closed.all("input") if field["type"] == "hidden"]
    assert hidden["value"] == "/sample/note?x=1&y=2"

    page = await client.post("/verify-email/send", {"redirectBack": hidden["value"]}, follow=True)
    assert client.visited[0] == "POST /verify-email/send 303"
    assert "We have sent a mail" in page.body.decode()
    assert 'href="/sample/note?x=1&amp;y=2"' in page.body.decode()
    assert len(await mails(app)) == 2
    assert (await client.get("/verify-email")).code == 200
    assert len(await mails(app)) == 2


@REQUIRED
@pytest.mark.gen_test
async def test_whoever_may_not_come_in_yet_sees_public_pages_and_can_sign_out(client: Client) -> None:
    await client.sign_up()
    for path in ("/", "/forgot-password", "/verify-email"):
        assert (await client.get(path)).code == 200
    assert (await client.post("/signout")).headers["Location"] == "/"
    assert "sAccessToken" not in client.cookies


@REQUIRED
@pytest.mark.gen_test
async def test_other_callers_get_the_json_that_clients_expect(client: Client) -> None:
    await client.sign_up()
    answer = await client.call("/sample/note", method="GET")
    assert (answer.code, json_of(answer)["message"]) == (403, "invalid claim")


@REQUIRED
@pytest.mark.gen_test
async def test_confirmed_on_another_device_this_one_comes_in_after_ten_seconds(
    client: Client, new_client: NewClient, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    phone = new_client()
    done = await phone.post("/verify-email", {"token": await last_token(app)})
    assert (title(done), set_cookies(done)) == ("Thank you", {})
    clock.advance(10.1)
    page = await client.get("/dashboard")
    assert page.code == 200
    assert client.front_token()["up"]["st-ev"]["v"] is True


@REQUIRED
@pytest.mark.gen_test
async def test_whoever_has_confirmed_is_taken_back_to_the_page_they_wanted(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await client.post("/verify-email", {"token": await last_token(app)})
    for path in (
        "/verify-email?redirectBack=/sample/note",
        "/verify-email?sent=yes&redirectBack=/sample/note",
    ):
        answer = await client.get(path)
        assert (answer.code, answer.headers["Location"]) == (303, "/sample/note")
    again = await client.post("/verify-email/send", {"redirectBack": "//evil.example"}, follow=True)
    assert client.visited[-1] == "GET /dashboard 200"
    assert again.code == 200
    assert len(await mails(app)) == 1


@OPTIONAL
@pytest.mark.gen_test
async def test_optional_keeps_no_page_closed(client: Client, app: Application) -> None:
    await client.sign_up()
    assert (await client.get("/dashboard")).code == 200
    assert len(await mails(app)) == 1
    assert client.front_token()["up"]["st-ev"]["v"] is False


@pytest.mark.gen_test
async def test_off_sends_no_mail_at_sign_up_and_puts_no_claim_into_the_token(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    assert await mails(app) == []
    assert "st-ev" not in client.front_token()["up"]


@OPTIONAL
@pytest.mark.gen_test
async def test_looking_at_the_link_confirms_nothing_and_a_second_browser_is_told(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    path, token = await last_path(app), await last_token(app)
    scanner = new_client()
    for method in ("HEAD", "GET", "GET"):
        assert (await scanner.request(method, path, headers={"Accept": "*/*"})).code == 200
    assert not await app.accounts.is_email_verified(client.user_id, EMAIL)
    assert (await client.post("/verify-email", {"token": token})).code == 200
    again = await new_client().post("/verify-email", {"token": token})
    assert again.code == 422
    assert "has been used already, or it is too old" in again.body.decode()


@pytest.mark.gen_test
async def test_without_a_token_or_a_session_one_has_to_sign_in(client: Client) -> None:
    answer = await client.get("/verify-email")
    assert (answer.code, answer.headers["Location"]) == (303, "/login?redirectBack=/verify-email")
    answer = await client.post("/verify-email/send")
    assert answer.code == 303
    assert answer.headers["Location"].startswith("/login")


@OPTIONAL
@pytest.mark.gen_test
async def test_asking_for_the_mail_with_an_expired_token_goes_round_and_arrives(
    client: Client, app: Application, clock: FakeClock
) -> None:
    await client.sign_up()
    clock.advance(LIFETIME_S)
    await client.post("/verify-email/send", follow=True)
    assert client.visited[-1].startswith("GET /verify-email?sent=yes")
    assert len(await mails(app)) == 2


@OPTIONAL
@pytest.mark.gen_test
async def test_asking_for_the_mail_of_an_account_that_is_gone_leads_to_sign_in(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    await app.accounts.delete(client.user_id)
    answer = await client.post("/verify-email/send")
    assert answer.code in (303, 307)
    assert len(await mails(app)) == 1


# -- mail -------------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_mailbox_shows_the_mails_of_development(client: Client, app: Application) -> None:
    assert "Nothing yet" in (await client.get("/dev/mail")).body.decode()
    await client.sign_up()
    await forget(client)
    (mail,) = await mails(app)
    assert 'href="/dev/mail/1"' in (await client.get("/dev/mail")).body.decode()
    page = Page((await client.get("/dev/mail/1")).body.decode())
    assert HERE + await last_path(app) in {link["href"] for link in page.all("a")}
    html = await client.get("/dev/mail/1/html")
    assert html.body.decode() == mail.html
    assert "default-src 'none'" in html.headers["Content-Security-Policy"]
    for number in ("0", "2", "999999999"):
        assert (await client.get(f"/dev/mail/{number}")).code == 404


@with_settings()
@pytest.mark.gen_test
async def test_there_is_no_mailbox_outside_development(client: Client) -> None:
    for path in ("/dev/mail", "/dev/mail/1"):
        assert (await client.get(path)).code == 404


@with_settings()
@pytest.mark.gen_test
async def test_where_mail_is_not_set_up_everything_else_goes_on(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said at the start, and once for each mail that is lost."""
    await client.sign_up()
    assert title(await forget(client)) == "Look into your mail"
    await app.mails.finish()
    assert "a mail (reset_password) was not sent: mail is not set up" in caplog.text
    assert EMAIL not in caplog.text


def test_at_the_start_it_is_said_that_mail_is_not_set_up(
    make_application: Callable[..., Application], caplog: pytest.LogCaptureFixture
) -> None:
    make_application()
    assert caplog.text.count("Set smtp_url and mail_from.") == 1
    caplog.clear()
    make_application(debug=True)
    make_application(smtp_url="smtp://localhost", mail_from="no-reply@example.com")
    assert "smtp_url" not in caplog.text


@pytest.mark.gen_test
async def test_mails_leave_by_smtp_where_it_is_set_up(
    client: Client, app: Application, make_application: Callable[..., Application], tmp_path: Any
) -> None:
    office = PostOffice()
    async with office.open() as host:
        sender = {"smtp_url": f"smtp://{host}", "mail_from": "no-reply@example.com"}
        other = make_application(**sender, public_url="https://www.example.com")
        await other.start()
        user = await other.accounts.sign_up(EMAIL, PASSWORD)
        await other.mails.post_link(await other.accounts.create_password_reset(EMAIL))
        await other.mails.finish()
    message = office.message()
    assert (message["To"], message["From"]) == (EMAIL, f"{SITE} <no-reply@example.com>")
    text = message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    token = re.findall(r"https://www\.example\.com/reset-password\?token=([\w-]+)&tenantId=public", text)[0]
    assert (await other.accounts.reset_password(token, NEW_PASSWORD)).user_id == user.user_id


@with_settings(smtp_url="smtp://user:hidden-word@127.0.0.1:1", mail_from="no-reply@example.com")
@pytest.mark.gen_test
async def test_a_mail_that_cannot_leave_is_logged_without_what_is_private(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    await client.sign_up()
    assert (await forget(client)).code == 200
    await app.mails.finish()
    assert "a mail (reset_password) was not sent: smtp://127.0.0.1:1: ConnectionRefusedError" in caplog.text
    for private in (EMAIL, "hidden-word", "token="):
        assert private not in caplog.text


@pytest.mark.gen_test
async def test_no_more_mails_wait_than_there_is_room_for(
    app: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stormcellar.accounts.outbox.MOST_WAITING", 3)
    await app.start()
    app.mails.delivery.mailer = SmtpMailer("smtp://localhost", "no-reply@example.com")  # not due at once
    for _ in range(5):
        await app.mails.post(EMAIL, "verify_email", link="http://localhost/", lifetime="1 day")
    assert (await app.mails.delivery.outbox.state()).waiting == 3
    assert caplog.text.count("is dropped") == 2
    assert EMAIL not in caplog.text


@pytest.mark.parametrize("api", [False, True], ids=["page", "API"])
@with_settings(smtp_url="smtp://127.0.0.1:1", mail_from="no-reply@example.com")
@pytest.mark.gen_test
async def test_a_known_address_costs_the_same_work_as_an_unknown_one(
    client: Client, app: Application, monkeypatch: pytest.MonkeyPatch, api: bool
) -> None:
    """Also after the answer, where the work would delay the next request on the connection."""
    await client.sign_up()
    work: list[str] = []

    def note(original: Any) -> Any:
        async def noted(job: Any) -> Any:
            work.append(job.__qualname__)
            return await original(job)

        return noted

    monkeypatch.setattr(app.database, "read", note(app.database.read))
    monkeypatch.setattr(app.database, "write", note(app.database.write))
    write = app.mails.write
    monkeypatch.setattr(app.mails, "write", lambda *a, **more: work.append("mail") or write(*a, **more))
    seen = []
    for email in (EMAIL, "bob@example.com"):
        work.clear()
        if api:
            fields = {"formFields": [{"id": "email", "value": email}]}
            response = await client.call("/auth/user/password/reset/token", fields)
        else:
            response = await client.post("/forgot-password", {"email": email})
        assert response.code == 200
        await client.get("/login")
        of_request = ("Limits", "Users", "Outbox.put", "mail")  # others belong to background tasks
        seen.append([name for name in work if name.startswith(of_request)])
    assert seen[0] == seen[1]
    assert "mail" in seen[0]
    assert (await app.mails.delivery.outbox.state()).waiting == 2


@pytest.mark.parametrize("template", ["reset_password", "verify_email"])
@with_settings(debug=True, site_name="A <b> & Söhne")
@pytest.mark.gen_test
async def test_a_mail_says_the_same_as_text_and_as_html(app: Application, template: str) -> None:
    """What stands in it stays text in HTML, and is not escaped in text."""
    mail = app.mails.write(EMAIL, template, link="https://www.example.com/?a=1&b=2", lifetime="2 hours")
    assert mail.subject.endswith("A <b> & Söhne")
    for words in ("https://www.example.com/?a=1&b=2", "2 hours", "A <b> & Söhne"):
        assert words in mail.text
    assert "SPDX" not in mail.text + mail.html
    assert "<b>" not in mail.html
    assert "A &lt;b&gt; &amp; Söhne" in mail.html
    page = Page(mail.html)
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("script", "img", "link", "style", "form") == []
    assert [link["href"] for link in page.all("a")] == ["https://www.example.com/?a=1&b=2"]


def test_the_application_without_mail_needs_no_sender() -> None:
    assert Settings().smtp_url == Settings().mail_from == ""
