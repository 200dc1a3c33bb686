# SPDX-License-Identifier: MIT
"""The access token: what stands in it, and that nothing but exactly that is taken for one.

Unless a test says otherwise its tokens are signed by the engine's own key: the signature is right, and only
the rule under test can refuse them. Sources: RFC 7515, RFC 7519, RFC 8725, OWASP ASVS 5.0, 9.1 and 9.2.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from stormcellar.sessions import Sessions, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions import access_token as access_token_module
from stormcellar.sessions.access_token import MAX_TOKEN_CHARACTERS, read, verify
from stormcellar.sessions.base64url import decode_base64url, encode_base64url
from stormcellar.sessions.keys import SigningKey, generate_private_key
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.sessions.helpers import FaultyDatabase, engine_on, refresh, run, sign_in, use
from stormcellar.tests.support import ISSUER, running_engine

NOW = 1_800_000_000
OUR_KEY = generate_private_key()
ANOTHER_KEY = generate_private_key()
KID = f"d-{NOW * 1000}"
HEADER = {"alg": "RS256", "kid": KID, "typ": "JWT", "version": "5"}
PAYLOAD = {
    "iat": NOW, "exp": NOW + 3600, "sub": "ann", "tId": "public", "rsub": "ann",
    "sessionHandle": "11111111-2222-4333-8444-555555555555", "refreshTokenHash1": "0" * 64,
    "parentRefreshTokenHash1": None, "antiCsrfToken": None, "iss": ISSUER, "sc-gen": 0, "sc-ver": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No test of this file may cause an outgoing connection: keys come from the store alone."""
    attempts: list[Any] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        attempts.append(args)
        raise OSError("this test allows no connection")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    yield attempts
    assert attempts == []


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def signed(header: Any, payload: Any, key: rsa.RSAPrivateKey = OUR_KEY) -> str:
    """A token of these parts (JSON values, or bytes as they are), RS256 whatever its header says."""
    signing_input = f"{encode_base64url(as_json(header))}.{encode_base64url(as_json(payload))}"
    signature = key.sign(signing_input.encode(), PKCS1v15(), hashes.SHA256())
    return f"{signing_input}.{encode_base64url(signature)}"


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return json.loads(decode_base64url(header) or b""), json.loads(decode_base64url(payload) or b"")


def with_our_key(tmp_path: Path, story: Callable[[Sessions, FakeClock], Any], **config: Any) -> None:
    run(tmp_path, story, options={"generate_key": lambda: OUR_KEY}, **config)


async def outcome(engine: Sessions, token: str) -> str:
    """What a client is told: "session", "renew", or "none" for what is no token at all."""
    try:
        assert await engine.get_session(token)
    except TryRefreshTokenError:
        return "renew"
    except UnauthorisedError as error:
        optional = await engine.get_session(token, session_required=False)
        return "none" if optional is None and not error.clear_tokens else "neither"
    return "session"


async def refused(engine: Sessions, token: str) -> bool:
    return await outcome(engine, token) in ("renew", "none")


# -- layout -------------------------------------------------------------------------------------------


