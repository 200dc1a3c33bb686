# SPDX-License-Identifier: MIT
"""What `get_session` answers, and how a session's claims and data change.

Sources: SuperTokens documentation (session verification, claims, anti-CSRF); the order of the first part is
that of its verification. Where a change of claims meets a token issued before it, we answer more strictly.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from jwt.algorithms import RSAAlgorithm

from stormcellar.sessions import (
    BooleanClaim,
    ClaimValidator,
    InvalidClaimsError,
    PrimitiveClaim,
    Session,
    Sessions,
    StoreUnavailableError,
    Tokens,
    TryRefreshTokenError,
    UnauthorisedError,
    ValidationResult,
)
from stormcellar.sessions import access_token as access_token_module
from stormcellar.sessions import engine as engine_module
from stormcellar.sessions.access_token import MAX_CLAIMS_BYTES
from stormcellar.sessions.claims import PROTECTED_CLAIMS, strip_protected
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import DEADLINE_S, until
from stormcellar.tests.sessions.helpers import (
    DAY,
    FaultyDatabase,
    engine_on,
    refresh,
    run,
    run_two,
    sign_in,
    use,
)
from stormcellar.tests.support import ISSUER

Story = Callable[[Sessions, FakeClock], Awaitable[None]]
STRANGERS = [
    "rubbish",
    "a.b.c",
    "..",
    pyjwt.encode({"sub": "ann"}, "a shared secret of thirty-two bytes.", algorithm="HS256"),
    pyjwt.encode({"sub": "ann", "iss": "https://elsewhere.example"}, "", algorithm="none"),
]


async def tokens_of(session: Session) -> Tokens:
    assert session.new_tokens
    return session.new_tokens


async def new_session(engine: Sessions, **more: Any) -> tuple[Session, str]:
    session = await engine.create_new_session("ann", **more)
    return session, (await tokens_of(session)).access_token


def front(tokens: Tokens) -> dict[str, Any]:
    content = json.loads(base64.b64decode(tokens.front_token))
    assert isinstance(content, dict)
    return content


def forget_verifications(engine: Sessions) -> None:
    engine._verifier._remembered.clear()


# -- token or no token --------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_token_an_optional_session_is_none_and_a_required_one_clears_nothing(
    tmp_path: Path, nothing: str | None
) -> None:
    """A request may arrive after a renewal that it started before: clearing would end a good session."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        assert await engine.get_session(nothing, session_required=False) is None
        with pytest.raises(UnauthorisedError) as caught:
            await engine.get_session(nothing)
        assert not caught.value.clear_tokens
        assert (caught.value.status_hint, caught.value.message) == (401, "unauthorised")

    run(tmp_path, story)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_is_no_token_of_ours_counts_as_none(tmp_path: Path, stranger: str) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        assert await engine.get_session(stranger, session_required=False) is None
        with pytest.raises(UnauthorisedError) as caught:
            await engine.get_session(stranger)
        assert not caught.value.clear_tokens

    run(tmp_path, story)


@pytest.mark.parametrize("required", [True, False])
def test_a_token_that_is_there_is_judged_in_full_even_if_none_is_required(
    tmp_path: Path, required: bool
) -> None:
    """An expired session is not an anonymous visitor."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, token = await new_session(engine)
        header, payload, signature = token.split(".")
        damaged = f"{header}.{payload}.{signature[:20]}{'A' * (len(signature) - 20)}"
        with pytest.raises(TryRefreshTokenError) as caught:
            await engine.get_session(damaged, session_required=required)
        assert (caught.value.status_hint, caught.value.message) == (401, "try refresh token")
        clock.advance(3600)
        with pytest.raises(TryRefreshTokenError, match="expired"):
            await engine.get_session(token, session_required=required)
        revoked, another = await new_session(engine)
        await engine.revoke_session(revoked.handle, owner=revoked.user_id)
        with pytest.raises(UnauthorisedError) as gone:
            await engine.get_session(another, session_required=required)
        assert gone.value.clear_tokens
        assert gone.value.session_handle == revoked.handle

    run(tmp_path, story)


def test_a_good_token_gives_its_session_and_nothing_to_send(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        created, token = await new_session(engine, tenant_id="t1", access_token_payload={"a": 1})
        clock.advance(5)
        session = await engine.get_session(token)
        assert session
        assert (session.user_id, session.recipe_user_id, session.tenant_id) == ("ann", "ann", "t1")
        assert session.handle == created.handle
        assert (session.issued_at, session.expires_at) == (clock.now() - 5, clock.now() + 3595)
        assert session.access_token_payload["a"] == 1
        assert strip_protected(session.access_token_payload) == {"a": 1}
        assert session.new_tokens is None
        assert not session.revoked

    run(tmp_path, story)


def test_verifying_reads_no_store_and_writes_only_the_first_use_of_a_renewal(tmp_path: Path) -> None:
    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db", deaf=True)
        async with engine_on(database, FakeClock()) as engine:
            tokens = await sign_in(engine)
            before = (database.reads, database.writes)
            for _ in range(20):
                await use(engine, tokens)
            assert (database.reads, database.writes) == before
            tokens = await refresh(engine, tokens)
            reads, writes = database.reads, database.writes
            for _ in range(20):
                await use(engine, tokens)
            assert (database.reads, database.writes) == (reads, writes + 1)

    asyncio.run(story())


# -- anti-CSRF ----------------------------------------------------------------------------------------


def test_the_anti_csrf_header_must_be_the_tokens_own(tmp_path: Path) -> None:
    """Missing, another, or any text at all: renew. Nothing is compared unless it is asked for."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens, others = await sign_in(engine), await sign_in(engine)
        own = tokens.anti_csrf_token
        assert own
        wrong = [
            None,
            "",
            others.anti_csrf_token,
            own.upper(),
            own + " ",
            own[:-1],
            "é",
            "\ud800",
            "x" * 9999,
        ]
        for _hit in range(2):
            for header in wrong:
                with pytest.raises(TryRefreshTokenError, match="anti-csrf"):
                    await engine.get_session(
                        tokens.access_token, anti_csrf_check=True, anti_csrf_token=header
                    )
            assert await engine.get_session(tokens.access_token, anti_csrf_check=True, anti_csrf_token=own)
            assert await engine.get_session(tokens.access_token, anti_csrf_token="wrong")

    run(tmp_path, story, anti_csrf="VIA_TOKEN")


