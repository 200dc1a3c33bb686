# SPDX-License-Identifier: MIT
"""Signatures that other verifiers have been made to accept, and this one refuses.

The cases are made here, in the classes that Project Wycheproof's files for JSON Web Signature and RSA PKCS#1
have: other algorithms and hashes under the right name, other kinds of key, damaged padding, numbers out of
range, serialisations other than the compact one, and spellings that only lenient decoders take. Header and
payload are good in every case, so only the signature can be the reason.

Source: RFC 7515, section 5.2; RFC 8017, section 8.2.2; RFC 8725, section 3; Bleichenbacher's forgery
(CVE-2006-4339); CVE-2022-21449.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15

from stormcellar.sessions.access_token import read, verify
from stormcellar.sessions.base64url import encode_base64url
from stormcellar.tests.sessions.test_access_token import (
    ANOTHER_KEY,
    HEADER,
    ISSUER,
    OUR_KEY,
    PAYLOAD,
    as_json,
    signed,
)

NUMBERS = OUR_KEY.private_numbers()
N, E, D = NUMBERS.public_numbers.n, NUMBERS.public_numbers.e, NUMBERS.d
SIZE = 256  # bytes of a signature by a key of 2,048 bits
SIGNING_INPUT = f"{encode_base64url(as_json(HEADER))}.{encode_base64url(as_json(PAYLOAD))}"
DIGEST = hashlib.sha256(SIGNING_INPUT.encode()).digest()

# DigestInfo is SEQUENCE { SEQUENCE { OID, NULL }, OCTET STRING }; RFC 8017, section 9.2, note 1.
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
SHA256_WITHOUT_NULL = bytes.fromhex("302f300b0609608648016503040201 0420".replace(" ", ""))
SHA256_WITH_LONG_LENGTH = bytes.fromhex("308131300d060960864801650304020105000420")
SHA512 = bytes.fromhex("3051300d060960864801650304020305000440")
SHA1 = bytes.fromhex("3021300906052b0e03021a05000414")


def accepted(token: str) -> bool:
    unverified = read(token, ("5",))
    return unverified is not None and verify(unverified, OUR_KEY.public_key(), ISSUER) is not None


def with_signature(signature: bytes) -> str:
    return f"{SIGNING_INPUT}.{encode_base64url(signature)}"


def raw(block: bytes) -> bytes:
    """The signature whose padded message is exactly this block; only the key's owner can make it."""
    return pow(int.from_bytes(block, "big"), D, N).to_bytes(SIZE, "big")


def block(info: bytes, *, start: bytes = b"\x00\x01", filler: bytes = b"\xff", tail: bytes = b"") -> bytes:
    """A padded message as RFC 8017, section 9.2, has it, if nothing else is asked for."""
    length = SIZE - len(start) - 1 - len(info) - len(tail)
    return start + (filler * length)[:length] + b"\x00" + info + tail


def number(value: int, size: int = SIZE) -> bytes:
    return value.to_bytes(size, "big")


GOOD = raw(block(SHA256 + DIGEST))
GOOD_NUMBER = int.from_bytes(GOOD, "big")


def test_the_signature_of_these_tests_is_the_one_that_is_accepted() -> None:
    """The control: the block above is built as the algorithm builds it."""
    assert with_signature(GOOD) == signed(HEADER, PAYLOAD)
    assert accepted(with_signature(GOOD))