def test_the_header_has_exactly_four_members(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        header, _ = parts_of((await sign_in(engine)).access_token)
        assert list(header.items()) == [("alg", "RS256"), ("kid", KID), ("typ", "JWT"), ("version", "5")]

    run(tmp_path, story)


def test_the_payload_has_exactly_these_members_in_this_order(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann", access_token_payload={"b": 1, "a": {"v": [None]}})
        tokens = session.new_tokens
        assert tokens
        assert tokens.refresh_token
        _, payload = parts_of(tokens.access_token)
        assert list(payload.items()) == [
            ("iat", NOW),
            ("exp", NOW + 3600),
            ("sub", "ann"),
            ("tId", "public"),
            ("rsub", "ann"),
            ("sessionHandle", session.handle),
            ("refreshTokenHash1", hashlib.sha256(tokens.refresh_token.encode()).hexdigest()),
            ("parentRefreshTokenHash1", None),
            ("antiCsrfToken", None),
            ("iss", ISSUER),
            ("b", 1),
            ("a", {"v": [None]}),
            ("sc-gen", 0),
            ("sc-ver", 0),
        ]
        assert uuid.UUID(session.handle).version == 4
        read_back = await engine.get_session(tokens.access_token)
        assert read_back
        assert list(read_back.access_token_payload.items()) == list(payload.items())

    run(tmp_path, story)


def test_a_tenant_stands_in_payload_and_handle(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann", tenant_id="t1")
        assert session.access_token_payload["tId"] == "t1"
        assert re.fullmatch(r"[0-9a-f-]{36}_t1", session.handle)

    run(tmp_path, story)


def test_each_generation_carries_its_number_and_the_hash_of_its_refresh_token(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        for generation in range(4):
            _, payload = parts_of(tokens.access_token)
            assert payload["sc-gen"] == generation
            assert tokens.refresh_token
            digest = hashlib.sha256(tokens.refresh_token.encode()).hexdigest()
            assert payload["refreshTokenHash1"] == digest
            tokens = await refresh(engine, tokens)

    run(tmp_path, story)


def test_an_anti_csrf_token_is_a_uuid_in_the_payload_and_new_with_each_refresh(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        tokens = await sign_in(engine)
        assert tokens.refresh_token
        assert tokens.anti_csrf_token
        _, payload = parts_of(tokens.access_token)
        assert payload["antiCsrfToken"] == tokens.anti_csrf_token
        assert uuid.UUID(tokens.anti_csrf_token).version == 4
        renewed = await engine.refresh_session(tokens.refresh_token, anti_csrf_token=tokens.anti_csrf_token)
        assert renewed.new_tokens
        assert renewed.new_tokens.anti_csrf_token not in (None, tokens.anti_csrf_token)

    run(tmp_path, story, anti_csrf="VIA_TOKEN")


def test_the_front_token_is_standard_base64_of_user_expiry_and_payload(tmp_path: Path) -> None:
    """SuperTokens' clients read the standard alphabet with padding, and `ate` in milliseconds."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann", access_token_payload={"x": "ÿ?>~"})
        assert session.new_tokens
        front = session.new_tokens.front_token
        assert re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", front)
        assert len(front) % 4 == 0
        content = json.loads(base64.b64decode(front, validate=True))
        assert list(content) == ["uid", "ate", "up"]
        assert (content["uid"], content["ate"]) == ("ann", (NOW + 3600) * 1000)
        assert list(content["up"].items()) == list(session.access_token_payload.items())

    run(tmp_path, story)


def test_other_verifiers_accept_it_with_the_published_key(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        token = (await sign_in(engine)).access_token
        (key,) = pyjwt.PyJWKSet.from_dict(engine.keys.jwks()).keys
        assert json.loads(pyjwt.PyJWS().decode(token, key, algorithms=["RS256"]))["sub"] == "ann"

    run(tmp_path, story)


def test_the_handmade_token_of_these_tests_is_accepted(tmp_path: Path) -> None:
    """The control: every refusal below is due to the one thing that was changed."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        assert await outcome(engine, signed(HEADER, PAYLOAD)) == "session"
        assert await outcome(engine, signed(HEADER, PAYLOAD, ANOTHER_KEY)) == "renew"

    with_our_key(tmp_path, story)


# -- header -------------------------------------------------------------------------------------------

OTHER_ALGORITHMS = [
    None, "", " ", "none", "None", "NONE", "nOnE", "NoNe", " none", "none ", "none\n", "\x00none", "null",
    "undefined", "rs256", "Rs256", "rS256", "RS256 ", " RS256", "RS256\n", "RS256\x00", "\ufeffRS256",
    "RS-256", "RS_256", "RSA256", "RSASHA256", "SHA256", "RS", "RS25", "RS2567", "RS256,none", "RS256;none",
    "RS256 none", "RS*", "*", "\uff32\uff33\uff12\uff15\uff16", "R\u0405256", "RS384", "RS512", "PS256",
    "PS384", "PS512", "ES256", "ES256K", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512",
    "hs256", "RSA1_5", "RSA-OAEP", "A128KW", "dir", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    256, 0, -1, 1.5, 2**70, True, False, [], {}, ["RS256"], ["RS256", "none"], [["RS256"]],
    {"alg": "RS256"}, {"RS256": True},
]  # fmt: skip


def test_there_are_at_least_sixty_other_algorithms_to_refuse() -> None:
    assert len({json.dumps(algorithm) for algorithm in OTHER_ALGORITHMS}) >= 60


def test_only_the_one_algorithm_is_accepted(tmp_path: Path) -> None:
    """Whatever else the header names, in whatever spelling; signed, unsigned, or half of it."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        headers = [{**HEADER, "alg": algorithm} for algorithm in OTHER_ALGORITHMS]
        for header in [*headers, without(HEADER, "alg")]:
            token = signed(header, PAYLOAD)
            unsigned = token[: token.rindex(".")]
            for variant in (token, unsigned + ".", unsigned, unsigned + ".e30", unsigned + ".AA"):
                assert await outcome(engine, variant) == "none", (header, variant)

    with_our_key(tmp_path, story)


OTHER_TYPES = ("jwt", "Jwt", "JWT ", "at+jwt", "application/jwt", "", None, 1, True, ["JWT"], {"JWT": 1})
OTHER_VERSIONS = (5, 5.0, "4", "3", "2", "6", "05", "5 ", "5.0", "", "\u0665", None, True, ["5"], {"5": 5})
NO_KIDS = (None, "", 5, True, [KID], {KID: KID}, "d-" + "1" * 199)
OTHER_HEADERS: list[Any] = [
    {**HEADER, "crit": ["exp"]}, {**HEADER, "crit": []}, {**HEADER, "b64": False}, {**HEADER, "b64": True},
    {**HEADER, "b64": False, "crit": ["b64"]}, {**HEADER, "zip": "DEF"}, {**HEADER, "cty": "JWT"},
    {**HEADER, "x5t": "x"}, {**HEADER, "x5t#S256": "x"}, {**HEADER, "enc": "A128GCM"},
    {**HEADER, "p2c": 10**9}, {**HEADER, "nonce": "x"}, {**HEADER, "": ""}, {**HEADER, "ALG": "RS256"},
    {**HEADER, "alg ": "RS256"}, {**HEADER, "iss": ISSUER}, {**HEADER, "exp": NOW * 2},
    *({**HEADER, "typ": typ} for typ in OTHER_TYPES), without(HEADER, "typ"),
    *({**HEADER, "version": version} for version in OTHER_VERSIONS), without(HEADER, "version"),
    *({**HEADER, "kid": kid} for kid in NO_KIDS), without(HEADER, "kid"),
    [], [HEADER], "RS256", 1, None, True, {},
    b"", b"{", b"{}x", b"\xff" + as_json(HEADER), b"\xef\xbb\xbf" + as_json(HEADER), b"NaN",
    as_json(HEADER).replace(b'"typ"', b'"alg":"RS256","typ"'),
    as_json(HEADER).replace(b'"typ"', b'"alg":"none","typ"'),
    as_json(HEADER).replace(b"{", b'{"kid":"d-1",'), as_json(HEADER).replace(b"}", b',"kid":"d-1"}'),
    json.dumps(HEADER).encode("utf-16"), as_json(HEADER) + b"\x00", b"[" * 1000, b'{"alg":' * 500,
]  # fmt: skip


def test_a_header_with_anything_else_in_it_is_no_header_of_ours(tmp_path: Path) -> None:
    """Members beyond ours, other types and versions, repeated names, or what is not JSON at all."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        for header in OTHER_HEADERS:
            assert await outcome(engine, signed(header, PAYLOAD)) == "none", header

    with_our_key(tmp_path, story)


def public_key_spellings(key: rsa.RSAPublicKey) -> list[bytes]:
    """Ways in which an attacker may write down a published key to use it as an HMAC secret."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    n = key.public_numbers().n
    jwk = SigningKey(KID, OUR_KEY, key, 0, 0).as_jwk()
    return [
        pem, pem.strip(), pem.replace(b"\n", b"\r\n"), pem.replace(b"\n", b""), pem.replace(b"\n", b"\\n"),
        b"\xef\xbb\xbf" + pem, b" " + pem, pem + b"\n", pem + b"\x00", b"".join(pem.splitlines()[1:-1]),
        pkcs1, pkcs1.strip(), der, key.public_bytes(Encoding.DER, PublicFormat.PKCS1),
        base64.b64encode(der), base64.urlsafe_b64encode(der).rstrip(b"="),
        key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(jwk).encode(), as_json(jwk), as_json({"keys": [jwk]}),
        n.to_bytes(256, "big"), n.to_bytes(256, "little"), str(n).encode(), f"{n:x}".encode(),
        jwk["n"].encode(), KID.encode(), b"",
    ]  # fmt: skip


def test_no_public_key_is_ever_an_hmac_secret(tmp_path: Path) -> None:
    """CVE-2016-10555, CVE-2022-29217 and their successors; also where the header goes on saying RS256."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        spellings = public_key_spellings(OUR_KEY.public_key())
        assert len(set(spellings)) >= 20
        for secret in spellings:
            for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
                for named, expected in ((algorithm, "none"), ("RS256", "renew")):
                    unsigned = signed({**HEADER, "alg": named}, PAYLOAD).rpartition(".")[0]
                    mac = encode_base64url(hmac.digest(secret, unsigned.encode(), digest))
                    assert await outcome(engine, f"{unsigned}.{mac}") == expected

    with_our_key(tmp_path, story)


def test_keys_that_a_token_brings_along_or_points_to_are_not_used(
    tmp_path: Path, connections: list[Any]
) -> None:
    """Signed by an attacker's key, which the header contains or names an address for."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        jwk = SigningKey(KID, ANOTHER_KEY, ANOTHER_KEY.public_key(), 0, 0).as_jwk()
        x5c = [base64.b64encode(b"certificate").decode()]
        url = "http://127.0.0.1:9/jwks.json"
        headers = [
            {**HEADER, "jwk": jwk}, {**without(HEADER, "kid"), "jwk": jwk}, {**HEADER, "jku": url},
            {**HEADER, "x5u": url}, {**HEADER, "x5c": x5c}, {**HEADER, "kid": url},
            {**HEADER, "kid": "file:///etc/passwd"}, {**HEADER, "kid": json.dumps(jwk)[:200]}, HEADER,
        ]  # fmt: skip
        for header in headers:
            for payload in (PAYLOAD, {**PAYLOAD, "iss": "http://127.0.0.1:9/auth"}):
                assert await refused(engine, signed(header, payload, ANOTHER_KEY))
        assert connections == []

    with_our_key(tmp_path, story)


OTHER_KIDS = [
    f"{KID} ", f" {KID}", f"{KID}\x00", f"{KID}\n", KID.upper(), KID[:-1], f"{KID}0", f"s{KID[1:]}",
    f"{KID}/../{KID}", "../../../../dev/null", "..\\..\\windows", "/etc/passwd", "d-1' OR '1'='1",
    'd-1"; DROP TABLE signing_keys; --', "d-%", "d-_", "d-*", "{{7*7}}", "${jndi:ldap://a}", "d-{0}",
    "%s%s%s", "\x00", "d-\x00", "d-\u0661\u0662\u0663", "d-é", "\ud800", "http://a/d-1", "d-1|ls",
    "d-1`ls`", "__proto__", "d-" + "1" * 198,
]  # fmt: skip


def test_a_key_id_is_looked_up_as_it_stands_and_costs_no_query(tmp_path: Path) -> None:
    """Near misses of the genuine id and hostile texts; the keys were asked for a moment ago."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        database = engine._store.database
        engine._store.database = None  # type: ignore[assignment]  # whoever asks it fails
        for kid in OTHER_KIDS:
            expected = "none" if kid == "\ud800" else "renew"  # a lone surrogate is no text
            assert await outcome(engine, signed({**HEADER, "kid": kid}, PAYLOAD)) == expected, ascii(kid)
        too_long = signed({**HEADER, "kid": "d-" + "1" * 4096}, PAYLOAD)
        assert await outcome(engine, too_long) == "none"
        engine._store.database = database

    with_our_key(tmp_path, story)


# -- form ---------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_base64url_comes_back_as_it_was(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.one_of(st.text(max_size=40), st.text("ABCabc019-_+/= \n\r\t.~", max_size=40)))
def test_whatever_decodes_is_in_its_one_canonical_spelling(text: str) -> None:
    data = decode_base64url(text)
    assert data is None or encode_base64url(data) == text


def other_spellings(token: str) -> list[str]:
    """Texts that lenient decoders take for this token."""
    header, payload, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])  # 256 bytes leave four spare bits in the last character
    return [
        token + "=", token + "==", f"{header}=.{payload}.{signature}", f"{header}.{payload}==.{signature}",
        token + "\n", token + " ", " " + token, "\ufeff" + token, token + "\x00",
        f"{header}\n.{payload}.{signature}", f"{header}. {payload}.{signature}",
        token.replace(".", "\n.", 1), token.replace("-", "+").replace("_", "/") + "==",
        token.replace(".", ".."), "." + token, token + ".", f"{header}.{payload}", f"{header}.{payload}.",
        f".{payload}.{signature}", f"{header}..{signature}", f"{header}.{payload}.{signature}.{signature}",
        f"{header}.{payload}.{signature}..", token.replace(".", "%2E"), token.replace(".", "\uff0e"),
        *(f"{header}.{payload}.{signature[:-1]}{alphabet[last ^ bits]}" for bits in range(1, 16)),
        f'"{token}"', f"Bearer {token}", token + "," + token, token + ";",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    ]  # fmt: skip


def test_a_token_has_one_spelling(tmp_path: Path) -> None:
    """Padding, white space, spare bits, the other alphabet, more or fewer parts: none of it is the token."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        token = signed(HEADER, PAYLOAD)
        assert await outcome(engine, token) == "session"
        for spelling in other_spellings(token):
            assert spelling != token
            assert await outcome(engine, spelling) == "none", spelling
        for other_signature in (token + "A", token[:-1], token[:-4], token + "AAAA"):
            assert await refused(engine, other_signature)

    with_our_key(tmp_path, story)


def test_form_and_length_are_checked_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> None:
        raise AssertionError("this must not be reached")

    token = signed(HEADER, PAYLOAD)
    monkeypatch.setattr(access_token_module, "_parse_json", parse)
    for spelling in other_spellings(token):
        assert read(spelling, ("5",)) is None
    monkeypatch.setattr(access_token_module, "decode_base64url", parse)
    for long in ("A" * 65536, token + "A" * MAX_TOKEN_CHARACTERS, "." * 65536, "a." * 32768, "é" * 65536):
        assert read(long, ("5",)) is None


def test_a_token_of_more_than_4096_characters_is_refused_although_signed(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        room = (MAX_TOKEN_CHARACTERS - len(signed(HEADER, PAYLOAD))) * 3 // 4 - 8
        fits = signed(HEADER, {**PAYLOAD, "x": "y" * room})
        assert MAX_TOKEN_CHARACTERS - 10 < len(fits) <= MAX_TOKEN_CHARACTERS
        assert await outcome(engine, fits) == "session"
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, "x": "y" * (room + 10)})) == "none"

    with_our_key(tmp_path, story)


# -- claims -------------------------------------------------------------------------------------------

ABSENT = object()
NOT_A_STRING: list[Any] = [ABSENT, None, "", 0, 1, 1.5, True, False, [], ["ann"], {}, {"": "ann"}, "x" * 201]
NOT_A_TIME: list[Any] = [
    ABSENT,
    None,
    "",
    str(NOW),
    "NOW",
    1.5,
    float(NOW),
    NOW + 0.5,
    True,
    False,
    [],
    [NOW],
    {},
    -1,
    2**53,
    10**400,
]
NOT_A_COUNT: list[Any] = [None, "", "0", 0.0, 1.5, True, False, [], {}, -1, 2**53]
NOT_THE_ISSUER: list[Any] = [
    ABSENT, None, "", 1, True, [ISSUER], {ISSUER: 1}, ISSUER + "/", ISSUER[:-1], ISSUER + ".evil.example",
    ISSUER.upper(), ISSUER.replace("http:", "https:"), " " + ISSUER, f"http://evil.example/{ISSUER}",
]  # fmt: skip
WRONG_CLAIMS: list[tuple[str, Any]] = [
    (claim, wrong)
    for claims, values in [
        (("sub", "rsub", "tId", "sessionHandle", "refreshTokenHash1"), NOT_A_STRING),
        (("iat", "exp"), NOT_A_TIME),
        (("sc-gen", "sc-ver"), NOT_A_COUNT),
        (("iss",), NOT_THE_ISSUER),
    ]
    for claim in claims
    for wrong in values
]


@pytest.mark.parametrize("claim", sorted({claim for claim, _ in WRONG_CLAIMS}))
def test_a_claim_of_another_type_or_value_is_refused_although_signed(claim: str) -> None:
    key = OUR_KEY.public_key()

    def accepted(payload: Any) -> bool:
        unverified = read(signed(HEADER, payload), ("5",))
        return unverified is not None and verify(unverified, key, ISSUER) is not None

    assert accepted(PAYLOAD)
    for wrong in [wrong for name, wrong in WRONG_CLAIMS if name == claim]:
        payload = without(PAYLOAD, claim) if wrong is ABSENT else {**PAYLOAD, claim: wrong}
        assert not accepted(payload), (claim, wrong)


def test_what_a_client_is_told_about_wrong_claims(tmp_path: Path) -> None:
    """A token without our members or of another issuer is no token; another one may be renewed."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        for claim, wrong in WRONG_CLAIMS:
            payload = without(PAYLOAD, claim) if wrong is ABSENT else {**PAYLOAD, claim: wrong}
            may_renew = claim in ("sc-gen", "sc-ver") or (wrong is ABSENT and claim == "iss")
            expected = "renew" if may_renew else "none"
            assert await outcome(engine, signed(HEADER, payload)) == expected, (claim, wrong)

    with_our_key(tmp_path, story)


LEEWAY_S = 900
TIMES: list[tuple[dict[str, Any], str]] = [
    ({"nbf": NOW}, "session"),
    ({"nbf": NOW + LEEWAY_S}, "session"),
    ({"nbf": NOW + LEEWAY_S + 1}, "renew"),
    *(({"nbf": wrong}, "none") for wrong in (None, "", True, 1.5, -1, [NOW])),
    ({"iat": NOW + LEEWAY_S, "exp": NOW + LEEWAY_S + 60}, "session"),
    ({"iat": NOW + LEEWAY_S + 1, "exp": NOW + LEEWAY_S + 60}, "renew"),
    ({"aud": ISSUER}, "session"),
    ({"aud": ["https://elsewhere.example", ISSUER]}, "session"),
    *(({"aud": wrong}, "renew") for wrong in ("", "https://elsewhere.example", [], None, 1, [[ISSUER]])),
    *(({"stt": wrong}, "none") for wrong in (False, True, 0.0, -0.0, "0", "", None, [], 1)),
    ({"stt": 0}, "session"),
    *(({name: "a\ud800"}, "none") for name in ("sub", "tId", "sessionHandle", "name", "x\udfff")),
    ({"name": "a paired surrogate: \U0001f600"}, "session"),
    ({"name": "a backslash before u: \\ud800"}, "session"),
]


@pytest.mark.parametrize(("changes", "expected"), TIMES, ids=ascii)
def test_registered_claims_are_judged_by_rfc_7519(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, **changes})) == expected

    with_our_key(tmp_path, story)


def test_a_token_names_its_server_in_an_audience_of_the_application(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        for audience in ("https://api.example.com", ["a", "b"], [ISSUER]):
            session = await engine.create_new_session("ann", access_token_payload={"aud": audience})
            assert session.new_tokens
            _, payload = parts_of(session.new_tokens.access_token)
            asked = [audience] if isinstance(audience, str) else audience
            assert payload["aud"] == list(dict.fromkeys([*asked, ISSUER]))
            assert await outcome(engine, session.new_tokens.access_token) == "session"
        for wrong in (1, True, {}, [], [1]):
            with pytest.raises(ValueError, match="aud"):
                await engine.create_new_session("ann", access_token_payload={"aud": wrong})

    run(tmp_path, story)


def test_claims_that_a_token_cannot_carry_are_refused_when_they_are_set(tmp_path: Path) -> None:
    """The server never refuses a token that it made itself."""
    deep: Any = 1
    for _ in range(16):
        deep = [deep]

    async def story(engine: Sessions, clock: FakeClock) -> None:
        session = await engine.create_new_session("ann")
        for wrong in ({"x": "\ud800"}, {"\udfff": 1}, {"x": deep}, {"x": {1: 1, "1": 2}}):
            with pytest.raises(ValueError, match="claims must be JSON"):
                await engine.create_new_session("ann", access_token_payload=wrong)
            with pytest.raises(ValueError, match="claims must be JSON"):
                await session.merge_into_access_token_payload(wrong)

    run(tmp_path, story)


@pytest.mark.parametrize(
    "issuer", [ISSUER, "https://" + "a" * 187 + ".test", "https://" + "a" * 500 + ".test"]
)
@pytest.mark.parametrize("audience", [{}, {"aud": "https://api.example.com"}])
def test_the_largest_claims_fit_a_token_with_a_long_issuer(
    tmp_path: Path, issuer: str, audience: dict[str, str]
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        refused = 0
        for size in range(2100, 500, -1):
            try:
                session = await engine.create_new_session(
                    "u" * 120, access_token_payload={"x": "y" * size, **audience}
                )
            except ValueError:
                refused += 1
                continue
            assert session.new_tokens
            assert len(session.new_tokens.access_token) + len("__Host-sAccessToken=") <= 4096
            assert await outcome(engine, session.new_tokens.access_token) == "session"
            break
        assert 0 < refused < 1500

    run(tmp_path, story, issuer=issuer)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


OURS = as_json(PAYLOAD)
NO_JSON = (b"NaN", b"Infinity", b"-Infinity", b"01", b"'a'", b"", b"[" * 1000 + b"]" * 1000)
OTHER_PAYLOADS: list[Any] = [
    [], [PAYLOAD], "ann", 1, None, True, {}, OURS + b"x", OURS[:-1], b"\xef\xbb\xbf" + OURS, OURS + b"\x00",
    json.dumps(PAYLOAD).encode("utf-16"), json.dumps(PAYLOAD).encode("utf-32"),
    OURS.replace(b'"ann"', b'"\xff"', 1), OURS.replace(b'"ann"', b'"\xed\xa0\x80"', 1),
    OURS.replace(b"{", b'{"sub":"bob",', 1), OURS[:-1] + b',"sub":"bob"}',
    OURS[:-1] + b',"x":{"a":1,"a":2}}', OURS[:-1] + b',"s\\u0075b":"bob"}',
    *(OURS[:-1] + b',"x":' + value + b"}" for value in NO_JSON), {**PAYLOAD, "x": nested(16)},
]  # fmt: skip


def test_a_payload_with_repeated_names_deep_nesting_or_no_json_is_refused_although_signed(
    tmp_path: Path,
) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        for payload in OTHER_PAYLOADS:
            assert await outcome(engine, signed(HEADER, payload)) == "none", payload
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, "x": nested(15)})) == "session"

    with_our_key(tmp_path, story)


