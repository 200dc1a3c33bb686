# SPDX-License-Identifier: MIT
"""Hashing: what is stored, what a verdict says, and what happens when too many come at once."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from stormcellar.accounts import (
    ARGON2ID,
    Argon2Parameters,
    PasswordHasher,
    TooBusyError,
    Verdict,
    passwords,
)
from stormcellar.tests.accounts.parts import CHEAPEST, DEARER

MATCH = Verdict(matches=True, needs_rehash=False)
OLD_MATCH = Verdict(matches=True, needs_rehash=True)
NO_MATCH = Verdict(matches=False, needs_rehash=False)


@contextmanager
def hasher(
    parameters: Argon2Parameters = CHEAPEST, *, threads: int = 1, queue: int = 10
) -> Iterator[PasswordHasher]:
    made = PasswordHasher(threads, queue, parameters)
    try:
        yield made
    finally:
        made.close()


class Gate:
    """Holds every hash until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = self.most_running = 0
        self._lock = threading.Lock()
        self._argon2id = passwords._argon2id
        monkeypatch.setattr(passwords, "_argon2id", self._held)

    def _held(self, parameters: Argon2Parameters) -> Argon2id:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.entered.release()
        self.open.wait()
        with self._lock:
            self.running -= 1
        return self._argon2id(parameters)


@pytest.fixture
def make_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Gate]]:
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(monkeypatch))
        return gates[-1]

    yield make
    for gate in gates:
        gate.open.set()


