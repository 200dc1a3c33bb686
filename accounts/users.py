# SPDX-License-Identifier: MIT
"""Users and how they prove who they are: an e-mail address and a password.

The table's unique index decides whether an address is taken, so two sign-ups at the same moment make one
account. Passwords are hashed before a transaction begins, never inside one, and whoever is refused has cost
the same work, be it for an unknown address or a wrong password.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from accounts.database import Connection, Database
from accounts.emails import normalise_email
from accounts.errors import EmailError, FieldErrors, UnknownUserError, WrongCredentialsError
from accounts.password_rule import FIELD_MISSING, check_password, check_password_text
from accounts.passwords import PasswordHasher
from accounts.text import is_storable

log = logging.getLogger("stormcellar.accounts")

EMAIL_TAKEN = "This email already exists. Please sign in instead."

# Times are Unix milliseconds. A user without a password hash cannot sign in with any password.
USER_TABLES = [
    """
    CREATE TABLE users (
        user_id TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        email_verified_at_ms BIGINT,
        password_hash TEXT,
        created_at_ms BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX users_by_email ON users (email);
    CREATE INDEX users_by_age ON users (created_at_ms, user_id)
    """,
]

_USER_COLUMNS = "user_id, email, created_at_ms, email_verified_at_ms"


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, UTC."""
        raise NotImplementedError


@dataclass(frozen=True)
class User:
    """One account. `email` is in its normal form and stays out of the representation, and so out of logs."""

    user_id: str
    email: str = field(repr=False)
    created_at_ms: int
    email_verified: bool = False


class _Credentials(NamedTuple):
    user: User
    password_hash: str | None


class Users:
    """The accounts of one application.

    Besides the errors named below, every coroutine passes on what the database raises when it cannot answer.

    Args:
        database: where the table `users` is.
        hasher: shared by all who hash passwords in this process; whoever made it closes it.
        clock: tells when an account was created.
        password_min_length: in characters.
        site_name: refused as a password.
        extra_common_passwords: more passwords to refuse, case-folded: a frozenset, or anything with `in`.
    """

    def __init__(
        self,
        database: Database,
        hasher: PasswordHasher,
        *,
        clock: Clock,
        password_min_length: int = 8,
        site_name: str = "",
        extra_common_passwords: Container[str] = frozenset(),
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._clock = clock
        self._password_min_length = password_min_length
        self._site_name = site_name
        self._extra_common_passwords = extra_common_passwords

    async def open(self) -> None:
        """Bring the tables up to date; called once before anything else."""
        await self._database.migrate("accounts", USER_TABLES)

    async def sign_up(self, email: str, password: str) -> User:
        """Create an account.

        Raises:
            FieldErrors: the address is invalid or taken, or the password may not be chosen.
            TooBusyError: too many passwords are being hashed.
        """
        errors: dict[str, str] = {}
        address = _take_email(email, errors)
        refusal = self._refuse_password(password, address or email)
        if refusal:
            errors["password"] = refusal
        if errors:
            raise FieldErrors(errors)
        password_hash = await self._hasher.hash(password)
        user = User(str(uuid.uuid4()), address, int(self._clock.now() * 1000))
        if not await self._insert(user, password_hash):
            raise FieldErrors({"email": EMAIL_TAKEN})
        return user

    async def sign_in(self, email: str, password: str) -> User:
        """Return the user to whom this address and password belong.

        Raises:
            FieldErrors: the address is invalid, or nobody can have this password.
            WrongCredentialsError: no such account or not its password; content and time do not tell which.
            TooBusyError: too many passwords are being hashed.
        """
        errors: dict[str, str] = {}
        address = _take_email(email, errors)
        refusal = check_password_text(password)
        if refusal:
            errors["password"] = refusal
        if errors:
            raise FieldErrors(errors)
        stored = await self._credentials(address)
        while True:
            verdict = await self._hasher.verify(stored.password_hash if stored else None, password)
            if stored is None or not verdict.matches:
                raise WrongCredentialsError
            # Hashing takes its time, and the account may have got another password or gone meanwhile.
            checked, stored = stored, await self._credentials(address)
            if stored == checked:
                break
        if verdict.needs_rehash:
            await self._rehash(checked, password)
        return checked.user

    async def get(self, user_id: str) -> User | None:
        return await self._find("user_id", user_id)

    async def get_by_email(self, email: str) -> User | None:
        """The user of an address in any spelling; None also for what is no address."""
        try:
            return await self._find("email", normalise_email(email))
        except EmailError:
            return None

    async def list(self, *, limit: int = 100, after: User | None = None) -> Sequence[User]:
        """Users from the oldest account on, at most `limit`; `after` is the last one of the page before."""
        last = (after.created_at_ms, after.user_id) if after else (-1, "")
        sql = (
            f"SELECT {_USER_COLUMNS} FROM users WHERE (created_at_ms, user_id) > (:created_at_ms, :user_id)"  # noqa: S608
            " ORDER BY created_at_ms, user_id LIMIT :limit"
        )
        parameters = {"created_at_ms": last[0], "user_id": last[1], "limit": limit}
        rows = await self._database.read(lambda connection: connection.execute(sql, parameters).fetchall())
        return [_user(row) for row in rows]

    async def set_password(self, user_id: str, password: str) -> None:
        """Give a user another password. Ending the sessions that the old one began is the caller's part.

        Raises:
            FieldErrors: the password may not be chosen.
            UnknownUserError: there is no such user.
            TooBusyError: too many passwords are being hashed.
        """
        user = await self.get(user_id)
        if user is None:
            raise UnknownUserError
        refusal = self._refuse_password(password, user.email)
        if refusal:
            raise FieldErrors({"password": refusal})
        changed = await self._execute(
            "UPDATE users SET password_hash = :password_hash WHERE user_id = :user_id",
            user_id=user_id,
            password_hash=await self._hasher.hash(password),
        )
        if not changed:
            raise UnknownUserError

    async def delete(self, user_id: str) -> bool:
        """Remove an account; whether there was one. Ending its sessions is the caller's part."""
        if not is_storable(user_id):
            return False
        return await self._execute("DELETE FROM users WHERE user_id = :user_id", user_id=user_id) == 1

    def _refuse_password(self, password: str, email: str) -> str | None:
        return check_password(
            password,
            min_length=self._password_min_length,
            email=email,
            site_name=self._site_name,
            extra_common_passwords=self._extra_common_passwords,
        )

    async def _insert(self, user: User, password_hash: str) -> bool:
        inserted = await self._execute(
            "INSERT INTO users (user_id, email, password_hash, created_at_ms)"
            " VALUES (:user_id, :email, :password_hash, :created_at_ms)"
            " ON CONFLICT (email) DO NOTHING",
            user_id=user.user_id,
            email=user.email,
            password_hash=password_hash,
            created_at_ms=user.created_at_ms,
        )
        return inserted == 1

    async def _rehash(self, checked: _Credentials, password: str) -> None:
        """Replace a hash of older parameters, unless someone was faster. Signing in does not depend on it."""
        try:
            await self._execute(
                "UPDATE users SET password_hash = :password_hash"
                " WHERE user_id = :user_id AND password_hash = :old_hash",
                user_id=checked.user.user_id,
                old_hash=checked.password_hash,
                password_hash=await self._hasher.hash(password),
            )
        except Exception as error:
            log.warning("user %s keeps a password hash of older parameters: %s", checked.user.user_id, error)

    async def _credentials(self, email: str) -> _Credentials | None:
        row = await self._row(f"SELECT {_USER_COLUMNS}, password_hash FROM users WHERE email = :value", email)  # noqa: S608
        return _Credentials(_user(row[:-1]), row[-1]) if row else None

    async def _find(self, column: str, value: str) -> User | None:
        if not is_storable(value):
            return None
        row = await self._row(f"SELECT {_USER_COLUMNS} FROM users WHERE {column} = :value", value)  # noqa: S608
        return _user(row) if row else None

    async def _row(self, sql: str, value: str) -> Any:
        def work(connection: Connection) -> Any:
            return connection.execute(sql, {"value": value}).fetchone()

        return await self._database.read(work)

    async def _execute(self, sql: str, **parameters: object) -> int:
        """Run one writing statement; returns how many rows it touched."""

        def work(connection: Connection) -> int:
            return connection.execute(sql, parameters).rowcount

        return await self._database.write(work)


def _take_email(email: str, errors: dict[str, str]) -> str:
    """The address in its normal form; if there is none, why not goes into `errors`."""
    try:
        return normalise_email(email)
    except EmailError as error:
        errors["email"] = str(error) if email.strip() else FIELD_MISSING
        return ""


def _user(row: Sequence[Any]) -> User:
    user_id, email, created_at_ms, email_verified_at_ms = row
    return User(user_id, email, created_at_ms, email_verified=email_verified_at_ms is not None)
