# SPDX-License-Identifier: MIT
"""The developer strip at the foot of each page: whose session this is, how long the access token lasts, what
was refused last, and buttons that break things on purpose. It is there with `debug` on only.

    /dev/why                    the last refusals of this browser, and what happened to their sessions
    /dev/expire-access-token    the browser gets an access token that is over already
    /dev/lose-refresh-answer    the next renewal is done, but its answer never arrives
    /dev/revoke-session         this session ends as if another device had ended it

The buttons are for the session that presses them. What is noted here stays in this process's memory.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from stormcellar.dev.cookie_suffix import file_of, remember_suffix
from stormcellar.dev.key import COOKIE, DeveloperOnly, is_developer
from stormcellar.events.journal import Event
from stormcellar.events.logs import current_request
from stormcellar.sessions import (
    ClaimValidator,
    Clock,
    InvalidClaimsError,
    Session,
    SessionError,
    Sessions,
    StoreUnavailableError,
    Tokens,
    TokenTheftError,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.sessions.access_token import read, sign
from stormcellar.sessions.events import session_hash
from stormcellar.sessions.session import front_token
from stormcellar.web.access_log import printable
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler, ProtectedHandler
from stormcellar.web.return_address import return_address

if TYPE_CHECKING:
    from stormcellar.events.audit import AuditEvent

MOST_REFUSALS = 200  # of all browsers together
MOST_SHOWN = 20
MOST_SESSIONS = 3
MOST_EVENTS = 20
MOST_PATH_CHARACTERS = 200
log = logging.getLogger("stormcellar.web")

REVOKED_BY_STRIP = "ended from another device, by the developer strip"

# What an outcome means for the browser. The first that fits an error counts.
OUTCOMES: Sequence[tuple[type[SessionError], str, str]] = (
    (TokenTheftError, "Theft", "The session is revoked: two parties held its tokens."),
    (TryRefreshTokenError, "TryRefreshToken", "The browser is to renew the session, then to come again."),
    (UnauthorisedError, "Unauthorised", "There is no session here; a new one begins with signing in."),
    (InvalidClaimsError, "InvalidClaims", "The session is good, but may not do this."),
    (StoreUnavailableError, "StoreUnavailable", "Nobody knows; the browser keeps its tokens."),
)
EVENTS = {
    "cross-site request refused": (
        "Cross-site",
        "{detail} comes from another site's page",
        "Only pages of this site may send this.",
    ),
    "throttled": (
        "Throttled",
        "the limit “{detail}” is reached",
        "The answer says when to come again.",
    ),
}
STOPPED = {
    "cookies": "the session was renewed, and the browser came back without its cookies",
    "clock": "the session was renewed, and its access token counts as expired or as not begun",
    "loop": "the session was renewed several times in a row, and the page asked for one more",
}
ANSWER_LOST = (
    "Answer lost",
    "The browser still has the old refresh token, and gets the same answer for it again.",
)


@dataclass(frozen=True)
class Refusal:
    """A request that did not get what it wanted. `at` is in Unix seconds; `session_handle` is "" without one.

    `reason` and `meaning` are a sentence each: why, and what follows for the browser. The path is without
    its query, in which mailed links have their tokens.
    """

    at: float
    method: str
    path: str
    outcome: str
    reason: str
    meaning: str
    session_handle: str = ""

    @property
    def session(self) -> str:
        """What stands for the session in the log."""
        return session_hash(self.session_handle) if self.session_handle else ""


@dataclass(frozen=True)
class Strip:
    """What a page's strip shows besides the session: the last refusal, and whether an answer will be lost.

    `back` is the page's own address; `has_buttons` is False where sessions are another server's.
    """

    last: Refusal | None
    loses_next: bool
    back: str
    has_buttons: bool


class Developer:
    """What one process knows for the developers who work with it.

    Args:
        key: opens the tools for a browser (stormcellar/dev/key.py); "": they are open.

    A browser is told by its address and by what it calls itself: other sites' requests bring no cookie.
    """

    def __init__(self, clock: Clock, key: str = "") -> None:
        self._clock = clock
        self.key = key
        self._refusals: deque[tuple[tuple[str, str], Refusal]] = deque(maxlen=MOST_REFUSALS)
        self._to_lose: set[str] = set()
        self._knows_other_site = False

    def look_for_other_site(self, handler: BaseHandler, access_token: str) -> None:
        """Give the cookies other names if another site's come here, and say so once."""
        token = read(access_token, ("3", "4", "5"))
        if self._knows_other_site or token is None or token.resembles_ours(handler.app.options.issuer):
            return
        self._knows_other_site = True
        options = handler.app.options
        advice = f"Start one of the two with `make run ARGS=--cookie-suffix=_{options.port}`"
        if remember_suffix(options):
            advice = f"This server starts again with cookie_suffix _{options.port} ({file_of(options)})"
        log.warning(
            "The browser sends cookies of another site (%s) on the same host. Sign-ins here and there "
            "overwrite each other's cookies. %s",
            printable(token.claimed_issuer()),
            advice,
        )

    # -- refusals -----------------------------------------------------------------------------------

    def refused(self, handler: BaseHandler, error: SessionError) -> None:
        """Note what the engine refused."""
        outcome, meaning = next((name, text) for kind, name, text in OUTCOMES if isinstance(error, kind))
        self._note(handler, outcome, str(error), meaning, getattr(error, "session_handle", "") or "")

    def hear(self, event: Event) -> None:
        """Note what the journal tells of requests that were refused for other reasons."""
        handler = current_request.get()
        if event.name in EVENTS and isinstance(handler, BaseHandler):
            outcome, reason, meaning = EVENTS[event.name]
            self._note(handler, outcome, reason.format(detail=event.detail), meaning)

    def stopped(self, handler: BaseHandler, reason: str) -> None:
        """Note that renewing led nowhere; `reason` is that of the page that says so."""
        self._note(handler, "Stopped", STOPPED[reason], "The browser is not sent round again by itself.")

    def refusals_of(self, request: HTTPServerRequest) -> list[Refusal]:
        """Those of the browser that sends this request, the newest first."""
        own = [refusal for browser, refusal in reversed(self._refusals) if browser == _browser(request)]
        return own[:MOST_SHOWN]

    def _note(
        self, handler: BaseHandler, outcome: str, reason: str, meaning: str, session_handle: str = ""
    ) -> None:
        request = handler.request
        refusal = Refusal(
            at=self._clock.now(),
            method=request.method or "",
            path=printable(request.path)[:MOST_PATH_CHARACTERS],
            outcome=outcome,
            reason=f"{reason[:1].upper()}{reason[1:]}.",
            meaning=meaning,
            session_handle=session_handle or claimed_handle(handler),
        )
        self._refusals.append((_browser(request), refusal))

    # -- breaking things ------------------------------------------------------------------------------

    def lose_next_answer(self, session_handle: str) -> None:
        """Have the answer to this session's next renewal get lost."""
        self._to_lose.add(session_handle)

    def after_refresh(self, handler: BaseHandler, session: Session) -> None:
        """Called when a session was renewed, before anybody hears of it."""
        if session.handle in self._to_lose:
            self._to_lose.discard(session.handle)
            outcome, meaning = ANSWER_LOST
            reason = "the session was renewed, and the connection cut before the answer, as was asked for"
            self._note(handler, outcome, reason, meaning, session.handle)
            cast(HTTP1Connection, handler.request.connection).close()

    # -- for pages ------------------------------------------------------------------------------------

    def strip(self, handler: BaseHandler) -> Strip | None:
        """The strip of the page that is being rendered; None for other people than the developer."""
        if not is_developer(handler.app, handler.get_cookie(COOKIE) or ""):
            return None
        session = handler.session
        refusals = self.refusals_of(handler.request)
        telling = (
            refusal for refusal in refusals if refusal.session_handle or refusal.outcome != "Unauthorised"
        )
        return Strip(
            last=next(telling, refusals[0] if refusals else None),
            loses_next=session is not None and session.handle in self._to_lose,
            back=return_address(handler.request.uri, handler.app.addresses.landing),
            has_buttons=not handler.app.options.verify_only,
        )


