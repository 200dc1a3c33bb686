# SPDX-License-Identifier: MIT
"""A fresh application with its own database for each test, a clock that the test moves, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

import server
from accounts import Argon2Parameters
from server import Application
from settings import Settings
from tests.client import Client
from tests.handlers.samples import SAMPLES
from tests.support import FakeClock, cheap_keys

CHEAP = Argon2Parameters(memory_kib=8, passes=1, lanes=1)
PATIENCE_S = 60.0  # nothing here measures time; a busy machine must not fail a test

MakeApplication = Callable[..., Application]


def pytest_configure(config: pytest.Config) -> None:
    config.option.async_test_timeout = max(config.option.async_test_timeout, PATIENCE_S)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_application(io_loop: IOLoop, tmp_path: Path, clock: FakeClock) -> Iterator[MakeApplication]:
    """Make an application from settings; `engine` goes to the session engine. All are stopped at the end."""
    made: list[Application] = []

    def make(engine: dict[str, Any] | None = None, **settings: Any) -> Application:
        options = Settings(**{"data_dir": tmp_path, "access_token_jitter_percent": 0, **settings})
        application = server.make_app(
            options,
            clock=clock,
            password_parameters=CHEAP,
            **{"generate_key": cheap_keys(), **(engine or {})},
        )
        application.add_handlers(r".*", SAMPLES)
        made.append(application)
        return application

    yield make
    for application in made:
        io_loop.run_sync(application.stop)


@pytest.fixture
def settings() -> dict[str, Any]:
    """Settings other than the default ones; see `with_settings` in tests/handlers/parts.py."""
    return {}


@pytest.fixture
def app(make_application: MakeApplication, settings: dict[str, Any]) -> Application:
    return make_application(**settings)


@pytest.fixture
def client(app: Application, http_client: AsyncHTTPClient, base_url: str, clock: FakeClock) -> Client:
    return Client(http_client, base_url, clock)


@pytest.fixture
def new_client(http_client: AsyncHTTPClient, base_url: str, clock: FakeClock) -> Callable[..., Client]:
    """Further browsers."""
    return lambda **more: Client(http_client, base_url, clock, **more)
