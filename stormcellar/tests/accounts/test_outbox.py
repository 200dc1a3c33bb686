# SPDX-License-Identifier: MIT
"""The outbox: what happens to a mail when the mail server or a server of the site fails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from stormcellar.accounts import Delivery, Mail, Mailbox, MailError, Outbox, SmtpMailer
from stormcellar.accounts.delivery import FIRST_RETRY_S, LONGEST_RETRY_S, SPREAD_S, retry_delay_s
from stormcellar.accounts.outbox import LEASE_S
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.accounts.test_mail import SENDER
from stormcellar.tests.smtp import PostOffice
from stormcellar.tests.support import database_at

KEY = b"k" * 32
TOKEN = "secret-token-of-the-link"
MAIL = Mail("ann@example.com", "A link", f"https://www.example.com/?token={TOKEN}\n", "<p>x</p>\n")
HOUR_S = 3600


class FlakyMailer:
    """Raises the given errors first, one an attempt; then takes mails."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.taken: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(mail)


@asynccontextmanager
async def running(
    place: Path | str, mailer: Any, clock: FakeClock, *, key: bytes = KEY
) -> AsyncIterator[Delivery]:
    """A delivery whose loop does not run: tests call `finish`, or `due` for what is due."""
    database = database_at(place)
    await database.open()
    outbox = Outbox(database, clock=clock, keys=[key])
    try:
        await outbox.open()
        yield Delivery(outbox, mailer)
    finally:
        await database.close()


async def due(delivery: Delivery) -> None:
    """One round of the loop, to its end."""
    await delivery._deliver_due()
    while delivery._under_way:
        await asyncio.sleep(0.001)


@pytest.mark.gen_test
async def test_a_mail_that_was_not_taken_is_sent_again_later(place: Path | str) -> None:
    clock, mailer = FakeClock(), FlakyMailer(MailError("451"), RuntimeError("private words"))
    async with running(place, mailer, clock) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        clock.advance(SPREAD_S)
        await due(delivery)
        await due(delivery)
        assert (len(mailer.errors), mailer.taken) == (1, [])
        clock.advance(1.1 * FIRST_RETRY_S)
        await due(delivery)
        assert (await delivery.outbox.state()).last_error == "RuntimeError"
        clock.advance(2.2 * FIRST_RETRY_S)
        await due(delivery)
        assert [(mail.to, mail.text) for mail in mailer.taken] == [(MAIL.to, MAIL.text)]
        assert (await delivery.outbox.state()).waiting == 0


@pytest.mark.gen_test
async def test_a_final_refusal_ends_the_attempts(place: Path | str, caplog: pytest.LogCaptureFixture) -> None:
    mailer = FlakyMailer(MailError("the recipient was refused (550)", permanent=True))
    async with running(place, mailer, FakeClock()) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        await delivery.finish()
        await delivery.finish()
        assert (mailer.taken, delivery.given_up) == ([], 1)
    assert "(reset_password) was not sent and is given up: the recipient was refused (550)" in caplog.text


