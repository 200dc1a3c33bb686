# SPDX-License-Identifier: MIT
"""check asks the mail server, and says what waits; list-mails and retry-mails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stormcellar.commands.check_mail import check_mail_server
from stormcellar.commands.finding import Finding
from stormcellar.settings import Settings
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.serving import free_port
from stormcellar.tests.site import make_app
from stormcellar.tests.smtp import LOGIN, PostOffice

SENDER = "no-reply@example.com"


async def findings(url: str, **settings: str) -> list[Finding]:
    options = Settings(smtp_url=url, mail_from=SENDER, **settings)  # type: ignore[arg-type]
    return [finding async for finding in check_mail_server(options)]


@pytest.mark.gen_test
async def test_a_mail_server_that_takes_mails_is_noted_and_gets_none() -> None:
    office = PostOffice()
    async with office.open(auth_require_tls=False) as host:
        (found,) = await findings(f"smtp://{LOGIN}@{host}", smtp_ehlo_name="www.example.com")
    assert (found.level, f"takes mails from {SENDER}" in found.what) == ("note", True)
    assert (office.greetings, office.taken) == (["www.example.com"], [])


@pytest.mark.parametrize(
    ("answers", "user", "what", "advice"),
    [
        ({}, "kit:wrong@", "(535)", "user and password in smtp_url"),
        ({"refuse_sender": "553 not yours"}, "", "the sender was refused (553)", "Set mail_from"),
        ({"refuse_greeting": True}, "", "SMTPHeloError (550)", "Set smtp_ehlo_name"),
    ],
)
@pytest.mark.gen_test
async def test_a_refusal_is_an_error_with_the_setting_to_change(
    answers: dict[str, str], user: str, what: str, advice: str
) -> None:
    async with PostOffice(**answers).open(auth_require_tls=False) as host:  # type: ignore[arg-type]
        (found,) = await findings(f"smtp://{user}{host}")
    assert found.level == "error"
    assert what in found.what
    assert advice in found.advice
    assert "wrong" not in found.what


@pytest.mark.gen_test
async def test_a_mail_server_that_is_away_or_without_tls_is_an_error() -> None:
    (found,) = await findings(f"smtp://127.0.0.1:{free_port()}")
    assert (found.level, "Correct host and port" in found.advice) == ("error", True)
    async with PostOffice().open() as host:
        (found,) = await findings(f"smtps://{host}")
        assert "smtps:// for port 465" in found.advice
        (found,) = await findings(f"smtp+starttls://{host}")
        assert "the server offers no encryption" in found.what


def test_what_waits_is_reported_and_can_be_attempted(manage: Manage, site: list[str], data_dir: Path) -> None:
    database = next((word.partition("=")[2] for word in site if "--database" in word), "")
    options = Settings(
        data_dir=data_dir,
        database=database,
        smtp_url=f"smtp://127.0.0.1:{free_port()}",
        mail_from=SENDER,
    )

    async def leave_a_mail() -> None:
        application = make_app(options)
        await application.start()
        await application.mails.post("ann@example.com", "password_changed")
        await application.mails.finish()
        await application.stop()

    asyncio.run(leave_a_mail())
    assert "1 mails wait" in manage("check").out
    (record,) = manage("list-mails", "--json").records
    assert (record["template"], record["attempts"]) == ("password_changed", 1)
    assert "ConnectionRefusedError" in record["last_error"]
    assert "ann@" not in str(record)
    assert record["due_in_s"] > 5
    assert "attempt 1 mails" in manage("retry-mails").out
    (record,) = manage("list-mails", "--json").records
    assert record["due_in_s"] <= 0
