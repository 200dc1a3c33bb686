# SPDX-License-Identifier: MIT
"""The background task that takes mails out of the outbox and sends them.

A mail that was not taken is sent again after 15 s, 30 s, one minute and so on, then every 15 minutes, until
it expires. A refusal that is final (a 5xx answer about this mail) ends that at once. The first attempt comes
after a random delay, so that the time of other requests does not tell whether a mail was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from stormcellar.accounts.mail import Mail, Mailbox, Mailer, MailError, NoMailer
from stormcellar.accounts.outbox import Claimed, Outbox, OutboxState

log = logging.getLogger("stormcellar.mail")

AT_ONCE = 4  # connections of a process to the mail server
POLL_S = 10.0  # how often a process looks for mails of other processes
SHORTEST_PAUSE_S = 0.05
SPREAD_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 15.0, 900.0
LAST_MAILS_S = 1.0  # for deliveries that are under way when the server stops
ALL = 1000


class Delivery:
    """Sends the mails of an outbox.

    Attributes:
        state: what waited when this process last looked.
        given_up: how many mails this process has given up.
    """

    def __init__(self, outbox: Outbox, mailer: Mailer) -> None:
        self.outbox = outbox
        self.mailer = mailer
        self.state = OutboxState()
        self.given_up = 0
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._under_way: dict[asyncio.Task[None], Claimed] = {}

    @property
    def is_possible(self) -> bool:
        return not isinstance(self.mailer, NoMailer)

    async def put(self, mail: Mail, template: str, *, lifetime_s: float, is_decoy: bool = False) -> bool:
        """Store a mail that is to be sent soon; False if the outbox is full."""
        delay_s = 0 if isinstance(self.mailer, Mailbox) else random.uniform(0, SPREAD_S)  # noqa: S311
        stored = await self.outbox.put(
            mail, template, lifetime_s=lifetime_s, delay_s=delay_s, is_decoy=is_decoy
        )
        self._news.set()
        return stored

    def start(self) -> None:
        if self.is_possible and self._loop is None:
            self._loop = asyncio.get_running_loop().create_task(self._deliver_forever())

    async def stop(self) -> None:
        """Stop sending. Deliveries that are under way get one second, then they are cut off and put back."""
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None
        if not self._under_way:
            return
        await asyncio.wait(self._under_way, timeout=LAST_MAILS_S)
        late = dict(self._under_way)
        for task in late:
            task.cancel()
        for claimed in late.values():
            with contextlib.suppress(Exception):  # else another process sends it after the lease
                await self.outbox.put_back(claimed, "the server stopped", 0)

    async def finish(self) -> None:
        """Attempt every mail once, due or not, and wait for the result: for tests and development."""
        if self.is_possible:
            for claimed in await self.outbox.claim(ALL, not_due_too=True):
                self._begin(claimed)
        while self._under_way:
            await asyncio.wait(self._under_way)
            await asyncio.sleep(0)  # the callbacks of the tasks run

    async def maintain(self) -> None:
        """Remove mails that expired while this site could send no mail."""
        if not self.is_possible and (removed := await self.outbox.remove_expired()):
            log.error("%d mails are dropped: they expired before mail was set up", removed)

    # -- the loop -----------------------------------------------------------------------------------

    async def _deliver_forever(self) -> None:
        while True:
            self._news.clear()
            pause_s = POLL_S
            try:
                pause_s = await self._deliver_due()
            except Exception as error:  # the database is away, or anything else: the loop must go on
                log.warning("mails wait: %s", error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause_s)

    async def _deliver_due(self) -> float:
        """Begin what is due; returns how long there is nothing to do."""
        self.state = await self.outbox.state()
        due_in_s = self.state.due_in_s
        free = AT_ONCE - len(self._under_way)
        if due_in_s is None or free <= 0:
            return POLL_S
        if due_in_s > 0:
            return min(POLL_S, max(SHORTEST_PAUSE_S, due_in_s))
        for claimed in await self.outbox.claim(free):
            self._begin(claimed)
        return SHORTEST_PAUSE_S

    def _begin(self, claimed: Claimed) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(claimed))
        self._under_way[task] = claimed
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._news.set()

    async def _deliver(self, claimed: Claimed) -> None:
        if claimed.is_expired:
            self._give_up(claimed, "it has expired")
        elif claimed.mail is not None and not await self._send(claimed, claimed.mail):
            return
        await _until_done(lambda: self.outbox.remove(claimed))

    async def _send(self, claimed: Claimed, mail: Mail) -> bool:
        """Send a mail; False if it waits for another attempt."""
        try:
            await self.mailer.send(mail)
        except MailError as error:
            if error.permanent:
                self._give_up(claimed, str(error))
                return True
            await self._put_back(claimed, str(error))
            return False
        except Exception as error:  # a mailer of the site; its words may be private
            await self._put_back(claimed, type(error).__name__)
            return False
        log.info("a mail (%s) was sent", claimed.template)
        return True

    def _give_up(self, claimed: Claimed, why: str) -> None:
        self.given_up += 1
        log.error("a mail (%s) was not sent and is given up: %s", claimed.template, why)

    async def _put_back(self, claimed: Claimed, error: str) -> None:
        delay_s = retry_delay_s(claimed.attempts)
        log.warning("a mail (%s) was not sent: %s; next attempt in %.0f s", claimed.template, error, delay_s)
        await _until_done(lambda: self.outbox.put_back(claimed, error, delay_s))


def retry_delay_s(attempts: int) -> float:
    """How long to wait after so many attempts; random by a tenth, so that servers do not come together."""
    delay_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 20))
    return delay_s * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Note the result in the database, again and again while the database is away."""
    while True:
        try:
            await work()
            return
        except Exception as error:
            log.warning("the result of a mail is noted later: %s", error)
            await asyncio.sleep(1)
