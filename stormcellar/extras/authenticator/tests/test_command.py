# SPDX-License-Identifier: MIT
"""`python manage.py remove-second-factor`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from stormcellar.application import Application
from stormcellar.extras.authenticator.part import Authenticator
from stormcellar.extras.authenticator.tests.parts import totp
from stormcellar.settings import Settings
from stormcellar.testing.client import PASSWORD
from stormcellar.testing.clock import cheap_keys
from stormcellar.tests.site import main, make_app

SECRET = b"twenty bytes of this"
T = TypeVar("T")


async def with_application(folder: Path, work: Callable[[Application], Awaitable[T]]) -> T:
    application = make_app(Settings(data_dir=folder), generate_key=cheap_keys())
    await application.start()
    try:
        return await work(application)
    finally:
        await application.stop()


async def set_up(application: Application) -> str:
    """A user with the app switched on."""
    user = await application.accounts.sign_up("ann@example.com", PASSWORD)
    apps = part_of(application).apps
    now_s = application.clock.now()
    await apps.begin(user.user_id, SECRET, int(now_s * 1000))
    await apps.confirm(user.user_id, totp(SECRET, now_s), now_s, ["a-recovery-code"])
    return user.user_id


def part_of(application: Application) -> Authenticator:
    return next(extra for extra in application.extras if isinstance(extra, Authenticator))


def test_the_command_removes_it_and_the_audit_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_id = asyncio.run(with_application(tmp_path, set_up))
    words = ["remove-second-factor", "ann@example.com", f"--data_dir={tmp_path}"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"user_id": user_id, "second_factor_removed": True}

    async def look(application: Application) -> None:
        assert not await part_of(application).apps.is_on(user_id)
        (event,) = await application.audit.events(user_id=user_id)
        assert (event.name, event.detail) == ("factor removed", "command line: second factor")

    asyncio.run(with_application(tmp_path, look))
    assert main(words) == 1
    assert capsys.readouterr().err == "remove-second-factor: ann@example.com has no second factor.\n"
