# SPDX-License-Identifier: MIT
"""How often somebody may try: budgets in the database, which all processes and machines share.

A budget belongs to an account or to a client address. Trying takes one from it, in one statement, before
anything expensive happens; an attempt that turns out to be none of the kind that is limited gives it back.
Refused attempts are not counted: whatever an attacker goes on doing, every refusal ends by itself.

    sign-in, by account    10 failures; each starts the 5 minutes anew, so in no 5 minutes are there more.
                           After 100 failures without a success in between the account stays shut, but for a
                           new password by mail or a client that is known to it. Failures are forgotten
                           6 hours later for each one there is, so a full count after 25 days.
    sign-in, known clients 30 failures of all that are known to an account, and 100 in a row as above: each
                           sign-in without a cookie makes one more client known.
    all others             so many in a window, which begins with the first of them

An address is limited whether or not somebody has it: nobody learns that from a refusal. No address can be
read from the table; its rows have keyed hashes of them.

Source: NIST SP 800-63B, section 5.2.2 (at most 100 failures in a row); OWASP ASVS 5.0, 6.3.1.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from stormcellar.accounts.attempts import EqualAttempts, Reservations
from stormcellar.accounts.database import Connection, Database
from stormcellar.accounts.emails import normalise_email
from stormcellar.accounts.errors import EmailError, FieldErrors, ThrottledError, WrongCredentialsError
from stormcellar.accounts.users import EMAIL_TAKEN, Clock

log = logging.getLogger("stormcellar.accounts")

T = TypeVar("T")

MINUTE_S, HOUR_S = 60, 60 * 60
FAILURE_REMEMBERED_S = 6 * HOUR_S
NO_CEILING = 2**62
PURGE_BATCH = 500

# Times are Unix milliseconds.
LIMIT_TABLES = [
    """
    CREATE TABLE rate_limits (
        bucket TEXT PRIMARY KEY,
        used BIGINT NOT NULL,
        in_a_row BIGINT NOT NULL,
        window_ends_at_ms BIGINT NOT NULL,
        forgotten_at_ms BIGINT NOT NULL
    );
    CREATE INDEX rate_limits_by_end ON rate_limits (forgotten_at_ms)
    """
]

# A window that ends later than any can was begun by a clock that was wrong, and is over.
_OVER = "(held.window_ends_at_ms <= :now_ms OR held.window_ends_at_ms > :never_ms)"
_WINDOW_END = f"CASE WHEN {_OVER} OR :renewed = 1 THEN :ends_at_ms ELSE held.window_ends_at_ms END"
_IN_A_ROW = "CASE WHEN held.forgotten_at_ms <= :now_ms THEN 1 ELSE held.in_a_row + 1 END"
TAKE = f"""
    INSERT INTO rate_limits AS held (bucket, used, in_a_row, window_ends_at_ms, forgotten_at_ms)
    VALUES (:bucket, 1, 1, :ends_at_ms, :first_forgotten_at_ms)
    ON CONFLICT (bucket) DO UPDATE SET
        used = CASE WHEN {_OVER} THEN 1 ELSE held.used + 1 END,
        in_a_row = {_IN_A_ROW},
        window_ends_at_ms = {_WINDOW_END},
        forgotten_at_ms = {_WINDOW_END} + ({_IN_A_ROW}) * :remembered_ms
    WHERE ({_OVER} OR held.used < :most) AND (held.in_a_row < :ceiling OR held.forgotten_at_ms <= :now_ms)
