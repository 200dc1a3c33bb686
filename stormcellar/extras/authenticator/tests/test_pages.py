# SPDX-License-Identifier: MIT
"""A second factor: what asks for it, what counts as one, and that no way leads round it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from stormcellar.application import Application
from stormcellar.extras.authenticator.part import Authenticator
from stormcellar.extras.authenticator.store import MAX_ATTEMPTS, WINDOW_S
from stormcellar.extras.authenticator.tests.parts import Phone, sign_up_with_app, switch_on
from stormcellar.sessions import StoreUnavailableError
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.tests.handlers.mailbox import last_path, last_token, mails
from stormcellar.tests.handlers.parts import own_routes, with_settings
from stormcellar.web.access import access

NewClient = Callable[..., Client]
ASKED = "/second-factor?redirectBack=/dashboard"


async def is_in(client: Client) -> bool:
    """Whether the dashboard is open to this browser; else it must ask for the code."""
    response = await client.get("/dashboard")
    if response.code == 200:
        return True
    assert (response.code, response.headers["Location"]) == (303, ASKED)
    return False


async def confirm_address(app: Application, user_id: str) -> None:
    token = await app.accounts.create_email_verification(user_id)
    assert token is not None
    await app.accounts.verify_email(token.text)


async def reset_password(app: Application, owner: Client) -> None:
    """The reader of the mailbox of ann@example.com gets a new password and signs in with it."""
    token = await app.accounts.create_password_reset("ann@example.com")
    assert token is not None
    body = {"token": token.text, "password": "other ships sail 28 seas"}
    assert (await owner.post("/reset-password", body)).code == 303
    await owner.sign_in(password="other ships sail 28 seas")


@pytest.mark.parametrize(
    ("story", "stays"),
    [
        ("add, reset", False),
        ("add, confirm, reset", False),
        ("begin, confirm, finish, reset", False),
        ("begin, reset", False),
        ("begin, confirm, reset", False),
        ("confirm, add, reset", True),
        ("confirm, add, reset, reset", True),
        ("add, reset, add, reset", True),
        ("confirm, begin, reset", False),
    ],
)
@pytest.mark.gen_test
async def test_an_app_from_before_the_address_was_confirmed_goes_with_a_reset(
    client: Client, new_client: NewClient, app: Application, story: str, stays: bool
) -> None:
    """A person may sign up with the address of another person. The owner of the mailbox is not locked out."""
    await client.sign_up()
    user_id, signed_in = client.user_id, client
    phone: Phone | None = None
    for step in story.split(", "):
        if step == "begin":
            await signed_in.post("/account/authenticator")
            phone = Phone(await signed_in.get("/account/authenticator"))
        elif step == "finish":
            assert phone is not None
            code = {"code": phone.code(client.clock.now())}
            assert (await signed_in.post("/account/authenticator/confirmation", code)).code == 200
        elif step == "add":
            await switch_on(signed_in)
        elif step == "confirm":
            await confirm_address(app, user_id)
        else:
            signed_in = new_client()
            await reset_password(app, signed_in)
    assert await is_in(signed_in) is not stays
    if not stays:
        page = (await signed_in.get("/account/authenticator")).body.decode()
        assert 'id="secret"' not in page, "the key that another person has seen"
        assert "recovery codes are unused" not in page


@pytest.mark.gen_test
async def test_a_key_is_shown_and_confirmed_in_the_session_that_began_only(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """A thief begins to set the app up, and the owner later opens the page."""
    await client.sign_up()
    thief = new_client()
    await thief.sign_in()
    await thief.post("/account/authenticator")
    phone = Phone(await thief.get("/account/authenticator"))
    page = (await client.get("/account/authenticator")).body.decode()
    assert 'id="secret"' not in page
    assert (await client.get("/account/authenticator/qr.svg")).code == 404
    code = {"code": phone.code(client.clock.now())}
    assert (await client.post("/account/authenticator/confirmation", code)).code == 422
    await switch_on(client)
    assert (await thief.post("/account/authenticator/confirmation", code)).code != 200


@pytest.mark.gen_test
async def test_a_code_that_is_sent_twice_opens_the_session_both_times(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    code = {"code": phone.code(client.clock.now()), "redirectBack": "/dashboard"}
    first, second = await asyncio.gather(*(other.post("/second-factor", code, follow=True) for _ in range(2)))
    assert (first.code, second.code) == (200, 200)
    assert await is_in(other)


def part_of(app: Application) -> Authenticator:
    (part,) = (extra for extra in app.extras if isinstance(extra, Authenticator))
    return part


# -- setting it up ----------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_nothing_is_asked_for_before_a_code_has_confirmed_the_app(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up()
    await client.post("/account/authenticator")
    phone = Phone(await client.get("/account/authenticator"))
    refused = await client.post(
        "/account/authenticator/confirmation", {"code": phone.wrong_code(client.clock.now())}
    )
    assert refused.code == 422
    assert b"This code is not right" in refused.body
    other = new_client()
    await other.sign_in()
    assert await is_in(other)


@pytest.mark.gen_test
async def test_a_code_switches_it_on_and_ten_recovery_codes_are_shown_once(client: Client) -> None:
    _phone, recovery_codes = await sign_up_with_app(client)
    assert len(set(recovery_codes)) == 10
    page = (await client.get("/account/authenticator")).body.decode()
    assert "10 of your recovery codes are unused" in page
    assert not any(code in page for code in recovery_codes)
    assert await is_in(client)


@pytest.mark.gen_test
async def test_the_secret_is_shown_as_a_picture_until_it_is_confirmed(client: Client) -> None:
    await client.sign_up()
    assert (await client.get("/account/authenticator/qr.svg")).code == 404
    await client.post("/account/authenticator")
    picture = await client.get("/account/authenticator/qr.svg")
    assert (picture.code, picture.headers["Content-Type"]) == (200, "image/svg+xml")
    assert b"<svg" in picture.body
    assert picture.headers["Cache-Control"] == "private, no-store"
    phone = Phone(await client.get("/account/authenticator"))
    await client.post("/account/authenticator/confirmation", {"code": phone.code(client.clock.now())})
    assert (await client.get("/account/authenticator/qr.svg")).code == 404


@pytest.mark.gen_test
async def test_an_app_that_is_on_cannot_be_replaced_without_a_code(client: Client) -> None:
    phone, _ = await sign_up_with_app(client)
    await client.post("/account/authenticator")
    assert b"It is on" in (await client.get("/account/authenticator")).body
    again = await client.post("/account/authenticator/confirmation", {"code": phone.code(client.clock.now())})
    assert again.code == 422


@pytest.mark.gen_test
async def test_neither_secret_nor_codes_are_in_the_database(client: Client, app: Application) -> None:
    phone, recovery_codes = await sign_up_with_app(client)

    def everything(connection: Any) -> str:
        tables = ("authenticators", "recovery_codes")
        return str([connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables])

    kept = await app.database.read(everything)
    assert client.user_id in kept
    for text in (phone.secret.hex(), repr(phone.secret), *recovery_codes):
        assert text not in kept
        assert text.replace("-", "") not in kept


@pytest.mark.gen_test
async def test_other_sessions_of_the_user_are_asked_as_soon_as_it_is_on(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up()
    other = new_client()
    await other.sign_in()
    assert await is_in(other)
    await switch_on(client)
    renewed = await other.get("/dashboard", follow=False)
    assert renewed.code == 302  # to where its token is renewed
    await other.refresh()
    assert not await is_in(other)
    assert await is_in(client)


@pytest.mark.gen_test
async def test_a_session_that_began_while_it_was_switched_on_is_asked_too(
    client: Client, new_client: NewClient, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim was fetched before, and it was in no list of sessions yet."""
    await client.sign_up()
    part, create = part_of(app), app.sessions.create_new_session

    async def create_meanwhile(*args: Any, **more: Any) -> Any:
        session = await create(*args, **more)
        monkeypatch.undo()
        # As if it had not been there when the others were told.
        monkeypatch.setattr(app.sessions, "set_claim_value", lambda *_, **__: asyncio.sleep(0))
        await switch_on(client)
        monkeypatch.undo()
        return session

    monkeypatch.setattr(app.sessions, "create_new_session", create_meanwhile)
    other = new_client()
    await other.sign_in()
    assert await part.apps.is_on(client.user_id)
    assert not await is_in(other)


