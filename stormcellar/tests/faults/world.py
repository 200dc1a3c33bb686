# SPDX-License-Identifier: MIT
"""A site with its visitors: what most tests of outages begin with."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from tornado.simple_httpclient import SimpleAsyncHTTPClient

from stormcellar.tests.faults.browsers import PAUSE_S, Browser, Site, at, http_client
from stormcellar.tests.faults.history import History

LONGEST_PAUSE_S = 0.1
DEADLINE_S = 120.0  # a story that takes so long hangs


class World:
    """The servers and their visitors."""

    def __init__(self, site: Site, client: SimpleAsyncHTTPClient) -> None:
        self.site = site
        self.client = client
        self.history = History()
        self.names = (f"visitor{number}@example.com" for number in itertools.count())
        self.page_s: list[float] = []

    async def newcomer(self, url: str = "") -> Browser:
        route = at(url) if url else self.site.any_url
        browser = Browser(self.client, self.history, route, next(self.names))
        await browser.sign_up()
        return browser

    async def newcomers(self, count: int) -> list[Browser]:
        return await asyncio.gather(*(self.newcomer() for _ in range(count)))

    async def go_on(self, browsers: Iterable[Browser]) -> None:
        """Look at the page and renew, on every server."""
        for browser, url in itertools.product(browsers, self.site.urls):
            await browser.read(at(url))
            await browser.refresh(at(url))
            await browser.read(at(url))

    async def visit(self, browser: Browser) -> None:
        """Look at pages and renew, until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_S))
            if random.random() < 0.5:
                began = time.monotonic()
                await browser.read()
                self.page_s.append(time.monotonic() - began)
            else:
                await browser.refresh()

    async def readiness(self, url: str) -> dict[str, Any]:
        response = await self.client.fetch(f"{url}/readyz", raise_error=False)
        readiness: dict[str, Any] = json.loads(response.body)
        return readiness

    async def until_ready(self, *urls: str, feed_mode: str = "") -> None:
        for url in urls or self.site.urls:
            while True:
                said = await self.readiness(url)
                if said["status"] == "ready" and feed_mode in ("", said["feed_mode"]):
                    break
                await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def world_of(site: Site) -> AsyncIterator[World]:
    client = http_client()
    try:
        await site.start()
        world = World(site, client)
        yield world
        assert "Traceback" not in site.complaints, site.complaints
        assert "theft" not in site.complaints, site.complaints
    finally:
        client.close()
        await asyncio.to_thread(site.stop)
        print(site.complaints)  # pytest shows it if the test fails


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), DEADLINE_S))
