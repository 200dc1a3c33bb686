# SPDX-License-Identifier: MIT
"""kill -9 at random moments, while people sign up, look at pages, renew their sessions and leave.

Two server processes share one database; each is killed again and again, at any moment of its life, some
while they start. Now and then both are down. Afterwards, and from time to time meanwhile, the history of
what was asked and answered is held against the database.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from stormcellar.tests.faults.browsers import PAUSE_S, Browser, Site, at, http_client
from stormcellar.tests.faults.history import History
from stormcellar.tests.figures import Figures
from stormcellar.tests.serving import ServerProcess

pytestmark = pytest.mark.faults

BROWSERS = 12
KILLS = {"SQLite": 200, "PostgreSQL": 50}
LONGEST_LIFE_S = 0.4
KILLED_TOGETHER = 0.3  # the share of kills that do not wait for the other process to be up
KILLED_WHILE_STARTING = 0.15  # the share of starts
LOOK_EVERY = 5  # kills
DEADLINE_S = 900.0  # a run that takes so long hangs
# How soon others hear of a sign-out is measured elsewhere, on processes that live; here it must not matter.
HEARD_WITHIN_S = 10.0
# Without a grace period only the rule is left that a token may be repeated until its successor was used;
# short-lived access tokens are renewed all the time.
SETTINGS = ("--refresh_grace_s=0", "--access_token_lifetime_s=3")


class Run:
    """One run: the site, everybody who visits it, and what is known of both."""

    def __init__(self, site: Site, kills: int) -> None:
        self.site = site
        self.kills_wanted = kills
        self.history = History()
        self.random = random.Random()
        self.over = asyncio.Event()
        self.names = (f"visitor{number}@example.com" for number in itertools.count())
        self.accounts: list[str] = []  # whose sign-up was acknowledged
        self.left: list[Browser] = []  # the tokens of those who signed out
        self.kills = self.both_down = 0
        self.start_s: list[float] = []
        self.damage: list[object] = []  # to the database's file
        self.lost_accounts: list[str] = []

    async def all(self) -> None:
        self.client = http_client()
        await self.site.start()
        newcomers = await asyncio.gather(*(self._newcomer() for _ in range(BROWSERS)))
        visits = asyncio.gather(*map(self.visit, newcomers))
        await asyncio.gather(self.faults(), visits)
        await self.settle(visits.result())
        self.client.close()

    # -- people -------------------------------------------------------------------------------------

    async def visit(self, browser: Browser) -> Browser:
        """One person, until the run is over; returns with the browser that is used by then."""
        while not self.over.is_set():
            await asyncio.sleep(self.random.uniform(0, 0.08))
            choice = self.random.random()
            if choice < 0.7:
                await browser.read()
            elif choice < 0.99:
                await browser.refresh()
            else:
                browser = await self._leave_and_return(browser)
        return browser

    async def _newcomer(self) -> Browser:
        browser = Browser(self.client, self.history, self.site.any_url, next(self.names))
        await browser.sign_up()
        self.accounts.append(browser.email)
        return browser

    async def _leave_and_return(self, browser: Browser) -> Browser:
        kept = browser.copy()
        await browser.sign_out(by_form=self.random.random() < 0.5)
        self.left.append(kept)
        await kept.copy().refresh()  # whoever kept the tokens
        if self.random.random() < 0.3:
            return await self._newcomer()
        await browser.sign_in()
        return browser

    # -- faults -------------------------------------------------------------------------------------

    async def faults(self) -> None:
        await asyncio.gather(*map(self.kill_again_and_again, self.site.servers))
        self.over.set()

    async def kill_again_and_again(self, server: ServerProcess) -> None:
        while self.kills < self.kills_wanted:
            await asyncio.sleep(self.random.uniform(0, LONGEST_LIFE_S))
            waits = self.random.random() > KILLED_TOGETHER
            while waits and self.site.up == {server}:
                await asyncio.sleep(PAUSE_S)
            await self._kill(server)
            if self.random.random() < KILLED_WHILE_STARTING:
                await self._kill_while_it_starts(server)
            began = time.monotonic()
            await self.site.start(server)
            self.start_s.append(time.monotonic() - began)

    async def _kill(self, server: ServerProcess) -> None:
        await self.site.kill(server)
        self.kills += 1
        self.both_down += not self.site.up
        if self.kills % LOOK_EVERY == 0 and self.site.up:
            await asyncio.to_thread(self.look)

    async def _kill_while_it_starts(self, server: ServerProcess) -> None:
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        await asyncio.wait({starting}, timeout=self.random.uniform(0.05, 0.3))
        await asyncio.to_thread(server.kill)
        await asyncio.gather(starting, return_exceptions=True)  # it rightly complains of an early end
        await asyncio.to_thread(server.kill)  # if there was nothing to kill yet a moment ago
        self.kills += 1

    # -- looking ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Hold the database against the history, as it is at this moment."""
        handles = {operation.session for operation in list(self.history.operations) if operation.session}
        began = self.history.now()
        self.damage += self.site.integrity_errors()
        generations = dict(self.site.rows("SELECT handle, generation FROM sessions"))
        ended = self.history.now()
        for handle in handles:
            operation = self.history.ask("inspect", handle, generations.get(handle))
            operation.asked_at, operation.answered_at = began, ended

    async def settle(self, browsers: Sequence[Browser]) -> None:
        """Whoever did not sign out goes on, on each process; nobody else does."""
        for browser, url in itertools.product(browsers, self.site.urls):
            await browser.read(at(url))
            await browser.refresh(at(url))
            await browser.read(at(url))
        for browser in self.left:
            await browser.refresh()
        self.look()
        known = {row[0] for row in self.site.rows("SELECT email FROM users")}
        self.lost_accounts = [email for email in self.accounts if email not in known]


@pytest.mark.parametrize(
    "store", ["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.postgres)], ids=["sqlite", "postgres"]
)
def test_no_kill_loses_what_was_acknowledged_or_locks_anyone_out(
    tmp_path: Path, store: str, request: pytest.FixtureRequest, figures: Figures
) -> None:
    """Every acknowledged sign-up, sign-in, refresh and sign-out is there, and every client goes on."""
    cluster = request.getfixturevalue("cluster") if store == "PostgreSQL" else None
    run = Run(Site(tmp_path / "data", 2, *SETTINGS, cluster=cluster), KILLS[store])
    try:
        asyncio.run(asyncio.wait_for(run.all(), DEADLINE_S))
    finally:
        run.site.stop()
        print(run.site.complaints)  # pytest shows it if the test fails
    assert run.both_down > 0, "the run was too tame: there was always a process to go on with"
    assert "Traceback" not in run.site.complaints
    tried = f"{run.kills} kills, {run.both_down} of them with the other process down"
    operations = f"{tried}, {len(run.history.operations)} requests"
    violations = run.history.violations(heard_within_s=HEARD_WITHIN_S)
    figures.none("kill -9: nothing acknowledged is lost", store, violations, operations)
    figures.none("kill -9: no account is lost", store, run.lost_accounts, f"{len(run.accounts)} accounts")
    if cluster is None:
        figures.none("kill -9: the file is whole", store, run.damage, f"{run.kills // LOOK_EVERY} looks")
    figures.times("kill -9: until it is ready again", store, run.start_s, p99_s=2.0)
