# SPDX-License-Identifier: MIT
"""Connections that stay open: WebSockets and event streams that belong to a session, and end with it.

A connection belongs to the session's handle, not to the access token that opened it, so ordinary renewals
leave it alone. It is closed, by the server,

    4001  the moment the session is revoked, on whatever server
    4003  when its access token's time is over and the client has not renewed the session
    4004  when its claims or roles changed and no longer satisfy what the handler asks for, or when the
          sign-in is not recent any more
    4008  when the user has more connections open than `max_sockets_per_user`: the newest one is closed

Whether the session was renewed is asked of the store, once in an access token's lifetime, and the claims are
judged again then. Some time before, the client is sent `{"session": "renew"}`; `static/session.js` answers
that by renewing.

    class PricesHandler(ProtectedWebSocketHandler):
        def on_message(self, message):
            self.write_message(message)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from stormcellar.sessions import InvalidClaimsError, SessionError, Sessions, StoreUnavailableError
from stormcellar.sessions.events import SessionEvent
from stormcellar.sessions.session_store import FeedEntry
from stormcellar.web.auth_time import SIGN_IN_TIME
from stormcellar.web.caller import is_same_site
from stormcellar.web.handler import ProtectedHandler

log = logging.getLogger("stormcellar.live")

REVOKED, EXPIRED, CLAIMS_CHANGED, TOO_MANY, GOING_AWAY = 4001, 4003, 4004, 4008, 1001
REASONS = {
    REVOKED: "the session has ended",
    EXPIRED: "the session was not renewed",
    CLAIMS_CHANGED: "the session may not do this any more",
    TOO_MANY: "this user has too many connections",
    GOING_AWAY: "the server is going away",
}
CHECK_INTERVAL_S = 1.0
HEARTBEAT_S = 30.0
CHECK_AGAIN_S = 5.0
NEWS_DELAY_S = 0.05
RENEW_AHEAD = 0.2  # of an access token's lifetime, but at most
RENEW_AHEAD_MAX_S = 60.0


class LiveConnections:
    """The open connections of this process, by session and by user.

    Args:
        sessions: the engine; its feed tells of revocations and of messages, also from other servers.
        most_per_user: how many connections one user may have open here.
    """

    def __init__(self, sessions: Sessions, *, most_per_user: int) -> None:
        self._sessions = sessions
        self._most_per_user = most_per_user
        self._by_handle: dict[str, set[LiveHandler]] = defaultdict(set)
        self._by_user: dict[str, set[LiveHandler]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._news_of: set[str] = set()
        sessions.feed.listen(self._hear)

    def __iter__(self) -> Iterator[LiveHandler]:
        return (connection for group in self._by_handle.values() for connection in group)

    def __len__(self) -> int:
        return sum(map(len, self._by_handle.values()))

    def start(self) -> None:
        self._stopped = False
        self._spawn(self._watch_deadlines())

    async def stop(self) -> None:
        """Say goodbye to everybody; clients may connect again at once, to another server."""
        self._stopped = True
        for connection in list(self):
            connection.end(GOING_AWAY)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, connection: LiveHandler) -> None:
        """Hear for this connection from now on, and catch up with what came during its handshake."""
        session, feed = connection.session, self._sessions.feed
        self._by_handle[session.handle].add(connection)
        self._by_user[session.user_id].add(connection)
        if self._stopped:
            connection.end(GOING_AWAY)
        elif session.handle in feed.revoked:
            connection.end(REVOKED)
        elif len(self._by_user[session.user_id]) > self._most_per_user:
            connection.end(TOO_MANY)
        elif session.handle in feed.payload_versions:
            self._spawn(self._check_claims(connection))

    def remove(self, connection: LiveHandler) -> None:
        for index, key in (
            (self._by_handle, connection.session.handle),
            (self._by_user, connection.session.user_id),
        ):
            index[key].discard(connection)
            if not index[key]:
                del index[key]

    async def send_to_session(self, session_handle: str, message: str) -> None:
        """Send a text to every connection of a session, on every server."""
        await self._sessions.publish(f"session {session_handle}", message)

    def hear_session_event(self, event: SessionEvent) -> None:
        """Tell a user's pages of a session that began or ended."""
        if event.name in ("created", "revoked"):
            self.tell_sessions_changed(event.user_id)

    def tell_sessions_changed(self, user_id: str) -> None:
        """Let a user's open pages, on every server, know that a session of theirs began or ended.

        Several changes at once are one piece of news, and nobody waits for it.
        """
        if user_id not in self._news_of:
            self._news_of.add(user_id)
            self._spawn(self._tell_sessions_changed(user_id))

    async def _tell_sessions_changed(self, user_id: str) -> None:
        try:
            await asyncio.sleep(NEWS_DELAY_S)
            self._news_of.discard(user_id)  # what happens from now on is news of its own
            await self._sessions.publish(f"sessions {user_id}", json.dumps({"sessions": "changed"}))
        except StoreUnavailableError:
            log.info("open pages were not told that sessions changed: the store is out of reach")

    async def send_to_user(self, user_id: str, message: str) -> None:
        """Send a text to every connection of all of a user's sessions, on every server."""
        await self._sessions.publish(f"user {user_id}", message)

    # -- what the feed brings -----------------------------------------------------------------------

    def _hear(self, entry: FeedEntry) -> None:
        if entry.kind == "revoked":
            for connection in list(self._by_handle.get(entry.handle, ())):
                connection.end(REVOKED)
        elif entry.kind == "payload":
            self._for_each(self._by_handle.get(entry.handle, ()), self._check_claims)
        elif entry.kind == "message":
            kind, _, key = entry.handle.partition(" ")
            if kind == "claims":
                self._for_each(self._by_user.get(key, ()), self._check_claims)
                return
            group = (self._by_handle if kind == "session" else self._by_user).get(key, ())
            if kind == "sessions":
                group = {connection for connection in group if connection.hears_of_sessions}
            self._for_each(group, lambda connection: connection.send(entry.reason))

    async def _check_claims(self, connection: LiveHandler) -> None:
        try:
            await connection.check_claims()
        except InvalidClaimsError:
            connection.end(CLAIMS_CHANGED)
        except StoreUnavailableError:
            log.warning("the claims of a connection could not be checked; they will be in a moment")
            connection.judge_again_at = self._sessions.clock.now() + CHECK_AGAIN_S
        except SessionError:
            connection.end(REVOKED)

    # -- deadlines ----------------------------------------------------------------------------------

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            await self.check_deadlines()

    async def check_deadlines(self) -> None:
        """Remind those whose token is about to expire, and end those who did not renew."""
        now = self._sessions.clock.now()
        for connection in list(self):
            if connection.deadline <= now:
                connection.deadline = now + CHECK_AGAIN_S  # should the store not answer
                self._spawn(self._renew_or_end(connection))
            elif connection.judge_again_at <= now:
                connection.judge_again_at = now + CHECK_AGAIN_S
                self._spawn(self._check_claims(connection))
            elif not connection.reminded and connection.reminder_at <= now:
                connection.reminded = True
                self._spawn(connection.send(json.dumps({"session": "renew"})))

    async def _renew_or_end(self, connection: LiveHandler) -> None:
        try:
            until = await self._sessions.renewed_until(connection.session.handle)
        except StoreUnavailableError:
            return  # nobody knows; asked again in a moment
        if until is None:
            connection.end(REVOKED)
        elif until <= self._sessions.clock.now():
            connection.end(EXPIRED)
        else:
            connection.extend(until)
            await self._check_claims(connection)

    # -- tasks --------------------------------------------------------------------------------------

    def _for_each(
        self, connections: Iterable[LiveHandler], work: Callable[[LiveHandler], Awaitable[None]]
    ) -> None:
        for connection in list(connections):
            self._spawn(work(connection))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class LiveHandler(ProtectedHandler):
    """What WebSockets and event streams share. A WebSocket is refused with a plain 401 or 403."""

    speaks_json = True
    hears_of_sessions: ClassVar[bool] = False
    """Whether it is sent `{"sessions": "changed"}` when one of the user's sessions begins or ends."""

    deadline: float
    reminder_at: float
    reminded: bool
    judge_again_at: float = math.inf
    """When the claims are judged although nothing has changed (Unix seconds)."""

    async def prepare(self) -> None:
        await super().prepare()
        if not is_same_site(self.request, self.own_origin, self.app.trusted_origins):
            raise HTTPError(403, "a connection from another site")

    def head(self, *_args: Any, **_kwargs: Any) -> Any:
        raise HTTPError(405)  # a connection that stays open has no head alone (RFC 6455, section 4.1)

    def join(self) -> None:
        """The connection is open: hear what happens to its session, from the handshake on."""
        self.extend(self.session.expires_at)
        self._plan_judgement()
        self.app.live.add(self)

    def leave(self) -> None:
        with contextlib.suppress(KeyError):
            self.app.live.remove(self)

    def extend(self, until: float) -> None:
        """The session was renewed until then (Unix seconds)."""
        ahead = min(self.app.options.access_token_lifetime_s * RENEW_AHEAD, RENEW_AHEAD_MAX_S)
        self.deadline, self.reminder_at, self.reminded = until, until - ahead, False

    async def check_claims(self) -> None:
        """Judge the session by its claims as they are in the store now.

        Raises:
            InvalidClaimsError: they do not satisfy this handler any more.
            UnauthorisedError: the session is over.
        """
        sessions = self.app.sessions
        await sessions.refetch(self.session)
        validators = await self.claim_validators(sessions.global_claim_validators, self.session)
        await self.session.assert_claims(validators)
        self._plan_judgement()

    def _plan_judgement(self) -> None:
        """Have the claims judged again when the sign-in is not recent any more."""
        signed_in_at = self.session.get_claim_value(SIGN_IN_TIME)
        self.judge_again_at = math.inf
        if self.recent_sign_in_within_s is not None and signed_in_at is not None:
            self.judge_again_at = signed_in_at + self.recent_sign_in_within_s + 1  # whole seconds

    async def send(self, text: str) -> None:
        """Send a text to the client; whoever has gone misses it."""
        raise NotImplementedError

    def end(self, code: int) -> None:
        """Close the connection, telling why."""
        raise NotImplementedError


