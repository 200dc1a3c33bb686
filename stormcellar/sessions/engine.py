# SPDX-License-Identifier: MIT
"""The session engine: create, get, refresh, revoke.

Refreshing. Let (c, b) be the generation and branch in the store, and (g, x) those presented. The grace period
begins with the last answer that carried the tokens of (c, b):

    g == c, and x == b or (c, b) is unused              go to (c+1, 0), answer with its tokens
    g == c, x != b, and (c, b) is used                  theft: the session is revoked
    g == c-1, x was not exchanged for c                 theft
    g == c-1, within the grace period                   answer with the tokens of (c, b) again
    g == c-1, later, and (c, b) is unused               go to (c, b+1), answer with its tokens
    g == c-1, later, and (c, b) is used                 theft
    g <  c-1                                            theft
    g >  c                                              the store lost its latest writes: go on from (g, x)

A branch counts as used once `get_session` saw an access token of it, or its refresh token was presented. A
use is written on first sight, in the background; no request waits for it. If another branch of c is used
before (c, b) is used, that branch becomes the current one: the client kept an older answer. Afterwards it is
theft.

A client asks late for the same generation because its answer was lost, or because another party got that
answer. The new branch tells the two apart: a thief who refreshes first and waits holds another branch than
the owner, and is found as soon as both branches were used.

Tokens are a function of session, generation and branch (refresh_token.py). Every answer for one branch
carries the same refresh token, so it does not matter which of several answers the client keeps.

Revoking. The store and the feed (feed.py) change together; this process knows before the call returns,
every other within moments, and `get_session` asks only its own memory.

Source: RFC 9700, section 4.14.2. Function names are those of SuperTokens' backend SDKs.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa

from stormcellar.clock import Clock, SystemClock
from stormcellar.sessions import access_token as jwt
from stormcellar.sessions.access_token import AccessToken
from stormcellar.sessions.claims import (
    PROTECTED_CLAIMS,
    ClaimValidator,
    SessionClaim,
    merge_payload,
    validate_claims,
)
from stormcellar.sessions.config import SessionConfig
from stormcellar.sessions.errors import (
    InvalidClaimsError,
    StoreUnavailableError,
    TokenTheftError,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.sessions.events import SessionEvent, SessionEventName, log_event, session_hash
from stormcellar.sessions.feed import REPLACED, SIGNED_OUT, Feed
from stormcellar.sessions.keys import CLOCK_MARGIN_S, KeyRing, generate_private_key
from stormcellar.sessions.refresh_token import PresentedToken, RefreshTokens, new_session_secret, token_hash
from stormcellar.sessions.session import Session, SessionInformation, Tokens, front_token
from stormcellar.sessions.session_store import (
    FeedEntry,
    Renewal,
    SessionRow,
    SessionStore,
    StoredSession,
    Use,
    handles_in,
    to_json,
)
from stormcellar.sessions.verifier import (
    ClaimsOverride,
    Verifier,
    chosen_validators,
    compare_anti_csrf,
)
from stormcellar.store import Connection, Database
from stormcellar.store.text import is_storable

log = logging.getLogger("stormcellar.sessions")

T = TypeVar("T")
TheftHook = Callable[[str, str], "Awaitable[None] | None"]

DEFAULT_TENANT = "public"
MAX_IDS_BYTES = 330
MAINTENANCE_INTERVAL_S = 60.0
NOTE_USE_DELAY_S = 0.05
PURGE_FIRST, PURGE_BATCH = 20, 500
PURGE_WRITE_S = 0.025  # what one batch should take
PURGE_AT_MOST_S = 20.0
REFRESH_ATTEMPTS = 5
BRIEFLY_S, ASK_AGAIN_S = 0.5, 1.0
ANSWER_RESOLUTION_S = 1.0  # repeated answers within it are not written one by one
MESSAGE_KEPT_S = 60.0
MOST_LISTED = 500
REVOKED_AT_ONCE = 100


class Sessions:
    """Sessions in one database. Nothing in it is global: an application may have several engines.

    Args:
        database: open, and shared with whoever else keeps things in it.
        config: see SessionConfig.
        clock: everything here asks this clock for the time.
        claims: built into the access token of each new session.
        global_claim_validators: hold for every `get_session`, unless a caller overrides them.
        on_event: called with each SessionEvent that happens here; by default it is logged.
        on_token_theft: called with (session_handle, user_id) after a theft was found and the session
            revoked; its own errors are logged and change nothing.
        generate_key: makes RSA keys.
    """

    def __init__(
        self,
        database: Database,
        config: SessionConfig,
        *,
        clock: Clock | None = None,
        claims: Sequence[SessionClaim[Any]] = (),
        global_claim_validators: Sequence[ClaimValidator] = (),
        on_event: Callable[[SessionEvent], None] = log_event,
        on_token_theft: TheftHook | None = None,
        generate_key: Callable[[], rsa.RSAPrivateKey] = generate_private_key,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.claims = tuple(claims)
        self.global_claim_validators = tuple(global_claim_validators)
        self.on_event = on_event
        self.on_token_theft = on_token_theft
        self._store = SessionStore(database)
        self.keys = KeyRing(self._store, config, self.clock, generate=generate_key)
        self.feed = Feed(self._store, self.clock, self.keys.load)
        self._refresh_tokens = RefreshTokens(*config.server_secret.all)
        self._verifier = Verifier(
            self.keys,
            self.clock,
            versions=("5",),
            issuer=config.issuer,
            objection=self._objection,
            first_seen=lambda token: self._note_use(Use(token.handle, token.generation, token.branch)),
            remembered=config.remembered_tokens,
        )
        self._uses: set[Use] = set()  # not yet in the store
        self._ask_again_at = 0.0  # of time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._note_use_task: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    # -- life ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make or update the tables, get the keys, hear the feed, and keep house from now on.

        To be called again if it failed, or if what the caller starts next did.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        await self._store.migrate()
        await self.keys.maintain()
        await self.feed.start()
        if self._housekeeping is None:
            self._housekeeping = self._spawn(self._keep_house())

    async def stop(self) -> None:
        """Write down what is still to be noted, then end every background task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailableError):
            await self.write_notes()
        await self.feed.stop()

    async def maintain(self) -> None:
        """What is to be done now and then: rotate keys, forget old news, delete expired rows."""
        await self.write_notes()
        await self.keys.maintain()
        self.feed.forget_expired()
        await self._purge()

    async def _purge(self) -> None:
        """Delete expired rows in batches so small that no other write waits for long, and not for ever.

        What is left is for the next time: after a long stand-still it may be millions, and keys must rotate.
        """
        end = time.monotonic() + PURGE_AT_MOST_S
        batch = PURGE_FIRST
        while time.monotonic() < end:
            began = time.monotonic()
            if await self._store.purge(self.clock.now(), batch) < batch:
                return
            took_s = time.monotonic() - began
            batch = max(1, min(2 * batch, PURGE_BATCH, int(batch * PURGE_WRITE_S / max(took_s, 1e-6))))
            await asyncio.sleep(took_s)  # half of the time belongs to the others

    async def _keep_house(self) -> None:
        interval_s = min(MAINTENANCE_INTERVAL_S, max(1.0, self.config.access_token_lifetime_s / 2))
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.maintain()
            except StoreUnavailableError as error:
                log.warning("maintenance is put off: %s", error)
            except Exception:  # whatever it is: without this task keys would never rotate again
                log.exception("maintenance is put off")

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    # -- create -------------------------------------------------------------------------------------

    async def create_new_session(
        self,
        user_id: str,
        *,
        tenant_id: str = DEFAULT_TENANT,
        access_token_payload: Mapping[str, Any] | None = None,
        session_data_in_database: Mapping[str, Any] | None = None,
        disable_anti_csrf: bool = False,
        created_from: str = "",
        temporary: bool = False,
    ) -> Session:
        """Begin a session; its `new_tokens` are for the client.

        Args:
            access_token_payload: claims for the access token, as for `merge_into_access_token_payload`.
            session_data_in_database: kept in the store only.
            created_from: what is to be remembered of the client, such as its address; any short text. The
                store keeps it, and beside it the one that came with the last rotation.
            disable_anti_csrf: for clients that send tokens in headers.
            temporary: the client forgets its tokens when the browser is closed, and without a refresh the
                session lasts for the shorter `temporary_lifetime_s`.

        Raises:
            ValueError: the claims or ids are too large for a cookie, an id is empty or no text that every
                store can keep, or the claims have a name of the engine's own.
        """
        handle = str(uuid.uuid4()) + ("" if tenant_id == DEFAULT_TENANT else f"_{tenant_id}")
        _check_ids(user_id, tenant_id, handle)
        payload = merge_payload({}, access_token_payload or {})
        for claim in self.claims:
            built = await claim.build(user_id, tenant_id, payload, self.now_ms())
            payload = merge_payload(payload, built)
        self._check_claims(payload)
        now = self.clock.now()
        row = SessionRow(
            handle=handle,
            user_id=user_id,
            tenant_id=tenant_id,
            secret=new_session_secret(),
            generation=0,
            branch=0,
            parent_branch=0,
            used_generation=0,
            rotated_at=now,
            created_at=now,
            expires_at=now + min(self._idle_lifetime_s(temporary), self.config.session_lifetime_s),
            payload=payload,
            payload_version=0,
            temporary=temporary,
        )
        await self._store.create(row, session_data_in_database or {}, created_from)
        self._tell("created", handle, user_id)
        return self._issue(row, anti_csrf=self.config.anti_csrf == "VIA_TOKEN" and not disable_anti_csrf)

    def _idle_lifetime_s(self, temporary: bool) -> float:
        """How long a session lasts without a refresh."""
        longest_s = self.config.refresh_token_lifetime_s
        return min(longest_s, self.config.temporary_lifetime_s) if temporary else longest_s

    async def is_temporary(self, session_handle: str) -> bool:
        """Whether the session began as a temporary one; False if there is no such session."""
        row = await self._living_row(session_handle)
        return row is not None and row.temporary

    # -- get ----------------------------------------------------------------------------------------

    async def get_session(
        self,
        access_token: str | None,
        *,
        anti_csrf_token: str | None = None,
        anti_csrf_check: bool = False,
        session_required: bool = True,
        check_database: bool | None = None,
        override_global_claim_validators: ClaimsOverride | None = None,
    ) -> Session | None:
        """The session of an access token. In the common case this is a look into memory.

        Args:
            access_token: as the client sent it; anything at all may be in it.
            anti_csrf_token: the `anti-csrf` header.
            anti_csrf_check: compare that header with the token (VIA_TOKEN only).
            session_required: without a token, raise instead of returning None. A token that is there is
                judged in full either way.
            check_database: also ask the store; None takes the setting.
            override_global_claim_validators: given the global validators and the session, returns those
                to use; an empty list switches claims off.

        Raises:
            TryRefreshTokenError: renew the access token, then come again.
            UnauthorisedError: no token, not a token, or revoked.
            InvalidClaimsError: a claim validator refused.
            StoreUnavailableError: it cannot be known whether the session was revoked.
        """
        token = await self._verifier.living_token(access_token, required=session_required)
        if token is None:
            return None
        if anti_csrf_check and self.config.anti_csrf == "VIA_TOKEN":
            compare_anti_csrf(token, anti_csrf_token)
        self._ask_feed(token)
        wanted = self.config.check_database if check_database is None else check_database
        if wanted or self.feed.state == "lost":
            await self._ask_store(token, must_answer=wanted or self.config.feed_lost == "refuse")
        session = Session(self, token)
        if self.global_claim_validators or override_global_claim_validators:
            validators = await chosen_validators(
                self.global_claim_validators, override_global_claim_validators, session
            )
            await self.assert_claims(session, validators)
        return session

    def recognises(self, access_token: str) -> bool:
        """Whether this has the form of an access token of ours; other services' tokens have not."""
        return self._verifier.recognises(access_token)

    async def handle_of(self, access_token: str) -> str | None:
        """The session that a genuine access token belongs to, be it expired or revoked; else None."""
        try:
            token = await self._verifier.read(access_token)
        except TryRefreshTokenError:
            return None
        return token.handle if token else None

    async def user_of(self, access_token: str) -> str | None:
        """The user of a genuine access token, even if it has expired or was revoked; else None."""
        try:
            token = await self._verifier.read(access_token)
        except TryRefreshTokenError:
            return None
        return token.user_id if token else None

    async def handle_of_refresh_token(self, refresh_token: str) -> str | None:
        """The living session that a genuine refresh token belongs to, however old it is; else None.

        Nothing is exchanged, and nobody is accused: who leaves may do so with any token of the session.
        """
        presented = self._refresh_tokens.read(refresh_token)
        row = await self._living_row(presented.handle) if presented else None
        return row.handle if row and presented and presented.matches(row.secret) else None

    def _objection(self, token: AccessToken) -> str:
        if not self.keys.is_ours(token.kid):
            return "was signed by the other kind of key"
        if token.expires_at - token.issued_at > self.config.access_token_lifetime_s:
            return "lives longer than is allowed now"
        if token.issued_at > self.clock.now() + CLOCK_MARGIN_S:
            return "was issued in the future"
        return ""

    def _ask_feed(self, token: AccessToken) -> None:
        if self.feed.state == "never":
            raise StoreUnavailableError("this process has not heard the revocation feed yet")
        if token.handle in self.feed.revoked:
            raise self.session_is_gone(token.handle, "was revoked")
        changed = self.feed.payload_versions.get(token.handle)
        if changed is not None and token.payload_version < changed[0]:
            raise TryRefreshTokenError("the session's claims have changed")

    async def _ask_store(self, token: AccessToken, *, must_answer: bool) -> None:
        if must_answer:
            row = await self._store.load(token.handle)
        else:
            answer = await self._ask_store_briefly(token.handle)
            if answer is None:
                return
            row = answer[0]
        if row is None or not self._is_alive(row):
            raise self.session_is_gone(token.handle, "is not in the store")
        if (row.user_id, row.tenant_id) != (token.user_id, token.tenant_id):
            raise UnauthorisedError(f"session {session_hash(token.handle)} is somebody else's in the store")
        if token.payload_version < row.payload_version or token.generation < row.generation - 1:
            raise TryRefreshTokenError("the access token is older than what the store knows")

    async def _ask_store_briefly(self, handle: str) -> tuple[SessionRow | None] | None:
        """Read a session for a page that is served without an answer too.

        The page waits for `BRIEFLY_S` at most. Afterwards pages do not ask for `ASK_AGAIN_S`, so a database
        that swallows packets delays one page and not all of them.

        Returns:
            The row, or None in its place if there is no such session; None if the store did not answer.
        """
        if time.monotonic() < self._ask_again_at:
            return None
        reading = asyncio.ensure_future(self._store.load(handle))
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({reading}, timeout=BRIEFLY_S)
        if reading.done():
            with contextlib.suppress(StoreUnavailableError):
                return (reading.result(),)
        self._ask_again_at = time.monotonic() + ASK_AGAIN_S
        return None

    def _is_alive(self, row: SessionRow) -> bool:
        return self.clock.now() < row.ends_at(self.config.session_lifetime_s)

    # -- first use ----------------------------------------------------------------------------------

    def _note_use(self, use: Use) -> None:
        """Have the use of these tokens written to the store, soon and in the background."""
        if use.generation == 0:  # nothing came before it that could still be answered, and it has one branch
            return
        self._uses.add(use)
        if self._note_use_task is None or self._note_use_task.done():
            self._note_use_task = self._spawn(self._write_notes_soon())

    async def _write_notes_soon(self) -> None:
        try:
            while self._uses:  # some may be seen while others are being written
                await asyncio.sleep(NOTE_USE_DELAY_S)  # what is seen meanwhile goes with it
                await self.write_notes()
        except StoreUnavailableError as error:
            log.warning("first uses are noted later: %s", error)

    async def write_notes(self) -> None:
        """Write the first uses that were seen. Losing one only makes the engine more patient.

        Sessions of which two branches were used end here: two parties hold their tokens.
        """
        uses, self._uses = self._uses, set()
        if not uses:
            return
        try:
            forked = await self._store.mark_used(uses)
        except StoreUnavailableError:
            self._uses |= uses
            raise
        for handle, user_id in forked:
            await self._end_for_theft(handle, user_id)

    # -- refresh ------------------------------------------------------------------------------------

    def is_refresh_token(self, text: str) -> bool:
        """Whether this server made the text as a refresh token. Its session may be over."""
        return self._refresh_tokens.read(text) is not None

    def sessions_of(self, refresh_tokens: Iterable[str]) -> set[str]:
        """The handles of the sessions that the genuine ones of these refresh tokens belong to."""
        found = (self._refresh_tokens.read(text) for text in refresh_tokens)
        return {presented.handle for presented in found if presented}

    async def choose_refresh_token(
        self, candidates: Sequence[str], access_tokens: Sequence[str] = ()
    ) -> str | None:
        """Choose the refresh token that counts, of those that a client sent at once.

        An attacker may have planted a second one. So it must belong to the session of the access token that
        came with it, unless that session is over. Without an access token, genuine refresh tokens of two
        sessions count as none.

        Args:
            candidates: what the client sent; anything at all may be in it.
            access_tokens: those that came in the same request.
        """
        newest: dict[str, tuple[int, int, str]] = {}
        for text in candidates:
            if found := self._refresh_tokens.read(text):
                this = (found.generation, found.branch, text)
                newest[found.handle] = max(newest.get(found.handle, this), this)
        if not newest:
            return None
        held = {handle for token in access_tokens if (handle := await self.handle_of(token))}
        both = held & newest.keys()
        if len(both) == 1:
            return newest[both.pop()][-1]
        if len(newest) > 1 or any([await self._living_row(handle) for handle in held]):
            return None
        return next(iter(newest.values()))[-1]

    async def refresh_session(
        self,
        refresh_token: str,
        *,
        anti_csrf_token: str | None = None,
        anti_csrf_check: bool = True,
        refreshed_from: str = "",
    ) -> Session:
        """Exchange a refresh token for new tokens (`new_tokens` of the session that is returned).

        Args:
            refresh_token: as the client sent it; anything at all may be in it.
            anti_csrf_token: the `anti-csrf` header.
            anti_csrf_check: compare that header with the token (VIA_TOKEN only, and only if the session
                began with one).
            refreshed_from: as `created_from` of `create_new_session`.

        Raises:
            UnauthorisedError: not a token of ours, or its session is over.
            TokenTheftError: an old token came back after its successor was used; the session is revoked.
            StoreUnavailableError: nothing is known; the client keeps its tokens and tries again.
        """
        presented = self._refresh_tokens.read(refresh_token)
        if presented is None:
            raise UnauthorisedError("not a refresh token of ours")
        is_compared = presented.anti_csrf and self.config.anti_csrf == "VIA_TOKEN" and anti_csrf_check
        if is_compared and not self._refresh_tokens.is_anti_csrf_token(anti_csrf_token, refresh_token):
            raise UnauthorisedError("the anti-csrf header does not belong to the refresh token")
        row, repeated = await self._exchange(presented, refreshed_from)
        await self.feed.until_live()  # a failover may have brought back what another process remembers
        if row.handle in self.feed.revoked:
            raise self.session_is_gone(row.handle, "was revoked")
        session = self._issue(row, anti_csrf=presented.anti_csrf)
        session.repeated = repeated
        return session

    async def _exchange(self, presented: PresentedToken, refreshed_from: str) -> tuple[SessionRow, bool]:
        """The row whose tokens answer the one presented, by the table at the top of this file, and whether
        they answered it before."""
        handle = presented.handle
        if handle in self.feed.revoked:  # also where a failover has brought its row back
            raise self.session_is_gone(handle, "was revoked")
        for _attempt in range(REFRESH_ATTEMPTS):
            now = self.clock.now()
            renewal = Renewal(
                now=now,
                expires_at=now + self.config.refresh_token_lifetime_s,
                session_lifetime_s=self.config.session_lifetime_s,
                refreshed_from=refreshed_from,
                temporary_expires_at=now + self._idle_lifetime_s(temporary=True),
            )
            rotated = await self._store.rotate(
                handle,
                presented.generation,
                presented.branch,
                nonce=presented.nonce,
                chain=presented.chain,
                renewal=renewal,
            )
            if rotated is not None:
                self._tell("rotated", handle, rotated.user_id)
                return rotated, False
            row = await self._store.load(handle)
            if row is None or not self._is_alive(row):
                raise self.session_is_gone(handle)
            if not presented.matches(row.secret):
                log.error("a refresh token of session %s was made without the store", session_hash(handle))
                raise UnauthorisedError("not a refresh token of this session")
            answered = await self._answer_other(presented, row, renewal)
            if answered is not None:
                return answered, True
        raise StoreUnavailableError(f"session {session_hash(handle)} changes faster than it can be read")

    async def _answer_other(
        self, presented: PresentedToken, row: SessionRow, renewal: Renewal
    ) -> SessionRow | None:
        """Answer a token that is not exchanged for the next generation: the other rows of the table.

        Returns:
            The row whose tokens are the answer; None to try again from the beginning.

        Raises:
            TokenTheftError: two parties hold tokens of this session; it is revoked.
        """
        place = (presented.generation, presented.branch)
        if presented.generation > row.generation:
            await self._store.catch_up(row, *place)
            self._tell("continued", row.handle, row.user_id)
            return None
        is_used = row.used_generation == row.generation
        if presented.generation == row.generation:
            if presented.branch == row.branch or not is_used:
                return None  # another request changed the row meanwhile
        elif place == (row.generation - 1, row.parent_branch):
            since_answer_s = renewal.now - row.rotated_at
            if since_answer_s < self.config.refresh_grace_s:
                if since_answer_s >= ANSWER_RESOLUTION_S:
                    await self._store.note_answer(row, renewal.now)
                self._tell("repeated", row.handle, row.user_id)
                return row
            if not is_used:
                branched = await self._store.add_branch(row, renewal)
                if branched is not None:
                    self._tell("repeated_late", row.handle, row.user_id)
                return branched
        await self._end_for_theft(row.handle, row.user_id)
        raise TokenTheftError(row.handle, row.user_id)

    async def _end_for_theft(self, handle: str, user_id: str) -> None:
        """Revoke a session whose tokens two parties hold, and tell the application."""
        await self._revoke([handle], owner=user_id, reason="theft")
        self._tell("theft", handle, user_id)
        if self.on_token_theft is not None:
            try:
                outcome = self.on_token_theft(handle, user_id)
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception:
                log.exception("the hook for token theft failed")

    # -- issue --------------------------------------------------------------------------------------

    def _issue(self, row: SessionRow, *, anti_csrf: bool) -> Session:
        """The session of a row with all of its tokens."""
        refresh_token = self._refresh_tokens.make(
            row.handle, row.generation, row.secret, anti_csrf, branch=row.branch
        )
        now = self.clock.now()
        jitter = random.uniform(0, self.config.access_token_jitter)  # noqa: S311 - not a secret
        lifetime_s = max(1.0, self.config.access_token_lifetime_s * (1 - jitter))
        anti_csrf_token = self._refresh_tokens.anti_csrf_token(refresh_token) if anti_csrf else None
        token, tokens = self._mint(
            row,
            generation=row.generation,
            branch=row.branch,
            refresh_token_hash1=token_hash(refresh_token),
            anti_csrf_token=anti_csrf_token,
            expires_at=int(min(now + lifetime_s, row.expires_at)),
        )
        tokens = replace(tokens, refresh_token=refresh_token, anti_csrf_token=anti_csrf_token)
        return Session(self, token, tokens)

    def _mint(
        self,
        row: SessionRow,
        *,
        generation: int,
        branch: int,
        refresh_token_hash1: str,
        anti_csrf_token: str | None,
        expires_at: int,
    ) -> tuple[AccessToken, Tokens]:
        """A new access token, and what the client must be given of it."""
        key = self.keys.signing_key()
        text, payload = jwt.mint(
            key,
            user_id=row.user_id,
            tenant_id=row.tenant_id,
            handle=row.handle,
            refresh_token_hash1=refresh_token_hash1,
            anti_csrf_token=anti_csrf_token,
            issuer=self.config.issuer,
            claims=row.payload,
            generation=generation,
            branch=branch,
            payload_version=row.payload_version,
            issued_at=int(self.clock.now()),
            expires_at=expires_at,
        )
        return AccessToken.from_payload(payload, key.kid), Tokens(
            access_token=text,
            access_token_expires_at=expires_at,
            front_token=front_token(payload),
            refresh_token_expires_at=row.expires_at,
            temporary=row.temporary,
        )

    # -- revoke -------------------------------------------------------------------------------------

    # Calls that end or change other people's sessions take `owner`: the user whose session it must be. None
    # means any user's session: only the program's own decisions may say so, never a handle from a client.

    async def revoke_session(
        self, session_handle: str, *, owner: str | None, reason: str = "revoked"
    ) -> bool:
        """End a session: here at once, on every other process within moments.

        Args:
            owner: the user whose session it must be; None: any user's.

        Returns:
            Whether there was one.
        """
        return bool(await self._revoke([session_handle], owner=owner, reason=reason))

    async def revoke_multiple_sessions(
        self, session_handles: Iterable[str], *, owner: str | None, reason: str = "revoked"
    ) -> list[str]:
        """End several sessions; returns the handles of those that were there.

        Args:
            owner: the user whose sessions they must be; None: any user's.
        """
        return await self._revoke(session_handles, owner=owner, reason=reason)

    async def revoke_all_sessions_for_user(
        self,
        user_id: str,
        *,
        tenant_id: str | None = None,
        keep: str | None = None,
        among: Collection[str] | None = None,
        reason: str = "revoked",
    ) -> list[str]:
        """End all sessions of a user (None: of every tenant), except the one with the handle `keep`.

        Args:
            among: end only sessions with one of these handles; None: any.
        """
        handles = await self._store.all_handles_of_user(user_id, tenant_id)
        wanted = [handle for handle in handles if handle != keep and (among is None or handle in among)]
        return await self._revoke(wanted, owner=user_id, reason=reason)

    async def end_oldest_sessions(self, user_id: str, *, most: int, keep: str, reason: str) -> list[str]:
        """End the oldest sessions of a user who has more than `most`, never the one with the handle `keep`.

        One call ends a limited number of sessions, so that it takes little time. The next call continues.
        """
        handles = await self.get_all_session_handles_for_user(user_id)
        others = [handle for handle in handles if handle != keep]
        oldest = others[: min(max(0, len(handles) - most), REVOKED_AT_ONCE)]
        return await self._revoke(oldest, owner=user_id, reason=reason)

    async def _revoke(self, handles: Iterable[str], *, owner: str | None, reason: str) -> list[str]:
        """End sessions in batches so small that writes of other users go between them."""
        wanted, gone = list(handles), list[str]()
        for start in range(0, len(wanted), REVOKED_AT_ONCE):
            began, until = time.monotonic(), self._tokens_end()
            batch = wanted[start : start + REVOKED_AT_ONCE]
            revoked = await self._store.revoke(batch, owner=owner, reason=reason, keep_until=until)
            gone += self._note_revoked(revoked, until, reason)
            if start + REVOKED_AT_ONCE < len(wanted):
                await asyncio.sleep(time.monotonic() - began)  # half of the time belongs to the others
        return gone

    def handles_in(self, connection: Connection, user_id: str) -> list[str]:
        """Return the handles of a user's sessions, as a transaction of the same database sees them."""
        return handles_in(connection, user_id)

    def _note_revoked(self, revoked: list[tuple[str, str]], until: float, reason: str) -> list[str]:
        for handle, user_id in revoked:
            self.feed.note_revoked(handle, until, reason)
            self._tell("revoked", handle, user_id, reason)
        return [handle for handle, _ in revoked]

    async def end_in_browser(self, session_handle: str, *, reason: str) -> bool:
        """End a session at the request of the browser that holds it: it signs out, or signs in again.

        Returns:
            Whether the answer may clear the browser's tokens; see `settle`.
        """
        if session_handle in self.feed.settled:
            return False
        if await self._revoke([session_handle], owner=None, reason=reason):
            return self.settle(session_handle) or reason in (REPLACED, SIGNED_OUT)
        await self.feed.hear_news()
        if session_handle in self.feed.revoked:
            return self.settle(session_handle)
        # A failover or a restored backup has lost the session, while its access token is valid.
        until = self._tokens_end()
        await self._store.revoke_again([(session_handle, reason, until)])
        self.feed.note_revoked(session_handle, until, reason)
        return self.settle(session_handle) or reason in (REPLACED, SIGNED_OUT)

    def settle(self, session_handle: str) -> bool:
        """Whether an answer about this session, which is over, must have its browser clear the tokens.

        True once: from then on the browser may have signed in again, and its cookies belong to that session.
        `feed.hear_news` beforehand brings what other processes have answered.
        """
        if session_handle in self.feed.settled:
            return False
        self.feed.settled[session_handle] = until = self._tokens_end()
        self._spawn(self._write_settled(session_handle, until))
        return True

    async def _write_settled(self, session_handle: str, until: float) -> None:
        try:
            await self._store.settle(session_handle, keep_until=until)
        except StoreUnavailableError as error:
            log.warning("other processes are not told that a browser was cleared: %s", error)

    def _tell(self, name: SessionEventName, handle: str, user_id: str, reason: str = "") -> None:
        self.on_event(SessionEvent(name, self.clock.now(), handle, user_id, reason))

    def _tokens_end(self) -> float:
        """When the last access token that exists now will have expired, whoever's clock is asked."""
        return self.clock.now() + self.config.access_token_lifetime_s + CLOCK_MARGIN_S

    def heard_after_s(self, entry: FeedEntry) -> float:
        """How long ago a revocation, or a change of claims, was written into the feed."""
        return self._tokens_end() - entry.keep_until

    def session_is_gone(self, session_handle: str, what: str = "is over") -> UnauthorisedError:
        """The error that answers its tokens.

        If the browser signed in again, a late request of the ended session may be answered afterwards. The
        browser must keep the tokens of the new session.
        """
        return UnauthorisedError(
            f"session {session_hash(session_handle)} {what}",
            clear_tokens=session_handle not in self.feed.settled,
            session_handle=session_handle,
        )

    # -- connections that stay open ---------------------------------------------------------------

    async def renewed_until(self, session_handle: str) -> float | None:
        """When a session's newest access token expires (Unix seconds), by the store; None if it is over."""
        row = await self._living_row(session_handle)
        return None if row is None else row.rotated_at + self.config.access_token_lifetime_s

    async def refetch(self, session: Session) -> None:
        """Bring the claims of a session object that is kept for long up to date with the store.

        Raises:
            UnauthorisedError: the session is over.
        """
        row = await self._living_row(session.handle)
        if row is None:
            raise self.session_is_gone(session.handle)
        self._show(session, row)

    def _show(self, session: Session, row: SessionRow) -> None:
        """Have the object say what the store does, though its client holds no token that does."""
        own = {name: value for name, value in session.token.payload.items() if name in PROTECTED_CLAIMS}
        payload = {**own, **row.payload, "sc-ver": row.payload_version}
        session.replace_token(AccessToken.from_payload(payload, session.token.kid))

    async def publish(self, topic: str, message: str) -> None:
        """Hand a text to the feed's listeners in every process. It is not kept for those who come later."""
        await self._store.publish(topic, message, keep_until=self.clock.now() + MESSAGE_KEPT_S)

    # -- public keys ----------------------------------------------------------------------------------

    def create_jwt(self, payload: Mapping[str, Any], validity_s: int) -> str:
        """Sign a token of the application's own, for whoever verifies by our JWKS; no session comes of it.

        Args:
            payload: its claims; `iat`, `exp` and `iss` are set here.
            validity_s: how long it is good for.

        Raises:
            ValueError: longer than its key is sure to be published. Permanent keys have no such limit.
        """
        if self.config.use_dynamic_signing_key and validity_s > self.config.access_token_lifetime_s:
            raise ValueError(
                f"a rotating key is published for {self.config.access_token_lifetime_s} s after its last "
                "signature: ask for less, or use permanent keys (use_dynamic_signing_key=False)"
            )
        now = int(self.clock.now())
        claims = {**payload, "iat": now, "exp": now + validity_s, "iss": self.config.issuer}
        return jwt.sign(self.keys.signing_key(), claims)

    def get_jwks(self) -> dict[str, Any]:
        """Every public key that may still verify a token (RFC 7517, section 5)."""
        return self.keys.jwks()

    def get_open_id_discovery_configuration(self) -> dict[str, Any]:
        """Where the public keys are, and what they sign (OpenID Connect Discovery 1.0).

        Without the endpoints of OAuth, which there are none of.
        """
        return {
            "issuer": self.config.issuer,
            "jwks_uri": f"{self.config.issuer}/jwt/jwks.json",
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "id_token token"],
        }

    # -- look at sessions ---------------------------------------------------------------------------

    async def get_session_information(self, session_handle: str) -> SessionInformation | None:
        stored = await self._store.load_all_of(session_handle)
        return self._information(stored) if stored and self._is_alive(stored.row) else None

    async def list_sessions(
        self, user_id: str, *, tenant_id: str | None = None, limit: int = MOST_LISTED
    ) -> list[SessionInformation]:
        """The user's living sessions (None: of every tenant), those first that were refreshed last."""
        stored = await self._store.sessions_of_user(
            user_id, tenant_id, self.clock.now(), self.config.session_lifetime_s, limit
        )
        return [self._information(one) for one in stored]

    def _information(self, stored: StoredSession) -> SessionInformation:
        row = stored.row
        return SessionInformation(
            session_handle=row.handle,
            user_id=row.user_id,
            recipe_user_id=row.user_id,
            tenant_id=row.tenant_id,
            session_data_in_database=stored.data,
            custom_claims_in_access_token_payload={"iss": self.config.issuer, **row.payload},
            expiry=int(row.ends_at(self.config.session_lifetime_s) * 1000),
            time_created=int(row.created_at * 1000),
            time_refreshed=int(row.rotated_at * 1000),
            created_from=stored.created_from,
            refreshed_from=stored.refreshed_from,
        )

    async def get_all_session_handles_for_user(
        self, user_id: str, *, tenant_id: str | None = None
    ) -> list[str]:
        """Handles of the user's living sessions (None: of every tenant)."""
        return await self._store.handles_of_user(
            user_id, tenant_id, self.clock.now(), self.config.session_lifetime_s
        )

    async def update_session_data_in_database(
        self, session_handle: str, data: Mapping[str, Any] | None, *, owner: str | None
    ) -> bool:
        """Replace a session's data; False if the owner has no such session."""
        return await self._store.replace_data(
            session_handle, data or {}, self.clock.now(), self.config.session_lifetime_s, owner=owner
        )

    # -- claims -------------------------------------------------------------------------------------

    async def merge_into_access_token_payload(
        self, session_handle: str, update: Mapping[str, Any], *, owner: str | None
    ) -> bool:
        """Lay `update` over a session's claims; None removes one. False if the owner has no such session.

        Its present access tokens are answered with TryRefreshTokenError from now on, everywhere.

        Raises:
            ValueError: a name of the engine's own, or claims too large for a cookie.
        """
        return await self._change_payload(session_handle, update, owner=owner) is not None

    async def fetch_and_set_claim(
        self, session_handle: str, claim: SessionClaim[Any], *, owner: str | None
    ) -> bool:
        row = await self._living_row(session_handle)
        if row is None or owner not in (None, row.user_id):
            return False
        update = await claim.build(row.user_id, row.tenant_id, row.payload, self.now_ms())
        return await self.merge_into_access_token_payload(session_handle, update, owner=owner)

    async def set_claim_value(
        self, session_handle: str, claim: SessionClaim[T], value: T, *, owner: str | None
    ) -> bool:
        update = claim.add_to_payload({}, value, self.now_ms())
        return await self.merge_into_access_token_payload(session_handle, update, owner=owner)

    async def remove_claim(self, session_handle: str, claim: SessionClaim[Any], *, owner: str | None) -> bool:
        return await self.merge_into_access_token_payload(
            session_handle, claim.remove_from_payload(), owner=owner
        )

    async def get_claim_value(self, session_handle: str, claim: SessionClaim[T]) -> T | None:
        """The claim's value in the store, None if absent.

        Raises:
            UnauthorisedError: there is no such session.
        """
        row = await self._living_row(session_handle)
        if row is None:
            raise self.session_is_gone(session_handle)
        return claim.get_value(row.payload)

    async def validate_claims_for_session_handle(
        self, session_handle: str, override_global_claim_validators: Callable[
            [Sequence[ClaimValidator], SessionInformation], Sequence[ClaimValidator]
        ] | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Judge a session by its handle; claims that are stale are fetched again and stored.

        Returns:
            `{"id", "reason"}` of every validator that refused; empty if all agree.

        Raises:
            UnauthorisedError: there is no such session.
        """
        information = await self.get_session_information(session_handle)
        if information is None:
            raise self.session_is_gone(session_handle)
        validators: Sequence[ClaimValidator] = self.global_claim_validators
        if override_global_claim_validators is not None:
            validators = override_global_claim_validators(validators, information)
        payload_update, errors = await validate_claims(
            validators,
            information.custom_claims_in_access_token_payload,
            user_id=information.user_id,
            tenant_id=information.tenant_id,
            now_ms=self.now_ms(),
        )
        if payload_update:
            await self.merge_into_access_token_payload(
                session_handle, payload_update, owner=information.user_id
            )
        return errors

    async def assert_claims(self, session: Session, validators: Iterable[ClaimValidator]) -> None:
        """See Session.assert_claims."""
        payload_update, errors = await validate_claims(
            validators,
            session.token.payload,  # not a copy of it: validators read, and run at each request
            user_id=session.user_id,
            tenant_id=session.tenant_id,
            now_ms=self.now_ms(),
        )
        if payload_update:
            await self.change_payload_of(session, payload_update)
        if errors:
            raise InvalidClaimsError(errors)

    async def change_payload_of(self, session: Session, update: Mapping[str, Any]) -> None:
        """See Session.merge_into_access_token_payload."""
        row = await self._change_payload(session.handle, update, owner=session.user_id)
        if row is None:
            raise self.session_is_gone(session.handle)
        old = session.token
        if old.expires_at <= self.clock.now():  # the next refresh delivers it
            self._show(session, row)
            return
        token, tokens = self._mint(
            row,
            generation=old.generation,
            branch=old.branch,
            refresh_token_hash1=old.refresh_token_hash1,
            anti_csrf_token=old.anti_csrf_token,
            expires_at=old.expires_at,
        )
        if earlier := session.new_tokens:
            tokens = replace(
                tokens, refresh_token=earlier.refresh_token, anti_csrf_token=earlier.anti_csrf_token
            )
        session.replace_token(token)
        session.new_tokens = tokens

    async def _change_payload(
        self, handle: str, update: Mapping[str, Any], *, owner: str | None
    ) -> SessionRow | None:
        merge_payload({}, update)  # refuses protected names before anything is touched

        def change(payload: dict[str, Any]) -> dict[str, Any]:
            merged = merge_payload(payload, update)
            self._check_claims(merged)
            return merged

        until = self._tokens_end()
        row = await self._store.update_payload(
            handle,
            change,
            now=self.clock.now(),
            session_lifetime_s=self.config.session_lifetime_s,
            keep_until=until,
            owner=owner,
        )
        if row is not None and row.payload_version > 0:
            self.feed.note_payload(handle, row.payload_version, until)
        return row

    def _check_claims(self, payload: Mapping[str, Any]) -> None:
        jwt.check_claims(payload, self.config.issuer, MAX_IDS_BYTES)

    async def _living_row(self, handle: str) -> SessionRow | None:
        row = await self._store.load(handle)
        return row if row is not None and self._is_alive(row) else None


def _check_ids(user_id: str, tenant_id: str, handle: str) -> None:
    """They share the access token's cookie with the claims, each must be there, and every store keep it."""
    if not (is_storable(user_id) and is_storable(tenant_id)):
        raise ValueError("user id and tenant id must not have NUL or lone surrogates in them")
    size = len(to_json([user_id, user_id, tenant_id, handle]))  # as often as they stand in the token
    if not user_id or not tenant_id or size > MAX_IDS_BYTES:
        raise ValueError(
            f"user id and tenant id must not be empty, and a cookie has room for {MAX_IDS_BYTES} bytes of "
            f"ids; these take {size}"
        )