def _browser(request: HTTPServerRequest) -> tuple[str, str]:
    return request.remote_ip or "", request.headers.get("User-Agent", "")[:MOST_PATH_CHARACTERS]


def claimed_handle(handler: BaseHandler) -> str:
    """The session that the request's access token names, be the token genuine or not; "" without one."""
    text = handler.transfer.cookie(handler.app.jar.access) or handler.transfer.bearer_token()
    token = read(text, ("3", "4", "5")) if text else None
    if token is None or not token.resembles_ours(handler.app.options.issuer):
        return ""
    return str(json.loads(token.payload_bytes)["sessionHandle"])


async def expired_tokens(sessions: Sessions, session: Session) -> Tokens:
    """An access token like the session's own, which is over already; the refresh token stays as it is.

    Raises:
        UnauthorisedError: the session is over.
    """
    now = int(sessions.clock.now())
    payload = {**session.access_token_payload, "iat": now - 2, "exp": now - 1}
    return Tokens(
        access_token=sign(sessions.keys.signing_key(), payload, version="5"),
        access_token_expires_at=now - 1,
        front_token=front_token(payload),
        refresh_token_expires_at=await session.get_expiry() / 1000,
    )


# -- handlers ---------------------------------------------------------------------------------------


class DevHandler(DeveloperOnly):
    """What the strip's handlers share."""

    @property
    def developer(self) -> Developer:
        if self.app.developer is None:
            raise HTTPError(404)
        return self.app.developer


