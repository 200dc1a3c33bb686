# SPDX-License-Identifier: MIT
"""The head of an answer with new tokens fits into the buffer that nginx has by default."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from stormcellar.application import Application
from stormcellar.sessions import SessionClaim
from stormcellar.testing.client import PASSWORD, SDK, Client
from stormcellar.testing.clock import FakeClock
from stormcellar.tests.handlers.parts import with_settings

NGINX_TAKES = 4096  # proxy_buffer_size, one page of memory
COMMON_MOST = 3100  # room for some 350 bytes of claims, which are in two tokens and in base64
LONG_EMAIL = "a.person.with.a.long.name@department.of.something.example.com"
FORM_FIELDS = [{"id": "email", "value": LONG_EMAIL}, {"id": "password", "value": PASSWORD}]
HTTPS = {"public_url": "https://www.department.example.com", "cookie_prefix": True}


def head_bytes(response: HTTPResponse) -> int:
    lines = [f"HTTP/1.1 {response.code} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.get_all()]
    return sum(len(line.encode()) + 2 for line in [*lines, ""])


async def answers_with_tokens(client: Client, app: Application, clock: FakeClock) -> dict[str, HTTPResponse]:
    """Every kind of answer that brings all tokens, by what was asked."""
    got = {"sign up, form": await client.post("/signup", {"email": LONG_EMAIL, "password": PASSWORD})}
    got["sign in, form"] = await client.post("/login", {"email": LONG_EMAIL, "password": PASSWORD})
    clock.advance(3700)
    got["refresh, script"] = await client.refresh()
    clock.advance(3700)
    got["detour"] = await client.get(app.addresses.renew + "?redirectBack=/dashboard%3Ftab%3D1")
    for method in ("cookie", "header"):
        headers = {**SDK, "st-auth-mode": method}
        got[f"sign in, SDK, {method}"] = await client.call(
            "/auth/signin", {"formFields": FORM_FIELDS}, headers=headers
        )
    for name, response in got.items():
        lines = [*response.headers.get_list("Set-Cookie"), *response.headers.get_list("st-refresh-token")]
        assert any("sRefreshToken=A" in line or line.startswith("A") for line in lines), (name, response.code)
    return got


@with_settings(**HTTPS, email_verification="required")
@pytest.mark.gen_test
async def test_new_tokens_leave_room_for_claims_in_4_kb(
    client: Client, app: Application, clock: FakeClock
) -> None:
    client.origin = HTTPS["public_url"]
    sizes = {
        name: head_bytes(answer) for name, answer in (await answers_with_tokens(client, app, clock)).items()
    }
    assert max(sizes.values()) <= COMMON_MOST, sizes


@with_settings(**HTTPS, email_verification="required")
@pytest.mark.gen_test
async def test_normal_claims_fit_into_4_kb(client: Client, app: Application, clock: FakeClock) -> None:
    """A name, an organisation, a plan and a language."""
    claims: dict[str, Any] = {
        "name": "Anna-Katharina Müller-Lüdenscheidt",
        "organisation": {"id": "b7c8d1e2-0f3a-4f5b-9c6d-7e8f90a1b2c3", "name": "Example Holding plc"},
        "plan": "enterprise",
        "locale": "de-CH",
    }
    app.sessions.claims = [
        *app.sessions.claims,
        *(SessionClaim(k, lambda *_, v=v: v) for k, v in claims.items()),
    ]
    client.origin = HTTPS["public_url"]
    answers = await answers_with_tokens(client, app, clock)
    sizes = {name: head_bytes(answer) for name, answer in answers.items()}
    assert max(sizes.values()) <= NGINX_TAKES, sizes