def test_a_token_ends_at_its_expiry_to_the_second(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        token = signed(HEADER, {**PAYLOAD, "exp": NOW + 10})
        clock.advance(9.999)
        assert await outcome(engine, token) == "session"
        clock.advance(0.001)
        assert await outcome(engine, token) == "renew"
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, "exp": NOW + 10, "x": "new"})) == "renew"

    with_our_key(tmp_path, story)


def test_a_token_that_lives_longer_than_is_configured_is_refused_although_signed(tmp_path: Path) -> None:
    async def story(engine: Sessions, clock: FakeClock) -> None:
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, "exp": NOW + 3600})) == "session"
        for longer in (3601, 86400, 2**40):
            assert await outcome(engine, signed(HEADER, {**PAYLOAD, "exp": NOW + longer})) == "renew"
        assert await outcome(engine, signed(HEADER, {**PAYLOAD, "iat": 0})) == "renew"

    with_our_key(tmp_path, story)


# -- the wrong kind of token, and hostile input in bulk -----------------------------------------------


def test_the_wrong_kind_of_token_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    """Refresh, front and anti-CSRF tokens; those of another deployment with the same issuer and key id."""

    async def story() -> None:
        clock = FakeClock()
        ours = {"generate_key": lambda: OUR_KEY}
        theirs = {"generate_key": lambda: ANOTHER_KEY}
        async with (
            running_engine(tmp_path / "ours", clock, ours, anti_csrf="VIA_TOKEN") as engine,
            running_engine(
                tmp_path / "theirs", clock, theirs, secret=b"another server's secret " * 2
            ) as other,
        ):
            tokens, foreign = await sign_in(engine), await sign_in(other)
            assert tokens.refresh_token
            assert tokens.anti_csrf_token
            for token in (
                tokens.refresh_token,
                tokens.front_token,
                tokens.anti_csrf_token,
                foreign.front_token,
            ):
                assert await outcome(engine, token) == "none"
            assert parts_of(foreign.access_token)[0] == parts_of(tokens.access_token)[0]
            assert await outcome(engine, foreign.access_token) == "renew"
            foreign_refresh = foreign.refresh_token or ""
            for token in (tokens.access_token, tokens.front_token, foreign.access_token, foreign_refresh):
                with pytest.raises(UnauthorisedError):
                    await engine.refresh_session(token, anti_csrf_token=tokens.anti_csrf_token)
            await use(engine, tokens)
            assert await engine.refresh_session(tokens.refresh_token, anti_csrf_token=tokens.anti_csrf_token)

    asyncio.run(story())


