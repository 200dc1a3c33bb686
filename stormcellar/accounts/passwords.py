# SPDX-License-Identifier: MIT
"""Hashing passwords with Argon2id (RFC 9106), off the event loop and never too many at once.

A hash costs tens of milliseconds and 19 MiB on purpose. So a few threads do it (Argon2 lets go of
Python's lock), a bounded number of callers waits for them, and everyone beyond is told at once to come
back later: memory and waiting time have a ceiling however many people knock.

Nor may the time of an answer tell whether an account exists. A hash is work in proportion to memory
times passes, and every password that is refused costs the work of the current parameters: for an
unknown account, a hash that nothing matches is verified; for a hash made when the parameters were
lower, the difference is worked off afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from stormcellar.accounts.errors import TooBusyError

log = logging.getLogger("stormcellar.accounts")

T = TypeVar("T")

SALT_BYTES = 16  # RFC 9106, section 3.1: recommended for password hashing
HASH_BYTES = 32
HASHING_NICENESS = 5
LEAST_MEMORY_KIB = 8  # RFC 9106, section 3.1: per lane

_PHC_PARAMETERS = re.compile(r"\$argon2id\$v=19\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})\$")


@dataclass(frozen=True)
class Argon2Parameters:
    """The cost of a hash: memory in KiB, passes over it, and lanes."""

    memory_kib: int
    passes: int
    lanes: int

    @property
    def work(self) -> int:
        """KiB written, to which the time a hash takes is in proportion."""
        return self.memory_kib * self.passes


ARGON2ID = Argon2Parameters(memory_kib=19456, passes=2, lanes=1)
"""OWASP Password Storage Cheat Sheet, "Argon2id": 19 MiB, two passes, one lane at least.
OWASP ASVS 5.0, appendix C, asks for the same."""


class Verdict(NamedTuple):
    """`needs_rehash`: the password matches, but its hash has other parameters than today's."""

    matches: bool
    needs_rehash: bool


class PasswordHasher:
    """Makes and verifies password hashes in PHC string format.

    Args:
        threads: how many hashes are made at the same time.
            At most `threads` times `parameters.memory_kib` of memory is in use. Each process has its own.
        queue: how many callers may wait for a thread. Whoever comes after them gets `TooBusyError`.
        parameters: for new hashes. Older hashes go on working and are told apart by `needs_rehash`.
    """

    def __init__(self, threads: int, queue: int, parameters: Argon2Parameters = ARGON2ID) -> None:
        if threads < 1 or queue < 0:
            raise ValueError("a password hasher needs at least one thread and a queue of zero or more")
        self.parameters = parameters
        self._threads = threads
        self._places_count = self._threads + queue
        self._places = threading.BoundedSemaphore(self._places_count)
        self._pool = self._new_pool()
        self._is_closed = False
        self._is_broken = False
        self._nobodys_hash = _hash_that_nothing_matches(parameters)
        self._seconds_per_job = 0.0
        _argon2id(parameters)  # impossible parameters, or an OpenSSL without Argon2, stop the start

    @property
    def waiting(self) -> int:
        """How many passwords wait for a thread."""
        return self._pool._work_queue.qsize()

    async def hash(self, password: str) -> str:
        """Return a new PHC string with a random salt.

        Raises:
            TooBusyError: no place is free.
            UnicodeEncodeError: the password holds a lone surrogate; `check_password` refuses those.
        """
        secret = password.encode()
        return await self._run(lambda: _argon2id(self.parameters).derive_phc_encoded(secret))

    async def verify(self, phc: str | None, password: str) -> Verdict:
        """Tell whether the password matches a hash; None stands for an account that is not there.

        Every negative answer takes the same time, also for hashes made when parameters were lower; one made
        with higher parameters than today's takes longer.

        Raises:
            TooBusyError, UnicodeEncodeError: as `hash` does.
        """
        secret = password.encode()
        return await self._run(lambda: self._verify(self._nobodys_hash if phc is None else phc, secret))

    async def works(self) -> bool:
        """Tell whether passwords can be hashed. After a failure this tries a thread."""
        if self._is_broken:
            with contextlib.suppress(TooBusyError):
                await self._run(lambda: None)
        return not self._is_broken

    def close(self) -> None:
        """Wait for the hashes that are being made; callers still in the queue are cancelled."""
        self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, phc: str, secret: bytes) -> Verdict:
        parameters = _parameters_of(phc)
        try:
            Argon2id.verify_phc_encoded(secret, phc)
        except (InvalidKey, ValueError):  # the password does not match, or the stored hash is damaged
            self._work_off(self.parameters.work - (parameters.work if parameters else 0), secret)
            return Verdict(matches=False, needs_rehash=False)
        return Verdict(matches=True, needs_rehash=parameters != self.parameters)

    def _work_off(self, work: int, secret: bytes) -> None:
        """Spend this much work, in no more memory than a hash takes."""
        passes = max(1, math.ceil(work / self.parameters.memory_kib))
        memory_kib = work // passes
        if memory_kib >= LEAST_MEMORY_KIB:
            _argon2id(Argon2Parameters(memory_kib, passes, lanes=1)).derive(secret)

    async def _run(self, job: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise TooBusyError(self._seconds_until_idle())
        pool = self._pool
        try:
            future = pool.submit(self._timed, job)
        except RuntimeError as error:
            self._places.release()
            if self._is_closed:
                raise
            raise self._broken(pool, error) from error
        # Called once in every case, also when the caller is cancelled: then at once if the job was still
        # waiting, and at its end if it was running.
        future.add_done_callback(lambda _: self._places.release())
        try:
            result = await asyncio.wrap_future(future)
        except BrokenExecutor as error:
            raise self._broken(pool, error) from error
        self._is_broken = False
        return result

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            self._threads, thread_name_prefix="password", initializer=_let_others_go_first
        )

    def _broken(self, pool: ThreadPoolExecutor, error: Exception) -> TooBusyError:
        """Replace a pool that can start no thread: the system refused one, or the initializer failed."""
        if pool is self._pool:
            log.error("no thread for passwords can be started (%s); the next password tries again", error)
            self._is_broken = True
            pool.shutdown(wait=False)  # the threads that it has finish their work
            self._pool = self._new_pool()
        return TooBusyError(self._seconds_until_idle())

    def _timed(self, job: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return job()
        finally:
            self._seconds_per_job = time.perf_counter() - started

    def _seconds_until_idle(self) -> int:
        return max(1, math.ceil(self._seconds_per_job * self._places_count / self._threads))


def _let_others_go_first() -> None:
    """Lower the priority of this thread, so that pages are served first.

    On Linux each thread has its own niceness. A sandbox may refuse the system call setpriority(2); hashing
    works without it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.nice(HASHING_NICENESS)


def _argon2id(parameters: Argon2Parameters) -> Argon2id:
    return Argon2id(
        salt=os.urandom(SALT_BYTES),
        length=HASH_BYTES,
        iterations=parameters.passes,
        lanes=parameters.lanes,
        memory_cost=parameters.memory_kib,
    )


def _hash_that_nothing_matches(parameters: Argon2Parameters) -> str:
    """A PHC string whose hash is random: as much work to verify as any, and no password is known."""
    salt, digest = (
        base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES)
    )
    cost = f"m={parameters.memory_kib},t={parameters.passes},p={parameters.lanes}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _parameters_of(phc: str) -> Argon2Parameters | None:
    found = _PHC_PARAMETERS.match(phc)
    return Argon2Parameters(*map(int, found.groups())) if found else None
