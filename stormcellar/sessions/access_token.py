# SPDX-License-Identifier: MIT
"""The access token: a JWT that says whose session this is, checked without asking anyone.

Layout: SuperTokens' version 5 (RS256; header members alg, typ, kid, version), so that the verifiers of
its other backends accept it through our JWKS. It has three claims of our own: `sc-gen` and, where it is not
0, `sc-br` are the generation and branch of the refresh token that it was issued with; `sc-ver` is the version
of the payload that it carries.

A token is looked at in an order that gives a forger nothing to play with: its length, three canonical
base64url parts, a header of exactly the known members with the one algorithm, a key from our own map;
then the signature; and only then its claims, each by type and value.

Source: RFC 7515, RFC 7519, RFC 8725 (section 3); SuperTokens' access token, version 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.algorithms import RSAAlgorithm

from stormcellar.sessions.base64url import decode_base64url
from stormcellar.sessions.claims import strip_protected
from stormcellar.sessions.keys import SigningKey
from stormcellar.sessions.session_store import to_json

MAX_TOKEN_CHARACTERS = 4096
MAX_STRING_CHARACTERS = 200
MAX_DEPTH = 16
MAX_CLAIMS_BYTES = 2048

# A browser keeps 4,096 bytes of a cookie's name and value. The longest name has 19 bytes and a "=".
_COOKIE_ROOM = 4096 - len("__Host-sAccessToken=")
_HEADER_AND_SIGNATURE = 470  # characters: a header with the longest key id, an RSA signature of 2,048 bits
_ENGINE_BYTES = 290  # of the payload: everything except the ids, the issuer and the application's claims

_HEADER_MEMBERS = {"alg", "typ", "kid", "version"}
_REQUIRED_STRINGS = {
    "3": ("sub", "sessionHandle", "refreshTokenHash1"),
    "4": ("sub", "sessionHandle", "refreshTokenHash1", "tId"),
    "5": ("sub", "sessionHandle", "refreshTokenHash1", "tId", "rsub"),
}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_RS256 = RSAAlgorithm(RSAAlgorithm.SHA256)


@dataclass(frozen=True)
class AccessToken:
    """A verified access token. Times are Unix seconds."""

    payload: dict[str, Any]
    kid: str
    user_id: str
    handle: str
    tenant_id: str
    issued_at: int
    expires_at: int
    refresh_token_hash1: str
    anti_csrf_token: str | None
    generation: int
    branch: int
    payload_version: int

    @property
    def not_before(self) -> int:
        """When it begins to be valid, by `nbf`; tokens of this server are valid at once."""
        return int(self.payload.get("nbf", 0))

    @classmethod
    def from_payload(cls, payload: dict[str, Any], kid: str) -> AccessToken:
        """From a payload whose members are known to have the right types."""
        anti_csrf_token = payload.get("antiCsrfToken")
        return cls(
            payload=payload,
            kid=kid,
            user_id=payload["sub"],
            handle=payload["sessionHandle"],
            tenant_id=payload.get("tId", "public"),
            issued_at=payload["iat"],
            expires_at=payload["exp"],
            refresh_token_hash1=payload["refreshTokenHash1"],
            anti_csrf_token=anti_csrf_token if isinstance(anti_csrf_token, str) else None,
            generation=payload.get("sc-gen", 0),
            branch=payload.get("sc-br", 0),
            payload_version=payload.get("sc-ver", 0),
        )


@dataclass(frozen=True)
class UnverifiedToken:
    """Something with the form and the header of one of our tokens; nothing in it is believed yet."""

    kid: str
    version: str
    signing_input: bytes
    signature: bytes
    payload_bytes: bytes

    def claimed_issuer(self) -> str:
        """What the token says its issuer is; "" if it says nothing."""
        return str((_parse_json(self.payload_bytes) or {}).get("iss", ""))

    def resembles_ours(self, issuer: str) -> bool:
        """Whether its payload has the members and the issuer of one of ours, so that a refresh may help.

        A token of another issuer came in a cookie of another site that shares our host or domain.
        """
        payload = _parse_json(self.payload_bytes)
        if payload is None or payload.get("iss", issuer) != issuer:
            return False
        return _has_required_members(payload, self.version)


def read(token: str, accepted_versions: Sequence[str]) -> UnverifiedToken | None:
    """Look at a token's outside: its form and header. None for whatever is not one of ours."""
    if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2:
        return None
    header_bytes, payload_bytes, signature = map(decode_base64url, token.split("."))
    if not header_bytes or not payload_bytes or not signature:
        return None
    header = _parse_json(header_bytes)
    if header is None or not set(header) <= _HEADER_MEMBERS:
        return None
    if header.get("alg") != "RS256" or header.get("typ") != "JWT":
        return None
    kid, version = header.get("kid"), header.get("version")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_STRING_CHARACTERS:
        return None
    if not isinstance(version, str) or version not in accepted_versions:
        return None
    signing_input = token[: token.rindex(".")].encode()
    return UnverifiedToken(kid, version, signing_input, signature, payload_bytes)


