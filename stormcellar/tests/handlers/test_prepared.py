# SPDX-License-Identifier: MIT
"""A handler whose own `prepare` leaves out that of the base class answers nobody with its page."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest
from tornado.web import Application as TornadoApplication
from tornado.web import URLSpec, stream_request_body

from stormcellar.application import Application
from stormcellar.testing.client import Client
from stormcellar.web.access import AccessUnsaid, check_access, describe
from stormcellar.web.handler import BaseHandler, ProtectedHandler
from stormcellar.web.live import ProtectedWebSocketHandler

SECRET = "the page's secret"
calls: list[str] = []


class Page(ProtectedHandler):
    async def get(self) -> None:
        calls.append("get")
        self.finish(SECRET)

    async def post(self) -> None:
        calls.append("post")
        self.finish(SECRET)


class NoSuper(Page):
    async def prepare(self) -> None:
        pass


class PlainNoSuper(Page):
    def prepare(self) -> None:  # type: ignore[override]
        pass


class NotAwaited(Page):
    async def prepare(self) -> None:
        super().prepare()  # type: ignore[unused-coroutine]


class Mixin:
    async def prepare(self) -> None:
        pass


class ByMixin(Mixin, Page):  # type: ignore[misc]
    pass


class BelowAMistake(NoSuper):
    async def prepare(self) -> None:
        await super().prepare()


class TooLate(Page):
    async def prepare(self) -> None:
        self.task = asyncio.ensure_future(super().prepare())


class Swallowed(Page):
    async def prepare(self) -> None:
        try:
            await super().prepare()
        except Exception:
            logging.getLogger().info("never mind")


class EarlyAnswer(Page):
    async def prepare(self) -> None:
        self.finish(SECRET)


class SetOnTheInstance(Page):
    def initialize(self) -> None:
        super().initialize()
        self.prepare = lambda: None  # type: ignore[method-assign,assignment,return-value]


class OwnSession(Page):
    async def prepare(self) -> None:
        self.session = await self.get_session()  # type: ignore[assignment]


@stream_request_body
class Streamed(NoSuper):
    def data_received(self, chunk: bytes) -> None:
        pass


class Public(BaseHandler):
    public = "for everybody"

    async def prepare(self) -> None:
        pass

    async def get(self) -> None:
        self.finish(SECRET)


class Good(Page):
    async def prepare(self) -> None:
        await super().prepare()
        calls.append("prepare")


class Returned(Page):
    def prepare(self) -> Any:
        return super().prepare()


class Redirects(Page):
    async def prepare(self) -> None:
        self.redirect("/maintenance")


def decorated(method: Any) -> Any:
    @functools.wraps(method)
    async def around(self: Any) -> None:
        await method(self)

    return around


class Decorated(Page):
    @decorated
    async def prepare(self) -> None:
        await super().prepare()


class Socket(ProtectedWebSocketHandler):
    async def prepare(self) -> None:
        pass

    def opened(self) -> None:
        calls.append("opened")


AT_START = [NoSuper, PlainNoSuper, NotAwaited, ByMixin, EarlyAnswer, OwnSession, Streamed, Public, Socket]
AT_START += [BelowAMistake]
AT_REQUEST = [TooLate, Swallowed, SetOnTheInstance]
GOOD = [Good, Returned, Decorated]


@pytest.fixture
def app(app: Application) -> Application:
    """The application, with handlers that its own add_handlers refuses, so that requests meet them."""
    calls.clear()
    handlers = [*AT_START, *AT_REQUEST, *GOOD, Redirects]
    routes = [URLSpec(f"/{handler.__name__}", handler) for handler in handlers]
    TornadoApplication.add_handlers(app, ".*", routes)
    return app


@pytest.mark.parametrize("handler", AT_START, ids=lambda handler: handler.__name__)
def test_no_such_handler_is_added_later(app: Application, handler: type[BaseHandler]) -> None:
    with pytest.raises(AccessUnsaid):
        app.add_handlers(".*", [("/x", handler)])


@pytest.mark.parametrize("handler", AT_START, ids=lambda handler: handler.__name__)
def test_the_server_does_not_start_with_a_prepare_that_protects_nothing(handler: type[BaseHandler]) -> None:
    table = [URLSpec("/x", handler)]
    for look in (check_access, describe):
        with pytest.raises(AccessUnsaid, match=r"prepare\(\) .*write `await super\(\)\.prepare\(\)`"):
            look(table)


@pytest.mark.parametrize("handler", GOOD, ids=lambda handler: handler.__name__)
def test_a_prepare_that_calls_its_base_class_is_protected(handler: type[BaseHandler]) -> None:
    assert "protected" in describe([URLSpec("/x", handler)])


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("handler", [*AT_START, *AT_REQUEST], ids=lambda handler: handler.__name__)
@pytest.mark.gen_test
async def test_a_request_without_the_base_class_never_gets_the_page(
    client: Client, app: Application, caplog: pytest.LogCaptureFixture, handler: type[BaseHandler]
) -> None:
    """Guests and those who are signed in get 500, and neither `get` nor `post` has run.

    Only a `prepare` that is put on the instance hides from the look before `get`; its answer is refused.
    """
    path, method = f"/{handler.__name__}", "POST" if handler is Streamed else "GET"
    body = b"" if method == "POST" else None
    for _ in range(2):
        calls.clear()
        response = await client.request(method, path, headers={"Origin": client.origin}, body=body)
        if handler is OwnSession and not client.cookies:
            assert (response.code, calls) == (401, [])  # its own get_session refused
            await client.sign_up()
            continue
        # A session whose refusal was swallowed is no session; with one, the base class has run to its end.
        is_served = handler is Swallowed and bool(client.cookies)
        assert response.code == (200 if is_served else 500), response.body
        assert (SECRET.encode() in response.body) is is_served
        if not is_served:
            assert calls == ([] if handler is not SetOnTheInstance else ["get"])
            assert "BaseHandler.prepare()" in caplog.text
        if not client.cookies:
            await client.sign_up()


@pytest.mark.parametrize("handler", GOOD, ids=lambda handler: handler.__name__)
@pytest.mark.gen_test
async def test_a_prepare_that_calls_its_base_class_serves_its_page(
    client: Client, app: Application, handler: type[BaseHandler]
) -> None:
    path = f"/{handler.__name__}"
    assert (await client.get(path)).code == 303
    assert "get" not in calls
    await client.sign_up()
    assert (await client.get(path)).body == SECRET.encode()


@pytest.mark.gen_test
async def test_a_prepare_may_redirect_without_asking_for_a_session(client: Client, app: Application) -> None:
    response = await client.get("/Redirects")
    assert (response.code, response.headers["Location"]) == (302, "/maintenance")
    assert calls == []
