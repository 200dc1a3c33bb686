# SPDX-License-Identifier: MIT
"""Many sign-ins and sign-ups at the same moment: people get in, and guesses stay limited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stormcellar.accounts.limits import CONFIRMATION, LOOK_UP, SIGN_IN_ACCOUNT, SIGN_IN_KNOWN
from stormcellar.application import Application
from stormcellar.testing.client import PASSWORD, Client, json_of
from stormcellar.testing.plugin import AsUser, Node

NewClient = Callable[..., Client]
EMAIL = "ann@example.com"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "postgres":
        return {"database": request.getfixturevalue("postgres_url")}
    return {}


async def sign_in(client: Client, password: str = PASSWORD) -> int:
    return (await client.post("/login", {"email": EMAIL, "password": password})).code


@pytest.mark.gen_test
async def test_everyone_with_the_right_password_gets_in(as_user: AsUser, new_client: NewClient) -> None:
    await as_user(EMAIL)
    browsers = [new_client() for _ in range(3 * SIGN_IN_ACCOUNT.most)]
    assert set(await asyncio.gather(*map(sign_in, browsers))) == {303}


@pytest.mark.gen_test
async def test_everyone_gets_in_through_two_servers(
    as_user: AsUser, new_client: NewClient, second_node: Callable[..., Node]
) -> None:
    await as_user(EMAIL)
    node = second_node()
    await node.app.start()
    here = [new_client() for _ in range(15)]
    there = [node.visited_by(new_client()) for _ in range(15)]
    assert set(await asyncio.gather(*map(sign_in, here + there))) == {303}


@pytest.mark.gen_test
async def test_every_known_browser_gets_in(as_user: AsUser) -> None:
    browsers = [await as_user(EMAIL) for _ in range(SIGN_IN_KNOWN.most + 5)]
    assert set(await asyncio.gather(*map(sign_in, browsers))) == {303}


@pytest.mark.gen_test
async def test_guesses_in_parallel_are_as_limited_as_others(as_user: AsUser, new_client: NewClient) -> None:
    """The right password is among those that come too late: it is refused as well."""
    await as_user(EMAIL)
    guesses = [f"a wrong guess {number}" for number in range(4 * SIGN_IN_ACCOUNT.most)]
    codes = await asyncio.gather(*(sign_in(new_client(), guess) for guess in guesses))
    assert sorted(codes) == [422] * SIGN_IN_ACCOUNT.most + [429] * 3 * SIGN_IN_ACCOUNT.most
    assert await sign_in(new_client()) == 429


@pytest.mark.gen_test
async def test_equal_wrong_guesses_at_once_are_one_guess(as_user: AsUser, new_client: NewClient) -> None:
    await as_user(EMAIL)
    codes = await asyncio.gather(*(sign_in(new_client(), "a wrong guess") for _ in range(30)))
    assert set(codes) == {422}
    assert await sign_in(new_client()) == 303


@pytest.mark.gen_test
async def test_a_right_password_among_nine_wrong_ones_lets_the_others_go_on(
    as_user: AsUser, new_client: NewClient
) -> None:
    await as_user(EMAIL)
    wrong = [f"a wrong guess {number}" for number in range(SIGN_IN_ACCOUNT.most - 1)]
    passwords = [PASSWORD, *wrong, PASSWORD, PASSWORD]
    codes = await asyncio.gather(*(sign_in(new_client(), password) for password in passwords))
    assert [codes[0], *codes[-2:]] == [303] * 3


@pytest.mark.gen_test
async def test_a_password_is_confirmed_in_many_windows_at_once(as_user: AsUser) -> None:
    ann = await as_user(EMAIL)
    forms = (ann.post("/confirm-password", {"password": PASSWORD}) for _ in range(2 * CONFIRMATION.most))
    answers = await asyncio.gather(*forms)
    assert {response.code for response in answers} <= {303, 307}


@pytest.mark.gen_test
async def test_a_whole_class_signs_up_from_one_address_at_once(
    app: Application, new_client: NewClient
) -> None:
    async def sign_up(number: int) -> int:
        body = {"email": f"pupil{number}@example.com", "password": PASSWORD}
        return (await new_client().post("/signup", body)).code

    codes = await asyncio.gather(*map(sign_up, range(LOOK_UP.most + 15)))
    assert set(codes) == {303}


@pytest.mark.gen_test
async def test_looking_addresses_up_in_parallel_is_limited(as_user: AsUser, new_client: NewClient) -> None:
    """No answer but those within the limit tells that an address is taken."""
    await as_user(EMAIL)

    async def look_up(_number: int) -> str:
        fields = [{"id": "email", "value": EMAIL}, {"id": "password", "value": "another person's words"}]
        response = await new_client().call("/auth/signup", {"formFields": fields})
        return str(response.code) if response.code != 200 else json_of(response)["status"]

    answers = await asyncio.gather(*map(look_up, range(2 * LOOK_UP.most)))
    assert sorted(answers) == ["429"] * LOOK_UP.most + ["FIELD_ERROR"] * LOOK_UP.most