class WhyHandler(DevHandler):
    """GET /dev/why: why the last requests of this browser were refused. Looking renews nothing."""

    public = "in development everybody is the developer"

    def may_renew(self) -> bool:
        return False

    async def get(self) -> None:
        refusals = self.developer.refusals_of(self.request)
        own = [self.session.handle] if self.session else []
        handles = dict.fromkeys([*own, *(refusal.session_handle for refusal in refusals)])
        handles.pop("", None)
        histories = [(session_hash(one), await self._history(one)) for one in list(handles)[:MOST_SESSIONS]]
        self.render("dev/why.html", refusals=refusals, histories=histories)

    async def _history(self, session_handle: str) -> Sequence[AuditEvent]:
        if self.app.options.verify_only:
            return []
        return await self.app.audit.events(session_handle=session_handle, limit=MOST_EVENTS)


class ButtonHandler(DevHandler, ProtectedHandler):
    """A button of the strip: does something to the session that presses it, and goes back to its page."""

    max_body_bytes = SMALL_BODY_BYTES

    async def override_global_claim_validators(self, *_: Any) -> list[ClaimValidator]:
        return []

    async def post(self) -> None:
        await self.press()
        self.see_other(self.redirect_back())

    async def press(self) -> None:
        raise NotImplementedError


class ExpireAccessTokenHandler(ButtonHandler):
    """POST /dev/expire-access-token: the next request has to renew the session."""

    async def press(self) -> None:
        self.session.new_tokens = await expired_tokens(self.app.sessions, self.session)


class LoseRefreshAnswerHandler(ButtonHandler):
    """POST /dev/lose-refresh-answer: the next renewal is done, and the connection cut before the answer."""

    async def press(self) -> None:
        self.developer.lose_next_answer(self.session.handle)


class RevokeSessionHandler(ButtonHandler):
    """POST /dev/revoke-session: end the session without telling this browser, as another device would."""

    async def press(self) -> None:
        await self.app.sessions.revoke_session(
            self.session.handle, owner=self.session.user_id, reason=REVOKED_BY_STRIP
        )
