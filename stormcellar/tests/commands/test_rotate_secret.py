# SPDX-License-Identifier: MIT
"""`python manage.py rotate-secret` changes the secret in three steps, or gives a lost one up."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from stormcellar.accounts import NoMailer
from stormcellar.accounts.kept_forms import KeptForm
from stormcellar.accounts.mail import Mail
from stormcellar.application import Application
from stormcellar.errors import UnusableDatabaseError
from stormcellar.extras.authenticator.part import Authenticator
from stormcellar.extras.authenticator.tests.parts import totp
from stormcellar.secret_files import read_lines, server_secret
from stormcellar.server_secret import fingerprint
from stormcellar.settings import SettingsError, load
from stormcellar.tests.commands.conftest import Manage
from stormcellar.tests.commands.test_sessions import begin, on
from stormcellar.tests.site import SITE

APP_SECRET = b"twenty bytes of this"
RECOVERY_CODE = "abcdefg-hjkmnpq"


def authenticator(application: Application) -> Authenticator:
    return next(extra for extra in application.extras if isinstance(extra, Authenticator))


def keep_something_of_each_kind(site: list[str], user_id: str) -> tuple[str, str, str]:
    """Return a refresh token, the cookie of a known browser, and the name of a kept form."""

    async def story(application: Application) -> tuple[str, str, str]:
        session = await application.sessions.create_new_session(user_id)
        apps, now_s = authenticator(application).apps, application.clock.now()
        await apps.begin(user_id, APP_SECRET, int(now_s * 1000))
        await apps.confirm(user_id, totp(APP_SECRET, now_s), now_s, [RECOVERY_CODE])
        mail = Mail("ann@example.com", "Subject", "text", "<p>text</p>")
        await application.mails.delivery.outbox.put(mail, "a mail", lifetime_s=3600)
        cookie = application.known_clients.after_sign_in(None, "ann@example.com")
        form = await application.kept_forms.keep(user_id, KeptForm("/notes", (("text", "typed"),)))
        return session.new_tokens.refresh_token, cookie, form

    return on(site, story)


def data_dir(site: list[str]) -> Path:
    return load(site, {}).data_dir


def test_everything_lives_through_the_three_steps(manage: Manage, site: list[str], ann: str) -> None:
    token, cookie, form = keep_something_of_each_kind(site, ann)
    first = server_secret(load(site, {})).current
    (step,) = manage("rotate-secret", "--json").records
    assert step["step"] == 1
    assert server_secret(load(site, {})).current == first
    (step,) = manage("rotate-secret", "--json").records
    secret = server_secret(load(site, {}))
    assert (step["step"], step["current"]) == (2, fingerprint(secret.current))
    assert (secret.others, secret.current != first) == ((first,), True)
    assert not (data_dir(site) / "next-secret").exists()
    for name in ("secret", "old-secrets"):
        assert (data_dir(site) / name).stat().st_mode & 0o777 == 0o600

    async def renew(application: Application) -> str:
        assert application.known_clients.id_for(cookie, "ann@example.com")
        assert (await application.kept_forms.get(ann, form)).fields == (("text", "typed"),)
        return (await application.sessions.refresh_session(token)).new_tokens.refresh_token

    token = on(site, renew)
    (status,) = manage("rotate-secret", "--status", "--json").records
    assert (status["sessions"], status["sealed"]["unreadable"]) == (0, 0)
    assert manage("rotate-secret", "--finish").code == 0
    assert server_secret(load(site, {})).others == ()

    async def look(application: Application) -> None:
        apps, now_s = authenticator(application).apps, application.clock.now() + 60
        await apps.check(ann, totp(APP_SECRET, now_s), now_s)
        await apps.check(ann, RECOVERY_CODE, now_s)
        (claimed,) = await application.mails.delivery.outbox.claim(5)
        assert claimed.mail.subject == "Subject"
        await application.sessions.refresh_session(token)

    on(site, look)


def test_a_recovery_code_outlives_several_changes(manage: Manage, site: list[str], ann: str) -> None:
    keep_something_of_each_kind(site, ann)
    for _ in range(2):
        assert manage("rotate-secret").code == 0
        assert manage("rotate-secret").code == 0
        on(site, authenticator_is_open)
        assert manage("rotate-secret", "--finish", "--yes").code == 0

    async def look(application: Application) -> None:
        await authenticator(application).apps.check(ann, RECOVERY_CODE, application.clock.now())

    on(site, look)


async def authenticator_is_open(application: Application) -> None:
    assert authenticator(application)


def test_sessions_that_were_not_renewed_are_counted_and_asked_about(
    manage: Manage, site: list[str], ann: str
) -> None:
    begin(site, ann, 2)
    manage("rotate-secret")
    manage("rotate-secret")
    on(site, authenticator_is_open)  # a server starts with it
    (status,) = manage("rotate-secret", "--status", "--json").records
    assert status["sessions"] == 2
    done = manage("rotate-secret", "--finish", stdin="")
    assert (done.code, "--yes" in done.err) == (1, True)
    assert server_secret(load(site, {})).others != ()
    (step,) = manage("rotate-secret", "--finish", "--yes", "--json").records
    assert step["signed_out"] == 2


def test_the_change_waits_for_servers_that_do_not_know_the_next_secret(
    manage: Manage, site: list[str]
) -> None:
    async def tell() -> None:
        serving = SITE.make_app(load(site, {}), mailer=NoMailer(), announced=True)
        await serving.start()
        try:
            assert (await asyncio.to_thread(manage, "rotate-secret")).code == 0
            done = await asyncio.to_thread(manage, "rotate-secret")
            assert (done.code, "1 of 1 server processes do not know" in done.err) == (1, True)
        finally:
            await serving.stop()
        reloaded = SITE.make_app(load(site, {}), mailer=NoMailer(), announced=True)
        await reloaded.start()
        try:
            assert (await asyncio.to_thread(manage, "rotate-secret")).code == 0
            done = await asyncio.to_thread(manage, "rotate-secret", "--finish", "--yes")
            assert (done.code, "1 of 1 server processes use another secret" in done.err) == (1, True)
        finally:
            await reloaded.stop()

    asyncio.run(tell())


def test_a_secret_of_the_settings_is_not_changed_but_said(manage: Manage, site: list[str]) -> None:
    secret = server_secret(load(site, {})).current.decode()
    site.append(f"--secret={secret}")
    (step,) = manage("rotate-secret", "--json").records
    assert (step["step"], len(step["secret"])) == (1, 64)
    assert not (data_dir(site) / "next-secret").exists()
    site[-1:] = [f"--secret={step['secret']}", f"--old_secrets={secret}"]
    (step,) = manage("rotate-secret", "--json").records
    assert (step["step"], step["others"]) == (2, [fingerprint(secret.encode())])
    assert "Remove it from the setting old_secrets too" in manage("rotate-secret", "--finish").out
    site[-1:] = []
    assert manage("list-users").code == 0


def test_a_lost_secret_signs_users_out_and_the_servers_start_again(
    manage: Manage, site: list[str], ann: str
) -> None:
    keep_something_of_each_kind(site, ann)
    (data_dir(site) / "secret").unlink()
    refused = manage("list-users")
    assert (refused.code, "rotate-secret --lost" in refused.err) == (1, True)
    done = manage("rotate-secret", "--lost", stdin="")
    assert (done.code, "--yes" in done.err) == (1, True)
    assert manage("list-users").code == 1
    (record,) = manage("rotate-secret", "--lost", "--yes", "--json").records
    assert (record["sessions"], record["second_factors"]) == (1, 1)

    async def look(application: Application) -> None:
        assert application.sessions.keys.can_sign()
        assert await application.sessions.get_all_session_handles_for_user(ann) == []
        assert await application.mails.delivery.outbox.claim(5) == []
        assert await authenticator(application).apps.is_on(ann)

    on(site, look)
    (record,) = manage("rotate-secret", "--lost", "--remove-second-factors", "--yes", "--json").records

    async def look_again(application: Application) -> None:
        assert not await authenticator(application).apps.is_on(ann)

    on(site, look_again)


def test_a_secret_that_opens_everything_is_not_given_up(manage: Manage, site: list[str], ann: str) -> None:
    begin(site, ann)
    done = manage("rotate-secret", "--lost", "--yes")
    assert (done.code, "Nothing was changed" in done.err) == (1, True)
    assert len(manage("list-sessions", "--json").records) == 1


def test_a_server_with_only_an_earlier_secret_does_not_start(manage: Manage, site: list[str]) -> None:
    manage("list-users")
    manage("rotate-secret")
    manage("rotate-secret")
    on(site, authenticator_is_open)
    (earlier,) = read_lines(data_dir(site) / "old-secrets")
    settings = load([*site, f"--secret={earlier.decode()}"], {})
    (data_dir(site) / "old-secrets").unlink()

    async def start() -> None:
        application = SITE.make_app(settings, mailer=NoMailer())
        try:
            await application.start()
        finally:
            await application.stop()

    with pytest.raises(UnusableDatabaseError, match="fingerprint"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [(b"too short\n", 0o600, "Line 1 of"), (b"x" * 40, 0o644, "mode 0644")],
)
def test_a_file_of_secrets_must_be_private_and_long_enough(
    manage: Manage, site: list[str], content: bytes, mode: int, complaint: str
) -> None:
    path = data_dir(site) / "old-secrets"
    path.write_bytes(content)
    os.chmod(path, mode)
    done = manage("list-users")
    assert (done.code, complaint in done.err) == (2, True)
    with pytest.raises(SettingsError):
        server_secret(load(site, {}))


def test_a_secret_with_a_comma_and_spaces_can_stand_in_the_file(site: list[str]) -> None:
    path = data_dir(site) / "old-secrets"
    path.write_text("one, with spaces and commas 0123456789\nanother, of the same kind 012345678\n")
    path.chmod(0o600)
    assert server_secret(load(site, {})).others == (
        b"one, with spaces and commas 0123456789",
        b"another, of the same kind 012345678",
    )
