# SPDX-License-Identifier: MIT
"""Verify-only mode: what is accepted by public keys alone, and what becomes of it when they cannot be had."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.sessions import (
    BooleanClaim,
    InvalidClaimsError,
    RemoteConfig,
    RemoteSessions,
    Session,
    Sessions,
    StoreUnavailableError,
    TryRefreshTokenError,
    UnauthorisedError,
    VerifyOnlyError,
    remote_keys,
)
from stormcellar.sessions.keys import SigningKey
from stormcellar.sessions.remote_keys import CACHE_S, COOLDOWN_S, MAX_DOCUMENT_BYTES, RemoteKeys, parse_jwks
from stormcellar.testing.clock import FakeClock
from stormcellar.testing.waiting import until
from stormcellar.tests.sessions.helpers import sign_in
from stormcellar.tests.support import ISSUER, running_engine


class JWKSServer:
    """A real server on loopback that says what a test wants it to.

    Attributes:
        answer: gets the request's handler, and answers; None breaks the connection off.
        fetches: how often it was asked.
    """

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.fetches = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                if outer.answer:
                    outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/auth/jwt/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def say(self, body: bytes | Callable[[], Any], status: int = 200, **headers: str) -> None:
        """Answer like this from now on; `body` may be bytes, or make what is sent as JSON."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body()).encode()
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)

        self.answer = answer

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def jwks_server() -> Iterator[JWKSServer]:
    server = JWKSServer()
    yield server
    server.stop()


class World:
    """An API server's engine, its JWKS address, and a web server's engine that verifies."""

    def __init__(self, engine: Sessions, clock: FakeClock, jwks: JWKSServer) -> None:
        self.engine = engine
        self.clock = clock
        self.jwks = jwks
        self.config = RemoteConfig(jwks.url, ISSUER)
        self.web = RemoteSessions(self.config, clock=clock)

    async def token(self, user_id: str = "ann", **more: Any) -> str:
        return (await sign_in(self.engine, user_id, **more)).access_token

    async def user_of(self, token: str) -> str:
        session = await self.web.get_session(token)
        assert isinstance(session, Session)
        return session.user_id

    def sign(self, version: str | None = "5", header: Any = None, **changes: Any) -> str:
        """A token by the API server's key; a claim that is None is left out."""
        now = int(self.clock.now())
        claims = {
            "sub": "ann", "rsub": "ann", "tId": "public", "sessionHandle": "handle",
            "refreshTokenHash1": "00", "iat": now, "exp": now + 3600, "iss": ISSUER, **changes,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.engine.keys.signing_key()
        headers = {"kid": key.kid, **({"version": version} if version else {}), **(header or {})}
        return sign(claims, key.private_key, headers)


def sign(claims: dict[str, Any], key: rsa.RSAPrivateKey, headers: dict[str, Any]) -> str:
    """Whatever the claims are; jwt.encode looks at them."""
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm="RS256", headers=headers)


Tell = Callable[..., None]


@pytest.fixture
def tell(tmp_path: Path, jwks_server: JWKSServer) -> Tell:
    """Runs a story about a World whose JWKS address says what it should and whose web server has started."""

    def run(story: Callable[[World], Awaitable[None]], *, start: bool = True, **config: Any) -> None:
        async def in_world() -> None:
            async with world(config) as told:
                if start:
                    await told.web.start()
                await story(told)
                await told.web.stop()

        asyncio.run(in_world())

    @asynccontextmanager
    async def world(config: dict[str, Any]) -> AsyncIterator[World]:
        clock = FakeClock()
        async with running_engine(tmp_path / "db", clock, **config) as engine:
            jwks_server.say(engine.keys.jwks)
            yield World(engine, clock, jwks_server)

    return run


async def finish_renewal(keys: RemoteKeys) -> None:
    assert keys._renewal is not None
    await keys._renewal


# -- which tokens are accepted ----------------------------------------------------------------------


def test_a_token_of_the_api_server_is_a_session_and_the_keys_are_fetched_once(tell: Tell) -> None:
    async def story(world: World) -> None:
        for user_id in ("ann", "bob", "ann"):
            assert await world.user_of(await world.token(user_id)) == user_id
        assert world.jwks.fetches == 1

    tell(story)


