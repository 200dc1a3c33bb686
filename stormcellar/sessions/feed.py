# SPDX-License-Identifier: MIT
"""The feed: what every process must hear of, kept in memory and asked on each request.

Whoever revokes a session, or changes its claims, leaves an entry in the store in the same transaction.
Every process reads the new entries as soon as the database tells that something was written, and keeps
each until the last access token that it concerns has expired; so what is held is bounded by the
revocations of one access-token lifetime, however many sessions there are.

    never     nothing has been read yet: whether a token is revoked cannot be known
    live      all entries up to a moment ago are known
    lost      entries may have been missed since the database was last heard

After a loss all that the database holds is read, not only what is newer than the last entry known: it may
have come back as another copy, restored or promoted, which gives ids again that were already seen. Another
copy is noticed without a loss too: its timeline is another one, or its highest id is lower.

A copy may lack the latest entries. This process then writes the revocations that it remembers to the store
again, before the feed counts as live, so that servers which start later know them. Changes of claims that the
copy lacks are forgotten here: the store cannot deliver those claims any more.

A revocation that was acknowledged just before the failover may be known to one process only. So after a
failover each process waits until the others have written again what they remember, and reads that, before its
feed counts as live. `until_live` makes refreshes wait for it.

When signing keys came or went, the keys are read again before any entry read with that news counts as
heard: "live" also says that no deleted key is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from stormcellar.clock import Clock
from stormcellar.sessions.errors import StoreUnavailableError
from stormcellar.sessions.session_store import FeedEntry, SessionStore

log = logging.getLogger("stormcellar.sessions")

PAGE = 10_000
REPLACED = "signed in again"
"""The reason of a revocation because the same browser signed in again."""
SIGNED_OUT = "signed out"
"""The reason of a revocation because the browser that held the session signed out."""
RETRY_S = 0.5
LIVE_AGAIN_S = 1.0

State = Literal["never", "live", "lost"]
Listener = Callable[[FeedEntry], None]


class Feed:
    """This process' view of the feed.

    Args:
        reload_keys: reads the signing keys again.
    """

    def __init__(self, store: SessionStore, clock: Clock, reload_keys: Callable[[], Awaitable[None]]) -> None:
        self.state: State = "never"
        self.revoked: dict[str, float] = {}
        """Handles of revoked sessions, each with the time until which that matters."""
        self.reasons: dict[str, str] = {}
        """Why each of them was revoked."""
        self.settled: dict[str, float] = {}
        """Handles of sessions whose browser knows that they ended, each with the time until which it counts.

        It was told to clear its cookies, or it has signed in again. Its cookies may belong to another session
        by now, so no further answer about this session clears them.
        """
        self.payload_versions: dict[str, tuple[int, float]] = {}
        """Handles of sessions whose claims changed: the version that tokens must have, and until when."""
        self._store = store
        self._clock = clock
        self._reload_keys = reload_keys
        self._last_id = 0
        self._timeline: str | None = None
        self._losses = self._losses_mended = 0
        self._settle: Callable[[str], Awaitable[None]] | None = None
        self._is_unsettled = False
        self._live = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._read_again: set[tuple[str, str]] = set()  # kind and handle of all entries read since a loss
        self._heard: dict[FeedEntry | str, float] = {}
        """Entries that the listeners were told of, or the handle where the entry is a revocation."""
        self._listeners: list[Listener] = []
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each session's entry, once, on the event loop; from any process."""
        self._listeners.append(listener)

    def settle_with(self, settle: Callable[[str], Awaitable[None]]) -> None:
        """After a failover, call `settle` with the timeline: it waits for the processes that do the same."""
        self._settle = settle

    async def until_live(self) -> None:
        """Have a feed that was lost catch up, and wait for it.

        Raises:
            StoreUnavailableError: that takes too long.
        """
        if self.state != "lost":
            return
        self._live.clear()
        self._news.set()
        try:
            await asyncio.wait_for(self._live.wait(), LIVE_AGAIN_S)
        except asyncio.TimeoutError:
            raise StoreUnavailableError("the revocation feed is lost") from None

    async def start(self) -> None:
        """Read what there is, then follow the store.

        Raises:
            StoreUnavailableError: the feed could not be read; following has begun all the same.
        """
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._follow())
            self._store.database.watch(self._news.set, self._lost)
        await self._catch_up()

    async def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader

    def forget_expired(self) -> None:
        """Drop the entries that no living token is concerned by."""
        now = self._clock.now()
        self.revoked = {handle: until for handle, until in self.revoked.items() if until > now}
        self.reasons = {handle: why for handle, why in self.reasons.items() if handle in self.revoked}
        self.settled = {handle: until for handle, until in self.settled.items() if until > now}
        self.payload_versions = {
            handle: entry for handle, entry in self.payload_versions.items() if entry[1] > now
        }
        self._heard = {entry: until for entry, until in self._heard.items() if until > now}

    def note_revoked(self, handle: str, until: float, reason: str) -> None:
        """Know of this process' own revocation before it is acknowledged, not a moment later."""
        self.revoked[handle] = until
        self.reasons[handle] = reason
        if reason in (REPLACED, SIGNED_OUT):
            self.settled[handle] = until

    async def hear_news(self) -> None:
        """Read the newest entries at once, if the store answers."""
        with contextlib.suppress(StoreUnavailableError):
            await self._catch_up()

    def note_payload(self, handle: str, version: int, until: float) -> None:
        known = self.payload_versions.get(handle, (0, 0.0))
        self.payload_versions[handle] = (max(version, known[0]), max(until, known[1]))

    def _lost(self) -> None:
        self._losses += 1
        self._last_id = 0
        self._read_again = set()
        if self.state == "live":
            log.warning("the revocation feed is lost: the database cannot be heard")
            self.state = "lost"

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._catch_up()
            except Exception as error:  # whatever it is: a reader that ended would hear nothing for ever
                level = logging.DEBUG if self.state == "lost" else logging.WARNING  # once for each outage
                log.log(level, "the revocation feed cannot be read: %s", error)
                self._lost()
                await asyncio.sleep(RETRY_S)
                self._news.set()

    async def _catch_up(self) -> None:
        """Read all that is new, one reader at a time: a second one counts as live what the first mends."""
        async with self._catching_up:
            await self._read_all()

    async def _read_all(self) -> None:
        while True:
            losses = self._losses
            await self._notice_another_copy()
            entries = await self._store.feed_after(self._last_id, PAGE)
            if any(entry.kind == "keys" for entry in entries):
                await self._reload_keys()
            if losses != self._losses:  # this may be what another copy held
                continue
            for entry in entries:
                self._apply(entry)
            if len(entries) < PAGE and not await self._mend_losses():
                break
        if self.state == "lost":
            log.warning("the revocation feed has caught up")
        self.state = "live"
        self._live.set()

    async def _notice_another_copy(self) -> None:
        copy = await self._store.feed_copy()
        is_promoted = copy.timeline != (self._timeline or copy.timeline)
        self._timeline = copy.timeline
        self._is_unsettled |= is_promoted
        if is_promoted or copy.newest_id < self._last_id:
            self._lost()

    async def _mend_losses(self) -> bool:
        """After a loss, write what the store lacks to it again; True if there is more to read then."""
        losses = self._losses
        if losses == self._losses_mended:
            return False
        now = self._clock.now()
        missing = [
            (handle, self.reasons.get(handle, ""), until)
            for handle, until in self.revoked.items()
            if until > now and ("revoked", handle) not in self._read_again
        ]
        self.payload_versions = {
            handle: entry
            for handle, entry in self.payload_versions.items()
            if ("payload", handle) in self._read_again
        }
        if missing:
            log.warning("the store has lost %d revocations, which are written to it again", len(missing))
            await self._store.revoke_again(missing)
        has_settled = self._is_unsettled and self._settle is not None
        if self._is_unsettled and self._settle is not None:
            await self._settle(self._timeline or "")
        self._is_unsettled = False
        self._losses_mended = losses
        return bool(missing) or has_settled

    def _apply(self, entry: FeedEntry) -> None:
        self._last_id = max(self._last_id, entry.id)
        self._read_again.add((entry.kind, entry.handle))
        news = entry.handle if entry.kind == "revoked" else entry
        if entry.keep_until <= self._clock.now() or news in self._heard:
            return
        self._heard[news] = entry.keep_until
        if entry.kind == "revoked":
            self.note_revoked(entry.handle, entry.keep_until, entry.reason)
        elif entry.kind == "payload":
            self.note_payload(entry.handle, entry.payload_version, entry.keep_until)
        elif entry.kind == "settled":
            self.settled[entry.handle] = entry.keep_until
            return
        elif entry.kind != "message":
            return
        for listener in self._listeners:
            try:
                listener(entry)
            except Exception:
                log.exception("a listener of the feed failed")