@pytest.mark.gen_test
async def test_a_mail_is_given_up_when_its_link_expires(
    place: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, mailer = FakeClock(), FlakyMailer(*[MailError("away")] * 100)
    async with running(place, mailer, clock) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        for _ in range(HOUR_S // 60 + 1):
            clock.advance(60)
            await due(delivery)
        attempts = 100 - len(mailer.errors)
        assert 6 <= attempts <= 12  # 15 s, 30 s ... 15 min
        assert (await delivery.outbox.state()).waiting == 0
    assert caplog.text.count("is given up: it has expired") == 1


def test_pauses_grow_up_to_a_quarter_of_an_hour() -> None:
    pauses = [retry_delay_s(attempts) for attempts in (1, 2, 3, 10, 1000)]
    for pause, expected in zip(pauses, [15, 30, 60, LONGEST_RETRY_S, LONGEST_RETRY_S], strict=True):
        assert 0.9 * expected <= pause <= 1.1 * expected


@pytest.mark.gen_test
async def test_two_servers_send_a_mail_once(place: Path | str) -> None:
    clock, first, second = FakeClock(), FlakyMailer(), FlakyMailer()
    async with running(place, first, clock) as one, running(place, second, clock) as other:
        for _ in range(20):
            await one.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        await asyncio.gather(one.finish(), other.finish())
    keys = [mail.key for mail in first.taken + second.taken]
    assert len(keys) == len(set(keys)) == 20


@pytest.mark.gen_test
async def test_the_mail_of_a_killed_server_is_sent_by_another(place: Path | str) -> None:
    """It may arrive twice then; its key, and so its Message-ID, is the same."""
    clock, mailer = FakeClock(), FlakyMailer()
    async with running(place, mailer, clock) as other, running(place, mailer, clock) as killed:
        await killed.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        (claimed,) = await killed.outbox.claim(10, not_due_too=True)
        await other.finish()
        assert mailer.taken == []
        clock.advance(LEASE_S)
        await other.finish()
        assert claimed.mail is not None
        assert [mail.key for mail in mailer.taken] == [claimed.mail.key]
        await killed.outbox.put_back(claimed, "late", 0)  # too late to bring the mail back
        assert (await other.outbox.state()).waiting == 0


@pytest.mark.gen_test
async def test_the_database_does_not_show_what_is_in_a_mail(tmp_path: Path) -> None:
    path = tmp_path / "db"
    async with running(path, FlakyMailer(), FakeClock()) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for private in (TOKEN, MAIL.to, MAIL.subject):
        assert private.encode() not in stored


@pytest.mark.gen_test
async def test_a_mail_under_another_secret_is_dropped(
    place: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, mailer = FakeClock(), FlakyMailer()
    async with running(place, mailer, clock) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
    async with running(place, mailer, clock, key=b"n" * 32) as delivery:
        await delivery.finish()
        assert (mailer.taken, (await delivery.outbox.state()).waiting) == ([], 0)
    assert "it was stored with another server secret" in caplog.text


@pytest.mark.gen_test
async def test_rows_cannot_be_exchanged(tmp_path: Path) -> None:
    """An attacker who can write to the database cannot send one person's link to another."""
    path, mailer = tmp_path / "db", FlakyMailer()
    async with running(path, mailer, FakeClock()) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE outbox SET mail_id = 'x'")
        await delivery.finish()
        assert mailer.taken == []


@pytest.mark.gen_test
async def test_a_decoy_has_the_size_of_a_mail_and_is_never_sent(place: Path | str) -> None:
    mailer = FlakyMailer()
    async with running(place, mailer, FakeClock()) as delivery:
        for is_decoy in (False, True):
            await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S, is_decoy=is_decoy)
        sql = "SELECT sealed FROM outbox"
        rows = await delivery.outbox._database.read(lambda c: c.execute(sql).fetchall())
        assert len({len(bytes(sealed)) for (sealed,) in rows}) == 1
        await delivery.finish()
        assert (len(mailer.taken), (await delivery.outbox.state()).waiting) == (1, 0)


@pytest.mark.gen_test
async def test_mails_can_be_made_due_at_once(place: Path | str) -> None:
    clock, mailer = FakeClock(), FlakyMailer(MailError("away"))
    async with running(place, mailer, clock) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        await delivery.finish()
        (waiting,) = await delivery.outbox.list()
        assert (waiting.template, waiting.attempts, waiting.last_error) == ("reset_password", 1, "away")
        assert waiting.due_in_s > 10
        assert await delivery.outbox.retry_all() == 1
        await due(delivery)
        assert len(mailer.taken) == 1


@pytest.mark.gen_test
async def test_the_loop_sends_what_is_stored_and_stops_at_once(place: Path | str) -> None:
    mailbox = Mailbox()
    async with running(place, mailbox, FakeClock()) as delivery:
        delivery.start()
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        while not mailbox.mails:
            await asyncio.sleep(0.001)
        await delivery.stop()


@pytest.mark.gen_test
async def test_a_stop_does_not_wait_for_a_mail_server(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail is put back, and the next server sends it without waiting for the end of the claim."""
    monkeypatch.setattr("stormcellar.accounts.delivery.LAST_MAILS_S", 0.01)
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    mailer = FlakyMailer()
    clock = FakeClock()
    async with running(place, SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER), clock) as delivery:
        await delivery.put(MAIL, "reset_password", lifetime_s=HOUR_S)
        clock.advance(SPREAD_S)
        await delivery._deliver_due()
        assert len(delivery._under_way) == 1
        await asyncio.wait_for(delivery.stop(), 5)
        delivery.mailer = mailer
        await due(delivery)
        assert len(mailer.taken) == 1
    silent.close()


@pytest.mark.gen_test
async def test_a_mail_server_that_comes_back_gets_the_mail_with_one_message_id() -> None:
    office = PostOffice(refuse="451 <{}> later")
    async with office.open() as host:
        mailer = SmtpMailer(f"smtp://{host}", SENDER)
        mail = Mail("ann@example.com", "x", "x\n", "x\n", key="0123456789abcdef")
        with pytest.raises(MailError, match=r"the recipient was refused \(451\)") as refused:
            await mailer.send(mail)
        assert not refused.value.permanent
        office.refuse = ""
        await mailer.send(mail)
    assert office.message()["Message-ID"] == "<0123456789abcdef@example.com>"