def mutate(token: str, others: list[str], rng: random.Random) -> str:
    """Something near a token: characters, parts or JSON members changed, taken from others, or left out."""
    way = rng.randrange(9)
    at = rng.randrange(len(token))
    if way == 0:
        return token[:at] + rng.choice("ABCabc019-_.=+/ \n\x00é\ud800") + token[at + 1 :]
    if way == 1:
        return token[:at] + token[at + rng.randrange(1, 20) :]
    if way == 2:
        return token[:at] + rng.choice(others)[at : at + rng.randrange(1, 50)] + token[at:]
    if way == 3:
        return "".join(rng.sample(token, len(token)))
    if way == 4:
        return token[:at].swapcase() + token[at:]
    if way == 5:
        pool = [part for each in (token, *others) for part in each.split(".")]
        return ".".join(rng.choice(pool) for _ in range(rng.choice((2, 3, 3, 3, 3, 4))))
    if way == 6:
        return rng.randbytes(rng.randrange(1, 600)).decode("latin-1")
    header, payload = parts_of(token)
    changed = header if way == 7 else payload
    name = rng.choice([*changed, "x"])
    changed[name] = rng.choice([None, 0, -1, 1.5, True, "", "x", "none", KID, [], {}, 2**63, "x" * 300])
    signature = token.rpartition(".")[2]
    return f"{encode_base64url(as_json(header))}.{encode_base64url(as_json(payload))}.{signature}"


