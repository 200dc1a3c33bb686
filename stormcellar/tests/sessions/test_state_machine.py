# SPDX-License-Identifier: MIT
"""All interleavings of a browser, a thief and two processes that crash: nobody is signed out by mistake.

The world, as hypothesis plays it
---------------------------------
- One browser with two tabs. The tabs share a cookie jar; whatever answer arrives last fills it. Each tab has
  at most one message on its way, a request or an answer. Any message may be lost, or arrive after others that
  were sent later. A request carries the cookies as they were when it was sent.
- Two processes, each an engine with its own memory, keys and view of the feed, on one SQLite file. News of
  the other process comes when hypothesis says so. Either may crash between any two steps, and before or after
  any single database call inside a request; then the answer is lost, and with it the note of first use.
- Time passes, from a second to weeks. Claims change, by the application or by a page. The user signs out.
- The browser may lose its last cookies: a restored profile brings back older ones.
- A thief copies the jar at some moment and uses that copy whenever he likes, as long as he likes: at once,
  after a long wait, or in step with the owner within the grace period.

What the browser promises
-------------------------
- A message is on its way for less than half the grace period; later it counts as lost. So a request that
  races with another's answer reaches the server within the grace period.
- No renewal begins with a newer refresh token while a message about an older one is on its way: tabs take
  turns (Web Locks), and an access token outlives every message.
- Tabs may renew side by side with the same token, also late, after the first answer was lost.

What must hold
--------------
1. The rightful client's renewal succeeds, and its pages get their session or are asked to renew for a reason,
   until it signs out, its cookies expire, or the thief has really obtained tokens. After its profile was
   restored this holds if no page was opened with the cookies that it lost.
2. There is one chain: a branch has one refresh token, and one branch of a generation is exchanged for the
   next generation, on every process, before and after every crash.
3. A thief is caught: a refresh token two generations back; one older than the grace period whose successor
   has been in use; and every token of a branch after another branch of its generation was used. Then the
   session ends for both. A thief who refreshes first and waits is caught at the first use after the owner's.
4. A session that ended stays ended, for every token it ever had: its refresh tokens at once and everywhere,
   its access tokens as soon as the process has heard the news, or asks the store.
5. Claims are the newest in each renewed token, and wherever the news has been heard.

The model knows only what was answered, never what stands in the store. STATE_MACHINE_EXAMPLES in the
environment sets how many lives are played (default 30, in CI 150); 2,000 take some minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stormcellar.sessions import Session, Sessions, Tokens, TryRefreshTokenError, UnauthorisedError
from stormcellar.sessions import engine as engine_module
from stormcellar.sessions.base64url import decode_base64url
from stormcellar.sessions.refresh_token import RefreshTokens
from stormcellar.store import Connection
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.testing.clock import FakeClock, cheap_keys
from stormcellar.tests.sessions.helpers import DAY
from stormcellar.tests.support import SECRET, session_config

T = TypeVar("T")
Place = tuple[int, int]  # generation and branch
GRACE_S = 30
JOURNEY_S = 14  # how long a message may be on its way
EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "150" if "CI" in os.environ else "30"))
STEPS = 50

tabs = st.sampled_from([0, 1])
processes = st.sampled_from(["a", "b"])
turns = st.lists(st.integers(0, 5), max_size=6)
roles = st.sampled_from(["reader", "editor", "admin", None])
spans = st.sampled_from([1, 5, 13, 16, 29, 31, 31, 60, 600, 3600, 3600, DAY, 8 * DAY, 29 * DAY, 31 * DAY])
EVENTS = [
    "hears the news",
    "loses the feed",
    "writes down first uses",
    "keeps house",
    "is replaced in good order",
    "crashes",
]


def place_of(refresh_token: str) -> Place:
    """Return generation and branch."""
    presented = RefreshTokens(SECRET).read(refresh_token)
    assert presented
    return presented.generation, presented.branch


def claims_of(access_token: str) -> dict[str, Any]:
    claims = json.loads(decode_base64url(access_token.split(".")[1]) or b"")
    assert isinstance(claims, dict)
    return claims


@dataclass(frozen=True)
class Cookies:
    """What a browser holds, or a thief."""

    access_token: str
    refresh_token: str
    expires_at: float

    def with_answer(self, tokens: Tokens) -> Cookies:
        return Cookies(
            tokens.access_token, tokens.refresh_token or self.refresh_token, tokens.refresh_token_expires_at
        )


@dataclass(frozen=True)
class Message:
    """A request, with the cookies it carries; or, with `answer`, what came of it."""

    kind: str  # "visit", "change" (a visit that sets the role) or "renewal"
    cookies: Cookies
    sent_at: float
    role: str | None = None
    answer: Tokens | None = None


class MachineDatabase(SqliteDatabase):
    """SQLite without threads: every call is one step of the event loop, so a life can be played again.

    The next calls wait for as many turns of the loop as `delays` says. And calls may be made not to come
    back: the `calls_left`-th stops before or after its work.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.on_lost: Callable[[], None] = lambda: None
        self.delays: list[int] = []
        self.calls_left: int | None = None
        self.stops_before = False
        self.stopped = asyncio.Event()

    async def open(self) -> None:
        self.path.touch()
        self.connection = self._connect()
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=OFF")  # processes crash here, the machine does not

    async def close(self) -> None:
        self.connection.close()

    def watch(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self.on_lost = on_lost

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._call(lambda: work(self.connection))

    async def write(self, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                return work(self.connection)

        return await self._call(transaction)

    async def _call(self, call: Callable[[], T]) -> T:
        for _turn in range(1 + (self.delays.pop() if self.delays else 0)):
            await asyncio.sleep(0)  # others may come first
        if self.calls_left is not None:
            self.calls_left -= 1
        stops_here = self.calls_left == 0
        if stops_here and self.stops_before:
            await self._hang()
        result = call()
        if stops_here:
            await self._hang()
        await asyncio.sleep(0)
        return result

    async def _hang(self) -> None:
        self.stopped.set()
        await asyncio.Event().wait()


@dataclass
class Process:
    """An engine, and what the model knows of its memory."""

    engine: Sessions
    database: MachineDatabase
    has_heard: bool = True  # all news there are, or it has lost the feed and asks the store
    seen: set[Place] = field(default_factory=set)  # in use, and still to be written down
    thefts: list[str] = field(default_factory=list)  # handles that the engine has told its hook of

    async def crash(self) -> None:
        """Without ceremony: nothing is written any more."""
        for task in self.engine._tasks:
            task.cancel()
        await self.engine.feed.stop()
        await self.database.close()


class SessionLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="session-life-"))
        self.clock = FakeClock()
        self.processes: dict[str, Process] = {}
        for name in ("a", "b"):
            self.start(name)
        self.jar: Cookies | None = None
        self.way: list[Message | None] = [None, None]
        self.thief: Cookies | None = None
        self.buried: list[Cookies] = []  # of sessions that ended

    def begin_session(self, cookies: Cookies, handle: str) -> None:
        self.jar = cookies
        self.handle = handle
        self.chain: dict[Place, str] = {(0, 0): cookies.refresh_token}
        self.exchanged: dict[int, int] = {}  # by generation: the branch before that was exchanged for it
        self.answered_at: dict[int, float] = {0: self.clock.now()}  # each generation, for the last time
        self.last_branch: dict[int, int] = {0: 0}  # in that answer
        self.in_doubt = False  # a renewal has crashed: perhaps the store is ahead of the chain
        self.all_cookies = [cookies]
        self.in_use: set[Place] = set()  # written down
        self.shown: set[Place] = set()  # sent to any process with an access token
        self.restored = False  # the browser has lost its last cookies
        for process in self.processes.values():
            process.seen = set()
        self.theft = False  # the thief has got tokens
        self.ended = False
        self.perhaps_ended = False
        self.roles: set[str | None] = {None}  # one of these is the newest
        self.newest_version = 0  # of the claims, at most

    # -- helpers ------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def start(self, name: str) -> None:
        async def begin() -> Process:
            database = MachineDatabase(self.folder / "db")
            await database.open()
            config = session_config(refresh_grace_s=GRACE_S)
            thefts: list[str] = []
            engine = Sessions(
                database,
                config,
                clock=self.clock,
                generate_key=cheap_keys(),
                on_token_theft=lambda handle, _user_id: thefts.append(handle),
            )
            await engine.start()
            return Process(engine, database, thefts=thefts)

        self.processes[name] = self.run(begin())

    def news_from(self, process: Process) -> None:
        """The other process has something to hear now."""
        for other in self.processes.values():
            if other is not process and other.engine.feed.state == "live":
                other.has_heard = False

    def must_be_served(self, cookies: Cookies) -> bool:
        doubtful = self.theft or self.ended or self.perhaps_ended
        return not doubtful and self.clock.now() < cookies.expires_at and self.is_unharmed(cookies)

    def is_unharmed(self, cookies: Cookies) -> bool:
        """Tell whether the browser has lost no cookies, or none that another page has shown."""
        generation, branch = place_of(cookies.refresh_token)
        others = self.shown - {(generation, branch)}
        is_last = generation + 1 >= self.newest and not self.in_doubt
        is_on_the_path = branch == self.exchanged.get(generation + 1, branch)
        unused = is_last and is_on_the_path and all(shown < generation for shown, _ in others)
        return unused or not self.restored

    @property
    def newest(self) -> int:
        """The newest generation that was answered with."""
        return max(generation for generation, _ in self.chain)

    def must_be_caught(self, place: Place) -> bool:
        generation, branch = place
        if self.newest > generation + 1:
            return True
        if self.newest == generation:
            return self.is_another_branch_used(place)
        age_s = self.clock.now() - self.answered_at[generation + 1]
        follower_is_used = any(used == generation + 1 for used, _ in self.in_use)
        is_off_the_path = branch != self.exchanged.get(generation + 1, branch)
        return is_off_the_path or (follower_is_used and age_s >= GRACE_S)

    def is_another_branch_used(self, place: Place) -> bool:
        return any(used == place[0] and branch != place[1] for used, branch in self.in_use)

    def must_be_found(self, seen: set[Place]) -> bool:
        """Tell whether the store must find two parties when these uses are written to it."""
        branches = {branch for used, branch in seen | self.in_use if used == self.newest}
        parent = self.exchanged.get(self.newest)
        off_the_path = any(used == self.newest - 1 and branch != parent for used, branch in seen)
        doubtful = self.ended or self.perhaps_ended or self.in_doubt
        return not doubtful and (len(branches) > 1 or (parent is not None and off_the_path))

    def end(self, process: Process) -> None:
        self.ended = True
        self.news_from(process)

    @property
    def alive(self) -> bool:
        return self.jar is not None and not self.ended

    # -- what is asked of the engine, and what must be true of its answers ---------------------------

    async def ask(self, process: Process, message: Message, check_database: bool = False) -> Any:
        """What the engine says to a request: a Session, or the error."""
        engine = process.engine
        try:
            if message.kind == "renewal":
                return await engine.refresh_session(message.cookies.refresh_token)
            session = await engine.get_session(message.cookies.access_token, check_database=check_database)
            assert session
            if message.kind == "change":
                await session.merge_into_access_token_payload({"role": message.role})
            return session
        except (TryRefreshTokenError, UnauthorisedError) as error:
            return error

    def judge(
        self,
        process: Process,
        message: Message,
        outcome: Any,
        *,
        asked_store: bool = False,
        must_be_caught: bool | None = None,
    ) -> None:
        """Judge an answer by all that was known before it; `must_be_caught` if more is known by now."""
        if message.kind == "renewal":
            must_be_served = self.must_be_served(message.cookies)
            self.judge_renewal(process, message.cookies, outcome, must_be_served, must_be_caught)
        else:
            self.judge_visit(process, message, outcome, asked_store)

    def judge_renewal(
        self,
        process: Process,
        cookies: Cookies,
        outcome: Any,
        must_be_served: bool,
        must_be_caught: bool | None = None,
    ) -> None:
        generation, branch = place = place_of(cookies.refresh_token)
        if must_be_caught is None:
            must_be_caught = self.must_be_caught(place)
        if isinstance(outcome, UnauthorisedError):
            assert not must_be_served, outcome
            self.end(process)
            return
        assert isinstance(outcome, Session), outcome
        assert not self.ended, "a session that ended has come back"
        assert not must_be_caught, "an old token was served"
        self.perhaps_ended = False
        tokens = outcome.new_tokens
        assert tokens
        assert tokens.refresh_token
        assert (outcome.handle, outcome.user_id) == (self.handle, "ann")
        answer = place_of(tokens.refresh_token)
        assert answer[0] == generation + 1
        assert self.chain.setdefault(answer, tokens.refresh_token) == tokens.refresh_token
        assert self.exchanged.setdefault(answer[0], branch) == branch
        self.judge_branch(answer)
        assert outcome.access_token_payload.get("role") in self.roles
        self.all_cookies.append(cookies.with_answer(tokens))

    def judge_branch(self, answer: Place) -> None:
        """Within the grace period of the last answer, the next one carries the same branch."""
        generation, branch = answer
        age_s = self.clock.now() - self.answered_at.get(generation, -GRACE_S)
        if age_s < GRACE_S - 1 and not (self.theft or self.restored):
            assert branch == self.last_branch[generation]
        self.answered_at[generation], self.last_branch[generation] = self.clock.now(), branch
        self.in_doubt = False

    def judge_visit(self, process: Process, message: Message, outcome: Any, asked_store: bool) -> None:
        claims = claims_of(message.cookies.access_token)
        knows = process.has_heard or asked_store
        self.shown.add((claims["sc-gen"], claims.get("sc-br", 0)))
        if isinstance(outcome, UnauthorisedError):
            assert not self.must_be_served(message.cookies), outcome
            self.end(process)
        elif isinstance(outcome, TryRefreshTokenError):
            outdated = claims["exp"] <= self.clock.now() or claims["sc-ver"] < self.newest_version
            store_decides = asked_store or process.engine.feed.state == "lost"
            assert outdated or store_decides or self.ended or self.theft, outcome
        else:
            assert isinstance(outcome, Session)
            assert not (self.ended and knows), "a session that ended has come back"
            if knows and message.kind == "visit":
                assert claims.get("role") in self.roles
            process.seen.add((claims["sc-gen"], claims.get("sc-br", 0)))

    def note_change(self, process: Process, role: str | None) -> None:
        if self.roles != {role}:
            self.newest_version += 1
            self.news_from(process)
        self.roles = {role}

    def settle(self, tab: int, message: Message, process: Process, outcome: Any) -> None:
        """What an answer means for the tab that waits for it."""
        self.way[tab] = None
        if isinstance(outcome, UnauthorisedError):
            self.jar = None  # the answer clears the cookies
        elif isinstance(outcome, Session) and outcome.new_tokens:
            self.way[tab] = replace(message, answer=outcome.new_tokens, sent_at=self.clock.now())

    # -- the browser --------------------------------------------------------------------------------

    @initialize()
    def first_sign_in(self) -> None:
        self.sign_in("a")

    @precondition(lambda self: self.jar is None)
    @rule(name=processes)
    def sign_in(self, name: str) -> None:
        async def work() -> Session:
            engine = self.processes[name].engine
            if hasattr(self, "handle"):  # cookies may expire a little before the session does
                await engine.revoke_session(self.handle, owner=None)
            return await engine.create_new_session("ann")

        if hasattr(self, "handle"):
            self.buried = [*self.buried, *self.all_cookies][-6:]
            self.end(self.processes[name])
        session = self.run(work())
        tokens = session.new_tokens
        assert tokens
        assert tokens.refresh_token
        self.thief = None
        self.way = [None, None]
        cookies = Cookies(tokens.access_token, tokens.refresh_token, tokens.refresh_token_expires_at)
        self.begin_session(cookies, session.handle)

    def may_begin_renewal(self) -> bool:
        assert self.jar
        token = self.jar.refresh_token
        others = {
            message.cookies.refresh_token for message in self.way if message and message.kind == "renewal"
        }
        return others <= {token}

    @precondition(lambda self: self.jar and None in self.way)
    @rule(tab=tabs, kind=st.sampled_from(["visit", "change", "renewal", "renewal"]), role=roles)
    def a_tab_sends(self, tab: int, kind: str, role: str | None) -> None:
        if self.way[tab] or (kind == "renewal" and not self.may_begin_renewal()):
            return
        assert self.jar
        self.way[tab] = Message(kind, self.jar, self.clock.now(), role)

    @precondition(lambda self: any(message and not message.answer for message in self.way))
    @rule(tab=tabs, name=processes, check_database=st.booleans())
    def a_request_is_answered(self, tab: int, name: str, check_database: bool) -> None:
        message, process = self.way[tab], self.processes[name]
        if message is None or message.answer:
            return
        outcome = self.run(self.ask(process, message, check_database))
        self.judge(process, message, outcome, asked_store=check_database)
        if message.kind == "change" and isinstance(outcome, Session):
            self.note_change(process, message.role)
        self.settle(tab, message, process, outcome)

    @precondition(lambda self: all(message and not message.answer for message in self.way))
    @rule(
        first=processes,
        second=processes,
        delays=st.tuples(turns, turns),
        thief_too=st.booleans(),
        signs_out=st.sampled_from([False, False, True]),
    )
    def both_requests_are_answered_at_once(
        self, first: str, second: str, delays: tuple[list[int], list[int]], thief_too: bool, signs_out: bool
    ) -> None:
        """And perhaps the thief renews, or the user signs out, all in the same moment."""
        for process, turns_of_process in zip(self.processes.values(), delays, strict=True):
            process.database.delays = list(turns_of_process)
        waiting = [message for message in self.way if message]
        served_by = [self.processes[first], self.processes[second]]
        asked = list(zip(waiting, served_by, strict=True))
        if thief_too and self.thief:
            asked.append((Message("renewal", self.thief, self.clock.now()), self.processes[second]))

        async def all_at_once() -> list[Any]:
            work: list[Any] = [self.ask(process, message) for message, process in asked]
            if signs_out:
                work.append(served_by[0].engine.revoke_session(self.handle, owner=None))
            return list(await asyncio.gather(*work))

        old = [self.must_be_caught(place_of(message.cookies.refresh_token)) for message, _ in asked]
        outcomes = self.run(all_at_once())[: len(asked)]
        for message, process in asked:  # whose change came last, nobody can say
            if message.kind == "change":
                self.roles = self.roles | {message.role}
                self.newest_version += 1
                self.news_from(process)
                process.has_heard = False
        ended_before = self.ended
        if len(asked) == 3:
            self.judge_thief(served_by[1], outcomes[2])
        for tab, (message, process) in enumerate(asked[:2]):
            refused_thief = self.ended and not ended_before
            self.ended, self.perhaps_ended = ended_before, self.perhaps_ended or refused_thief or signs_out
            self.judge(process, message, outcomes[tab], must_be_caught=old[tab])
            self.settle(tab, message, process, outcomes[tab])
            self.ended = self.ended or refused_thief
        if signs_out:
            self.end(served_by[0])
            self.jar = None

    @precondition(lambda self: any(self.way))
    @rule(tab=tabs, lost=st.sampled_from([False, False, True]))
    def an_answer_arrives_or_a_message_is_lost(self, tab: int, lost: bool) -> None:
        message = self.way[tab]
        if message and (lost or message.answer):
            self.way[tab] = None
            if self.jar and message.answer and not lost:
                self.jar = self.jar.with_answer(message.answer)

    @precondition(lambda self: self.jar)
    @rule(
        name=processes,
        other=processes,
        pause=st.sampled_from([0, 0, 31, 3600]),
        other_tab_too=st.booleans(),
        written_down=st.booleans(),
    )
    def a_tab_opens_a_page_renews_and_opens_it_again(
        self, name: str, other: str, pause: int, other_tab_too: bool, written_down: bool
    ) -> None:
        """The common case, which brings the rarer ones further; the other tab may have sent the same."""
        self.time_passes(pause)
        for kind, server in (("visit", name), ("renewal", name), ("visit", other)):
            if other_tab_too and kind == "renewal" and self.jar and self.way[1] is None:
                self.a_tab_sends(1, kind, None)
            if self.jar and self.way[0] is None:
                self.a_tab_sends(0, kind, None)
                self.a_request_is_answered(0, server, False)
                self.an_answer_arrives_or_a_message_is_lost(0, lost=False)
        if written_down:
            self.something_befalls_a_process(other, "writes down first uses")

    @precondition(lambda self: self.alive and len(self.all_cookies) > 1)
    @rule(steps_back=st.integers(1, 3))
    def the_browser_loses_its_last_cookies(self, steps_back: int) -> None:
        """A profile is restored from a copy of some answers ago; what was on its way is lost."""
        self.jar = self.all_cookies[max(0, len(self.all_cookies) - 1 - steps_back)]
        self.way = [None, None]
        self.restored = True

    # -- the application ----------------------------------------------------------------------------

    @precondition(lambda self: self.alive)
    @rule(name=processes, role=roles, signs_out=st.sampled_from([False, False, False, True]))
    def the_application_changes_the_role_or_the_user_signs_out(
        self, name: str, role: str | None, signs_out: bool
    ) -> None:
        process = self.processes[name]
        if signs_out:
            self.run(process.engine.revoke_session(self.handle, owner=None))
            self.end(process)
            self.jar = None
        elif self.run(
            process.engine.merge_into_access_token_payload(self.handle, {"role": role}, owner=None)
        ):
            assert not self.ended
            self.note_change(process, role)
        else:
            assert not (self.jar and self.must_be_served(self.jar))
            self.end(process)

    # -- the thief ----------------------------------------------------------------------------------

    @precondition(lambda self: self.alive and self.jar != self.thief)
    @rule()
    def the_thief_copies_the_jar(self) -> None:
        self.thief = self.jar

    def judge_thief(self, process: Process, outcome: Any) -> None:
        assert self.thief
        self.judge_renewal(process, self.thief, outcome, must_be_served=False)
        if isinstance(outcome, Session):
            self.theft = True
            assert outcome.new_tokens
            self.thief = self.thief.with_answer(outcome.new_tokens)

    @precondition(lambda self: self.thief)
    @rule(
        name=processes,
        kind=st.sampled_from(["renewal", "renewal", "visit"]),
        pause=st.sampled_from([0, 31]),
    )
    def the_thief_uses_his_copy(self, name: str, kind: str, pause: int) -> None:
        assert self.thief
        self.time_passes(pause)
        process = self.processes[name]
        message = Message(kind, self.thief, self.clock.now())
        outcome = self.run(self.ask(process, message))
        if kind == "renewal":
            self.judge_thief(process, outcome)
        else:
            self.judge_visit(process, message, outcome, asked_store=False)

    @precondition(lambda self: self.jar and not any(self.way) and self.must_be_served(self.jar))
    @rule(
        name=processes,
        other=processes,
        kind=st.sampled_from(["renewal", "visit"]),
        owner_goes_on=st.booleans(),
    )
    def the_thief_refreshes_first_and_waits(
        self, name: str, other: str, kind: str, owner_goes_on: bool
    ) -> None:
        """The owner renews late and uses its tokens. Then a patient thief is caught at his first use."""
        self.thief = self.jar
        self.the_thief_uses_his_copy(name, "renewal", 0)
        if self.ended:
            return
        self.time_passes(60)
        for step in ("renewal", "visit", "renewal", "visit") if owner_goes_on else ("renewal", "visit"):
            assert self.jar
            message = Message(step, self.jar, self.clock.now())
            outcome = self.run(self.ask(self.processes[other], message))
            self.judge(self.processes[other], message, outcome)
            if step == "renewal":
                assert isinstance(outcome, Session), "the owner was locked out before the thief did anything"
                assert outcome.new_tokens
                self.jar = self.jar.with_answer(outcome.new_tokens)
        self.something_befalls_a_process(other, "writes down first uses")
        assert self.thief
        if self.thief.refresh_token == self.jar.refresh_token:
            return  # the owner renewed within the grace period of an answer that the thief had before
        self.the_thief_uses_his_copy(name, kind, 0)
        self.something_befalls_a_process(name, "writes down first uses")
        assert self.ended, "a patient thief was not caught"

    # -- processes ----------------------------------------------------------------------------------

    @rule(name=processes, what=st.sampled_from(EVENTS))
    def something_befalls_a_process(self, name: str, what: str) -> None:
        process = self.processes[name]
        engine = process.engine
        if what == "hears the news":
            self.run(engine.feed._catch_up())
            process.has_heard = True
        elif what == "loses the feed":
            process.database.on_lost()
            assert engine.feed.state == "lost"
            process.has_heard = True  # from now on it asks the store
        elif what == "writes down first uses":
            process.thefts.clear()
            self.run(engine.write_notes())
            self.write_down(process)
        elif what == "keeps house":
            process.thefts.clear()
            self.run(engine.maintain())
            self.write_down(process)
        else:
            if what == "is replaced in good order":
                process.thefts.clear()
                self.run(engine.stop())
                self.write_down(process)
            self.run(process.crash())
            self.start(name)

    def write_down(self, process: Process) -> None:
        """Judge what the engine has made of the uses that it has just written to the store."""
        if process.thefts:
            assert self.theft or self.restored, "the owner was taken for a thief"
            self.end(process)
        else:
            assert not self.must_be_found(process.seen), "two parties use the session, and it goes on"
        self.in_use |= process.seen
        process.seen = set()

    def crash_during(self, name: str, work: Coroutine[Any, Any, Any], calls: int, before: bool) -> None:
        """Let a request come as far as its n-th database call, then crash; nobody gets an answer."""
        process = self.processes[name]

        async def break_off() -> None:
            process.database.calls_left, process.database.stops_before = calls, before
            request = asyncio.ensure_future(work)
            stopped = asyncio.ensure_future(process.database.stopped.wait())
            await asyncio.wait({request, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (request, stopped):
                task.cancel()
            await asyncio.gather(request, stopped, return_exceptions=True)
            await process.crash()

        self.run(break_off())
        self.start(name)
        self.news_from(self.processes[name])

    @precondition(lambda self: self.alive)
    @rule(
        name=processes,
        during=st.sampled_from(["a tab's request", "a tab's request", "sign-out", "the thief's renewal"]),
        tab=tabs,
        calls=st.integers(1, 3),
        before=st.booleans(),
    )
    def a_process_crashes_while_it_answers(
        self, name: str, during: str, tab: int, calls: int, before: bool
    ) -> None:
        process = self.processes[name]
        if during == "sign-out":
            self.crash_during(name, process.engine.revoke_session(self.handle, owner=None), calls, before)
            self.perhaps_ended = True
            return
        message = self.way[tab]
        if during == "the thief's renewal":
            message = Message("renewal", self.thief, self.clock.now()) if self.thief else None
        else:
            self.way[tab] = None
        if message is None or message.answer:
            return
        self.crash_during(name, self.ask(process, message), calls, before)
        if message.kind == "change":
            self.roles = self.roles | {message.role}
            self.newest_version += 1
        if message.kind == "renewal":
            self.doubt_after_crash(message.cookies, from_thief=during == "the thief's renewal")

    def doubt_after_crash(self, cookies: Cookies, from_thief: bool) -> None:
        """What a renewal that nobody was told the outcome of may have done."""
        place = place_of(cookies.refresh_token)
        self.in_doubt = True
        if place[0] + 1 in self.answered_at:
            self.answered_at[place[0] + 1] = self.clock.now()  # perhaps it was answered again
        is_newest = place == (self.newest, self.last_branch[self.newest])
        if not is_newest and (from_thief or not self.must_be_served(cookies)):
            self.perhaps_ended = True  # an old token may have been caught
        elif from_thief:
            self.theft = True  # he may have gone on, which makes the owner's token the older one

    # -- time ---------------------------------------------------------------------------------------

    @rule(seconds=spans)
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        if seconds >= 3600:  # nowhere does an hour pass without housekeeping
            for name in self.processes:
                self.something_befalls_a_process(name, "keeps house")
        now = self.clock.now()
        for tab, message in enumerate(self.way):
            if message and now - message.sent_at > JOURNEY_S:
                self.way[tab] = None
        if self.jar and self.jar.expires_at <= now:
            self.jar = None

    # -- always -------------------------------------------------------------------------------------

    @precondition(lambda self: self.buried)
    @rule(name=processes, number=st.integers(0, 5))
    def somebody_tries_the_tokens_of_an_ended_session(self, name: str, number: int) -> None:
        process, cookies = self.processes[name], self.buried[number % len(self.buried)]
        self.assert_dead(process, cookies)

    def assert_dead(self, process: Process, cookies: Cookies) -> None:
        outcome = self.run(self.ask(process, Message("renewal", cookies, 0)))
        assert isinstance(outcome, UnauthorisedError), "a session that ended has come back"
        if process.has_heard:
            outcome = self.run(self.ask(process, Message("visit", cookies, 0)))
            assert not isinstance(outcome, Session), "a session that ended has come back"

    @invariant()
    def the_rightful_browser_is_never_about_to_be_taken_for_a_thief(self) -> None:
        """The model's own consistency: what must be served need not be caught."""
        if self.jar and self.must_be_served(self.jar):
            assert not self.must_be_caught(place_of(self.jar.refresh_token))

    def teardown(self) -> None:
        try:
            if hasattr(self, "handle"):
                self.play_the_end()
        finally:
            for process in self.processes.values():
                self.run(process.crash())
            self.loop.close()
            shutil.rmtree(self.folder)

    def play_the_end(self) -> None:
        """The owner comes once more; then somebody comes with every token there was, the oldest first."""
        process = self.processes["a"]
        if self.jar:
            message = Message("renewal", self.jar, self.clock.now())
            self.judge(process, message, self.run(self.ask(process, message)))
        for cookies in sorted(self.all_cookies, key=lambda each: place_of(each.refresh_token)):
            message = Message("renewal", cookies, self.clock.now())
            outcome = self.run(self.ask(process, message))
            self.judge_renewal(process, cookies, outcome, must_be_served=False)
        if self.ended:
            for name in ("a", "b"):
                self.something_befalls_a_process(name, "hears the news")
                for cookies in self.all_cookies:
                    self.assert_dead(self.processes[name], cookies)


@pytest.fixture(autouse=True)
def _first_uses_are_written_when_the_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "NOTE_USE_DELAY_S", 3600.0)


SessionLife.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)
TestSessionLife = SessionLife.TestCase
