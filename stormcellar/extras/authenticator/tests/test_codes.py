# SPDX-License-Identifier: MIT
"""Codes from a secret and the time, and what is kept of secrets."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from stormcellar.extras.authenticator import codes
from stormcellar.extras.authenticator.codes import Vault
from stormcellar.server_secret import ServerSecret

RFC_SECRET = b"12345678901234567890"
# RFC 6238, appendix B, SHA-1: the last six of the eight digits.
RFC_CODES = {
    59: "287082",
    1111111109: "081804",
    1234567890: "005924",
    2000000000: "279037",
    20000000000: "353130",
}


@pytest.mark.parametrize(("now_s", "code"), RFC_CODES.items())
def test_codes_are_those_of_the_rfc(now_s: int, code: str) -> None:
    assert codes.step_of(RFC_SECRET, code, now_s) == now_s // 30


def test_a_code_counts_one_step_early_and_late_and_no_further() -> None:
    step, code = 1111111109 // 30, RFC_CODES[1111111109]
    found = [codes.step_of(RFC_SECRET, code, (step + aside) * 30 + 15) for aside in (-2, -1, 0, 1, 2)]
    assert found == [None, step, step, step, None]


@pytest.mark.parametrize(
    "code",
    [
        "",
        "12345",
        "1234567",
        "abcdef",
        "\uff12\uff18\uff17\uff10\uff18\uff12",
        "28708 ",
        "-28708",
        "\ud800" * 6,
    ],
)
def test_whatever_is_no_code_is_refused(code: str) -> None:
    assert codes.step_of(RFC_SECRET, code, 59) is None


def test_recovery_codes_are_ten_different_ones_that_can_be_read_aloud() -> None:
    made = codes.new_recovery_codes()
    assert len(set(made)) == 10
    assert all(re.fullmatch("[a-hj-km-np-z2-9]{7}-[a-hj-km-np-z2-9]{7}", code) for code in made)


def test_the_key_uri_says_whose_secret_it_is() -> None:
    address = urlsplit(codes.address(RFC_SECRET, account="ann+x@example.com", issuer="My: Site & more"))
    assert (address.scheme, address.netloc) == ("otpauth", "totp")
    assert unquote(address.path) == "/My  Site & more:ann+x@example.com"
    query = parse_qs(address.query)
    assert query["secret"] == ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]
    assert query["issuer"] == ["My  Site & more"]


def test_a_sealed_secret_opens_for_its_user_and_its_server_alone() -> None:
    vault = Vault(ServerSecret(b"one server's secret, 32 bytes ok"))
    sealed = vault.seal(RFC_SECRET, "ann")
    assert vault.seal(RFC_SECRET, "ann") != sealed
    assert vault.unseal(sealed, "ann") == RFC_SECRET
    assert vault.unseal(sealed, "bob") is None
    assert Vault(ServerSecret(b"another server's secret, 32 bytes")).unseal(sealed, "ann") is None
    assert vault.unseal(("A" if sealed[0] != "A" else "B") + sealed[1:], "ann") is None
    assert vault.unseal("", "ann") is None


def test_a_recovery_code_is_kept_as_a_hash_that_only_its_server_can_make() -> None:
    vault = Vault(ServerSecret(b"one server's secret, 32 bytes ok"))
    kept = vault.hash("abcdef-ghjkmn", "ann")
    assert kept == vault.hash(" ABCDEF ghjkmn ", "ann")
    assert kept != vault.hash("abcdef-ghjkmn", "bob")
    assert kept != Vault(ServerSecret(b"another server's secret, 32 bytes")).hash("abcdef-ghjkmn", "ann")
