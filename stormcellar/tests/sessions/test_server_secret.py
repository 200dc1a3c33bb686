# SPDX-License-Identifier: MIT
"""The server secret changes while users stay signed in (design: engine, keys)."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import pytest

from stormcellar.errors import UnusableDatabaseError
from stormcellar.server_secret import Sealer, ServerSecret, Signer, UnreadableError, derive_key
from stormcellar.sessions import StoreUnavailableError, UnauthorisedError
from stormcellar.store.sealed import SealedColumn, SealedCount
from stormcellar.store.secret_register import SecretRegister
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import sign_in
from stormcellar.tests.support import SECRET as OLD
from stormcellar.tests.support import database_at, running_engine

NEW = b"the one that comes after: 0123456789abcdef"


class TestDerivedKeys:
    def test_keys_of_the_first_version_stay_the_same(self) -> None:
        assert derive_key(OLD, "rate limits") == hmac.digest(OLD, b"rate limits", "sha256")
        # HKDF-SHA256 with this information, computed once with another implementation (hmac, RFC 5869).
        extracted = hmac.digest(bytes(32), OLD, "sha256")
        assert derive_key(OLD, "outbox") == hmac.digest(extracted, b"stormcellar outbox\x01", "sha256")

    def test_each_purpose_and_each_secret_has_a_key_of_its_own(self) -> None:
        secret = ServerSecret(NEW, (OLD, NEW))
        assert secret.all == (NEW, OLD)
        assert len({*secret.keys("outbox"), *secret.keys("kept forms")}) == 4
        assert secret.key("outbox") == secret.keys("outbox")[0] == derive_key(NEW, "outbox")

    def test_a_repr_shows_no_secret(self) -> None:
        assert "0123" not in repr(ServerSecret(NEW, (OLD,)))


class TestSealer:
    def test_an_earlier_key_opens_and_only_the_first_one_seals(self) -> None:
        earlier, both = Sealer([b"1" * 32]), Sealer([b"2" * 32, b"1" * 32])
        sealed = earlier.seal(b"value", "row")
        assert both.open(sealed, "row") == b"value"
        again = both.seal_again(sealed, "row")
        assert again is not None
        assert Sealer([b"2" * 32]).open(again, "row") == b"value"
        assert both.seal_again(again, "row") is None

    @pytest.mark.parametrize("damage", [b"", b"short", bytes(12), bytes(40)])
    def test_what_no_key_opens_is_an_error(self, damage: bytes) -> None:
        with pytest.raises(UnreadableError):
            Sealer([b"1" * 32]).open(damage, "row")

    def test_a_value_of_another_row_does_not_open(self) -> None:
        sealer = Sealer([b"1" * 32])
        with pytest.raises(UnreadableError):
            sealer.open(sealer.seal(b"value", "row"), "other row")


class TestSigner:
    def test_a_signature_by_any_of_the_keys_is_good(self) -> None:
        text, both = b"text", Signer([b"2" * 32, b"1" * 32])
        assert both.is_signature(Signer([b"1" * 32]).sign(text), text)
        assert both.is_signature(both.sign(text)[:16], text)
        assert not Signer([b"1" * 32]).is_signature(both.sign(text), text)

    @pytest.mark.parametrize("length", [0, 1, 15])
    def test_too_short_a_signature_is_never_good(self, length: int) -> None:
        signer = Signer([b"1" * 32])
        assert not signer.is_signature(signer.sign(b"text")[:length], b"text")


def test_a_session_lives_through_a_change_of_the_secret(place: Path | str) -> None:
    async def tell() -> None:
        clock = FakeClock()
        async with running_engine(place, clock) as before:
            tokens = await sign_in(before)
        async with running_engine(place, clock, secret=NEW, other_secrets=(OLD,)) as both:
            assert (await both.get_session(tokens.access_token)) is not None
            renewed = await both.refresh_session(tokens.refresh_token)
            again = await both.refresh_session(tokens.refresh_token)  # its answer was lost
            assert again.new_tokens.refresh_token == renewed.new_tokens.refresh_token
            await both.keys.sealed_column.seal_again(both._store.database)
        async with running_engine(place, clock, secret=NEW) as after:
            assert (await after.get_session(renewed.new_tokens.access_token)) is not None
            assert (await after.refresh_session(renewed.new_tokens.refresh_token)) is not None
            with pytest.raises(UnauthorisedError):
                await after.refresh_session(tokens.refresh_token)

    asyncio.run(tell())


def test_servers_before_and_after_the_change_take_each_others_tokens(place: Path | str) -> None:
    """The next secret is known to all servers before the first one uses it."""

    async def tell() -> None:
        clock = FakeClock()
        async with (
            running_engine(place, clock, secret=OLD, other_secrets=(NEW,)) as one,
            running_engine(place, clock, secret=NEW, other_secrets=(OLD,)) as two,
        ):
            tokens = await sign_in(one)
            for engine in (two, one, two, one):
                tokens = (await engine.refresh_session(tokens.refresh_token)).new_tokens
                assert (await one.get_session(tokens.access_token)) is not None
                assert (await two.get_session(tokens.access_token)) is not None

    asyncio.run(tell())


def test_an_anti_csrf_token_of_before_the_change_is_good(place: Path | str) -> None:
    async def tell() -> None:
        clock = FakeClock()
        async with running_engine(place, clock, anti_csrf="VIA_TOKEN") as before:
            tokens = await sign_in(before)
        changed = {"secret": NEW, "other_secrets": (OLD,), "anti_csrf": "VIA_TOKEN"}
        async with running_engine(place, clock, **changed) as both:
            for wrong in (None, "", "00000000-0000-4000-8000-000000000000"):
                with pytest.raises(UnauthorisedError):
                    await both.refresh_session(
                        tokens.refresh_token, anti_csrf_token=wrong, anti_csrf_check=True
                    )
            await both.refresh_session(
                tokens.refresh_token, anti_csrf_token=tokens.anti_csrf_token, anti_csrf_check=True
            )

    asyncio.run(tell())


def test_without_the_secret_of_its_keys_an_engine_says_what_to_do(tmp_path: Path) -> None:
    async def tell() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock):
            pass
        with pytest.raises(StoreUnavailableError, match=r"old_secrets.*rotate-secret --lost"):
            async with running_engine(tmp_path / "db", clock, secret=NEW):
                pass

    asyncio.run(tell())


def test_a_forged_token_is_refused_with_several_secrets_too(tmp_path: Path) -> None:
    async def tell() -> None:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock, other_secrets=(NEW,)) as engine:
            tokens = await sign_in(engine)
            forged = tokens.refresh_token[:-2] + ("AA" if tokens.refresh_token[-2:] != "AA" else "BB")
            with pytest.raises(UnauthorisedError):
                await engine.refresh_session(forged)

    asyncio.run(tell())


class TestSealingAgain:
    def test_all_pages_are_gone_through_and_only_what_is_needed_changes(self, place: Path | str) -> None:
        async def tell() -> None:
            database = database_at(place)
            await database.open()
            await database.migrate("box", ["CREATE TABLE box (name TEXT PRIMARY KEY, value {blob} NOT NULL)"])
            before, both = Sealer([b"1" * 32]), Sealer([b"2" * 32, b"1" * 32])
            rows = [(f"{n:05}", (before if n % 3 else both).seal(b"%d" % n, f"{n:05}")) for n in range(1203)]
            rows.append(("lost", b"nothing that opens"))

            def fill(connection):
                for name, value in rows:
                    connection.execute(
                        "INSERT INTO box (name, value) VALUES (:name, :value)", {"name": name, "value": value}
                    )

            def read(connection):
                return dict(connection.execute("SELECT name, value FROM box").fetchall())

            await database.write(fill)
            column = SealedColumn("box", "name", "value", both)
            assert await column.count(database) == SealedCount(401, 802, 1)
            assert await database.read(read) == dict(rows)
            assert await column.seal_again(database) == SealedCount(401, 802, 1)
            assert await column.count(database) == SealedCount(1203, 0, 1)
            found = await database.read(read)
            after = Sealer([b"2" * 32])
            assert all(after.open(bytes(found[f"{n:05}"]), f"{n:05}") == b"%d" % n for n in range(1203))
            assert bytes(found["lost"]) == b"nothing that opens"
            await column.seal_again(database, delete_unreadable=True)
            assert "lost" not in await database.read(read)
            await database.close()

        asyncio.run(tell())


class TestRegister:
    def test_only_a_server_that_knows_the_newest_secret_may_start(self, place: Path | str) -> None:
        async def tell() -> None:
            clock, database = FakeClock(), database_at(place)
            await database.open()

            def register(*secrets: bytes) -> SecretRegister:
                return SecretRegister(database, clock, ServerSecret(secrets[0], secrets[1:]))

            await register(OLD).open()
            await register(NEW).check()  # nothing is noted yet
            await register(OLD).note()
            assert await register(OLD).is_current_newest()
            await register(NEW, OLD).check()
            with pytest.raises(UnusableDatabaseError, match="rotate-secret --lost"):
                await register(NEW).check()

            await register(NEW, OLD).note()
            await register(OLD, NEW).note()  # a server that has not changed over yet starts again
            assert await register(NEW, OLD).is_current_newest()
            assert not await register(OLD, NEW).is_current_newest()
            await register(OLD, NEW).check()
            with pytest.raises(UnusableDatabaseError):
                await register(OLD).check()
            await register(OLD).forget()
            await register(OLD).check()
            await database.close()

        asyncio.run(tell())