def test_a_session_that_began_without_an_anti_csrf_token_does_not_pass_the_check(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine, disable_anti_csrf=True)
        assert tokens.anti_csrf_token is None
        with pytest.raises(TryRefreshTokenError):
            await engine.get_session(tokens.access_token, anti_csrf_check=True, anti_csrf_token="")
        assert await engine.get_session(tokens.access_token)
        renewed = await refresh(engine, tokens)
        assert renewed.anti_csrf_token is None

    run(tmp_path, story, anti_csrf="VIA_TOKEN")


def test_refreshing_needs_the_header_too_and_a_wrong_one_does_not_use_the_token_up(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        assert tokens.refresh_token
        for header in (None, "", "wrong", "é", "\ud800"):
            with pytest.raises(UnauthorisedError, match="anti-csrf") as caught:
                await engine.refresh_session(tokens.refresh_token, anti_csrf_token=header)
            assert caught.value.clear_tokens
        renewed = await engine.refresh_session(tokens.refresh_token, anti_csrf_token=tokens.anti_csrf_token)
        renewed_tokens = await tokens_of(renewed)
        again = await engine.refresh_session(tokens.refresh_token, anti_csrf_token=tokens.anti_csrf_token)
        assert (await tokens_of(again)).anti_csrf_token == renewed_tokens.anti_csrf_token

    run(tmp_path, story, anti_csrf="VIA_TOKEN")


@pytest.mark.parametrize("mode", ["NONE", "VIA_CUSTOM_HEADER"])
def test_in_other_modes_the_engine_compares_nothing(tmp_path: Path, mode: str) -> None:
    """VIA_CUSTOM_HEADER is a matter of HTTP headers alone."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        assert tokens.anti_csrf_token is None
        assert await engine.get_session(tokens.access_token, anti_csrf_check=True)
        await refresh(engine, tokens)

    run(tmp_path, story, anti_csrf=mode)


# -- the store ----------------------------------------------------------------------------------------


async def _delete(engine: Sessions, session: Session) -> None:
    await engine._store.database.write(
        lambda connection: connection.execute("DELETE FROM sessions WHERE handle = :h", {"h": session.handle})
    )


async def _set(engine: Sessions, session: Session, column: str, value: Any) -> None:
    await engine._store.database.write(
        lambda connection: connection.execute(
            f"UPDATE sessions SET {column} = :value WHERE handle = :h", {"value": value, "h": session.handle}
        )
    )


@pytest.mark.parametrize(
    ("situation", "error"),
    [
        (_delete, UnauthorisedError),
        (lambda engine, session: _set(engine, session, "user_id", "bob"), UnauthorisedError),
        (lambda engine, session: _set(engine, session, "tenant_id", "t2"), UnauthorisedError),
        (lambda engine, session: _set(engine, session, "expires_at", 1.0), UnauthorisedError),
        (lambda engine, session: _set(engine, session, "created_at", 1.0), UnauthorisedError),
        (lambda engine, session: _set(engine, session, "generation", 2), TryRefreshTokenError),
        (lambda engine, session: _set(engine, session, "payload_version", 1), TryRefreshTokenError),
        (lambda engine, session: _set(engine, session, "generation", 1), None),
        (lambda engine, session: _set(engine, session, "data", '{"a":1}'), None),
    ],
    ids=[
        "no such session", "another user's", "another tenant's", "expired there", "lived its whole life",
        "renewed twice since", "claims changed", "renewed once since", "only data changed",
    ],
)  # fmt: skip
def test_with_check_database_the_stored_session_decides(
    tmp_path: Path, situation: Callable[[Sessions, Session], Awaitable[None]], error: type[Exception] | None
) -> None:
    """The token's user, tenant and handle must be those of a session that lives in the store."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        assert await engine.get_session(token, check_database=True)
        await situation(engine, session)
        assert await engine.get_session(token)  # which asks no store
        for _hit in range(2):
            if error is None:
                assert await engine.get_session(token, check_database=True)
            else:
                with pytest.raises(error) as caught:
                    await engine.get_session(token, check_database=True)
                assert getattr(caught.value, "clear_tokens", True)
            forget_verifications(engine)

    run(tmp_path, story)


def test_check_database_is_a_setting_that_a_call_overrides(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        await _delete(engine, session)
        assert await engine.get_session(token, check_database=False)
        for choice in (None, True):
            with pytest.raises(UnauthorisedError):
                await engine.get_session(token, check_database=choice)

    run(tmp_path, story, check_database=True)


def test_a_genuine_token_for_somebody_elses_session_is_refused_by_the_store(tmp_path: Path) -> None:
    """Signed by our key, but its user and handle do not belong together."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        ann, _ = await new_session(engine)
        row = await engine._store.load(ann.handle)
        assert row
        for changes in ({"user_id": "eve"}, {"tenant_id": "t2"}, {"handle": "unknown"}):
            claims = {"user_id": "ann", "tenant_id": "public", "handle": ann.handle, **changes}
            forged, _ = access_token_module.mint(
                engine.keys.signing_key(), **claims, refresh_token_hash1="0", issuer=ISSUER,
                anti_csrf_token=None, claims={}, generation=0, payload_version=0,
                issued_at=int(clock.now()), expires_at=int(clock.now()) + 60,
            )  # fmt: skip
            with pytest.raises(UnauthorisedError):
                await engine.get_session(forged, check_database=True)

    run(tmp_path, story)


def test_with_check_database_a_store_out_of_reach_is_said_to_be_so(tmp_path: Path) -> None:
    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db")
        async with engine_on(database, FakeClock()) as engine:
            _, token = await new_session(engine)
            database.broken = True
            with pytest.raises(StoreUnavailableError) as caught:
                await engine.get_session(token, check_database=True)
            assert caught.value.status_hint == 503
            assert await engine.get_session(token)
            database.broken = False

    asyncio.run(story())


# -- remembered verification --------------------------------------------------------------------------


async def _expire(engine: Sessions, clock: FakeClock, session: Session) -> None:
    clock.advance(3600)


async def _revoke(engine: Sessions, clock: FakeClock, session: Session) -> None:
    await engine.revoke_session(session.handle, owner=None)


async def _change(engine: Sessions, clock: FakeClock, session: Session) -> None:
    await engine.merge_into_access_token_payload(session.handle, {"role": None}, owner=None)


async def _forget_keys(engine: Sessions, clock: FakeClock, session: Session) -> None:
    await engine.keys.rotate_now(forget_old=True)


async def _rotate_keys(engine: Sessions, clock: FakeClock, session: Session) -> None:
    await engine.keys.rotate_now()


async def _renew(engine: Sessions, clock: FakeClock, session: Session) -> None:
    await refresh(engine, await refresh(engine, await tokens_of(session)))


async def _nothing(engine: Sessions, clock: FakeClock, session: Session) -> None:
    pass


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (_nothing, None),
        (_rotate_keys, None),
        (_renew, None),
        (_revoke, UnauthorisedError),
        (_change, TryRefreshTokenError),
        (_forget_keys, TryRefreshTokenError),
        (_expire, TryRefreshTokenError),
    ],
)
def test_a_remembered_token_gets_the_answer_that_an_unknown_one_gets(
    tmp_path: Path, situation: Any, expected: type[Exception] | None
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine, access_token_payload={"role": "admin"})

        async def answer() -> Any:
            try:
                found = await engine.get_session(token)
                assert found
                return list(found.access_token_payload.items())
            except (TryRefreshTokenError, UnauthorisedError) as error:
                return type(error), str(error).split(" ")[0]

        miss, hit = await answer(), await answer()
        assert miss == hit
        await situation(engine, clock, session)
        hit = await answer()
        forget_verifications(engine)
        miss = await answer()
        assert hit == miss
        assert (hit[0] is expected) if expected else (hit == list(session.access_token_payload.items()))

    run(tmp_path, story)


def test_a_signature_is_checked_once_per_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    verify = access_token_module.verify

    def counting(token: Any, *args: Any, **more: Any) -> Any:
        checked.append(token.kid)
        return verify(token, *args, **more)

    monkeypatch.setattr(access_token_module, "verify", counting)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = [(await sign_in(engine)).access_token for _ in range(3)]
        for _ in range(50):
            for token in tokens:
                assert await engine.get_session(token)
        assert len(checked) == 3

    run(tmp_path, story)


def test_what_is_remembered_is_bounded_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = access_token_module.verify

    def counting(token: Any, *args: Any, **more: Any) -> Any:
        checked.append(token.signature)
        return verify(token, *args, **more)

    monkeypatch.setattr(access_token_module, "verify", counting)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        busy = (await sign_in(engine)).access_token
        for _ in range(30):
            assert await engine.get_session((await sign_in(engine)).access_token)
            assert await engine.get_session(busy)
            assert len(engine._verifier._remembered) <= 5
        assert len(checked) == len(set(checked)) == 31

    run(tmp_path, story, remembered_tokens=5)


def test_a_signature_is_checked_once_although_its_token_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More sessions are active than tokens are remembered: no signature and no write for each page."""
    checked: list[bytes] = []
    verify = RSAAlgorithm.verify

    def counting(self: RSAAlgorithm, message: bytes, *args: Any) -> bool:
        checked.append(message)
        return verify(self, message, *args)

    monkeypatch.setattr(RSAAlgorithm, "verify", counting)

    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db")
        async with engine_on(database, FakeClock(), remembered_tokens=3) as engine:
            active = [await refresh(engine, await sign_in(engine)) for _ in range(20)]
            for tokens in active:
                await use(engine, tokens)
            writes = database.writes
            for tokens in active * 2:
                await use(engine, tokens)
            assert len(checked) == 20
            assert database.writes == writes
            await engine.keys.rotate_now(forget_old=True)
            for tokens in active:  # a key that is gone takes its tokens with it
                with pytest.raises(TryRefreshTokenError):
                    await engine.get_session(tokens.access_token)

    asyncio.run(story())


def test_refused_and_expired_tokens_are_not_remembered(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        token = (await sign_in(engine)).access_token
        clock.advance(3600)
        for text in (token, token[:-4] + "AAAA", *STRANGERS):
            with pytest.raises((TryRefreshTokenError, UnauthorisedError)):
                await engine.get_session(text)
        assert not engine._verifier._remembered

    run(tmp_path, story)


def test_a_handler_that_changes_the_payload_it_was_given_changes_nobody_elses(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, token = await new_session(engine, access_token_payload={"roles": ["reader"]})
        first = await engine.get_session(token)
        assert first
        first.access_token_payload["roles"].append("admin")
        first.access_token_payload["sub"] = "bob"
        second = await engine.get_session(token)
        assert second
        assert second.access_token_payload["roles"] == ["reader"]
        assert (second.user_id, second.access_token_payload["sub"]) == ("ann", "ann")

    run(tmp_path, story)


# -- first use ----------------------------------------------------------------------------------------


async def used_generation(engine: Sessions, handle: str) -> int:
    row = await engine._store.load(handle)
    assert row
    return row.used_generation


async def noted(engine: Sessions, *handles: str) -> None:
    """Wait until the store knows that the first renewal of each session is in use."""

    async def look() -> None:
        while any([await used_generation(engine, handle) < 1 for handle in handles]):
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), DEADLINE_S)


def test_first_use_is_written_in_the_background_and_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db")
        async with engine_on(database, FakeClock()) as engine:
            renewed = [await refresh(engine, await sign_in(engine)) for _ in range(30)]
            writes = database.writes
            sessions = [await engine.get_session(tokens.access_token) for tokens in renewed]
            assert database.writes == writes
            await until(lambda: not engine._uses)
            assert database.writes == writes + 1
            await noted(engine, *(session.handle for session in sessions if session))
            assert len(sessions) == 30

    monkeypatch.setattr(engine_module, "NOTE_USE_DELAY_S", 0.01)
    asyncio.run(story())


def test_a_first_use_that_is_seen_while_others_are_written_is_written_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        early, late = [await refresh(engine, await sign_in(engine)) for _ in range(2)]
        mark_used, begun, goes_on = engine._store.mark_used, asyncio.Event(), asyncio.Event()

        async def slow(seen: Any) -> Any:
            begun.set()
            await goes_on.wait()
            return await mark_used(seen)

        engine._store.mark_used = slow  # type: ignore[method-assign]
        assert await engine.get_session(early.access_token)
        await begun.wait()
        session = await engine.get_session(late.access_token)
        assert session
        goes_on.set()
        await noted(engine, session.handle)

    monkeypatch.setattr(engine_module, "NOTE_USE_DELAY_S", 0.0)
    run(tmp_path, story)


def test_a_first_use_that_could_not_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the latest by housekeeping: no thief is let in because the disk was full for a moment."""

    async def story() -> None:
        database = FaultyDatabase(tmp_path / "db")
        async with engine_on(database, FakeClock()) as engine:
            tokens = await refresh(engine, await sign_in(engine))
            database.broken = True
            session = await engine.get_session(tokens.access_token)
            assert session
            await until(lambda: not engine._note_use_task or engine._note_use_task.done())
            database.broken = False
            assert await used_generation(engine, session.handle) == 0
            await engine.maintain()
            assert await used_generation(engine, session.handle) == 1

    monkeypatch.setattr(engine_module, "NOTE_USE_DELAY_S", 0.0)
    asyncio.run(story())


# -- claims -------------------------------------------------------------------------------------------

ADULTS_ONLY = ClaimValidator(
    "adult", lambda payload, now_ms: ValidationResult(payload.get("age", 0) >= 18, "18")
)
FIRST = ClaimValidator("first", lambda payload, now_ms: ValidationResult("first" in payload))


def test_validators_that_refuse_are_named_with_their_reasons(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, child = await new_session(engine, access_token_payload={"age": 12})
        with pytest.raises(InvalidClaimsError) as caught:
            await engine.get_session(child)
        assert caught.value.payload == [{"id": "adult", "reason": "18"}, {"id": "first"}]
        assert (caught.value.status_hint, caught.value.message) == (403, "invalid claim")
        _, adult = await new_session(engine, access_token_payload={"age": 40, "first": 1})
        assert await engine.get_session(adult)

    run(tmp_path, story, options={"global_claim_validators": [ADULTS_ONLY, FIRST]})


def test_an_override_gets_the_global_validators_and_the_session_and_decides(tmp_path: Path) -> None:
    """A plain function or a coroutine; an empty list switches claims off."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, token = await new_session(engine, access_token_payload={"first": 1})
        given: list[tuple[list[str], str]] = []

        def none(validators: Sequence[ClaimValidator], session: Session) -> list[ClaimValidator]:
            given.append(([validator.id for validator in validators], session.user_id))
            return []

        async def only_first(validators: Sequence[ClaimValidator], session: Session) -> list[ClaimValidator]:
            await asyncio.sleep(0)
            return [FIRST]

        async def also_first(validators: Sequence[ClaimValidator], session: Session) -> list[ClaimValidator]:
            return [*validators, FIRST]

        for override in (none, only_first):
            assert await engine.get_session(token, override_global_claim_validators=override)
        assert given == [(["adult"], "ann")]
        for refusing in (None, also_first):
            with pytest.raises(InvalidClaimsError) as caught:
                await engine.get_session(token, override_global_claim_validators=refusing)
            assert [error["id"] for error in caught.value.payload] == ["adult"]

    run(tmp_path, story, options={"global_claim_validators": [ADULTS_ONLY]})


def test_an_override_may_add_validators_where_there_are_none(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, token = await new_session(engine)
        with pytest.raises(InvalidClaimsError):
            await engine.get_session(token, override_global_claim_validators=lambda _, __: [FIRST])

    run(tmp_path, story)


def test_claims_come_last(tmp_path: Path) -> None:
    """Who is signed out is told so, not that a claim is missing."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        clock.advance(3600)
        with pytest.raises(TryRefreshTokenError):
            await engine.get_session(token)
        clock.advance(-3600)
        await session.revoke()
        with pytest.raises(UnauthorisedError):
            await engine.get_session(token)

    run(tmp_path, story, options={"global_claim_validators": [ADULTS_ONLY]})


def test_a_stale_claim_is_fetched_stored_and_sent_with_a_new_access_token(tmp_path: Path) -> None:
    member = BooleanClaim("member", lambda user_id, tenant_id, payload: True)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        _, token = await new_session(engine)
        session = await engine.get_session(token)
        assert session
        tokens = await tokens_of(session)
        assert tokens.refresh_token is None
        assert session.get_claim_value(member) is True
        assert await engine.get_claim_value(session.handle, member) is True
        assert front(tokens)["up"]["member"]["v"] is True
        renewed = await engine.get_session(tokens.access_token)
        assert renewed
        assert renewed.new_tokens is None
        with pytest.raises(TryRefreshTokenError):
            await engine.get_session(token)

    run(tmp_path, story, options={"global_claim_validators": [member.is_true(max_age_s=60)]})


def test_a_refusal_after_fetching_keeps_the_claim_for_the_next_renewal(tmp_path: Path) -> None:
    """The 403 carries no token; a refresh delivers what was stored, and does not ask the validators."""
    answers = iter([False, True])
    member = BooleanClaim("member", lambda user_id, tenant_id, payload: next(answers))

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        tokens = await tokens_of(session)
        with pytest.raises(InvalidClaimsError):
            await engine.get_session(token)
        assert await engine.get_claim_value(session.handle, member) is False
        tokens = await refresh(engine, tokens)
        assert front(tokens)["up"]["member"]["v"] is False
        with pytest.raises(InvalidClaimsError):
            await engine.get_session(tokens.access_token)
        clock.advance(61)
        assert await engine.get_session(tokens.access_token)

    run(tmp_path, story, options={"global_claim_validators": [member.is_true(max_age_s=60)]})


def test_a_claim_that_has_no_value_is_absent_and_refused_as_such(tmp_path: Path) -> None:
    plan = PrimitiveClaim[str]("plan", lambda user_id, tenant_id, payload: None)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        assert "plan" not in session.access_token_payload
        with pytest.raises(InvalidClaimsError) as caught:
            await engine.get_session(token)
        reason = {"message": "value does not exist", "expectedValue": "pro"}
        assert caught.value.payload == [{"id": "plan", "reason": reason}]
        assert (
            await engine.get_session(token, override_global_claim_validators=lambda _, __: [])
        ) is not None

    run(tmp_path, story, options={"claims": [plan], "global_claim_validators": [plan.has_value("pro")]})


def test_a_claim_that_cannot_be_fetched_is_not_taken_for_absent(tmp_path: Path) -> None:
    def fails(user_id: str, tenant_id: str, payload: Any) -> bool:
        raise ConnectionError("the service is down")

    member = BooleanClaim("member", fails)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        with pytest.raises(ConnectionError):
            await engine.get_session(token)
        assert await engine.merge_into_access_token_payload(session.handle, {"a": 1}, owner=None)

    run(tmp_path, story, options={"global_claim_validators": [member.is_true()]})


def test_claims_of_the_engine_are_built_one_after_the_other_at_sign_in(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    async def fetch(user_id: str, tenant_id: str, payload: Any) -> str:
        seen.append(dict(payload))
        return f"{user_id}@{tenant_id}"

    one, two = PrimitiveClaim[str]("one", fetch), PrimitiveClaim[str]("two", fetch)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(engine, tenant_id="t", access_token_payload={"own": 1})
        assert session.get_claim_value(one) == session.get_claim_value(two) == "ann@t"
        assert [list(payload) for payload in seen] == [["own"], ["own", "one"]]
        assert session.access_token_payload["one"]["t"] == int(clock.now() * 1000)

    run(tmp_path, story, options={"claims": [one, two]})


def test_claims_may_be_judged_and_changed_by_handle(tmp_path: Path) -> None:
    member = BooleanClaim("member", lambda user_id, tenant_id, payload: True)
    plan = PrimitiveClaim[str]("plan", lambda user_id, tenant_id, payload: None)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(engine)
        handle = session.handle
        assert await engine.validate_claims_for_session_handle(handle) == [
            {"id": "plan", "reason": {"message": "value does not exist", "expectedValue": "pro"}}
        ]
        assert await engine.get_claim_value(handle, member) is True  # fetched and stored on the way
        assert await engine.set_claim_value(handle, plan, "pro", owner=None)
        assert await engine.validate_claims_for_session_handle(handle) == []
        assert await engine.remove_claim(handle, plan, owner=None)
        assert await engine.get_claim_value(handle, plan) is None
        assert await engine.fetch_and_set_claim(handle, plan, owner=None)
        assert await engine.validate_claims_for_session_handle(handle, lambda _, __: []) == []

    run(tmp_path, story, options={"global_claim_validators": [member.is_true(), plan.has_value("pro")]})


def test_claims_may_be_changed_through_a_session_object(tmp_path: Path) -> None:
    values = iter(["one", "two"])
    plan = PrimitiveClaim[str]("plan", lambda user_id, tenant_id, payload: next(values))

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(engine)
        for expected in ("one", "two"):
            await session.fetch_and_set_claim(plan)
            assert session.get_claim_value(plan) == expected
        await session.set_claim_value(plan, "three")
        await session.assert_claims([plan.has_value("three")])
        with pytest.raises(InvalidClaimsError):
            await session.assert_claims([plan.has_value("four")])
        await session.remove_claim(plan)
        assert session.get_claim_value(plan) is None
        assert await engine.get_session((await tokens_of(session)).access_token)

    run(tmp_path, story)


# -- merging into the payload -------------------------------------------------------------------------


def test_a_merge_gives_a_new_access_token_with_the_same_end_and_no_new_refresh_token(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        created, token = await new_session(engine)
        old = await tokens_of(created)
        clock.advance(100)
        session = await engine.get_session(token)
        assert session
        await session.merge_into_access_token_payload({"a": 1})
        tokens = await tokens_of(session)
        assert (tokens.refresh_token, tokens.anti_csrf_token) == (None, None)
        assert tokens.access_token_expires_at == old.access_token_expires_at == session.expires_at
        assert session.issued_at == clock.now()
        content = front(tokens)
        assert content["ate"] == tokens.access_token_expires_at * 1000
        assert content["up"] == session.access_token_payload
        assert content["up"]["iat"] == clock.now()
        again = await engine.get_session(tokens.access_token)
        assert again
        assert again.access_token_payload["a"] == 1
        assert again.new_tokens is None  # a front token goes with a new access token only
        await use(engine, await refresh(engine, old))

    run(tmp_path, story)


def test_a_merge_right_after_sign_in_keeps_the_refresh_token_that_is_still_to_be_sent(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(engine)
        before = await tokens_of(session)
        await session.merge_into_access_token_payload({"a": 1})
        after = await tokens_of(session)
        assert (after.refresh_token, after.anti_csrf_token) == (before.refresh_token, before.anti_csrf_token)
        assert after.anti_csrf_token
        assert after.access_token != before.access_token
        assert await engine.get_session(
            after.access_token, anti_csrf_check=True, anti_csrf_token=after.anti_csrf_token
        )

    run(tmp_path, story, anti_csrf="VIA_TOKEN")


def test_a_merge_after_the_token_expired_is_stored_only_and_comes_with_the_next_refresh(
    tmp_path: Path,
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        created, token = await new_session(engine, access_token_payload={"gone": 1})
        session = await engine.get_session(token)
        assert session
        clock.advance(3600)
        await session.merge_into_access_token_payload({"a": 1, "gone": None})
        assert session.new_tokens is None
        assert strip_protected(session.access_token_payload) == {"a": 1}
        assert session.expires_at == clock.now()
        renewed = front(await refresh(engine, await tokens_of(created)))["up"]
        assert renewed["a"] == 1
        assert "gone" not in renewed
        assert renewed["iss"] == ISSUER

    run(tmp_path, story)


def test_null_removes_a_name_at_the_root_and_nowhere_else(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(engine, access_token_payload={"a": 1, "b": {"c": 1, "d": 2}})
        await session.merge_into_access_token_payload({"a": None, "b": {"c": None}, "x": None})
        assert strip_protected(session.access_token_payload) == {"b": {"c": None}}
        assert "a" not in front(await tokens_of(session))["up"]
        information = await engine.get_session_information(session.handle)
        assert information
        custom_claims = strip_protected(session.access_token_payload)
        assert information.custom_claims_in_access_token_payload == {"iss": ISSUER, **custom_claims}

    run(tmp_path, story)


@pytest.mark.parametrize("name", sorted(PROTECTED_CLAIMS))
def test_setting_a_name_of_the_engine_is_a_value_error_everywhere(tmp_path: Path, name: str) -> None:
    """At creation as in a merge; None is ignored, as SuperTokens' backend SDKs do."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        with pytest.raises(ValueError, match=name):
            await engine.create_new_session("bob", access_token_payload={name: "evil", "a": 1})
        assert await engine.get_all_session_handles_for_user("bob") == []
        session, token = await new_session(engine, access_token_payload={name: None, "a": 1})
        with pytest.raises(ValueError, match=name):
            await session.merge_into_access_token_payload({"b": 1, name: "evil"})
        with pytest.raises(ValueError, match=name):
            await engine.merge_into_access_token_payload(session.handle, {"b": 1, name: "evil"}, owner=None)
        assert await engine.merge_into_access_token_payload(session.handle, {name: None}, owner=None)
        unchanged = await engine.get_session(token)
        assert unchanged
        assert "b" not in unchanged.access_token_payload
        row = await engine._store.load(session.handle)
        assert row
        assert (row.payload, row.payload_version) == ({"a": 1}, 0)

    run(tmp_path, story)


def test_a_claim_that_builds_a_protected_name_fails_the_sign_in(tmp_path: Path) -> None:
    class Impostor(PrimitiveClaim[str]):
        def add_to_payload(self, payload: Any, value: str, now_ms: int) -> dict[str, Any]:
            return {**payload, "sub": value}

    async def story(engine: Sessions, clock: FakeClock) -> None:
        with pytest.raises(ValueError, match="sub"):
            await engine.create_new_session("ann")
        assert await engine.get_all_session_handles_for_user("ann") == []

    run(tmp_path, story, options={"claims": [Impostor("x", lambda *_: "bob")]})


def test_claims_too_large_for_a_cookie_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    """Browsers drop a cookie of more than 4,096 bytes without a word."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        fits = {"x": "y" * (MAX_CLAIMS_BYTES - len('{"x":""}'))}
        too_large = {"x": fits["x"] + "y"}
        with pytest.raises(ValueError, match="cookie has room"):
            await engine.create_new_session("bob", access_token_payload=too_large)
        assert await engine.get_all_session_handles_for_user("bob") == []
        session, _ = await new_session(engine)
        with pytest.raises(ValueError, match="cookie has room"):
            await session.merge_into_access_token_payload(too_large)
        with pytest.raises(ValueError, match="cookie has room"):
            await engine.merge_into_access_token_payload(session.handle, too_large, owner=None)
        assert strip_protected(session.access_token_payload) == {}
        await session.merge_into_access_token_payload(fits)
        with pytest.raises(ValueError, match="cookie has room"):
            await session.merge_into_access_token_payload({"one": "more"})
        await use(engine, await tokens_of(session))

    run(tmp_path, story)


def test_ids_and_claims_of_the_greatest_length_make_tokens_that_fit_and_work(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        fits = {"x": "y" * (MAX_CLAIMS_BYTES - len('{"x":""}'))}
        longest = ""
        for user_id, tenant_id in (
            ("u" * 120, "public"),
            ("é" * 19, "public"),
            ("u", "t" * 130),
            ("u", "é" * 20),
        ):
            tokens = await sign_in(engine, user_id, tenant_id=tenant_id, access_token_payload=fits)
            await use(engine, await refresh(engine, tokens))
            longest = max(longest, tokens.access_token, tokens.front_token, key=len)
        assert 3500 < len(longest) + len("st-last-access-token-update") < 4096
        for user_id, tenant_id in (
            ("", "public"),
            ("u", ""),
            ("u" * 200, "public"),
            ("u", "t" * 200),
            ("é" * 99, "x"),
        ):
            with pytest.raises(ValueError, match="empty"):
                await engine.create_new_session(user_id, tenant_id=tenant_id)

    run(tmp_path, story)


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        for value in (float("nan"), float("inf")):
            with pytest.raises(ValueError):
                await engine.create_new_session("bob", access_token_payload={"x": value})
            with pytest.raises(ValueError):
                await session.merge_into_access_token_payload({"x": value})
        assert await engine.get_all_session_handles_for_user("bob") == []
        assert await engine.get_session(token)

    run(tmp_path, story)


def test_a_merge_that_changes_nothing_costs_no_other_tab_a_renewal(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine, access_token_payload={"a": 1})
        await session.merge_into_access_token_payload({"a": 1, "b": None})
        assert await engine.get_session(token)
        assert await engine.get_session((await tokens_of(session)).access_token)

    run(tmp_path, story)


def test_a_change_by_handle_is_answered_with_a_renewal_that_brings_it(tmp_path: Path) -> None:
    """A role that was taken away is gone at once, not with the token's end an hour later."""

    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(one, access_token_payload={"role": "admin"})
        await two.get_session(token)
        assert await two.merge_into_access_token_payload(session.handle, {"role": "reader"}, owner=None)
        with pytest.raises(TryRefreshTokenError, match="claims have changed"):
            await two.get_session(token)
        await until(lambda: session.handle in one.feed.payload_versions)
        with pytest.raises(TryRefreshTokenError, match="claims have changed"):
            await one.get_session(token)
        renewed = await refresh(one, await tokens_of(session))
        assert front(renewed)["up"]["role"] == "reader"
        for engine in (one, two):
            await use(engine, renewed)

    run_two(tmp_path, story)


def test_no_merge_is_lost_when_many_come_at_once(tmp_path: Path) -> None:
    async def story(one: Sessions, two: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(one)
        objects = [await one.get_session(token) for _ in range(20)]
        await asyncio.gather(
            *(each.merge_into_access_token_payload({f"a{n}": n}) for n, each in enumerate(objects) if each),
            *(
                two.merge_into_access_token_payload(session.handle, {f"b{n}": n}, owner=None)
                for n in range(20)
            ),
        )
        renewed = await refresh(two, await tokens_of(session))
        expected = {f"a{n}" for n in range(20)} | {f"b{n}" for n in range(20)}
        assert expected <= front(renewed)["up"].keys()
        await use(one, renewed)

    run_two(tmp_path, story)


# -- sessions that are over, and what is asked by handle ----------------------------------------------


def test_what_is_asked_of_a_session_that_is_over(tmp_path: Path) -> None:
    """By handle the answer is "no such session"; a session object raises; ending it again does no harm."""
    member = BooleanClaim("member", lambda user_id, tenant_id, payload: True)

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine)
        expired, _ = await new_session(engine)
        found = await engine.get_session(token)
        assert found
        await engine.revoke_session(session.handle, owner=None)
        await _set(engine, expired, "expires_at", clock.now())
        for handle in (session.handle, expired.handle, "unknown", ""):
            assert await engine.get_session_information(handle) is None
            assert not await engine.update_session_data_in_database(handle, {}, owner=None)
            assert not await engine.merge_into_access_token_payload(handle, {"a": 1}, owner=None)
            assert not await engine.fetch_and_set_claim(handle, member, owner=None)
            assert not await engine.set_claim_value(handle, member, True, owner=None)
            assert not await engine.remove_claim(handle, member, owner=None)
            with pytest.raises(UnauthorisedError):
                await engine.get_claim_value(handle, member)
            with pytest.raises(UnauthorisedError):
                await engine.validate_claims_for_session_handle(handle)
        assert await engine.get_all_session_handles_for_user("ann") == []
        for gone in (
            lambda: found.merge_into_access_token_payload({"a": 1}),
            lambda: found.fetch_and_set_claim(member),
            lambda: found.get_session_data_from_database(),
            lambda: found.update_session_data_in_database({}),
            lambda: found.get_time_created(),
            lambda: found.get_expiry(),
        ):
            with pytest.raises(UnauthorisedError) as caught:
                await gone()
            assert caught.value.clear_tokens
        await found.revoke()
        assert found.revoked
        assert found.new_tokens is None
        assert not await engine.revoke_session(session.handle, owner=None)
        assert await engine.revoke_multiple_sessions([session.handle, "unknown"], owner=None) == []
        assert await engine.revoke_all_sessions_for_user("nobody") == []

    run(tmp_path, story)


def test_revoking_by_handle_ends_the_session_at_once_for_all_of_its_tokens(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, first = await new_session(engine)
        tokens = await refresh(engine, await tokens_of(session))
        assert await engine.revoke_session(session.handle, owner=None)
        for token in (first, tokens.access_token):
            with pytest.raises(UnauthorisedError, match="revoked"):
                await engine.get_session(token)
        with pytest.raises(UnauthorisedError):
            await refresh(engine, tokens)

    run(tmp_path, story)


def test_a_users_sessions_are_listed_and_revoked_by_tenant_and_but_for_one(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        handles = []
        for tenant in ("public", "public", "t2"):
            session, _ = await new_session(engine, tenant_id=tenant)
            handles.append(session.handle)
            clock.advance(1)
        other = await engine.create_new_session("bob")
        assert await engine.get_all_session_handles_for_user("ann") == handles
        assert await engine.get_all_session_handles_for_user("ann", tenant_id="t2") == handles[2:]
        assert await engine.revoke_all_sessions_for_user("ann", tenant_id="public", keep=handles[1]) == [
            handles[0]
        ]
        assert sorted(await engine.revoke_multiple_sessions([*handles, "unknown"], owner=None)) == sorted(
            handles[1:]
        )
        assert await engine.get_all_session_handles_for_user("bob") == [other.handle]

    run(tmp_path, story)


def test_information_about_a_session(tmp_path: Path) -> None:
    """Times are in milliseconds; the custom claims have the issuer among them and no name of the engine's."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, _ = await new_session(
            engine, access_token_payload={"a": 1}, session_data_in_database={"cart": [1]}
        )
        created_ms = int(clock.now() * 1000)
        information = await engine.get_session_information(session.handle)
        assert information
        assert vars(information) == {
            "session_handle": session.handle,
            "user_id": "ann",
            "recipe_user_id": "ann",
            "tenant_id": "public",
            "session_data_in_database": {"cart": [1]},
            "custom_claims_in_access_token_payload": {"iss": ISSUER, "a": 1},
            "expiry": created_ms + 30 * DAY * 1000,
            "time_created": created_ms,
            "time_refreshed": created_ms,
            "created_from": "",
            "refreshed_from": "",
        }
        clock.advance(DAY)
        await refresh(engine, await tokens_of(session))
        assert await session.get_expiry() == created_ms + 31 * DAY * 1000
        assert await session.get_time_created() == created_ms
        renewed = await engine.get_session_information(session.handle)
        assert renewed
        assert renewed.time_refreshed == created_ms + DAY * 1000

    run(tmp_path, story)


def test_session_data_is_replaced_as_a_whole_and_never_sent_to_the_client(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session, token = await new_session(engine, session_data_in_database={"secret-cart": 1})
        await session.update_session_data_in_database({"b": {"c": [None, 1.5, "ü"]}})
        assert await session.get_session_data_from_database() == {"b": {"c": [None, 1.5, "ü"]}}
        assert await engine.update_session_data_in_database(session.handle, None, owner=None)
        assert await session.get_session_data_from_database() == {}
        found = await engine.get_session(token)
        assert found
        assert strip_protected(found.access_token_payload) == {}

    run(tmp_path, story)