class WorkMeter:
    """Adds up the work of all hashes made or verified, in KiB written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work = self.most_memory = 0
        meter = self

        class Metered:
            def __init__(self, **options: Any) -> None:
                self.options = options

            def derive(self, secret: bytes) -> bytes:
                meter.add(self.options["memory_cost"], self.options["iterations"])
                return Argon2id(**self.options).derive(secret)

            @staticmethod
            def verify_phc_encoded(secret: bytes, phc: str) -> None:
                cost = re.match(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$", phc)
                if cost:
                    meter.add(int(cost[1]), int(cost[2]))
                Argon2id.verify_phc_encoded(secret, phc)

        monkeypatch.setattr(passwords, "Argon2id", Metered)

    def add(self, memory_kib: int, passes: int) -> None:
        self.work += memory_kib * passes
        self.most_memory = max(self.most_memory, memory_kib)


class TestHashes:
    def test_the_default_cost_is_what_owasp_asks_for(self) -> None:
        with hasher(ARGON2ID) as made:
            phc = asyncio.run(made.hash("blue kettle drum"))
            assert re.fullmatch(
                r"\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}", phc
            )
            assert asyncio.run(made.verify(phc, "blue kettle drum")) == MATCH
            assert asyncio.run(made.verify(phc, "blue kettle drun")) == NO_MATCH

    def test_the_same_password_never_gives_the_same_hash(self) -> None:
        with hasher() as made:
            assert asyncio.run(made.hash("same")) != asyncio.run(made.hash("same"))

    @pytest.mark.parametrize(
        ("password", "other"),
        [
            ("blue kettle drum", "Blue kettle drum"),
            ("x" * 1000, "x" * 999 + "y"),
            ("blue kettle", "blue kettle "),
            ("caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301"),
            ("🐙" * 8, "🐙" * 7 + "🐚"),
        ],
    )
    def test_every_character_counts(self, password: str, other: str) -> None:
        with hasher() as made:
            phc = asyncio.run(made.hash(password))
            assert asyncio.run(made.verify(phc, password)) == MATCH
            assert asyncio.run(made.verify(phc, other)) == NO_MATCH

    @pytest.mark.parametrize("parameters", [DEARER, Argon2Parameters(memory_kib=16, passes=1, lanes=2)])
    def test_a_hash_of_other_parameters_matches_and_asks_to_be_renewed(
        self, parameters: Argon2Parameters
    ) -> None:
        with hasher(parameters) as before, hasher(CHEAPEST) as now:
            phc = asyncio.run(before.hash("blue kettle drum"))
            assert asyncio.run(now.verify(phc, "blue kettle drum")) == OLD_MATCH
            assert asyncio.run(now.verify(phc, "wrong")) == NO_MATCH

    @pytest.mark.parametrize(
        "damaged",
        ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=8,t=1,p=1$$", "é", "\0"],
    )
    def test_a_damaged_hash_matches_nothing(self, damaged: str) -> None:
        with hasher() as made:
            assert asyncio.run(made.verify(damaged, "blue kettle drum")) == NO_MATCH

    def test_an_unknown_account_matches_nothing(self) -> None:
        with hasher() as made:
            assert asyncio.run(made.verify(None, "")) == NO_MATCH
            assert asyncio.run(made.verify(None, "blue kettle drum")) == NO_MATCH

    @pytest.mark.parametrize(("threads", "queue"), [(0, 1), (1, -1)])
    def test_a_pool_without_threads_or_with_a_negative_queue_is_refused(
        self, threads: int, queue: int
    ) -> None:
        with pytest.raises(ValueError, match="at least one thread"):
            PasswordHasher(threads, queue)

    def test_impossible_parameters_are_refused_at_once(self) -> None:
        with pytest.raises(ValueError):
            PasswordHasher(1, 1, Argon2Parameters(memory_kib=1, passes=1, lanes=1))


class TestUniformWork:
    """An unknown account and a wrong password cost the same work, and so the same time."""

    NOW = Argon2Parameters(memory_kib=100, passes=3, lanes=1)

    @pytest.mark.parametrize(
        "before",
        [
            NOW,
            CHEAPEST,
            Argon2Parameters(memory_kib=100, passes=1, lanes=1),
            Argon2Parameters(memory_kib=70, passes=2, lanes=1),
            Argon2Parameters(memory_kib=297, passes=1, lanes=1),
        ],
    )
    def test_a_wrong_password_costs_what_an_unknown_account_costs(
        self, before: Argon2Parameters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the stored hash was made with lower parameters than today's."""
        with hasher(before) as old:
            phc = asyncio.run(old.hash("blue kettle drum"))
        with hasher(self.NOW) as now:
            meter = WorkMeter(monkeypatch)
            assert asyncio.run(now.verify(None, "wrong")) == NO_MATCH
            unknown, meter.work = meter.work, 0
            assert asyncio.run(now.verify(phc, "wrong")) == NO_MATCH
            assert unknown == self.NOW.work
            assert 0 <= unknown - meter.work < 8 * 3  # Argon2 counts memory in steps

    def test_making_up_for_a_cheap_hash_takes_no_more_memory_than_a_hash(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with hasher(CHEAPEST) as old:
            phc = asyncio.run(old.hash("blue kettle drum"))
        with hasher(self.NOW) as now:
            meter = WorkMeter(monkeypatch)
            asyncio.run(now.verify(phc, "wrong"))
            assert meter.most_memory <= self.NOW.memory_kib

    def test_a_damaged_hash_costs_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with hasher(self.NOW) as now:
            meter = WorkMeter(monkeypatch)
            asyncio.run(now.verify("damaged", "wrong"))
            assert meter.work == self.NOW.work


class TestStorm:
    """More passwords than the pool has places for."""

    def test_no_more_hashes_at_once_than_there_are_threads(self, make_gate: Callable[[], Gate]) -> None:
        async def story() -> None:
            with hasher(threads=2, queue=8) as made:
                gate = make_gate()
                calls = [asyncio.create_task(made.hash("x")) for _ in range(10)]
                await asyncio.to_thread(gate.entered.acquire)
                await asyncio.to_thread(gate.entered.acquire)
                gate.open.set()
                await asyncio.gather(*calls)
                assert gate.most_running == 2

        asyncio.run(story())

    def test_whoever_finds_no_place_is_told_at_once_when_to_come_back(
        self, make_gate: Callable[[], Gate]
    ) -> None:
        async def story() -> None:
            with hasher(threads=1, queue=3) as made:
                gate = make_gate()
                waiting = [asyncio.create_task(made.hash("x")) for _ in range(4)]
                await asyncio.to_thread(gate.entered.acquire)
                for _ in range(50):
                    with pytest.raises(TooBusyError) as busy:
                        await made.verify(None, "x")
                    assert busy.value.retry_after_s >= 1
                assert not any(call.done() for call in waiting)
                gate.open.set()
                assert all(phc.startswith("$argon2id$") for phc in await asyncio.gather(*waiting))

        asyncio.run(story())

    def test_every_place_is_free_again_after_a_storm(self, make_gate: Callable[[], Gate]) -> None:
        async def story() -> None:
            with hasher(threads=1, queue=3) as made:
                for _ in range(5):
                    calls = [made.verify(None, "x") for _ in range(20)]
                    answers = await asyncio.gather(*calls, return_exceptions=True)
                    assert {type(answer) for answer in answers} <= {Verdict, TooBusyError}
                gate = make_gate()
                waiting = [asyncio.create_task(made.hash("x")) for _ in range(4)]
                await asyncio.to_thread(gate.entered.acquire)
                with pytest.raises(TooBusyError):
                    await made.hash("x")
                gate.open.set()
                await asyncio.gather(*waiting)

        asyncio.run(story())

    def test_a_cancelled_caller_gives_its_place_back(self, make_gate: Callable[[], Gate]) -> None:
        async def story() -> None:
            with hasher(threads=1, queue=2) as made:
                gate = make_gate()
                running, *queued = [asyncio.create_task(made.hash("x")) for _ in range(3)]
                await asyncio.to_thread(gate.entered.acquire)
                for call in (running, *queued):
                    call.cancel()
                await asyncio.wait([running, *queued])
                # The two that waited are free; the one under way keeps its place until it is done.
                waiting = [asyncio.create_task(made.hash("x")) for _ in range(2)]
                await asyncio.sleep(0)
                with pytest.raises(TooBusyError):
                    await made.hash("x")
                gate.open.set()
                await asyncio.gather(*waiting)

        asyncio.run(story())

    def test_a_failing_hash_gives_its_place_back(self) -> None:
        async def story() -> None:
            with hasher(threads=1, queue=0) as made:
                for _ in range(3):
                    with pytest.raises(UnicodeEncodeError):
                        await made.hash("\ud800")
                assert await made.verify(None, "x") == NO_MATCH

        asyncio.run(story())

    def test_the_event_loop_goes_on_while_passwords_are_hashed(self) -> None:
        async def story() -> None:
            with hasher(ARGON2ID, threads=2, queue=6) as made:
                calls = asyncio.gather(*(made.hash("x") for _ in range(8)))
                beats = 0
                while not calls.done():
                    beats += 1
                    await asyncio.sleep(0)
                assert len(await calls) == 8
                assert beats > 100

        asyncio.run(story())

    def test_a_closed_hasher_leaves_nobody_waiting(self, make_gate: Callable[[], Gate]) -> None:
        async def story() -> None:
            made = PasswordHasher(1, 5, CHEAPEST)
            gate = make_gate()
            running, *queued = [asyncio.create_task(made.hash("x")) for _ in range(3)]
            await asyncio.to_thread(gate.entered.acquire)
            closing = asyncio.create_task(asyncio.to_thread(made.close))
            await asyncio.wait(queued)
            gate.open.set()
            assert (await running).startswith("$argon2id$")
            assert all(call.cancelled() for call in queued)
            await closing
            with pytest.raises(RuntimeError):
                await made.hash("x")

        asyncio.run(story())


class TestRefusedBySystem:
    """A sandbox refuses a system call, or a limit on threads is reached."""

    def test_hashing_works_where_the_priority_must_not_change(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: int) -> int:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(passwords.os, "nice", refuse)
        with hasher() as made:
            phc = asyncio.run(made.hash("correct"))
            assert asyncio.run(made.verify(phc, "correct")).matches

    @pytest.mark.parametrize("failing", ["_let_others_go_first", "start"])
    def test_a_pool_that_broke_is_reported_and_replaced(
        self, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        """While threads cannot start the caller is told to come back; afterwards hashing works again."""

        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        async def story() -> None:
            with monkeypatch.context() as broken:
                broken.setattr(threading.Thread if failing == "start" else passwords, failing, refuse)
                made = PasswordHasher(1, 10, CHEAPEST)
                for _ in range(3):
                    with pytest.raises(TooBusyError):
                        await made.hash("x")
                assert not await made.works()
            await made.works()  # the pool may still be one that was made under the failure
            assert await made.works()
            assert (await made.verify(await made.hash("x"), "x")).matches
            made.close()

        asyncio.run(story())

    def test_a_closed_pool_is_not_opened_again(self) -> None:
        with hasher() as made:
            pass
        with pytest.raises(RuntimeError):
            asyncio.run(made.hash("x"))