class ProtectedWebSocketHandler(LiveHandler, WebSocketHandler):
    """A WebSocket for people who are signed in. Override `on_message`, `opened` and `closed`."""

    def check_origin(self, origin: str) -> bool:
        return True  # prepare() has checked it, by the same rule as everything else

    def opened(self) -> None:
        """The socket is open."""

    def closed(self) -> None:
        """The socket is closed, from whichever side."""

    def open(self, *_args: Any, **_kwargs: Any) -> None:
        self.join()
        self.opened()

    def on_message(self, message: str | bytes) -> None:
        """The client sent something; by default nobody listens."""

    def on_close(self) -> None:
        self.leave()
        self.closed()

    async def send(self, text: str) -> None:
        with contextlib.suppress(WebSocketClosedError, StreamClosedError):
            await self.write_message(text)

    def end(self, code: int) -> None:
        self.leave()
        self.close(code, REASONS[code])


class ProtectedEventStreamHandler(LiveHandler):
    """Server-sent events for people who are signed in (WHATWG HTML, section 9.2).

    Override `stream`; the answer goes on until it returns, the client goes, or the session ends. The last
    event then is `session` with the close code. After 4001 and 4004 the client must close its `EventSource`.
    After 4003 the browser connects again by itself, and the detour renews the session on the way.
    """

    speaks_json = False  # so that an expired token leads to the detour, which EventSource follows

    async def get(self, *_args: Any, **_kwargs: Any) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep the events to itself
        await self.flush()
        self._streaming = asyncio.ensure_future(self.stream())
        beating = asyncio.ensure_future(self._beat())
        self.join()
        with contextlib.suppress(asyncio.CancelledError, StreamClosedError):
            await self._streaming
        beating.cancel()
        self.leave()

    async def _beat(self) -> None:
        """A comment now and then: proxies end a silent answer, and whoever has gone is noticed by it."""
        with contextlib.suppress(StreamClosedError):
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                self.write(":\n\n")
                await self.flush()

    async def stream(self) -> None:
        """Send events with `self.send`, for as long as there are any."""
        await asyncio.Event().wait()

    async def send(self, text: str, event: str = "message") -> None:
        if self._finished:
            return
        lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
        self.write(f"event: {event}\n{lines}\n")
        with contextlib.suppress(StreamClosedError):
            await self.flush()

    def end(self, code: int) -> None:
        self.leave()
        self.write(f"event: session\ndata: {json.dumps({'code': code, 'reason': REASONS[code]})}\n\n")
        self._streaming.cancel()

    def on_connection_close(self) -> None:
        self.leave()
        if hasattr(self, "_streaming"):
            self._streaming.cancel()


class SessionSocketHandler(ProtectedWebSocketHandler):
    """/ws/session: a page's line to its own session: it hears at once when the session is over, and when
    others of the same user begin or end."""

    hears_of_sessions = True
