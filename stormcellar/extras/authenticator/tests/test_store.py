# SPDX-License-Identifier: MIT
"""What the store of the authenticator app promises, on each kind of database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from stormcellar.extras.authenticator.codes import Vault, new_recovery_codes, new_secret
from stormcellar.extras.authenticator.store import (
    MAX_ATTEMPTS,
    MAX_IN_A_ROW,
    WINDOW_S,
    Authenticators,
    CodeRefusedError,
    ShutError,
    TooManyAttemptsError,
    WrongCodeError,
)
from stormcellar.server_secret import ServerSecret
from stormcellar.tests.support import SECRET, database_at

NOW_S = 1_800_000_000


async def outcome(work: object) -> str:
    try:
        await work  # type: ignore[misc]
    except CodeRefusedError as error:
        return type(error).__name__
    return "accepted"


def test_two_processes_accept_each_code_once_and_count_all_guesses(place: Path | str) -> None:
    async def story() -> None:
        databases = [database_at(place), database_at(place)]
        for database in databases:
            await database.open()
        vault = Vault(ServerSecret(SECRET))
        one, two = (Authenticators(database, vault) for database in databases)
        await asyncio.gather(one.open(), two.open())
        secret, recovery_codes = new_secret(), new_recovery_codes()
        code = TOTP(secret, 6, SHA1(), 30).generate
        assert await one.begin("ann", new_secret(), 0)
        assert await two.begin("ann", secret, 0)
        await one.confirm("ann", code(NOW_S - 30).decode(), NOW_S, recovery_codes)
        assert not await two.begin("ann", new_secret(), 0)
        assert await two.is_on("ann")
        for text in (code(NOW_S).decode(), recovery_codes[0]):
            found = await asyncio.gather(
                *(outcome(process.check("ann", text, NOW_S)) for process in (one, two, one, two))
            )
            assert sorted(found) == ["WrongCodeError"] * 3 + ["accepted"]
        assert await one.recovery_codes_left("ann") == 9
        await one.check("ann", recovery_codes[1], NOW_S)  # which begins the count anew
        right = {code(NOW_S + WINDOW_S * hour + aside) for hour in range(12) for aside in (-30, 0, 30)}
        wrong = next(text for text in map("{:06}".format, range(100)) if text.encode() not in right)
        guesses = [outcome(process.check("ann", wrong, NOW_S)) for process in (one, two) * MAX_ATTEMPTS]
        found = await asyncio.gather(*guesses)
        assert (found.count("WrongCodeError"), found.count("TooManyAttemptsError")) == (10, 10)
        with pytest.raises(TooManyAttemptsError):
            await two.check("ann", wrong, NOW_S + WINDOW_S - 1)
        for number in range(MAX_ATTEMPTS, MAX_IN_A_ROW):
            now_s = NOW_S + WINDOW_S * (number // MAX_ATTEMPTS)
            assert await outcome(one.check("ann", wrong, now_s)) == "WrongCodeError"
        with pytest.raises(ShutError):
            await two.check("ann", code(NOW_S + 10**6).decode(), NOW_S + 10**6)
        await two.check("ann", recovery_codes[2], NOW_S + 10**6)
        await two.check("ann", code(NOW_S + 10**6).decode(), NOW_S + 10**6)
        await one.remove("ann")
        with pytest.raises(WrongCodeError):
            await two.check("ann", recovery_codes[3], NOW_S)
        assert await two.find("ann") is None
        assert await two.find("\0") is None
        for database in databases:
            await database.close()

    asyncio.run(story())
