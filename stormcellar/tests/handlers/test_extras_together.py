# SPDX-License-Identifier: MIT
"""What the two parts below extras/ promise each other; without one of them there is nothing to promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stormcellar.testing.client import Client, json_of

authenticator = pytest.importorskip("stormcellar.extras.authenticator.tests.parts")
pytest.importorskip("webauthn")
passkeys = pytest.importorskip("stormcellar.extras.passkeys.tests.test_passkeys")


@pytest.mark.gen_test
async def test_a_passkey_stands_for_password_and_code(
    client: Client, new_client: Callable[..., Client]
) -> None:
    device = await passkeys.sign_up_with_passkey(client)
    await authenticator.switch_on(client)
    other = new_client()
    assert (await passkeys.sign_in(other, device))["status"] == "OK"
    assert (await other.get("/dashboard")).code == 200
    assert other.front_token()["up"]["st-mfa"] == {"c": {"webauthn": client.clock.now()}, "v": True}


@pytest.mark.gen_test
async def test_it_may_be_given_instead_of_the_code_after_the_password(
    client: Client, new_client: Callable[..., Client]
) -> None:
    device = await passkeys.sign_up_with_passkey(client)
    await authenticator.switch_on(client)
    other = new_client()
    await other.sign_in()
    asked = await other.get("/dashboard", follow=True)
    assert b"/passkeys/static/sign-in.js" in asked.body
    await passkeys.sign_in(other, device)
    assert (await other.get("/dashboard")).code == 200


@pytest.mark.gen_test
async def test_without_the_code_no_passkey_can_be_added(
    client: Client, new_client: Callable[..., Client]
) -> None:
    """It would be the way round."""
    await client.sign_up()
    await authenticator.switch_on(client)
    thief = new_client()
    await thief.sign_in()
    assert (await thief.get("/account/passkeys")).headers["Location"].startswith("/second-factor?")
    for path in ("/passkeys/registration/options", "/passkeys/registration"):
        refused = await thief.call(path, {})
        assert (refused.code, json_of(refused)["claimValidationErrors"][0]["id"]) == (403, "st-mfa")


@pytest.mark.gen_test
async def test_nobody_confirms_deletes_or_changes_an_account_without_the_code(
    client: Client, new_client: Callable[..., Client]
) -> None:
    await client.sign_up()
    await authenticator.switch_on(client)
    thief = new_client()
    await thief.sign_in()
    for path in ("/account", "/account/password", "/account/email", "/account/delete", "/account/sessions"):
        assert (await thief.get(path)).headers["Location"].startswith("/second-factor?"), path
        fields = {"email": "ann@example.com", "password": "x", "which": "others"}
        assert (await thief.post(path, fields)).headers["Location"].startswith("/second-factor?"), path
    assert (await client.get("/dashboard")).code == 200
