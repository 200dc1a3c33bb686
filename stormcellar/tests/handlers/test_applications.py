# SPDX-License-Identifier: MIT
"""Settings reach the application and nothing else: several live in one process, and one can be rebuilt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from stormcellar.application import Application
from stormcellar.sessions import StoreUnavailableError
from stormcellar.testing.client import Client, json_of
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.handlers.conftest import MakeApplication


@asynccontextmanager
async def serving(application: Application, clock: FakeClock) -> AsyncIterator[Client]:
    """A browser in front of an application that listens until the end; the application goes on."""
    socket, port = bind_unused_port()
    http_server = HTTPServer(application)
    http_server.add_socket(socket)
    try:
        yield Client(AsyncHTTPClient(), f"http://localhost:{port}", clock)
    finally:
        http_server.stop()
        await http_server.close_all_connections()


@pytest.mark.gen_test
async def test_two_applications_with_different_settings_live_side_by_side(
    make_application: MakeApplication, clock: FakeClock, tmp_path: Path
) -> None:
    first = make_application(data_dir=tmp_path / "first", site_name="First")
    second = make_application(
        data_dir=tmp_path / "second",
        site_name="Second",
        api_base_path="/api",
        refresh_mode="detour",
        access_token_lifetime_s=60,
        cookie_same_site="strict",
        password_min_length=20,
    )
    async with serving(first, clock) as one, serving(second, clock) as two:
        assert b"Home \xc2\xb7 First" in (await one.get("/")).body
        assert b"Home \xc2\xb7 Second" in (await two.get("/")).body
        assert (await one.post("/signup", {"email": "a@example.com", "password": "eleven char"})).code == 303
        assert (await two.post("/signup", {"email": "a@example.com", "password": "eleven char"})).code == 422
        await two.sign_up("a@example.com")
        assert {cookie.same_site for cookie in one.jar.values()} == {"Lax"}
        assert {cookie.same_site for cookie in two.jar.values()} == {"Strict"}

        (one_key,) = json_of(await one.get("/auth/jwt/jwks.json"))["keys"]
        (two_key,) = json_of(await two.get("/api/jwt/jwks.json"))["keys"]
        assert (await one.get("/api/jwt/jwks.json")).code == 404
        assert len(await first.accounts.list()) == len(await second.accounts.list()) == 1
        assert {one_key["kid"], two_key["kid"]}

        clock.advance(60)
        assert (await one.get("/dashboard")).code == 200
        assert (await two.get("/dashboard")).code == 303
        await two.get("/dashboard", follow=True)
        assert two.visited[-1] == "GET /dashboard 200"
        clock.advance(3600)
        assert (await one.get("/dashboard")).code == 302


@pytest.mark.gen_test
async def test_a_session_of_one_application_is_none_of_the_others(
    make_application: MakeApplication, clock: FakeClock, tmp_path: Path
) -> None:
    other_keys = cheap_keys()
    other_keys()  # the first one is that of the other application
    first = make_application(data_dir=tmp_path / "first")
    second = make_application(data_dir=tmp_path / "second", engine={"generate_key": other_keys})
    async with serving(first, clock) as one, serving(second, clock) as two:
        await one.sign_up()
        two.jar = dict(one.jar)
        assert (await two.call("/sample/api", method="GET")).code == 401
        assert (await two.refresh()).code == 401
        assert (await one.get("/dashboard")).code == 200
        await first.sessions.revoke_session(one.session_handle, owner=None)
        assert second.sessions.feed.revoked == {}


@pytest.mark.gen_test
async def test_an_application_can_be_stopped_and_rebuilt_while_another_serves(
    make_application: MakeApplication, clock: FakeClock, tmp_path: Path
) -> None:
    """With other settings on the same data; its people stay signed in."""
    kept = make_application(data_dir=tmp_path / "kept")
    first = make_application(data_dir=tmp_path / "rebuilt", site_name="Before")
    async with serving(kept, clock) as neighbour:
        await neighbour.sign_up()
        async with serving(first, clock) as one:
            await one.sign_up()
            cookies = dict(one.jar)
        pages, _ = await asyncio.gather(neighbour.get("/dashboard"), first.stop())
        assert pages.code == 200

        again = make_application(
            data_dir=tmp_path / "rebuilt",
            site_name="After",
            access_token_lifetime_s=60,
            refresh_mode="detour",
        )
        async with serving(again, clock) as one:
            one.jar = cookies
            page = await one.get("/dashboard", follow=True)
            assert one.visited == [
                "GET /dashboard 303",
                "GET /auth/session/refresh/return?redirectBack=/dashboard 303",
                "GET /dashboard 200",
            ], "the old token lives longer than is allowed now"
            assert b"Dashboard \xc2\xb7 After" in page.body
            up = one.front_token()["up"]
            assert up["exp"] - up["iat"] == 60
        assert (await neighbour.get("/dashboard")).code == 200
        assert (await neighbour.post("/signout")).code == 303


@pytest.mark.gen_test
async def test_requests_that_come_together_start_an_application_once(
    make_application: MakeApplication, clock: FakeClock
) -> None:
    application = make_application()
    async with serving(application, clock) as one:
        answers = await asyncio.gather(*(one.get("/") for _ in range(10)))
        assert {answer.code for answer in answers} == {200}
        assert len(json_of(await one.get("/auth/jwt/jwks.json"))["keys"]) == 1


def test_a_stopped_application_leaves_no_thread_behind(
    io_loop: IOLoop, make_application: MakeApplication
) -> None:
    before = set(threading.enumerate())
    application = make_application()

    async def use() -> None:
        await application.start()
        await application.accounts.sign_up("ann@example.com", "tall ships sail 27 seas")
        await application.sessions.create_new_session("ann")
        await application.stop()

    io_loop.run_sync(use)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio_")} == set()  # the loop's own pool


def test_a_start_that_failed_half_way_can_be_repeated_and_taken_back(
    io_loop: IOLoop, make_application: MakeApplication
) -> None:
    """The database and the sessions were there, the accounts were not."""
    before = set(threading.enumerate())
    application = make_application()

    async def fails() -> None:
        raise StoreUnavailableError("for the test")

    async def use() -> None:
        application.accounts.open = fails  # type: ignore[method-assign]
        tasks = []
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await application.start()
            tasks.append(len(asyncio.all_tasks()))
        assert len(set(tasks)) == 1, "each start left another task"
        await application.stop()

    io_loop.run_sync(use)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith("asyncio_")} == set()  # the loop's own pool


def test_making_an_application_starts_nothing(make_application: MakeApplication, tmp_path: Path) -> None:
    """Whoever makes it decides when, and in which event loop."""
    before = set(threading.enumerate())
    application = make_application()
    assert set(threading.enumerate()) <= before
    assert not application.options.database_path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.gen_test
async def test_a_part_that_cannot_be_maintained_keeps_no_other_from_it(
    make_application: MakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stormcellar.application.HOUSEKEEPING_INTERVAL_S", 0.001)
    application, asked, done = make_application(), asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        asked.set()
        raise StoreUnavailableError("for the test")

    async def succeed() -> None:
        done.set()

    monkeypatch.setattr(application.accounts, "maintain", fail)
    monkeypatch.setattr(application.audit, "maintain", succeed)
    await application.start()
    await asked.wait()
    await done.wait()