def verify(
    token: UnverifiedToken,
    public_key: Any,
    issuer: str,
    *,
    audiences: Sequence[str] = (),
    issuer_may_be_missing: bool = False,
) -> AccessToken | None:
    """Check signature, then claims. None if any of them is not as it must be; no time is judged here.

    Args:
        public_key: the key that `token.kid` names. None if this token's signature was checked before.
        issuer: what `iss` must equal.
        audiences: our names. If the token has `aud`, one of them or the issuer must be in it (RFC 7519,
            section 4.1.3).
        issuer_may_be_missing: accept a token without `iss`.
    """
    if public_key is not None and not _RS256.verify(token.signing_input, public_key, token.signature):
        return None
    payload = _parse_json(token.payload_bytes)
    if payload is None or not _has_required_members(payload, token.version):
        return None
    if payload.get("iss", issuer if issuer_may_be_missing else None) != issuer:
        return None
    if "aud" in payload and not {issuer, *audiences} & set(_audiences(payload["aud"])):
        return None
    if not all(_is_integer(payload.get(name, 0)) for name in ("sc-gen", "sc-br", "sc-ver")):
        return None
    return AccessToken.from_payload(payload, token.kid)


def mint(
    key: SigningKey,
    *,
    user_id: str,
    tenant_id: str,
    handle: str,
    refresh_token_hash1: str,
    anti_csrf_token: str | None,
    issuer: str,
    claims: Mapping[str, Any],
    generation: int,
    payload_version: int,
    issued_at: int,
    expires_at: int,
    branch: int = 0,
) -> tuple[str, dict[str, Any]]:
    """Sign an access token. `claims` are the application's own; none of them replaces one of ours.

    Returns:
        The token and its payload, members in the same order.
    """
    payload = {
        "iat": issued_at,
        "exp": expires_at,
        "sub": user_id,
        "tId": tenant_id,
        "rsub": user_id,
        "sessionHandle": handle,
        "refreshTokenHash1": refresh_token_hash1,
        "parentRefreshTokenHash1": None,
        "antiCsrfToken": anti_csrf_token,
        "iss": issuer,
        **strip_protected(claims),
        **({"aud": audience_with(claims["aud"], issuer)} if "aud" in claims else {}),
        "sc-gen": generation,
        **({"sc-br": branch} if branch else {}),
        "sc-ver": payload_version,
    }
    return sign(key, payload, version="5"), payload


def sign(key: SigningKey, payload: dict[str, Any], **headers: str) -> str:
    """A JWT in RS256; without the header member `version` nobody takes it for an access token."""
    return jwt.encode(payload, key.private_key, algorithm="RS256", headers={"kid": key.kid, **headers})


def audience_with(audience: Any, issuer: str) -> list[str]:
    """The application's `aud` and the issuer: this server must be in the audience of its own tokens."""
    return list(dict.fromkeys([*_audiences(audience), issuer]))


def check_claims(claims: Mapping[str, Any], issuer: str, ids_bytes: int) -> None:
    """Refuse claims with which this server would refuse its own token, or the browser the cookie.

    Args:
        ids_bytes: how much room the ids of the session may take in the payload.

    Raises:
        ValueError: the claims are too large, nested too deeply, or not what JSON in a token can say.
    """
    text = to_json(claims)
    if _parse_json(text.encode()) is None:
        raise ValueError(
            f"claims must be JSON of at most {MAX_DEPTH} levels, without repeated names or lone surrogates"
        )
    if "aud" in claims and not _audiences(claims["aud"]):
        raise ValueError("the claim aud must be text or a list of texts")
    issuer_bytes = len(to_json(issuer)) * (2 if "aud" in claims else 1)
    room = (_COOKIE_ROOM - _HEADER_AND_SIGNATURE) * 3 // 4 - _ENGINE_BYTES - ids_bytes - issuer_bytes
    room = min(room, MAX_CLAIMS_BYTES)
    if len(text) > room:
        raise ValueError(
            f"the claims of this session would take {len(text)} bytes; a cookie has room for {room}. "
            "Keep what is large in session_data_in_database"
        )


def _audiences(value: Any) -> list[str]:
    """The names in an `aud` claim, one text or a list of texts; none if it is neither."""
    names = [value] if isinstance(value, str) else value
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _has_required_members(payload: Mapping[str, Any], version: str) -> bool:
    strings = all(
        isinstance(payload.get(name), str) and 0 < len(payload[name]) <= MAX_STRING_CHARACTERS
        for name in _REQUIRED_STRINGS[version]
    )
    stt = payload.get("stt", 0)
    if type(stt) is not int or stt != 0:  # an OAuth token of SuperTokens', signed with the same keys
        return False
    if "nbf" in payload and not _is_integer(payload["nbf"]):
        return False
    return strings and _is_integer(payload.get("iat")) and _is_integer(payload.get("exp"))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _parse_json(data: bytes) -> dict[str, Any] | None:
    """A JSON object without repeated names, non-numbers, deep nesting or text that UTF-8 cannot say.

    None for anything else.
    """
    if _SURROGATE.search(data):  # most payloads have no such escape
        return _parse_escapes(data)
    return _load(data)


def _parse_escapes(data: bytes) -> dict[str, Any] | None:
    """As `_parse_json`, for text in which surrogates must come in pairs."""
    value = _load(data)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None
    return value


def _load(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _depth_is_at_most(value, MAX_DEPTH) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _depth_is_at_most(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    children = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_depth_is_at_most(child, depth - 1) for child in children)
