# SPDX-License-Identifier: MIT
"""The database answers half a second late: what needs it is late or put off, all else is not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from stormcellar.tests.faults.browsers import Browser, Site
from stormcellar.tests.faults.world import World, run, world_of
from stormcellar.tests.figures import Figures
from stormcellar.tests.postgres import DATABASE, Cluster, Wire

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

DELAY_S = 0.5
VISITORS = 12
LASTS_S = 5.0
PAUSE_S = 0.02
WITHOUT_DATABASE = ("/", "/auth/jwt/jwks.json", "/static/style.css")
LAG = re.compile(r'event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')


async def lag_s(world: World, url: str) -> float:
    """The upper end of the bucket that the 99th of a hundred measurements of the loop's lag fell into."""
    response = await world.client.fetch(f"{url}/metrics")
    buckets = [(float(end), float(count)) for end, count in LAG.findall(response.body.decode())]
    return next(end for end, count in buckets if count >= 0.99 * buckets[-1][1])


def test_a_slow_database_holds_up_only_what_asks_it(
    tmp_path: Path, cluster: Cluster, figures: Figures
) -> None:
    anonymous_s: list[float] = []
    page_s: list[float] = []

    async def timed(seconds: list[float], work: Awaitable[object]) -> None:
        began = time.monotonic()
        await work
        seconds.append(time.monotonic() - began)

    async def story() -> None:
        wire = Wire(cluster)
        async with (
            wire.between(cluster.url(DATABASE)),
            world_of(Site(tmp_path, 1, cluster=cluster, wire=wire)) as world,
        ):
            (url,) = world.site.urls
            browsers = await world.newcomers(VISITORS)
            wire.delay_s = DELAY_S
            end = time.monotonic() + LASTS_S

            async def again_and_again(act: Callable[[], Awaitable[object]]) -> None:
                while time.monotonic() < end:
                    await act()
                    await asyncio.sleep(PAUSE_S)

            async def ask(path: str) -> None:
                await timed(anonymous_s, world.client.fetch(url + path))

            async def look(browser: Browser) -> None:
                await timed(page_s, browser.read())

            await asyncio.gather(
                *(again_and_again(partial(ask, path)) for path in WITHOUT_DATABASE),
                *(again_and_again(partial(look, one)) for one in browsers[::3]),
                *(again_and_again(one.refresh) for one in browsers),
            )
            wire.delay_s = 0
            await world.go_on(browsers)
            waited_s = [s for browser in browsers for s in browser.renewals_s]
            loop_s = await lag_s(world, url)
            violations = world.history.violations(heard_within_s=0)
            tried = f"{len(world.history.operations)} requests"
            figures.none("slow database: nobody is signed out", "PostgreSQL", violations, tried)
            figures.times("slow database: anonymous pages, JWKS", "PostgreSQL", anonymous_s, p99_s=0.1)
            figures.times("slow database: pages with a session", "PostgreSQL", page_s, p99_s=0.1)
            figures.times("slow database: refresh, or 503", "PostgreSQL", waited_s, most_s=3.0)
            lag = "slow database: event-loop lag"  # of a machine with too few processors, if of anything
            figures.times(lag, "PostgreSQL", [loop_s], p99_s=0.05, asserted=False)

    run(story)
