# SPDX-License-Identifier: MIT
"""Other backends verify our access tokens: SuperTokens' published SDKs for Python and Node.js.

Neither SDK calls its core to verify a token, but both take the public keys from the core's own address,
/.well-known/jwks.json, and from nowhere else. So there is a server here in the core's place that passes on
what the kit publishes, and answers nothing else: whatever more an SDK asked for would fail the test. Who
verifies without an SDK takes the keys from the kit's JWKS address itself, as SuperTokens documents it for
services that only verify; PyJWT does that here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application as TornadoApplication
from tornado.web import RequestHandler

from stormcellar.application import Application
from stormcellar.settings import Settings
from stormcellar.testing.client import Client
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests import site as server
from stormcellar.tests.handlers.conftest import CHEAP
from stormcellar.tests.parts import require_npm_package, require_supertokens_python

HERE = Path(__file__).parent
LIFETIME_S = 3600
JWKS_PATH = "/auth/jwt/jwks.json"

Opinions = dict[str, dict[str, Any]]


@pytest.fixture
def clock() -> FakeClock:
    """Two hours behind, so that by every other clock what is issued now has expired."""
    return FakeClock(time.time() - 2 * LIFETIME_S)


@pytest.fixture
def app(io_loop: Any, tmp_path: Path, clock: FakeClock) -> Iterator[Application]:
    application = server.make_app(Settings(data_dir=tmp_path), clock=clock, password_parameters=CHEAP)
    yield application
    io_loop.run_sync(application.stop)


class Core:
    """A server in the place of SuperTokens' core, which knows the public keys and nothing else.

    Attributes:
        asked: the paths that it was asked for.
    """

    def __init__(self, http_client: AsyncHTTPClient, jwks_url: str) -> None:
        self.asked: list[str] = []
        core = self

        class Keys(RequestHandler):
            async def get(self) -> None:
                core.asked.append(self.request.path)
                published = await http_client.fetch(jwks_url)
                self.set_header("Content-Type", published.headers["Content-Type"])
                self.finish(published.body)

        class Nothing(RequestHandler):
            def prepare(self) -> None:
                core.asked.append(self.request.path)
                self.send_error(404)

        routes = TornadoApplication([(r"/\.well-known/jwks\.json", Keys)], default_handler_class=Nothing)
        listening, port = bind_unused_port()
        self._server = HTTPServer(routes)
        self._server.add_socket(listening)
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


async def tokens_of(client: Client, app: Application, clock: FakeClock) -> dict[str, str]:
    """A good access token, and one for each way not to be."""
    expired = await access_token(client, "expired@example.com")
    clock.advance(2 * LIFETIME_S)
    good = await access_token(client, "ann@example.com")
    head, payload, signature = good.split(".")
    claims = {**json.loads(decoded(payload)), "sub": "somebody-else"}
    kid = app.sessions.keys.signing_key().kid
    stranger = cheap_keys()
    stranger()  # the first is the server's own
    return {
        "good": good,
        "expired": expired,
        "tampered": f"{head}.{encoded(claims)}.{signature}",
        "foreign": jwt.encode(claims, stranger(), "RS256", headers={"kid": kid, "version": "5"}),
        "foreign, unknown key": jwt.encode(
            claims, stranger(), "RS256", headers={"kid": "d-1700000000000", "version": "5"}
        ),
    }


async def access_token(client: Client, email: str) -> str:
    response = await client.call(
        "/auth/signup",
        {"formFields": [{"id": "email", "value": email}, {"id": "password", "value": "tall ships sail 27"}]},
        auth_mode="header",
    )
    assert response.code == 200, response.body
    token: str = response.headers["st-access-token"]
    return token


def encoded(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def ask(*command: str | Path, tokens: dict[str, str]) -> Opinions:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(tokens).encode())
    assert process.returncode == 0
    opinions: Opinions = json.loads(output.splitlines()[-1])
    return opinions


def assert_right(opinions: Opinions, tokens: dict[str, str], refusal: str) -> None:
    claims = json.loads(decoded(tokens["good"].split(".")[1]))
    assert opinions.pop("good") == {
        "userId": claims["sub"],
        "recipeUserId": claims["rsub"],
        "handle": claims["sessionHandle"],
        "tenantId": "public",
        "payload": claims,
    }
    assert opinions == {name: {"error": refusal} for name in tokens if name != "good"}


@pytest.mark.npm
@pytest.mark.gen_test(timeout=120)
async def test_supertokens_python_takes_our_tokens_and_no_others(
    app: Application, http_client: AsyncHTTPClient, base_url: str, clock: FakeClock
) -> None:
    python = require_supertokens_python()
    tokens = await tokens_of(Client(http_client, base_url, clock), app, clock)
    core = Core(http_client, base_url + JWKS_PATH)
    opinions = await ask(python, HERE / "verify.py", core.url, tokens=tokens)
    await core.stop()
    assert_right(opinions, tokens, "TryRefreshTokenError")
    assert set(core.asked) == {"/.well-known/jwks.json"}


@pytest.mark.npm
@pytest.mark.gen_test(timeout=120)
async def test_supertokens_node_takes_our_tokens_and_no_others(
    app: Application, http_client: AsyncHTTPClient, base_url: str, clock: FakeClock
) -> None:
    require_npm_package("supertokens-node")  # and Node.js with it
    tokens = await tokens_of(Client(http_client, base_url, clock), app, clock)
    core = Core(http_client, base_url + JWKS_PATH)
    opinions = await ask("node", HERE / "verify.mjs", core.url, tokens=tokens)
    await core.stop()
    assert_right(opinions, tokens, "TRY_REFRESH_TOKEN")
    assert set(core.asked) == {"/.well-known/jwks.json"}


@pytest.mark.gen_test(timeout=120)
async def test_whoever_has_a_jwt_library_and_our_jwks_address_can_verify_them(
    app: Application, http_client: AsyncHTTPClient, base_url: str, clock: FakeClock
) -> None:
    tokens = await tokens_of(Client(http_client, base_url, clock), app, clock)
    keys = jwt.PyJWKClient(base_url + JWKS_PATH)

    def verify(token: str) -> str:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, ["RS256"], issuer=app.sessions.config.issuer)
        return str(claims["sub"])

    def opinion(token: str) -> str:
        try:
            return verify(token)
        except jwt.PyJWTError as error:
            return type(error).__name__

    opinions = {name: await asyncio.to_thread(opinion, token) for name, token in tokens.items()}
    assert opinions == {
        "good": json.loads(decoded(tokens["good"].split(".")[1]))["sub"],
        "expired": "ExpiredSignatureError",
        "tampered": "InvalidSignatureError",
        "foreign": "InvalidSignatureError",
        "foreign, unknown key": "PyJWKClientError",
    }