@pytest.mark.slow
def test_ten_thousand_mutants_authenticate_nobody(tmp_path: Path) -> None:
    """Nothing but the declared errors, and not a single question to the store."""

    async def story(engine: Sessions, clock: FakeClock) -> None:
        genuine = [(await sign_in(engine, user)).access_token for user in ("ann", "bob", "eve")]
        for token in genuine:
            assert await outcome(engine, token) == "session"
        database = engine._store.database
        engine._store.database = None  # type: ignore[assignment]  # whoever asks it fails
        rng = random.Random(20260101)
        told = {"none": 0, "renew": 0}
        for number in range(10_000):
            mutant = mutate(genuine[number % 3], genuine, rng)
            if mutant not in genuine:
                told[await outcome(engine, mutant)] += 1
        engine._store.database = database
        assert min(told.values()) > 1000

    run(tmp_path, story)


def test_refusing_costs_at_most_one_signature_and_in_all_one_look_for_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no token costs not even that; key ids that somebody invents cost one query between them."""
    spent = {"signatures": 0, "loads": 0}

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            spent[name] += 1
            return work(*arguments, **named)

        return call

    async def story(engine: Sessions, clock: FakeClock) -> None:
        token = (await sign_in(engine)).access_token
        clock.advance(3600)
        monkeypatch.setattr(
            access_token_module._RS256, "verify", counted("signatures", access_token_module._RS256.verify)
        )
        monkeypatch.setattr(engine._store, "load_keys", counted("loads", engine._store.load_keys))
        signed_part = token.rpartition(".")[0]
        forged = f"{signed_part}.{signed(HEADER, PAYLOAD, ANOTHER_KEY).rpartition('.')[2]}"
        for garbage in ("A" * 65536, "." * 65536, "a." * 32768, token + "=", "é" * 65536, forged[1:]):
            assert await outcome(engine, garbage) == "none"
        assert spent == {"signatures": 0, "loads": 0}
        for number in range(1, 21):
            assert await outcome(engine, forged) == "renew"
            assert spent == {"signatures": number, "loads": 0}
        for number in range(100):
            assert await outcome(engine, signed({**HEADER, "kid": f"d-{number}"}, PAYLOAD)) == "renew"
        assert spent == {"signatures": 20, "loads": 1}

    async def tell() -> None:
        # deaf, because the news of the first key would make it look for keys, too
        database, clock = FaultyDatabase(tmp_path / "db", deaf=True), FakeClock()
        async with engine_on(database, clock, access_token_lifetime_s=7200) as engine:
            await story(engine, clock)

    asyncio.run(tell())


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from([KID, "RS256", "5"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
headers = st.one_of(
    json_values,
    st.dictionaries(st.sampled_from([*HEADER, "crit", "jwk"]), json_values).map(
        lambda changes: {**HEADER, **changes}
    ),
)
payloads = st.one_of(
    json_values,
    st.dictionaries(st.sampled_from([*PAYLOAD, "x"]), json_values).map(
        lambda changes: {**PAYLOAD, **changes}
    ),
)


@pytest.mark.slow
def test_any_text_at_all_gets_a_declared_answer(tmp_path: Path) -> None:
    """Any text, any bytes, any JSON in header and payload, signed by our own key."""
    loop = asyncio.new_event_loop()  # hypothesis calls plain functions
    running = running_engine(tmp_path / "db", FakeClock(), {"generate_key": lambda: OUR_KEY})
    engine = loop.run_until_complete(running.__aenter__())

    def judge(token: str) -> None:
        assert loop.run_until_complete(outcome(engine, token)) != "neither"
        engine.recognises(token)

    @given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
    def any_text(text: str) -> None:
        judge(text)

    @given(st.lists(st.binary(max_size=40).map(encode_base64url), min_size=2, max_size=4))
    def any_parts(parts: list[str]) -> None:
        judge(".".join(parts))

    @given(headers, payloads)
    def any_json(header: Any, payload: Any) -> None:
        judge(signed(header, payload))

    try:
        any_text()
        any_parts()
        any_json()
    finally:
        loop.run_until_complete(running.__aexit__(None, None, None))
        loop.close()