"""  # noqa: S608 - nothing but the pieces above
GIVE_BACK = (
    "UPDATE rate_limits SET used = used - 1, in_a_row = in_a_row - 1"
    " WHERE bucket = :bucket AND used > 0 AND in_a_row > 0"
)


@dataclass(frozen=True)
class Limit:
    """`most` attempts in `window_s` seconds.

    Args:
        name: of the budget, for the log and the table.
        refusal: what a person is told first; how long to wait follows.
        renewed: each attempt begins the window anew, so that in no such length of time are there more.
        ceiling: how many attempts in a row shut the budget until it is reset or forgotten.
    """

    name: str
    most: int
    window_s: int
    refusal: str
    renewed: bool = False
    ceiling: int = NO_CEILING

    @property
    def remembered_s(self) -> int:
        """How much longer the row is kept for each attempt in a row."""
        return FAILURE_REMEMBERED_S if self.ceiling < NO_CEILING else 0


_FAILURES = "There were too many failed attempts to sign in."
_MAILS = "Too many mails were asked for."

SIGN_IN_ACCOUNT = Limit("sign-in account", 10, 5 * MINUTE_S, _FAILURES, renewed=True, ceiling=100)
SIGN_IN_KNOWN = Limit("sign-in known clients", 30, 5 * MINUTE_S, _FAILURES, ceiling=100)
SIGN_IN_CLIENT = Limit("sign-in client", 100, 10 * MINUTE_S, _FAILURES)
CONFIRMATION = Limit(
    "confirmation",
    10,
    5 * MINUTE_S,
    "There were too many wrong passwords.",
    renewed=True,
    ceiling=100,
)
PASSKEY_CLIENT = Limit("passkey client", 100, 10 * MINUTE_S, "There were too many refused passkeys.")
SIGN_UP = Limit("sign-up", 100, HOUR_S, "Too many accounts were made from here.")
LOOK_UP = Limit("look-up", 25, 10 * MINUTE_S, "Too many addresses were tried from here.")
RESET_ACCOUNT = Limit("reset account", 5, HOUR_S, _MAILS)
RESET_CLIENT = Limit("reset client", 50, HOUR_S, _MAILS)
VERIFICATION_ACCOUNT = Limit("verification account", 10, HOUR_S, _MAILS)
VERIFICATION_CLIENT = Limit("verification client", 50, HOUR_S, _MAILS)


class Budget(NamedTuple):
    """One row of the table, which may not be there yet."""

    limit: Limit
    bucket: str


class Limits:
    """The budgets of one application. Coroutines that say so raise ThrottledError.

    Args:
        database: where the table is.
        clock: tells when a window is over.
        key: what the hashes are keyed with, at least 32 bytes, the same on every server.
        enabled: False limits nothing.
        on_throttled: is called with each ThrottledError that is raised; logs it unless given.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        key: bytes,
        enabled: bool = True,
        on_throttled: Callable[[ThrottledError], object] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self.enabled = enabled
        self._reservations = Reservations()
        self._equal_attempts = EqualAttempts()
        self._on_throttled = on_throttled or _log_throttled

    async def open(self) -> None:
        """Bring the table up to date; called once before anything else."""
        await self._database.migrate("limits", LIMIT_TABLES)

    async def maintain(self) -> None:
        """Delete what is over, in small batches, so that other writes go between them."""
        gone = PURGE_BATCH
        while gone >= PURGE_BATCH:
            gone = await self._database.write(self._delete_some)

    # -- what is limited ----------------------------------------------------------------------------

    async def once(self, what: Sequence[str], attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt, which equal ones that come meanwhile share: they are one guess.

        Args:
            what: what makes two attempts equal, the password included.
        """
        return await self._equal_attempts.run(tuple(what), attempt)

    @asynccontextmanager
    async def signing_in(
        self, email: str, client: str, known_client: str | None = None
    ) -> AsyncIterator[None]:
        """Around the check of a password: only WrongCredentialsError counts.

        A success resets what strangers used of the account's budget, never what this client used.

        Args:
            email: in any spelling; what is no address is not looked at.
            client: the address that the attempt comes from, an IPv6 /64 counting as one.
            known_client: names a client from which this account was signed in to before. It has a budget of
                its own, and one with all others of that kind, in place of those that strangers can use up.

        Raises:
            ThrottledError: too many failures.
        """
        try:
            address = normalise_email(email)
        except EmailError:
            yield
            return
        if known_client is not None:
            known = self._budget(SIGN_IN_KNOWN, address)
            guessing = self._guessing(self._budget(SIGN_IN_ACCOUNT, address, known_client), known)
        else:
            account = self._budget(SIGN_IN_ACCOUNT, address)
            guessing = self._guessing(account, by_client=[self._budget(SIGN_IN_CLIENT, client)])
        async with guessing:
            yield

    @asynccontextmanager
    async def confirming(self, user_id: str) -> AsyncIterator[None]:
        """Around the check of a password of somebody who is signed in: only WrongCredentialsError counts.

        Raises:
            ThrottledError: too many failures.
        """
        async with self._guessing(self._budget(CONFIRMATION, user_id)):
            yield

    @asynccontextmanager
    async def using_passkey(self, client: str) -> AsyncIterator[None]:
        """Around the check of a passkey: a refusal, which is any error, counts.

        Raises:
            ThrottledError: too many refusals.
        """
        budget = self._budget(PASSKEY_CLIENT, client)
        async with self._reserving(budget):
            yield
            await self._give_back(budget)

    @asynccontextmanager
    async def signing_up(self, client: str) -> AsyncIterator[None]:
        """Around the making of an account. Whoever learns that an address is taken has looked it up.

        Raises:
            ThrottledError: too many accounts were made or addresses looked up.
        """
        account, look_up = self._budget(SIGN_UP, client), self._budget(LOOK_UP, client)
        async with self._reserving(account, look_up):
            try:
                yield
            except FieldErrors as error:
                is_look_up = error.errors.get("email") == EMAIL_TAKEN
                given_back = [account] if is_look_up else [account, look_up]
                await self._give_back(*given_back)
                raise
            except Exception:
                await self._give_back(account, look_up)
                raise
            await self._give_back(look_up)

    async def look_up(self, client: str) -> None:
        """Somebody asks whether an address is taken. Raises ThrottledError."""
        await self._take(self._budget(LOOK_UP, client))

    async def reset_mail(self, email: str, client: str) -> None:
        """Somebody asks for a link for a new password. Raises ThrottledError."""
        try:
            address = normalise_email(email)
        except EmailError:
            return
        await self._take(self._budget(RESET_CLIENT, client), self._budget(RESET_ACCOUNT, address))

    async def verification_mail(self, user_id: str, client: str) -> None:
        """Somebody asks for a link to confirm their address. Raises ThrottledError."""
        await self._take(
            self._budget(VERIFICATION_CLIENT, client), self._budget(VERIFICATION_ACCOUNT, user_id)
        )

    async def forgive(self, email: str, user_id: str) -> None:
        """A new password was chosen by mail: failures with the old one do not count any more."""
        address = normalise_email(email)
        await self._reset(
            self._budget(SIGN_IN_ACCOUNT, address),
            self._budget(SIGN_IN_KNOWN, address),
            self._budget(CONFIRMATION, user_id),
        )

    # -- budgets ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _guessing(self, *of_account: Budget, by_client: Sequence[Budget] = ()) -> AsyncIterator[None]:
        async with self._reserving(*by_client, *of_account):
            try:
                yield
            except WrongCredentialsError:
                raise
            except Exception:  # nothing was learned of the password
                await self._give_back(*by_client, *of_account)  # in the order they were taken
                raise
            await self._reset(*of_account, given_back=by_client)

    @asynccontextmanager
    async def _reserving(self, *budgets: Budget) -> AsyncIterator[None]:
        """Around an attempt that takes one from each budget, and may give some back at its end.

        Raises:
            ThrottledError: one of them is used up, and not by attempts that are under way in this process.
        """
        try:
            async with self._reservations.holding(
                [budget.bucket for budget in budgets], lambda: self._try_to_take(*budgets)
            ):
                yield
        except ThrottledError as error:
            self._on_throttled(error)
            raise

    def _budget(self, limit: Limit, *whose: str) -> Budget:
        text = "\0".join((limit.name, *whose)).encode(errors="surrogatepass")
        return Budget(limit, f"{limit.name} {hmac.digest(self._key, text, hashlib.sha256).hex()[:40]}")

    async def _take(self, *budgets: Budget) -> None:
        """Take one from each, or none.

        Raises:
            ThrottledError: one of them is used up.
        """
        try:
            await self._try_to_take(*budgets)
        except ThrottledError as error:
            self._on_throttled(error)
            raise

    async def _try_to_take(self, *budgets: Budget) -> None:
        """As `_take`, without telling that it was refused."""
        if not self.enabled:
            return

        def work(connection: Connection) -> None:
            for budget in budgets:
                self._take_one(connection, budget)

        await self._database.write(work)

    def _take_one(self, connection: Connection, budget: Budget) -> None:
        limit, now_ms = budget.limit, int(self._clock.now() * 1000)
        window_ms, remembered_ms = 1000 * limit.window_s, 1000 * limit.remembered_s
        taken = connection.execute(
            TAKE,
            {
                "bucket": budget.bucket,
                "now_ms": now_ms,
                "ends_at_ms": now_ms + window_ms,
                "never_ms": now_ms + 2 * window_ms,
                "first_forgotten_at_ms": now_ms + window_ms + remembered_ms,
                "remembered_ms": remembered_ms,
                "renewed": int(limit.renewed),
                "most": limit.most,
                "ceiling": limit.ceiling,
            },
        )
        if taken.rowcount != 1:
            raise ThrottledError(limit.name, limit.refusal, _wait_s(connection, budget, now_ms))

    async def _give_back(self, *budgets: Budget) -> None:
        await self._reset(given_back=budgets)

    async def _reset(self, *budgets: Budget, given_back: Sequence[Budget] = ()) -> None:
        """Forget what was taken from some, and give one back to others."""
        if not self.enabled:
            return

        def work(connection: Connection) -> None:
            for budget in given_back:
                connection.execute(GIVE_BACK, {"bucket": budget.bucket})
            for budget in budgets:
                connection.execute(
                    "DELETE FROM rate_limits WHERE bucket = :bucket", {"bucket": budget.bucket}
                )

        await self._database.write(work)

    def _delete_some(self, connection: Connection) -> int:
        deleted = connection.execute(
            "DELETE FROM rate_limits WHERE bucket IN"
            " (SELECT bucket FROM rate_limits WHERE forgotten_at_ms <= :now_ms LIMIT :limit)",
            {"now_ms": int(self._clock.now() * 1000), "limit": PURGE_BATCH},
        )
        return deleted.rowcount


def _wait_s(connection: Connection, budget: Budget, now_ms: int) -> int:
    """How long a budget that is used up stays so, at least 1."""
    row = connection.execute(
        "SELECT in_a_row, window_ends_at_ms, forgotten_at_ms FROM rate_limits WHERE bucket = :bucket",
        {"bucket": budget.bucket},
    ).fetchone()
    if row is None:  # somebody has reset it in this moment
        return 1
    in_a_row, window_ends_at_ms, forgotten_at_ms = row
    until_ms = forgotten_at_ms if in_a_row >= budget.limit.ceiling else window_ends_at_ms
    wait_ms: int = until_ms - now_ms
    return max(1, math.ceil(wait_ms / 1000))


def _log_throttled(error: ThrottledError) -> None:
    log.warning("throttled: %s", error.limit)
