# SPDX-License-Identifier: MIT
"""Tokens of the application's own, signed with the session engine's keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import jwt
import pytest

from stormcellar.sessions import UnauthorisedError
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.support import ISSUER, running_engine


def test_an_own_token_is_verified_by_the_jwks_and_opens_no_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with running_engine(tmp_path / "db", FakeClock()) as engine:
            token = engine.create_jwt({"report": 7}, 60)
            key = jwt.PyJWKSet.from_dict(engine.get_jwks())[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
            now = int(engine.clock.now())
            assert claims == {"report": 7, "iat": now, "exp": now + 60, "iss": ISSUER}
            with pytest.raises(UnauthorisedError):
                await engine.get_session(token)

    asyncio.run(story())


def test_with_rotating_keys_an_own_token_lives_no_longer_than_its_key_is_published(tmp_path: Path) -> None:
    async def story(dynamic: bool) -> None:
        async with running_engine(
            tmp_path / str(dynamic), FakeClock(), use_dynamic_signing_key=dynamic
        ) as engine:
            if dynamic:
                with pytest.raises(ValueError, match="permanent keys"):
                    engine.create_jwt({}, 3601)
            else:
                assert engine.create_jwt({}, 100 * 365 * 86400)

    for dynamic in (True, False):
        asyncio.run(story(dynamic))
