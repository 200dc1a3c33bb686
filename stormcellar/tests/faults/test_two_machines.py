# SPDX-License-Identifier: MIT
"""Two servers on one PostgreSQL whose machines do not agree on the time of day.

What one has written down the other judges by its own clock, unless both ask the same one: a token that two
tabs present at once, on different machines, is the case in which a minute would look like a theft.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from stormcellar.tests.faults.browsers import Browser, Site, at
from stormcellar.tests.faults.world import World, run, world_of
from stormcellar.tests.figures import Figures
from stormcellar.tests.postgres import Cluster

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

BROWSERS = 6
ROUNDS = 20
TABS = 4


async def tabs(world: World, browser: Browser) -> Browser:
    """One tab renews and its new tokens are used; then the others, which had not heard, renew too."""
    urls = random.sample(world.site.urls, 2)
    first, *others = (browser.copy() for _ in range(TABS))
    await first.refresh(at(urls[0]))
    await first.read(at(urls[1]))
    for other in others:
        await other.refresh(at(random.choice(urls)))
    return random.choice([first, *others])


@pytest.mark.parametrize("skew_s", [-60, 60])
def test_machines_whose_clocks_differ_by_a_minute_sign_nobody_out(
    tmp_path: Path, cluster: Cluster, figures: Figures, skew_s: int
) -> None:
    async def story() -> None:
        site = Site(tmp_path, 2, "--access_token_lifetime_s=120", cluster=cluster)
        command = site.servers[1].command
        command[:2] = [sys.executable, "-m", "stormcellar.tests.faults.skewed_server", str(skew_s)]
        async with world_of(site) as world:
            browsers = await world.newcomers(BROWSERS)
            for _ in range(ROUNDS):
                browsers = await asyncio.gather(*(tabs(world, browser) for browser in browsers))
            await world.go_on(browsers)
            for browser in browsers[: BROWSERS // 2]:
                kept = browser.copy()
                await browser.sign_out()
                for url in site.urls:
                    assert not await kept.copy().refresh(at(url))
            violations = world.history.violations(heard_within_s=0)
            tried = f"{skew_s:+} s, {len(world.history.operations)} requests"
            figures.none("clocks differ by a minute: nobody is signed out", "PostgreSQL", violations, tried)

    run(story)
