# SPDX-License-Identifier: MIT
"""Passkeys: what registers one, what signs in, and what does not. The device is one in software."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from stormcellar.accounts.limits import PASSKEY_CLIENT
from stormcellar.application import Application
from stormcellar.extras.passkeys.challenges import LIFETIME_S, Challenges
from stormcellar.extras.passkeys.part import MAX_ID_BYTES, Passkeys
from stormcellar.extras.passkeys.store import MOST_PASSKEYS, Passkey, PasskeyRefusedError
from stormcellar.extras.passkeys.tests.device import PRESENT, Device
from stormcellar.server_secret import ServerSecret
from stormcellar.sessions.base64url import encode_base64url
from stormcellar.testing.client import NAVIGATION, PASSWORD, SDK, Client, json_of
from stormcellar.tests.handlers.mailbox import mails
from stormcellar.tests.handlers.parts import with_settings

NewClient = Callable[..., Client]


def device_for(client: Client, **more: Any) -> Device:
    return Device(**{"origin": client.origin, **more})


async def call(client: Client, path: str, body: Any = None) -> Any:
    response = await client.call(path, {} if body is None else body)
    assert response.code == 200, response.body
    return json_of(response)


async def register(client: Client, device: Device, name: str = "my phone") -> Any:
    options = (await call(client, "/passkeys/registration/options"))["publicKey"]
    return await call(client, "/passkeys/registration", {"name": name, "credential": device.create(options)})


async def sign_up_with_passkey(client: Client) -> Device:
    await client.sign_up()
    device = device_for(client)
    await register(client, device)
    return device


async def options_for(client: Client) -> dict[str, Any]:
    options: dict[str, Any] = (await call(client, "/passkeys/sign-in/options"))["publicKey"]
    return options


async def sign_in(client: Client, device: Device, options: dict[str, Any] | None = None) -> Any:
    credential = device.get(options or await options_for(client))
    return await call(client, "/passkeys/sign-in?redirectBack=/dashboard%3Fx%3D1", {"credential": credential})


def part_of(app: Application) -> Passkeys:
    (part,) = (extra for extra in app.extras if isinstance(extra, Passkeys))
    return part


async def is_in(client: Client) -> bool:
    return (await client.get("/dashboard")).code == 200


# -- register ---------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_passkey_is_registered_under_its_name_and_signs_in(
    client: Client, new_client: NewClient
) -> None:
    await client.sign_up()
    device = device_for(client)
    assert await register(client, device, " my \u0000 phone <b> ") == {"status": "OK"}
    page = (await client.get("/account/passkeys")).body.decode()
    assert "my phone &lt;b&gt;" in page
    assert "never used" in page
    other = new_client()
    assert await sign_in(other, device) == {"status": "OK", "redirectTo": "/dashboard?x=1"}
    assert await is_in(other)
    assert other.user_id == client.user_id
    assert "never used" not in (await client.get("/account/passkeys")).body.decode()


@pytest.mark.gen_test
async def test_the_device_learns_no_user_id_and_is_asked_for_the_person(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    options = (await call(client, "/passkeys/registration/options"))["publicKey"]
    assert client.user_id not in json.dumps(options)
    assert len(options["user"]["id"]) == 43  # 32 random bytes
    assert options["user"]["name"] == "ann@example.com"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["rp"] == {"id": "localhost", "name": app.options.site_name}
    again = (await call(client, "/passkeys/registration/options"))["publicKey"]
    assert again["user"]["id"] == options["user"]["id"]
    assert again["challenge"] != options["challenge"]


@pytest.mark.gen_test
async def test_passkeys_that_are_there_are_not_registered_again(
    client: Client, new_client: NewClient
) -> None:
    device = await sign_up_with_passkey(client)
    options = (await call(client, "/passkeys/registration/options"))["publicKey"]
    assert [item["id"] for item in options["excludeCredentials"]] == [encode_base64url(device.credential_id)]
    thief = new_client()
    await thief.sign_up("thief@example.com")
    taken = await register(thief, device_for(client, credential_id=device.credential_id))
    assert taken["status"] == "REFUSED"
    device.user_handle = options["user"]["id"]
    await sign_in(thief, device)
    assert thief.user_id == client.user_id, "the key is still its owner's"


@pytest.mark.gen_test
async def test_nobody_has_more_passkeys_than_twenty(client: Client, app: Application) -> None:
    await client.sign_up()
    store = part_of(app).store
    for number in range(MOST_PASSKEYS):
        await store.add(Passkey(str(number), client.user_id, "", 0, "x", 0))
    refused = await register(client, device_for(client))
    assert (
        refused["message"] == "This passkey could not be added: it is known already, or there are too many."
    )


@pytest.mark.gen_test
async def test_a_passkey_that_did_not_check_the_person_is_not_registered(client: Client) -> None:
    await client.sign_up()
    assert (await register(client, device_for(client, flags=PRESENT)))["status"] == "REFUSED"


@pytest.mark.parametrize(("size", "status"), [(1023, "OK"), (1024, "REFUSED"), (12_000, "REFUSED")])
@pytest.mark.gen_test
async def test_an_id_longer_than_the_standard_allows_is_refused(
    client: Client, size: int, status: str
) -> None:
    """W3C Web Authentication, section 4. PostgreSQL has no room for such a key in its index."""
    await client.sign_up()
    device = device_for(client, credential_id=secrets.token_bytes(size))
    assert (await register(client, device))["status"] == status


@pytest.mark.gen_test
async def test_guests_register_nothing(client: Client) -> None:
    for path in ("/passkeys/registration/options", "/passkeys/registration"):
        assert (await client.call(path, {})).code == 401
    assert (await client.get("/account/passkeys")).code == 303


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_its_owner_hears_of_it_by_mail(client: Client, app: Application) -> None:
    await client.sign_up()
    await register(client, device_for(client))
    mail = (await mails(app))[0]
    assert (mail.to, mail.subject) == (
        "ann@example.com",
        f"A passkey was added to your account at {app.options.site_name}",
    )
    assert "<h1>A passkey was added" in mail.html


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_its_owner_hears_of_a_deletion_too(client: Client, app: Application) -> None:
    device = await sign_up_with_passkey(client)
    await delete(client, device)
    await delete(client, device)  # nothing is left to be told
    told = [mail.subject for mail in await mails(app) if "passkey" in mail.subject]
    assert told == [
        f"A passkey was {what} your account at {app.options.site_name}"
        for what in ("deleted from", "added to")
    ]


@pytest.mark.gen_test
async def test_adding_renaming_and_deleting_ask_for_a_recent_sign_in(client: Client) -> None:
    device = await sign_up_with_passkey(client)
    client.clock.advance(901)
    asked = "/confirm-password?redirectBack=/account/passkeys"
    assert (await client.get("/account/passkeys")).headers["Location"] == asked
    assert (await delete(client, device)).headers["Location"] == f"{asked}&unsent=yes"
    assert (await rename(client, device, "x")).headers["Location"] == f"{asked}&unsent=yes"
    form = await client.get(name_page(device))
    assert form.headers["Location"].startswith("/confirm-password?redirectBack=/account/passkeys/name")
    for path in ("/passkeys/registration/options", "/passkeys/registration"):
        refused = await client.call(path, {})
        assert (refused.code, json_of(refused)["claimValidationErrors"][0]["id"]) == (403, "auth_time")
    await sign_in(client, device)
    assert (await client.get("/account/passkeys")).code == 200, "a passkey is a proof, too"


# -- sign in ----------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_each_answer_of_a_device_counts_once(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    other = new_client()
    options = await options_for(other)
    credential = device.get(options)
    answers = await asyncio.gather(
        *(call(other, "/passkeys/sign-in", {"credential": credential}) for _ in range(4))
    )
    assert sorted(answer["status"] for answer in answers) == ["OK", "REFUSED", "REFUSED", "REFUSED"]
    late = await sign_in(other, device, options)
    assert late["message"] == "That took too long, or was sent twice. Please try again."


@pytest.mark.gen_test
async def test_a_challenge_is_for_the_browser_that_asked(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    asked, other = new_client(), new_client()
    options = await options_for(asked)
    assert (await sign_in(other, device, options))["status"] == "REFUSED"
    await options_for(other)
    assert (await sign_in(other, device, options))["status"] == "REFUSED"
    assert (await sign_in(asked, device, options))["status"] == "OK"


@pytest.mark.gen_test
async def test_two_tabs_may_both_be_waiting_for_the_passkey(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    other = new_client()
    first, second = await options_for(other), await options_for(other)
    assert (await sign_in(other, device, first))["status"] == "OK"
    assert (await sign_in(other, device, second))["status"] == "OK"


@pytest.mark.gen_test
async def test_a_challenge_ends_after_ten_minutes(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    other = new_client()
    options = await options_for(other)
    client.clock.advance(LIFETIME_S - 1)
    assert (await sign_in(other, device, options))["status"] == "OK"
    options = await options_for(other)
    client.clock.advance(LIFETIME_S)
    assert (await sign_in(other, device, options))["status"] == "REFUSED"


@pytest.mark.gen_test
async def test_a_challenge_to_register_signs_nobody_in_nor_the_other_way_round(client: Client) -> None:
    device = await sign_up_with_passkey(client)
    registration = (await call(client, "/passkeys/registration/options"))["publicKey"]
    stolen = {"challenge": registration["challenge"], "rpId": "localhost"}
    assert (await sign_in(client, device, stolen))["status"] == "REFUSED"
    another = device_for(client)
    swapped = {**registration, "challenge": (await options_for(client))["challenge"]}
    refused = await call(client, "/passkeys/registration", {"credential": another.create(swapped)})
    assert refused["status"] == "REFUSED"


WRONG: dict[str, dict[str, Any]] = {
    "another key": {"key": Device("").key},
    "another origin": {"origin": "https://evil.example"},
    "person unchecked": {"flags": PRESENT},
    "another user": {"user_handle": encode_base64url(bytes(32))},
    "unknown": {"credential_id": bytes(32)},
}


@pytest.mark.gen_test
async def test_whatever_does_not_fit_is_refused(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    other = new_client()
    for what, changes in WRONG.items():
        refused = await sign_in(other, replace(device, **changes))
        assert refused["status"] == "REFUSED", what
        assert refused["message"].endswith((".", "?"))
    for_another_host = {**await options_for(other), "rpId": "evil.example"}
    assert (await sign_in(other, device, for_another_host))["status"] == "REFUSED"
    assert "sAccessToken" not in other.cookies
    assert (await sign_in(other, device))["status"] == "OK"


@pytest.mark.gen_test
async def test_a_counter_that_goes_backwards_gives_a_copy_away(client: Client, new_client: NewClient) -> None:
    await client.sign_up()
    device = device_for(client, counter=7)
    await register(client, device)
    other = new_client()
    device.counter = 8
    assert (await sign_in(other, device))["status"] == "OK"
    for counter in (8, 3, 0):
        device.counter = counter
        assert (await sign_in(other, device))["status"] == "REFUSED"
    device.counter = 9
    assert (await sign_in(other, device))["status"] == "OK"


@pytest.mark.gen_test
async def test_a_locked_user_cannot_sign_in_by_passkey_either(
    client: Client, new_client: NewClient, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    await app.accounts.lock(client.user_id)
    other = new_client()
    assert (await sign_in(other, device))["status"] == "REFUSED"
    assert not await is_in(other)


@pytest.mark.gen_test
async def test_signing_in_ends_the_session_that_the_browser_had(client: Client, app: Application) -> None:
    device = await sign_up_with_passkey(client)
    before = client.session_handle
    await sign_in(client, device)
    assert client.session_handle != before
    assert await app.sessions.get_session_information(before) is None


@pytest.mark.gen_test
async def test_it_leads_to_this_site_only(client: Client) -> None:
    device = await sign_up_with_passkey(client)
    credential = device.get(await options_for(client))
    answer = await call(client, "/passkeys/sign-in?redirectBack=//evil.example", {"credential": credential})
    assert answer["redirectTo"] == "/dashboard"


@pytest.mark.gen_test
async def test_other_sites_can_neither_begin_nor_end_it(client: Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path in ("/passkeys/sign-in/options", "/passkeys/sign-in"):
        assert (await client.call(path, {}, headers=headers)).code == 403


@pytest.mark.gen_test
async def test_the_browser_is_known_by_a_cookie_for_these_addresses_only(client: Client) -> None:
    await options_for(client)
    (cookie,) = (cookie for cookie in client.jar.values() if cookie.name == "sPasskeyBrowser")
    assert (cookie.path, cookie.http_only, cookie.same_site) == ("/passkeys", True, "Lax")


@with_settings(public_url="https://www.example.com")
@pytest.mark.gen_test
async def test_passkeys_belong_to_the_public_address(client: Client) -> None:
    client.origin = "https://www.example.com"
    response = await client.call("/passkeys/sign-in/options", {})
    assert json_of(response)["publicKey"]["rpId"] == "www.example.com"
    (cookie,) = (cookie for cookie in client.jar.values() if cookie.name == "sPasskeyBrowser")
    assert cookie.secure


# -- garbage ----------------------------------------------------------------------------------------

GARBAGE: list[Any] = [None, 7, "x", [], {}, {"id": 1}, {"id": "\x00"}, {"id": "\ud800"}, {"response": []}]


@pytest.mark.gen_test
async def test_garbage_is_refused_in_a_sentence(client: Client) -> None:
    await client.sign_up()
    await options_for(client)
    for address in ("/passkeys/sign-in", "/passkeys/registration"):
        for credential in GARBAGE:
            answer = await call(client, address, {"credential": credential})
            assert answer["status"] == "REFUSED"
        for body in (b"", b"[]", b"{", b'"x"', b"\xff", b"{" * 70_000):
            headers = {**SDK, "Content-Type": "application/json"}
            response = await client.request("POST", address, headers=headers, body=body)
            assert response.code in (400, 413) or json_of(response)["status"] == "REFUSED"


@pytest.mark.gen_test
async def test_an_answer_with_any_part_damaged_is_refused(client: Client, new_client: NewClient) -> None:
    """In sign-in and registration alike, each part is left out, emptied, retyped, cut and bent."""
    device = await sign_up_with_passkey(client)
    other = new_client()

    async def registration() -> tuple[str, Any]:
        options = (await call(client, "/passkeys/registration/options"))["publicKey"]
        return "/passkeys/registration", device_for(client).create(options)

    async def signing_in() -> tuple[str, Any]:
        return "/passkeys/sign-in", device.get(await options_for(other))

    for begin, who in ((registration, client), (signing_in, other)):
        _, sample = await begin()
        for part in ("id", "rawId", "type", *(f"response.{name}" for name in sample["response"])):
            if part == "response.transports":
                continue  # a hint, which nothing depends on
            damages: tuple[Any, ...] = ("", None, 7, [], {}, "AAAA", "%%", "cut")
            for damage in damages:
                address, credential = await begin()
                place = credential["response"] if "." in part else credential
                name = part.removeprefix("response.")
                whole = copy.copy(place[name])
                place[name] = whole[: len(whole) // 2] if damage == "cut" else damage
                answer = await call(who, address, {"credential": credential})
                assert answer["status"] == "REFUSED", (part, damage)


def test_challenges_of_others_are_not_recognised() -> None:
    ours, theirs = Challenges(ServerSecret(b"a" * 32)), Challenges(ServerSecret(b"b" * 32))
    made = ours.make("sign in", "browser", 1000)
    assert ours.is_good(made, "sign in", "browser", 1000 + LIFETIME_S - 1)
    assert not theirs.is_good(made, "sign in", "browser", 1000)
    assert not ours.is_good(made, "sign in", "", 1000)
    assert not ours.is_good(ours.make("sign in", "", 1000), "sign in", "", 1000)
    for bent in (b"", made[:-1], made + b"x", bytes(8) + made[8:], b"\xff" + made[1:]):
        assert not ours.is_good(bent, "sign in", "browser", 1000)


# -- rename -----------------------------------------------------------------------------------------


def name_page(device: Device) -> str:
    return f"/account/passkeys/name?credential_id={encode_base64url(device.credential_id)}"


async def rename(client: Client, device: Device, name: str) -> Any:
    fields = {"credential_id": encode_base64url(device.credential_id), "name": name}
    return await client.post("/account/passkeys/name", fields)


async def names(client: Client, app: Application) -> list[str]:
    return sorted(passkey.name for passkey in await part_of(app).store.list(client.user_id))


@pytest.mark.gen_test
async def test_a_passkey_gets_another_name_and_signs_in_as_before(
    client: Client, new_client: NewClient, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    await register(client, device_for(client), "a tablet")
    page = (await client.get("/account/passkeys")).body.decode()
    assert f'href="{name_page(device)}"' in page
    form = (await client.get(name_page(device))).body.decode()
    assert 'value="my phone"' in form
    assert "a tablet" not in form
    renamed = await rename(client, device, "my “new” phone")
    assert (renamed.code, renamed.headers["Location"]) == (303, "/account/passkeys")
    assert await names(client, app) == ["a tablet", "my “new” phone"]
    assert (await sign_in(new_client(), device))["status"] == "OK"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" my \u0000 phone <b>\r\n\u202e", "my phone <b>"),
        ("", "Passkey"),
        (" \u2028 ", "Passkey"),
        ("é" * 61, "é" * 60),
    ],
)
@pytest.mark.gen_test
async def test_a_new_name_is_kept_as_the_first_one_would_be(
    client: Client, app: Application, typed: str, kept: str
) -> None:
    device = await sign_up_with_passkey(client)
    await register(client, device_for(client), typed)
    await rename(client, device, typed)
    assert await names(client, app) == [kept, kept]


@pytest.mark.gen_test
async def test_a_name_is_text_in_the_form_too(client: Client) -> None:
    device = await sign_up_with_passkey(client)
    await rename(client, device, '"><script>alert(1)</script>')
    form = (await client.get(name_page(device))).body.decode()
    assert 'value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"' in form


@pytest.mark.gen_test
async def test_nobody_renames_somebody_elses_nor_sees_its_name(
    client: Client, new_client: NewClient, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    bob = new_client()
    await bob.sign_up("bob@example.com")
    for answer in (await rename(bob, device, "bob's"), await bob.get(name_page(device))):
        assert (answer.code, answer.headers["Location"]) == (303, "/account/passkeys")
    assert await names(client, app) == ["my phone"]


@pytest.mark.gen_test
async def test_renaming_what_is_not_there_does_no_harm(client: Client, app: Application) -> None:
    await sign_up_with_passkey(client)
    path = "/account/passkeys/name"
    for credential_id in ("", "x" * 9000, "\u2028", "%00", "\u0000"):
        fields = {"credential_id": credential_id, "name": "x"}
        form = await client.get(f"{path}?credential_id={quote(credential_id)}")
        for answer in (await client.post(path, fields), form):
            assert (answer.code, answer.headers["Location"]) == (303, "/account/passkeys")
    assert (await client.post(path)).code == 303
    assert (await client.get(path)).code == 303
    assert await names(client, app) == ["my phone"]


@pytest.mark.gen_test
async def test_the_form_of_the_longest_id_is_found_again_after_the_password(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    device = device_for(client, credential_id=secrets.token_bytes(MAX_ID_BYTES))
    await register(client, device)
    client.clock.advance(901)
    asked = (await client.get(name_page(device))).headers["Location"]
    back = parse_qs(urlsplit(asked).query)["redirectBack"]
    assert back == [name_page(device)]
    confirmed = await client.post("/confirm-password", {"password": PASSWORD, "redirectBack": back[0]})
    assert confirmed.headers["Location"] == name_page(device)
    assert b'value="my phone"' in (await client.get(name_page(device))).body


# -- delete -----------------------------------------------------------------------------------------


async def delete(client: Client, device: Device) -> Any:
    fields = {"credential_id": encode_base64url(device.credential_id)}
    return await client.post("/account/passkeys/removal", fields)


@pytest.mark.gen_test
async def test_a_deleted_passkey_signs_in_no_more(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    page = (await client.get("/account/passkeys")).body.decode()
    assert re.search(r'name="credential_id" value="([^"]+)"', page)
    assert (await delete(client, device)).code == 303
    assert "You have none yet" in (await client.get("/account/passkeys")).body.decode()
    refused = await sign_in(new_client(), device)
    assert refused["message"] == "This site does not know this passkey. Was it deleted from your account?"


@pytest.mark.gen_test
async def test_nobody_deletes_somebody_elses(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    bob = new_client()
    await bob.sign_up("bob@example.com")
    assert (await delete(bob, device)).code == 303
    assert (await sign_in(bob, device))["status"] == "OK"


@pytest.mark.gen_test
async def test_the_last_way_to_sign_in_is_kept(client: Client, app: Application) -> None:
    await client.sign_up()
    one, two = device_for(client), device_for(client)
    await register(client, one)
    await register(client, two)
    whose = {"user_id": client.user_id}
    await app.database.write(
        lambda c: c.execute("UPDATE users SET password_hash = NULL WHERE user_id = :user_id", whose).rowcount
    )
    assert (await delete(client, one)).code == 303
    refused = await delete(client, two)
    assert refused.code == 422
    assert b"Without this passkey you could not sign in any more" in refused.body
    await part_of(app).store.remove(client.user_id, "nobody's")
    assert (await sign_in(client, two))["status"] == "OK"


@pytest.mark.gen_test
async def test_deleting_what_is_not_there_does_no_harm(client: Client) -> None:
    await client.sign_up()
    for credential_id in ("", "x" * 9000, "\u2028", "%00"):
        response = await client.post("/account/passkeys/removal", {"credential_id": credential_id})
        assert response.code == 303


@pytest.mark.gen_test
async def test_nothing_is_kept_of_users_who_are_gone_nor_of_old_challenges(
    client: Client, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    part = part_of(app)
    await part.maintain()
    assert len(await part.store.list(client.user_id)) == 1
    client.clock.advance(LIFETIME_S)
    await app.accounts.delete(client.user_id)
    await part.maintain()

    def counts(connection: Any) -> list[int]:
        tables = ("passkeys", "passkey_users", "passkey_challenges")
        return [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables]

    assert await app.database.read(counts) == [0, 0, 0]
    with pytest.raises(PasskeyRefusedError):
        await part.sign_in(client.origin, "x", device.get({"challenge": "AAAA", "rpId": "localhost"}))


@pytest.mark.gen_test
async def test_the_script_is_offered_where_people_sign_in(client: Client) -> None:
    page = await client.request("GET", "/login?redirectBack=/a", headers=NAVIGATION)
    assert b'<script type="module" src="/passkeys/static/sign-in.js"></script>' in page.body
    assert b'data-redirect-back="/a"' in page.body
    for name in ("sign-in.js", "passkeys.js", "register.js"):
        assert (await client.get(f"/passkeys/static/{name}")).code == 200


@pytest.mark.gen_test
async def test_the_audit_log_has_what_became_of_passkeys(
    client: Client, new_client: NewClient, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    await app.accounts.lock(client.user_id)
    assert (await sign_in(new_client(), device))["status"] == "REFUSED"
    await app.accounts.unlock(client.user_id)
    (passkey,) = await part_of(app).store.list(client.user_id)
    for _ in range(2):  # the second finds nothing, and so changes nothing
        await client.post("/account/passkeys/removal", {"credential_id": passkey.credential_id})
    events = await app.audit.events(user_id=client.user_id)
    assert [(one.name, one.detail) for one in reversed(events)] == [
        ("signed up", ""),
        ("signed in", ""),
        ("factor added", "passkey"),
        ("signed in", ""),
        ("session revoked", "locked or new password"),
        ("sign-in failed", "passkey of a locked account"),
        ("factor removed", "passkey"),
    ]


@pytest.mark.parametrize(
    ("order", "stays"),
    [
        ("add", False),
        ("add, confirm", False),
        ("confirm, add", True),
        ("add, confirm, change address", False),
    ],
)
@pytest.mark.gen_test
async def test_a_passkey_from_before_the_address_was_confirmed_goes_with_a_reset(
    client: Client, new_client: NewClient, app: Application, order: str, stays: bool
) -> None:
    """A person may sign up with the address of another person, whose owner then gets a password by mail. A
    passkey that was added to a confirmed address outlives passwords."""
    attacker = client
    await attacker.sign_up()
    device = device_for(attacker)
    email = "ann@example.com"
    for step in order.split(", "):
        if step == "add":
            await register(attacker, device)
        elif step == "confirm":
            token = await app.accounts.create_email_verification(attacker.user_id)
            assert token is not None
            await app.accounts.verify_email(token.text)
        else:
            email = "other@example.com"
            token = await app.accounts.create_email_change(attacker.user_id, email)
            assert token is not None
            await app.accounts.change_email(token.text)
    reset = await app.accounts.create_password_reset(email)
    assert reset is not None
    owner = new_client()
    new_password = "the owner's very own password"
    assert (await owner.post("/reset-password", {"token": reset.text, "password": new_password})).code == 303
    assert (await sign_in(attacker, device))["status"] == ("OK" if stays else "REFUSED")
    assert await is_in(attacker) is stays


@pytest.mark.gen_test
async def test_refused_passkeys_are_limited_and_nothing_is_stored_for_each(
    client: Client, new_client: NewClient, app: Application
) -> None:
    device = await sign_up_with_passkey(client)
    stranger = device_for(client)
    other = new_client()

    async def rows() -> int:
        tables = ("passkey_challenges", "passkeys", "rate_limits")
        counts = " + ".join(f"(SELECT COUNT(*) FROM {table})" for table in tables)
        found = await app.database.read(lambda c: c.execute(f"SELECT {counts}").fetchone())
        return int(found[0])

    before = await rows()
    answers = []
    for number in range(PASSKEY_CLIENT.most + 20):
        tried = device if number % 2 else stranger
        credential = tried.get(await options_for(other))
        credential["response"]["signature"] = "AAAA"
        answers.append((await other.call("/passkeys/sign-in", {"credential": credential})).code)
    assert answers == [200] * PASSKEY_CLIENT.most + [429] * 20
    assert await rows() <= before + 1
    client.clock.advance(PASSKEY_CLIENT.window_s)
    assert (await sign_in(other, device))["status"] == "OK"


@pytest.mark.gen_test
async def test_passkeys_that_count_use_up_no_budget(client: Client, new_client: NewClient) -> None:
    device = await sign_up_with_passkey(client)
    other = new_client()
    for _ in range(PASSKEY_CLIENT.most + 5):
        assert (await sign_in(other, device))["status"] == "OK"


@with_settings(debug=True)
@pytest.mark.gen_test
async def test_a_registration_that_is_sent_twice_at_once_is_answered_twice(
    client: Client, app: Application
) -> None:
    await client.sign_up()
    options = (await call(client, "/passkeys/registration/options"))["publicKey"]
    body = {"name": "my phone", "credential": device_for(client).create(options)}
    answers = await asyncio.gather(*(call(client, "/passkeys/registration", body) for _ in range(3)))
    assert answers == [{"status": "OK"}] * 3
    assert len(await part_of(app).store.list(client.user_id)) == 1
    assert len(await mails(app)) == 1