PADDINGS = {
    "block type 2": block(SHA256 + DIGEST, start=b"\x00\x02"),
    "block type 0": block(SHA256 + DIGEST, start=b"\x00\x00", filler=b"\x00"),
    "a first byte that is not zero": block(SHA256 + DIGEST, start=b"\x01\x01"),
    "zeros for the filler": block(SHA256 + DIGEST, filler=b"\x00"),
    "another filler": block(SHA256 + DIGEST, filler=b"\xfe"),
    "one wrong byte in the filler": block(SHA256 + DIGEST).replace(b"\xff\xff\x00", b"\xff\xfe\x00"),
    "eight bytes of filler and the rest behind": b"\x00\x01" + b"\xff" * 8 + b"\x00" + SHA256 + DIGEST
    + b"\x00" * (SIZE - 11 - len(SHA256 + DIGEST)),
    "no filler, the rest behind": (b"\x00\x01\x00" + SHA256 + DIGEST).ljust(SIZE, b"\xaa"),
    "one byte behind": block(SHA256 + DIGEST, tail=b"\x00"),
    "garbage behind": block(SHA256 + DIGEST, tail=b"\xaa" * 40),
    "no zero before the digest": block(SHA256 + DIGEST).replace(b"\xff\x00" + SHA256, b"\xff\xff" + SHA256),
    "algorithm without its NULL": block(SHA256_WITHOUT_NULL + DIGEST),
    "a length in more bytes than it needs": block(SHA256_WITH_LONG_LENGTH + DIGEST),
    "the digest alone": block(DIGEST),
    "the digest of nothing": block(SHA256 + hashlib.sha256(b"").digest()),
    "the digest of the payload alone": block(SHA256 + hashlib.sha256(as_json(PAYLOAD)).digest()),
    "the digest cut short": block(SHA256 + DIGEST[:-1]),
    "SHA-512 named and SHA-256 meant": block(SHA512 + DIGEST.ljust(64, b"\x00")),
    "SHA-512": block(SHA512 + hashlib.sha512(SIGNING_INPUT.encode()).digest()),
    "SHA-1": block(SHA1 + hashlib.sha1(SIGNING_INPUT.encode()).digest()),
    "nothing but filler": b"\x00\x01" + b"\xff" * (SIZE - 2),
}  # fmt: skip


@pytest.mark.parametrize("padded", PADDINGS.values(), ids=PADDINGS)
def test_a_padded_message_that_is_not_exactly_the_one_is_refused(padded: bytes) -> None:
    """Although our own key signed it: whoever reads padding loosely takes forgeries of a small exponent."""
    assert len(padded) == SIZE
    assert not accepted(with_signature(raw(padded)))