@pytest.mark.parametrize(
    ("version", "absent"), [("3", ("tId", "rsub")), ("4", ("rsub",)), ("5", ()), ("5", ("iss",))]
)
def test_the_layouts_of_versions_3_to_5_are_accepted(
    tell: Tell, version: str, absent: tuple[str, ...]
) -> None:
    """Version 3 has no tenant and version 4 no login method; tokens of old backends have no issuer."""

    async def story(world: World) -> None:
        token = world.sign(version, **dict.fromkeys(absent))
        assert world.web.recognises(token)
        session = await world.web.get_session(token)
        assert session is not None
        found = (session.user_id, session.recipe_user_id, session.tenant_id, session.handle)
        assert found == ("ann", "ann", "public", "handle")

    tell(story)


@pytest.mark.parametrize("version", [None, "2", "6", "", 5, 5.0, ["5"]])
def test_other_layouts_are_not_tokens_at_all(tell: Tell, version: Any) -> None:
    async def story(world: World) -> None:
        token = world.sign(None, header={} if version is None else {"version": version})
        assert not world.web.recognises(token)
        with pytest.raises(UnauthorisedError):
            await world.web.get_session(token)
        assert await world.web.get_session(token, session_required=False) is None

    tell(story)


@pytest.mark.parametrize("iss", ["https://evil.example/auth", ISSUER + "/", [ISSUER]], ids=str)
def test_a_token_of_another_issuer_is_no_token(tell: Tell, iss: Any) -> None:
    async def story(world: World) -> None:
        with pytest.raises(UnauthorisedError):
            await world.web.get_session(world.sign(iss=iss))
        assert await world.web.get_session(world.sign(iss=iss), session_required=False) is None

    tell(story)


@pytest.mark.parametrize("changes", [{"exp": 1_799_999_999}, {"aud": "https://elsewhere.example"}], ids=str)
def test_an_expired_token_and_one_for_another_server_must_be_renewed(
    tell: Tell, changes: dict[str, Any]
) -> None:
    async def story(world: World) -> None:
        with pytest.raises(TryRefreshTokenError):
            await world.web.get_session(world.sign(**changes))
        assert await world.user_of(world.sign(aud=["https://elsewhere.example", ISSUER]))

    tell(story)


def test_an_oauth_token_that_was_signed_with_the_same_key_is_no_session(tell: Tell) -> None:
    async def story(world: World) -> None:
        assert await world.user_of(world.sign(stt=0))
        for kind in (1, "0", True, False, 0.0):
            with pytest.raises(UnauthorisedError):
                await world.web.get_session(world.sign(stt=kind))

    tell(story)


def test_a_token_signed_by_somebody_else_must_be_renewed(tell: Tell) -> None:
    async def story(world: World) -> None:
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        known = world.engine.keys.signing_key()
        good = world.sign()
        claims = jwt.decode(good, options={"verify_signature": False})
        for kid in (known.kid, "d-1", "s-1"):
            forged = sign(claims, stranger, {"kid": kid, "version": "5"})
            with pytest.raises(TryRefreshTokenError):
                await world.web.get_session(forged)
        head, payload, signature = good.split(".")
        with pytest.raises(TryRefreshTokenError):
            await world.web.get_session(f"{head}.{payload}.{'AB'[signature[0] == 'A']}{signature[1:]}")

    tell(story)


def test_garbage_is_no_token_and_has_nobody_ask_for_keys(tell: Tell) -> None:
    async def story(world: World) -> None:
        for garbage in ("", "x", "a.b.c", "." * 65536, "\0", world.sign(header={"jku": world.jwks.url})):
            with pytest.raises(UnauthorisedError):
                await world.web.get_session(garbage)
        kids = ("../d-1", "http://127.0.0.1/", "d-", "x-1")
        for kid in kids:
            with pytest.raises(TryRefreshTokenError):
                await world.web.get_session(world.sign(header={"kid": kid}))
        assert world.jwks.fetches == 1

    tell(story)