# -- asking -----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_sessions_that_a_crash_left_unasked_are_asked_soon(
    client: Client, new_client: NewClient, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app is on before the first of the other sessions is told."""

    async def fail(*_: object, **__: object) -> bool:
        raise StoreUnavailableError("stopped")

    await client.sign_up()
    other, by_passkey = new_client(), new_client()
    await other.sign_in()
    await by_passkey.sign_in()
    given = {"c": {"webauthn": 1}, "v": True}
    await client.post("/account/authenticator")
    phone = Phone(await client.get("/account/authenticator"))
    with monkeypatch.context() as patch:
        patch.setattr(app.sessions, "set_claim_value", fail)
        code = phone.code(client.clock.now())
        assert (await client.post("/account/authenticator/confirmation", {"code": code})).code == 503
    await app.sessions.set_claim_value(by_passkey.session_handle, part_of(app).claim, given, owner=None)
    await other.refresh()
    await by_passkey.refresh()
    assert await is_in(other)
    await part_of(app).maintain()
    await other.refresh()
    assert not await is_in(other)
    assert await is_in(by_passkey)


@pytest.mark.gen_test
async def test_a_password_alone_opens_no_protected_page(client: Client, new_client: NewClient) -> None:
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    assert not await is_in(other)
    for path in ("/account/authenticator", "/account/authenticator/qr.svg"):
        assert (await other.get(path)).code == 303
    for path in ("/account/authenticator", "/account/authenticator/removal"):
        refused = await other.post(path, {"code": phone.code(client.clock.now())})
        assert refused.headers["Location"].startswith("/second-factor?")
    assert b"It is on" in (await client.get("/account/authenticator")).body


@pytest.mark.gen_test
async def test_the_code_opens_them_and_leads_back(client: Client, new_client: NewClient) -> None:
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    asked = await other.get("/dashboard?x=1")
    assert asked.headers["Location"] == f"/second-factor?redirectBack={quote('/dashboard?x=1', safe='/')}"
    form = await other.get(asked.headers["Location"])
    assert form.code == 200
    assert b'value="/dashboard?x=1"' in form.body
    done = await other.post(
        "/second-factor", {"code": phone.code(client.clock.now()), "redirectBack": "/dashboard?y=2"}
    )
    assert (done.code, done.headers["Location"]) == (303, "/dashboard?y=2")
    assert await is_in(other)
    assert other.front_token()["up"]["st-mfa"] == {"c": {"totp": client.clock.now()}, "v": True}
    again = await other.get("/second-factor?redirectBack=/dashboard")
    assert again.headers["Location"] == "/dashboard"


@pytest.mark.gen_test
async def test_the_session_stays_open_through_renewals(client: Client, new_client: NewClient) -> None:
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    await other.refresh()
    assert not await is_in(other), "renewing gives no factor"
    await other.post("/second-factor", {"code": phone.code(client.clock.now())})
    client.clock.advance(3601)
    await other.refresh()
    assert await is_in(other)


@pytest.mark.gen_test
async def test_a_form_is_not_acted_on_and_leads_to_the_code(client: Client, new_client: NewClient) -> None:
    await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    response = await other.post("/account/authenticator", {"redirectBack": "https://evil.example/"})
    assert (response.code, response.headers["Location"]) == (303, ASKED)


@pytest.mark.gen_test
async def test_without_the_code_one_can_still_sign_out(client: Client, new_client: NewClient) -> None:
    await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    assert (await other.post("/signout")).headers["Location"] == "/"
    assert "sAccessToken" not in other.cookies
    third = new_client()
    await third.sign_in()
    assert json_of(await third.call("/auth/signout")) == {"status": "OK"}


@pytest.mark.gen_test
async def test_json_callers_get_the_claim_error_of_supertokens(client: Client, new_client: NewClient) -> None:
    await sign_up_with_app(client)
    for mode in ("cookie", "header"):
        other = new_client()
        body = {
            "formFields": [{"id": "email", "value": "ann@example.com"}, {"id": "password", "value": PASSWORD}]
        }
        signed_in = await other.call("/auth/signin", body, auth_mode=mode)
        assert json_of(signed_in)["status"] == "OK"
        token = signed_in.headers.get("st-access-token", "")
        headers = {"Authorization": f"Bearer {token}"} if mode == "header" else {}
        refused = await other.call("/sample/api", method="GET", auth_mode=mode, headers=headers)
        assert refused.code == 403
        assert json_of(refused)["claimValidationErrors"] == [
            {"id": "st-mfa", "reason": {"message": "MFA requirement for auth is not satisfied"}}
        ]


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_a_new_password_does_not_replace_the_code(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await client.sign_up()
    await confirm_address(app, client.user_id)
    await switch_on(client)
    thief = new_client()
    await thief.post("/forgot-password", {"email": "ann@example.com"})
    assert (await thief.get(await last_path(app))).code == 200
    changed = await thief.post(
        "/reset-password", {"token": await last_token(app), "password": "other ships sail 28 seas"}
    )
    assert changed.code == 303
    await thief.sign_in(password="other ships sail 28 seas")
    assert not await is_in(thief)


@pytest.mark.gen_test
async def test_sessions_from_before_this_extra_was_there_are_judged_by_the_store(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """Their tokens lack the claim: it is fetched once."""
    await client.sign_up()
    other = new_client()
    await other.sign_in()
    await switch_on(client)
    await app.sessions.remove_claim(other.session_handle, part_of(app).claim, owner=None)
    await other.refresh()
    assert "st-mfa" not in other.front_token()["up"]
    assert not await is_in(other)


# -- what counts ------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_each_code_counts_once_in_whatever_session(client: Client, new_client: NewClient) -> None:
    phone, _ = await sign_up_with_app(client)
    code = phone.code(client.clock.now())
    watched, thief = new_client(), new_client()
    await watched.sign_in()
    await thief.sign_in()
    answers = [await who.post("/second-factor", {"code": code}) for who in (watched, thief)]
    assert [answer.code for answer in answers] == [303, 422]
    client.clock.advance(30)
    assert (await thief.post("/second-factor", {"code": code})).code == 422, "nor later, in its window"
    assert (await thief.post("/second-factor", {"code": phone.code(client.clock.now())})).code == 303


@pytest.mark.gen_test
async def test_of_one_code_sent_many_times_at_once_one_counts(client: Client, new_client: NewClient) -> None:
    phone, _ = await sign_up_with_app(client)
    others = [new_client() for _ in range(5)]
    for other in others:
        await other.sign_in()
    code = phone.code(client.clock.now())
    answers = await asyncio.gather(*(other.post("/second-factor", {"code": code}) for other in others))
    assert sorted(answer.code for answer in answers) == [303, 422, 422, 422, 422]


@pytest.mark.gen_test
async def test_a_recovery_code_counts_once_however_it_is_typed(client: Client, new_client: NewClient) -> None:
    _, recovery_codes = await sign_up_with_app(client)
    first, second = new_client(), new_client()
    await first.sign_in()
    await second.sign_in()
    typed = f" {recovery_codes[3].upper().replace('-', ' ')} "
    assert (await first.post("/second-factor", {"code": typed})).code == 303
    refused = await second.post("/second-factor", {"code": recovery_codes[3], "with": "recovery"})
    assert refused.code == 422
    assert b"Enter a recovery code" in refused.body
    assert await is_in(first)
    assert not await is_in(second)
    assert b"9 of your recovery codes" in (await first.get("/account/authenticator")).body


@pytest.mark.gen_test
async def test_guessing_ends_after_ten_codes_and_goes_on_after_an_hour(
    client: Client, new_client: NewClient
) -> None:
    """Even the right code is not looked at then. Each account has its own count."""
    phone, recovery_codes = await sign_up_with_app(client)
    thief = new_client()
    await thief.sign_in()
    for _ in range(MAX_ATTEMPTS):
        guess = await thief.post("/second-factor", {"code": phone.wrong_code(client.clock.now())})
        assert guess.code == 422
    refused = await thief.post("/second-factor", {"code": phone.code(client.clock.now())})
    assert (refused.code, refused.headers["Retry-After"]) == (429, str(WINDOW_S))
    assert b"Too many wrong codes. Try again in 60 minutes, or use a recovery code." in refused.body
    owner = new_client()
    await owner.sign_in()
    assert (await owner.post("/second-factor", {"code": recovery_codes[0]})).code == 303, "not to be guessed"
    for _ in range(MAX_ATTEMPTS):
        await thief.post("/second-factor", {"code": phone.wrong_code(client.clock.now())})
    bob = new_client()
    await bob.sign_up("bob@example.com")
    await switch_on(bob)
    client.clock.advance(WINDOW_S)
    await thief.refresh()
    assert (await thief.post("/second-factor", {"code": phone.code(client.clock.now())})).code == 303


TYPED = ["", "x", "0" * 5000, "\u2028", "\uff11\uff12\uff13\uff14\uff15\uff16", "%00", "a" * 12]


@pytest.mark.gen_test
async def test_whatever_is_typed_is_answered_with_a_sentence(client: Client, new_client: NewClient) -> None:
    await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    for code in TYPED:
        response = await other.post("/second-factor", {"code": code})
        assert response.code == 422
        assert b"This code is not right" in response.body
    for path in ("recovery-codes", "removal", "confirmation"):
        assert (await client.post(f"/account/authenticator/{path}", {"code": "\u2028"})).code == 422


# -- switching it off -------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_it_goes_off_for_a_code_only_and_then_nobody_is_asked(
    client: Client, new_client: NewClient
) -> None:
    phone, _ = await sign_up_with_app(client)
    waiting = new_client()
    await waiting.sign_in()
    assert not await is_in(waiting)
    wrong = await client.post(
        "/account/authenticator/removal", {"code": phone.wrong_code(client.clock.now())}
    )
    assert wrong.code == 422
    off = await client.post("/account/authenticator/removal", {"code": phone.code(client.clock.now())})
    assert off.code == 303
    assert b"It is off" in (await client.get("/account/authenticator")).body
    assert await is_in(client)
    assert await is_in(waiting)


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_its_owner_hears_of_it_by_mail(client: Client, app: Application) -> None:
    phone, _ = await sign_up_with_app(client)
    await client.post("/account/authenticator/removal", {"code": phone.code(client.clock.now())})
    off, on, *_ = await mails(app)
    assert (on.to, off.to) == ("ann@example.com", "ann@example.com")
    assert on.subject.startswith("Codes were switched on for your account")
    assert off.subject.startswith("Codes were switched off for your account")
    assert "<h1>Codes were switched off" in off.html


@pytest.mark.gen_test
async def test_its_pages_ask_for_a_recent_sign_in(client: Client) -> None:
    await sign_up_with_app(client)
    client.clock.advance(901)
    asked = "/confirm-password?redirectBack=/account/authenticator"
    assert (await client.get("/account/authenticator")).headers["Location"] == asked
    for path in ("", "/confirmation", "/recovery-codes", "/removal"):
        response = await client.post(f"/account/authenticator{path}", {"code": "1"})
        assert response.headers["Location"] == f"{asked}&unsent=yes"


@pytest.mark.gen_test
async def test_a_recovery_code_switches_it_off_too(client: Client) -> None:
    _, recovery_codes = await sign_up_with_app(client)
    off = await client.post("/account/authenticator/removal", {"code": recovery_codes[9]})
    assert off.code == 303
    assert b"It is off" in (await client.get("/account/authenticator")).body


@pytest.mark.gen_test
async def test_new_recovery_codes_end_the_old_ones(client: Client, new_client: NewClient) -> None:
    phone, old = await sign_up_with_app(client)
    page = await client.post(
        "/account/authenticator/recovery-codes", {"code": phone.code(client.clock.now())}
    )
    assert page.code == 200
    assert not any(code in page.body.decode() for code in old)
    other = new_client()
    await other.sign_in()
    assert (await other.post("/second-factor", {"code": old[0]})).code == 422


@pytest.mark.gen_test
async def test_nothing_is_kept_of_users_who_are_gone(client: Client, app: Application) -> None:
    await sign_up_with_app(client)
    part = part_of(app)
    await part.maintain()
    assert await part.apps.is_on(client.user_id)
    await app.accounts.delete(client.user_id)
    await part.maintain()
    assert await part.apps.find(client.user_id) is None
    assert await part.apps.recovery_codes_left(client.user_id) == 0


@pytest.mark.gen_test
async def test_whoever_lost_it_gets_in_once_an_administrator_has_removed_it(
    client: Client, new_client: NewClient, app: Application
) -> None:
    await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    assert (await other.get("/dashboard")).code == 303
    found = [await extra.remove_second_factor(client.user_id) for extra in app.extras]
    assert found.count(True) == 1
    assert (await other.get("/dashboard")).code == 200
    assert (await client.get("/dashboard")).code == 200
    await switch_on(client)  # another one


@pytest.mark.gen_test
async def test_the_audit_log_has_what_became_of_the_second_factor(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """OWASP ASVS 5.0, 16.3.1: what was tried with each factor, and which factors there are."""
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    await other.post("/second-factor", {"code": phone.wrong_code(client.clock.now())})
    await other.post("/second-factor", {"code": phone.code(client.clock.now())})
    client.clock.advance(30)
    await other.post("/account/authenticator/recovery-codes", {"code": phone.code(client.clock.now())})
    client.clock.advance(30)
    await other.post("/account/authenticator/removal", {"code": phone.code(client.clock.now())})
    events = await app.audit.events(user_id=client.user_id)
    assert [(one.name, one.detail) for one in reversed(events)] == [
        ("signed up", ""),
        ("signed in", ""),
        ("factor added", "authenticator app"),
        ("signed in", ""),
        ("sign-in failed", "wrong code"),
        ("second factor given", ""),
        ("factor added", "new recovery codes"),
        ("factor removed", "authenticator app"),
    ]


@pytest.mark.gen_test
async def test_a_locked_user_gets_no_further_with_a_code(
    client: Client, new_client: NewClient, app: Application
) -> None:
    phone, _ = await sign_up_with_app(client)
    other = new_client()
    await other.sign_in()
    await app.accounts.lock(client.user_id)
    await app.sessions.revoke_all_sessions_for_user(client.user_id)
    code = phone.code(client.clock.now())
    assert (await other.post("/second-factor", {"code": code})).code in (303, 307)  # to a renewal, in vain
    assert (await other.refresh()).code == 401
    assert (await new_client().post("/login", {"email": "ann@example.com", "password": PASSWORD})).code == 422
    app_of_user = await part_of(app).apps.find(client.user_id)
    assert app_of_user is not None
    assert app_of_user.last_step < client.clock.now() // 30  # no code was taken


@pytest.mark.gen_test
async def test_guessing_codes_is_limited_though_rate_limits_are_off(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """The bound of the second factor is its own: no setting opens it, and no success with the password."""
    phone, _ = await sign_up_with_app(client)
    app.limits.enabled = False
    wrong = phone.wrong_code(client.clock.now())
    statuses = []
    for _ in range(11):
        other = new_client()
        await other.sign_in()
        statuses.append((await other.post("/second-factor", {"code": wrong})).code)
    assert statuses == [422] * 10 + [429]


OPEN_WITHOUT_A_CODE = {"/second-factor", "/verify-email/send", "/auth/signout", "/auth/public/signout"}


@pytest.mark.gen_test
async def test_without_the_code_no_protected_route_opens_and_no_socket(
    client: Client, new_client: NewClient, app: Application
) -> None:
    """From a browser known to the account, after a renewal, by page and by call."""
    await sign_up_with_app(client)
    await client.post("/signout")
    await client.sign_in()
    assert (await client.refresh()).code == 200
    addresses = {path for path, handler in own_routes(app) if access(handler) == "protected"}
    assert {"/ws/session", "/account", "/account/authenticator", "/admin/users"} <= addresses
    for address in sorted(addresses - OPEN_WITHOUT_A_CODE):
        for method in ("GET", "POST"):
            called = await client.call(address, {} if method == "POST" else None, method=method)
            assert called.code in (403, 405), f"{method} {address}"
            if called.code == 403:
                assert json_of(called)["claimValidationErrors"][0]["id"] == "st-mfa", f"{method} {address}"