NUMBERS_OUT_OF_PLACE = {
    "empty": b"",
    "zero": number(0),
    "one zero byte": b"\x00",
    "one": number(1),
    "one less than the modulus": number(N - 1),
    "the modulus": number(N),
    "one more than the modulus": number(N + 1) if N + 1 < 1 << (8 * SIZE) else number(N),
    "the exponent": number(E),
    "the negative": number(N - GOOD_NUMBER),
    "the same number, and the modulus added": number(GOOD_NUMBER + N, SIZE + 1),
    "the same number with a zero before it": b"\x00" + GOOD,
    "the same number with a zero behind it": GOOD + b"\x00",
    "the first byte left out": GOOD[1:],
    "the last byte left out": GOOD[:-1],
    "backwards": GOOD[::-1],
    "twice": GOOD + GOOD,
    "half": GOOD[: SIZE // 2],
    "all bits set": b"\xff" * SIZE,
    "the digest": DIGEST,
    "the padded message itself, unsigned": block(SHA256 + DIGEST),
    "in hexadecimal": GOOD.hex().encode(),
    "as text of a number": str(GOOD_NUMBER).encode(),
    "in ASN.1": b"\x02\x82\x01\x01\x00" + GOOD,
    "a kilobyte of it": GOOD * 4,
}


@pytest.mark.parametrize("signature", NUMBERS_OUT_OF_PLACE.values(), ids=NUMBERS_OUT_OF_PLACE)
def test_a_number_that_is_not_exactly_the_signature_is_refused(signature: bytes) -> None:
    assert not accepted(with_signature(signature))


def test_no_bit_of_a_signature_is_spare() -> None:
    for bit in range(0, SIZE * 8, 7):
        changed = bytearray(GOOD)
        changed[bit // 8] ^= 1 << bit % 8
        assert not accepted(with_signature(bytes(changed))), bit


def other_signatures() -> Iterator[tuple[str, bytes]]:
    """Good signatures of the same text, by other algorithms or other people."""
    text = SIGNING_INPUT.encode()
    paddings: list[tuple[str, AsymmetricPadding]] = [("PKCS#1", PKCS1v15())]
    paddings += [(f"PSS, salt of {size}", PSS(MGF1(hashes.SHA256()), size)) for size in (0, 20, 32)]
    algorithms = (
        hashes.SHA1(),
        hashes.SHA224(),
        hashes.SHA256(),
        hashes.SHA384(),
        hashes.SHA512(),
        hashes.SHA3_256(),
    )
    for name, padding in paddings:
        for algorithm in algorithms:
            if (name, algorithm.name) != ("PKCS#1", "sha256"):
                yield f"{name} with {algorithm.name}", OUR_KEY.sign(text, padding, algorithm)
    yield "another key", ANOTHER_KEY.sign(text, PKCS1v15(), hashes.SHA256())
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()):
        yield curve.name, ec.generate_private_key(curve).sign(text, ec.ECDSA(hashes.SHA256()))
    yield "Ed25519", ed25519.Ed25519PrivateKey.generate().sign(text)
    for size in (64, 96, 132):
        yield f"an elliptic signature of {size} zeros", b"\x00" * size
    yield "zeros in ASN.1", bytes.fromhex("3006020100020100")


def test_good_signatures_of_other_kinds_are_refused_under_the_right_name() -> None:
    for name, signature in other_signatures():
        assert not accepted(with_signature(signature)), name


def test_a_key_of_another_kind_verifies_nothing() -> None:
    """Were such a key ever to lie in the key map, no token would pass by it."""
    token = with_signature(GOOD)
    unverified = read(token, ("5",))
    assert unverified is not None
    assert verify(unverified, rsa.generate_private_key(65537, 2048).public_key(), ISSUER) is None


def serialisations() -> Iterator[str]:
    """The token in the forms of JWS that are not the compact one, and with its parts in other places."""
    protected, payload, signature = with_signature(GOOD).split(".")
    one = {"protected": protected, "signature": signature}
    yield json.dumps({"payload": payload, **one})
    yield json.dumps({"payload": payload, "signatures": [one]})
    yield json.dumps({"payload": payload, "header": HEADER, "signature": signature})
    yield f"{protected}..{signature}"  # detached (RFC 7515, appendix F; RFC 7797)
    yield f"{protected}.{payload}"
    yield f"{payload}.{protected}.{signature}"
    yield f"{signature}.{payload}.{protected}"
    yield f"{protected}.{payload}.{signature}.{signature}.{signature}"  # as encrypted tokens look
    yield f"{protected}.{protected}.{signature}"
    yield f"{protected}.{payload}.{protected}"
    yield f"{protected}.{as_json(PAYLOAD).hex()}.{signature}"
    yield f"{as_json(HEADER).hex()}.{payload}.{signature}"
    yield f"{protected}.{payload}.{GOOD.hex()}"


def loose_spellings() -> Iterator[str]:
    """What lenient decoders take for the token. Some published vectors call one valid; here none is."""
    protected, payload, signature = with_signature(GOOD).split(".")
    for mark in ("=", "==", "\n", " ", "\t", "\r\n", "\x00", "*", "~", "\u200b"):
        yield f"{protected}{mark}.{payload}.{signature}"
        yield f"{protected}.{payload}{mark}.{signature}"
        yield f"{protected}.{payload}.{signature}{mark}"
        yield f"{protected}.{payload}.{signature[:9]}{mark}{signature[9:]}"
    for part in range(3):
        parts = [protected, payload, signature]
        parts[part] = parts[part].replace("-", "+").replace("_", "/") + "=" * (-len(parts[part]) % 4)
        if ".".join(parts) != with_signature(GOOD):
            yield ".".join(parts)


def test_only_the_compact_serialisation_in_its_one_spelling_is_a_token() -> None:
    for token in (*serialisations(), *loose_spellings()):
        assert read(token, ("5",)) is None or not accepted(token), token
    for token in loose_spellings():
        assert read(token, ("5",)) is None, token