def test_a_token_is_verified_once_and_not_accepted_past_its_expiry(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        token = await world.token()
        await world.user_of(token)
        with monkeypatch.context() as patch:
            patch.setattr(
                "stormcellar.sessions.access_token.verify", lambda *_: pytest.fail("verified again")
            )
            await world.user_of(token)
        world.clock.advance(3600)
        with pytest.raises(TryRefreshTokenError):
            await world.web.get_session(token)

    tell(story)


def test_the_anti_csrf_header_is_compared_as_the_api_server_does(tell: Tell) -> None:
    async def story(world: World) -> None:
        tokens = await sign_in(world.engine)
        world.web = RemoteSessions(
            RemoteConfig(world.jwks.url, ISSUER, anti_csrf="VIA_TOKEN"), clock=world.clock
        )
        web = world.web
        assert await web.get_session(tokens.access_token)
        sent = tokens.anti_csrf_token
        assert await web.get_session(tokens.access_token, anti_csrf_check=True, anti_csrf_token=sent)
        for wrong in (None, "", "x"):
            with pytest.raises(TryRefreshTokenError):
                await web.get_session(tokens.access_token, anti_csrf_check=True, anti_csrf_token=wrong)

    tell(story, anti_csrf="VIA_TOKEN")


# -- what cannot be done here -----------------------------------------------------------------------


def test_whatever_needs_a_store_names_the_mode(tell: Tell) -> None:
    async def story(world: World) -> None:
        web = world.web
        session = await web.get_session(await world.token())
        assert session is not None
        for attempt in (
            lambda: web.create_new_session("ann"),
            lambda: web.refresh_session("token"),
            lambda: web.revoke_session(session.handle, owner=None),
            lambda: web.get_session_information(session.handle),
            lambda: session.revoke(),
            lambda: session.merge_into_access_token_payload({"a": 1}),
            lambda: session.get_session_data_from_database(),
            lambda: web.get_session("token", check_database=True),
        ):
            with pytest.raises(VerifyOnlyError, match="store"):
                await attempt()
        assert not hasattr(web, "create_new_session")

    tell(story)


def test_claims_are_judged_by_the_token_and_nothing_is_fetched_again(tell: Tell) -> None:
    async def story(world: World) -> None:
        paid: BooleanClaim = BooleanClaim("paid", lambda *_: pytest.fail("fetched"))
        world.web = RemoteSessions(
            world.config, clock=world.clock, global_claim_validators=[paid.is_true(max_age_s=10)]
        )
        good = await world.token(access_token_payload={"paid": {"v": True, "t": world.web.now_ms()}})
        assert await world.user_of(good)
        bad = [await world.token(), await world.token(access_token_payload={"paid": {"v": False, "t": 0}})]
        for token in bad:
            with pytest.raises(InvalidClaimsError) as refusal:
                await world.web.get_session(token)
            assert [error["id"] for error in refusal.value.payload] == ["paid"]
            assert await world.web.get_session(token, override_global_claim_validators=lambda *_: [])
        world.clock.advance(11)
        with pytest.raises(InvalidClaimsError):
            await world.web.get_session(good)

    tell(story)


# -- keys that come and go --------------------------------------------------------------------------


def test_a_new_key_is_fetched_when_the_first_token_signed_with_it_comes(tell: Tell) -> None:
    async def story(world: World) -> None:
        old = await world.token("ann")
        world.clock.advance(COOLDOWN_S)
        await world.engine.keys.rotate_now()
        assert await world.user_of(await world.token("bob")) == "bob"
        assert await world.user_of(old) == "ann"
        assert world.jwks.fetches == 2

    tell(story)


def test_an_unknown_key_is_asked_for_once_per_cool_down_however_many_ask(tell: Tell) -> None:
    async def story(world: World) -> None:
        async def refused(kid: str) -> None:
            with pytest.raises(TryRefreshTokenError):
                await world.web.get_session(world.sign(header={"kid": kid}))

        world.clock.advance(COOLDOWN_S)
        await asyncio.gather(*(refused(f"d-{number}") for number in range(50)))
        assert world.jwks.fetches == 2
        await refused("d-50")
        assert world.jwks.fetches == 2
        world.clock.advance(COOLDOWN_S)
        await refused("d-0")
        assert world.jwks.fetches == 3
        world.clock.advance(-3600)  # a clock that is set back does not stop the asking
        await refused("d-0")
        assert world.jwks.fetches == 4

    tell(story)


def test_keys_are_fetched_again_after_four_hours_in_the_background(tell: Tell) -> None:
    """Until then a key that the API server has withdrawn is still accepted; afterwards it is not."""

    async def story(world: World) -> None:
        withdrawn = world.sign(exp=int(world.clock.now()) + 2 * CACHE_S)
        await world.user_of(withdrawn)
        await world.engine.keys.rotate_now(forget_old=True)
        world.clock.advance(CACHE_S - 1)
        assert await world.user_of(withdrawn)
        assert world.jwks.fetches == 1
        world.clock.advance(1)
        assert await world.user_of(withdrawn)  # does not wait
        await finish_renewal(world.web.keys)
        assert world.jwks.fetches == 2
        with pytest.raises(TryRefreshTokenError):
            await world.web.get_session(withdrawn)

    tell(story)


# -- an address that is out of reach ----------------------------------------------------------------


def never_answer(_: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(TIME_TO_HANG_S)


def drip(request: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for longer than anybody should wait."""
    request.send_response(200)
    request.end_headers()
    until = time.monotonic() + TIME_TO_HANG_S
    while time.monotonic() < until:
        request.wfile.write(b" ")
        request.wfile.flush()
        threading.Event().wait(0.02)


TIME_TO_HANG_S = 3.0
HUGE = b'{"keys": [' + b" " * MAX_DOCUMENT_BYTES + b"]}"
TROUBLES: dict[str, Callable[[JWKSServer], None]] = {
    "breaks off": lambda server: setattr(server, "answer", None),
    "never answers": lambda server: setattr(server, "answer", never_answer),
    "drips": lambda server: setattr(server, "answer", drip),
    "error": lambda server: server.say(b"{}", 503),
    "not found": lambda server: server.say(b'{"keys": []}', 404),
    "empty": lambda server: server.say(b""),
    "garbage": lambda server: server.say(b"\xff<html>"),
    "no JWKS": lambda server: server.say(b"[1]"),
    "no keys": lambda server: server.say(b'{"keys": []}'),
    "deep": lambda server: server.say(b'{"keys": ' + b"[" * 200_000),
    "huge": lambda server: server.say(HUGE),
    "elsewhere": lambda server: server.say(b"", 302, Location="http://localhost:1/jwks.json"),
    "a file": lambda server: server.say(b"", 302, Location="file:///etc/hostname"),
}
every_trouble = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())


Impatience = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Impatience:
    """Not to wait as long as the real thing for who hangs; all others get the time that they need."""

    @contextmanager
    def hurry() -> Iterator[None]:
        with monkeypatch.context() as patch:
            if request.node.callspec.id in ("never answers", "drips"):
                patch.setattr(remote_keys, "TIME_LIMIT_S", 0.1)
            yield

    return hurry


@every_trouble
def test_known_keys_keep_working_whatever_becomes_of_their_address(
    tell: Tell, trouble: Callable[[JWKSServer], None], impatience: Impatience
) -> None:
    async def story(world: World) -> None:
        token = world.sign(exp=int(world.clock.now()) + 2 * CACHE_S)
        await world.user_of(token)
        trouble(world.jwks)
        world.clock.advance(CACHE_S)
        with impatience():
            assert await world.user_of(token) == "ann"
            await finish_renewal(world.web.keys)
        await until(lambda: world.jwks.fetches == 2)
        assert await world.user_of(token) == "ann"
        with pytest.raises(TryRefreshTokenError):
            await world.web.get_session(world.sign(header={"kid": "d-1"}))
        world.jwks.say(world.engine.keys.jwks)
        world.clock.advance(COOLDOWN_S)
        assert await world.user_of(token) == "ann"
        await finish_renewal(world.web.keys)
        assert await world.user_of(await world.token("bob")) == "bob"

    tell(story)


@every_trouble
def test_a_server_that_never_had_a_key_starts_and_says_that_it_does_not_know(
    tell: Tell, trouble: Callable[[JWKSServer], None], impatience: Impatience
) -> None:
    """503, not a renewal: the visitor's token may be as good as any, and a new one would fare no better."""

    async def story(world: World) -> None:
        trouble(world.jwks)
        with impatience():
            await world.web.start()
        token = await world.token()
        for required in (True, False):
            with pytest.raises(StoreUnavailableError):
                await world.web.get_session(token, session_required=required)
            assert await world.web.get_session(None, session_required=False) is None
            with pytest.raises(UnauthorisedError):
                await world.web.get_session("garbage")
        await until(lambda: world.jwks.fetches == 1)
        world.jwks.say(world.engine.keys.jwks)
        world.clock.advance(COOLDOWN_S)
        assert await world.user_of(token) == "ann"

    tell(story, start=False)


def test_an_address_where_nobody_listens(tell: Tell) -> None:
    async def story(world: World) -> None:
        world.jwks.stop()
        await world.web.start()
        with pytest.raises(StoreUnavailableError):
            await world.web.get_session(await world.token())

    tell(story, start=False)


def test_a_redirect_within_the_same_host_is_followed(tell: Tell) -> None:
    async def story(world: World) -> None:
        keys = world.engine.keys.jwks

        def answer(request: BaseHTTPRequestHandler) -> None:
            if request.path == "/moved":
                world.jwks.say(keys)
                assert world.jwks.answer is not None
                world.jwks.answer(request)
            else:
                request.send_response(302)
                request.send_header("Location", "/moved")
                request.end_headers()

        world.jwks.answer = answer
        await world.web.start()
        assert not world.web.keys.is_empty

    tell(story, start=False)


def test_the_event_loop_goes_on_while_the_keys_are_fetched(tell: Tell) -> None:
    async def story(world: World) -> None:
        released = threading.Event()
        body = json.dumps(world.engine.keys.jwks()).encode()

        def answer(request: BaseHTTPRequestHandler) -> None:
            released.wait()
            request.send_response(200)
            request.end_headers()
            request.wfile.write(body)

        world.jwks.answer = answer
        token = await world.token()
        waiting = [asyncio.ensure_future(world.web.get_session(token)) for _ in range(10)]
        while world.jwks.fetches == 0:  # others have their turn all the while
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        released.set()
        assert all(await asyncio.gather(*waiting))
        assert world.jwks.fetches == 1

    tell(story, start=False)


# -- which keys of a JWKS are taken -----------------------------------------------------------------


def jwk_of(private_key: rsa.RSAPrivateKey, **changes: Any) -> dict[str, Any]:
    key = SigningKey("d-1", private_key, private_key.public_key(), 0, 0).as_jwk()
    return {name: value for name, value in {**key, **changes}.items() if value is not None}


@pytest.fixture(scope="module")
def strong_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "EC"}, {"kty": None}, {"alg": "RS512"}, {"alg": "none"}, {"alg": "HS256"}, {"alg": None},
        {"use": "enc"}, {"use": None}, {"kid": None}, {"kid": ""}, {"kid": 1}, {"kid": "k" * 201},
        {"n": None},
        {"n": "AQAB"}, {"n": 65537}, {"n": "!"}, {"n": "AQAB" * 5000}, {"e": None}, {"e": "AA"}, {"e": "AQ"},
        {"e": "Ag"}, {"e": "AQAB" * 100}, {"d": "AQAB"},
    ],
    ids=lambda changes: str(changes)[:30],
)  # fmt: skip
def test_keys_for_anything_else_are_left_out(strong_key: rsa.RSAPrivateKey, changes: dict[str, Any]) -> None:
    good = jwk_of(strong_key)
    bad = jwk_of(strong_key, **{"kid": "bad", **changes})
    assert list(parse_jwks(json.dumps({"keys": [bad, "x", None, good]}).encode())) == ["d-1"]
    with pytest.raises(ValueError):
        parse_jwks(json.dumps({"keys": [bad]}).encode())


def test_a_key_of_1024_bits_is_too_weak() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="2048"):
        parse_jwks(json.dumps({"keys": [jwk_of(weak)]}).encode())


def test_numbers_may_be_padded_and_lead_with_a_zero_byte(strong_key: rsa.RSAPrivateKey) -> None:
    """Java's BigInteger leads with one where the highest bit is set, and some encoders pad."""
    number = strong_key.public_key().public_numbers().n
    spelled = base64.urlsafe_b64encode(b"\0" + number.to_bytes(256, "big")).decode()
    assert spelled.endswith("=")
    keys = parse_jwks(json.dumps({"keys": [jwk_of(strong_key, n=spelled)]}).encode())
    assert keys["d-1"].public_key.public_numbers().n == number
