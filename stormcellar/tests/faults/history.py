# SPDX-License-Identifier: MIT
"""What clients asked a site for and what it answered, and whether sessions that last may answer so.

A session only moves forward: each refresh takes it to the next generation, a sign-out ends it, and nothing
leads back. So two bounds hold all that can be known of it at any moment:

    what has happened        whatever was acknowledged before that moment
    what may have happened   whatever was asked for before that moment, answered or not

An operation without an answer (the process was killed, the wire was cut) may have happened or not, at any
time after it was asked for. Nothing else is ambiguous: an answer outside the bounds is a violation.

    answered                     is a violation if
    ok        read, refresh      the session's end was known before this was asked for
    refused   any                no sign-out had been asked for (but for this one)
    accused   any                always: everyone here presents the newest tokens they were given
    ok        refresh            the same token got another successor before
    refused   sign_in            always: everyone here has an account

An `inspect` is a look into the database by the test itself; a row must be there, or not, with a generation
between the two bounds.

Reads alone may lag behind: other processes hear of a sign-out a moment later, so there the end counts as
known only `heard_within_s` after it was acknowledged.

Method: Kyle Kingsbury's Jepsen, in small (histories of invocations and completions, then a checker).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["sign_in", "read", "refresh", "sign_out", "inspect"]
Answer = Literal["ok", "refused", "accused"]
NEVER = math.inf


@dataclass(eq=False)
class Operation:
    """One thing that a client asked for. Times are of any clock that only goes forward.

    Attributes:
        session: its handle; empty for a sign-in that has not been answered.
        generation: of the tokens that were presented; for an `inspect` that of the row, None without one.
        successor: the refresh token that a refresh brought.
    """

    kind: Kind
    session: str
    asked_at: float
    generation: int | None = None
    answer: Answer | None = None
    answered_at: float = NEVER
    successor: str = ""

    def __str__(self) -> str:
        said = self.answer or "nothing"
        times = f"{self.asked_at:.3f} to {self.answered_at:.3f}"
        return f"{self.kind} of session {self.session} at generation {self.generation}: {said} ({times})"


@dataclass
class History:
    """Everything that the clients of one test did."""

    now: Callable[[], float] = time.monotonic
    operations: list[Operation] = field(default_factory=list)

    def ask(self, kind: Kind, session: str = "", generation: int | None = None) -> Operation:
        operation = Operation(kind, session, self.now(), generation)
        self.operations.append(operation)
        return operation

    def answer(self, operation: Operation, answer: Answer, successor: str = "") -> None:
        operation.answer, operation.successor = answer, successor
        operation.answered_at = self.now()

    def strike(self, operation: Operation) -> None:
        """Take out what certainly did not happen: nobody listened, or "renew your access token first"."""
        self.operations.remove(operation)

    def violations(self, *, heard_within_s: float) -> list[str]:
        """One sentence for each answer that no session which lasts could have given."""
        sessions: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            sessions[operation.session].append(operation)
        return [
            f"{reason}: {operation}"
            for operations in sessions.values()
            for reason, operation in _Register(operations, heard_within_s).violations()
        ]


class _Register:
    """The bounds of one session, and what lies outside them."""

    def __init__(self, operations: Iterable[Operation], heard_within_s: float) -> None:
        self.operations = list(operations)
        self.heard_within_s = heard_within_s
        self.sign_outs = [operation for operation in self.operations if operation.kind == "sign_out"]
        self.refreshes = [operation for operation in self.operations if operation.kind == "refresh"]
        self.ended_at = min((op.answered_at for op in self.operations if _tells_the_end(op)), default=NEVER)

    def violations(self) -> Iterator[tuple[str, Operation]]:
        successors: dict[int | None, str] = {}
        for operation in self.operations:
            if operation.kind == "inspect":
                yield from self._inspect(operation)
            elif operation.answer == "accused":
                yield "a rightful client was taken for a thief", operation
            elif operation.answer == "refused":
                if not self._may_have_ended(operation):
                    yield "a rightful client was refused", operation
            elif operation.answer == "ok" and operation.kind in ("read", "refresh"):
                delay = self.heard_within_s if operation.kind == "read" else 0.0
                if operation.asked_at > self.ended_at + delay:
                    yield "a session that had ended was served", operation
                successor = operation.successor
                if successor and successors.setdefault(operation.generation, successor) != successor:
                    yield "one refresh token got two successors", operation

    def _inspect(self, look: Operation) -> Iterator[tuple[str, Operation]]:
        if look.generation is None:
            if not self._may_have_ended(look):
                yield "a session is not in the database", look
            return
        if look.asked_at > self.ended_at:
            yield "a session that had ended is in the database", look
        at_least = self._generation(
            refresh for refresh in self.refreshes if refresh.answered_at < look.asked_at
        )
        at_most = self._generation(
            refresh for refresh in self.refreshes if refresh.asked_at < look.answered_at
        )
        if look.generation < at_least:
            yield f"an acknowledged refresh, to generation {at_least}, is not in the database", look
        if look.generation > at_most:
            yield f"the database is ahead of what was ever asked for, generation {at_most}", look

    def _may_have_ended(self, operation: Operation) -> bool:
        return any(
            sign_out.asked_at < operation.answered_at
            for sign_out in self.sign_outs
            if sign_out is not operation
        )

    @staticmethod
    def _generation(refreshes: Iterable[Operation]) -> int:
        """The generation that these refreshes lead to."""
        return max(
            (refresh.generation + 1 for refresh in refreshes if refresh.generation is not None), default=0
        )


def _tells_the_end(operation: Operation) -> bool:
    return operation.answer == "refused" or (operation.kind == "sign_out" and operation.answer == "ok")
