# SPDX-License-Identifier: MIT
"""Users and how they prove who they are: an e-mail address and a password, or a link mailed to the address.

The table's unique index decides whether an address is taken, so two sign-ups at the same moment make one
account. Passwords are hashed before a transaction begins, never inside one, and whoever is refused has cost
the same work, be it for an unknown address or a wrong password.

Where a transaction changes a user and what belongs to the user, the row in `users` comes first: whoever is
second then waits there, and no two can wait for each other.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import unicodedata
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from stormcellar.accounts import one_time_tokens
from stormcellar.accounts.database import Connection, Database
from stormcellar.accounts.emails import ascii_domain, email_spellings, normalise_email
from stormcellar.accounts.errors import (
    EmailError,
    FieldErrors,
    InvalidTokenError,
    UnknownUserError,
    WrongCredentialsError,
)
from stormcellar.accounts.one_time_tokens import (
    NEW_EMAIL_COLUMN,
    NOBODY,
    TOKEN_TABLE,
    OneTimeToken,
    Purpose,
    StoredToken,
)
from stormcellar.accounts.password_rule import (
    FIELD_MISSING,
    check_password,
    check_password_text,
    normal_password,
    password_forms,
)
from stormcellar.accounts.passwords import PasswordHasher, Verdict
from stormcellar.accounts.text import is_storable

log = logging.getLogger("stormcellar.accounts")

EMAIL_TAKEN = "This email already exists. Please sign in instead."
EMAIL_UNCHANGED = "This is your address already"

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
    TOKEN_TABLE,
    """
    CREATE TABLE user_roles (user_id TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (user_id, role))
    """,
    "ALTER TABLE users ADD COLUMN password_version INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE users ADD COLUMN locked_at_ms BIGINT",
    NEW_EMAIL_COLUMN,
    """
    ALTER TABLE users ADD COLUMN first_verified_at_ms BIGINT;
    ALTER TABLE users ADD COLUMN password_changed_at_ms BIGINT
    """,
]

DAY_S = 24 * 60 * 60
PURGE_BATCH = 500
MAX_ROLE_CHARACTERS = 64

_USER_COLUMNS = (
    "user_id, email, created_at_ms, email_verified_at_ms, password_version, locked_at_ms,"
    " COALESCE(first_verified_at_ms, email_verified_at_ms), password_changed_at_ms"
)
# Servers of older versions set the first of the two only.
_FIRST_VERIFIED = "first_verified_at_ms = COALESCE(first_verified_at_ms, email_verified_at_ms, :now_ms)"
_VERIFIED = f"email_verified_at_ms = COALESCE(email_verified_at_ms, :now_ms), {_FIRST_VERIFIED}"
_NEW_PASSWORD = (
    "password_hash = :password_hash, password_version = password_version + 1,"
    " password_changed_at_ms = :now_ms"
)


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds, UTC."""
        raise NotImplementedError


@dataclass(frozen=True)
class User:
    """One account. `email` is in its normal form and stays out of the representation, and so out of logs.

    `password_version` grows with each change of the password; hashing the same one again does not change it.
    A user who is `locked` cannot sign in by any means. `first_verified_at_ms` is when an address of this
    account was confirmed for the first time; it stays when the address changes.
    """

    user_id: str
    email: str = field(repr=False)
    created_at_ms: int
    email_verified: bool = False
    password_version: int = 0
    locked: bool = False
    first_verified_at_ms: int | None = field(default=None, compare=False)
    password_changed_at_ms: int | None = field(default=None, compare=False)


class _Credentials(NamedTuple):
    user: User
    password_hash: str | None

    def bound_to(self, purpose: Purpose) -> str:
        """What of this account a one-time token depends on."""
        facts = [self.user.email]
        if purpose != "verify_email":  # else the link would work again after the password was changed
            facts.append(self.password_hash or "")
        return one_time_tokens.bound_to(purpose, *facts)


class EmailChange(NamedTuple):
    """A change of address that a token stands for: the user with the old one, and the new one."""

    user: User
    new_email: str


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
        password_reset_lifetime_s, email_verification_lifetime_s: how long such a link works; one for a
            new address as long as one to verify the first.
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
        password_reset_lifetime_s: int = 3600,
        email_verification_lifetime_s: int = DAY_S,
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._clock = clock
        self._password_min_length = password_min_length
        self._site_name = site_name
        self._extra_common_passwords = extra_common_passwords
        self._token_lifetime_s: dict[Purpose, int] = {
            "reset_password": password_reset_lifetime_s,
            "verify_email": email_verification_lifetime_s,
            "change_email": email_verification_lifetime_s,
        }

    async def open(self) -> None:
        """Bring the tables up to date; called once before anything else."""
        await self._database.migrate("accounts", USER_TABLES)

    async def maintain(self) -> None:
        """Delete expired tokens, in small batches, so that other writes go between them."""
        now_ms = self._now_ms()
        gone = PURGE_BATCH
        while gone >= PURGE_BATCH:
            gone = await self._database.write(
                lambda connection: one_time_tokens.delete_expired(connection, now_ms, PURGE_BATCH)
            )

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
        password_hash = await self._hash(password)
        user = User(str(uuid.uuid4()), address, self._now_ms())
        if not await self._insert(user, password_hash, email_spellings(email)):
            raise FieldErrors({"email": EMAIL_TAKEN})
        return user

    async def sign_in(self, email: str, password: str) -> User:
        """Return the user to whom this address and password belong.

        Raises:
            FieldErrors: the address is invalid, or nobody can have this password.
            WrongCredentialsError: no such account, not its password, or locked; content and time do not tell
                which.
            TooBusyError: too many passwords are being hashed.
        """
        errors: dict[str, str] = {}
        _take_email(email, errors)
        refusal = check_password_text(password)
        if refusal:
            errors["password"] = refusal
        if errors:
            raise FieldErrors(errors)
        stored = await self._by_email(email)
        while True:
            verdict = await self._verify(stored.password_hash if stored else None, password)
            if stored is None or not verdict.matches or stored.user.locked:
                raise WrongCredentialsError(stored.user.user_id if stored else None)
            # Hashing takes its time, and the account may have got another password or gone meanwhile.
            checked, stored = stored, await self._by_email(email)
            if stored == checked:
                break
        if verdict.needs_rehash:
            await self._rehash(checked, password)
        return checked.user

    async def get(self, user_id: str) -> User | None:
        stored = await self._credentials(user_id)
        return stored.user if stored else None

    async def get_settled(self, user_id: str) -> User | None:
        """Return a user as the account is after every change of it that is under way now."""
        if not is_storable(user_id):
            return None

        def work(connection: Connection) -> User | None:
            lock = getattr(connection, "for_update", "")
            stored = _read_credentials(connection, "user_id", user_id, lock)
            return stored.user if stored else None

        return await self._database.write(work)

    async def get_by_email(self, email: str) -> User | None:
        """The user of an address in any spelling; None also for what is no address."""
        try:
            stored = await self._by_email(email)
        except EmailError:
            return None
        return stored.user if stored else None

    async def list(self, *, limit: int = 100, after: User | None = None, search: str = "") -> Sequence[User]:
        """Users from the oldest account on, at most `limit`; `after` is the last one of the page before.

        `search` leaves those whose address contains it, or whose user id it is.
        """
        if not is_storable(search):
            return []
        last = (after.created_at_ms, after.user_id) if after else (-1, "")
        parameters: dict[str, object] = {"created_at_ms": last[0], "user_id": last[1], "limit": limit}
        condition = ""
        if search:
            texts = _search_texts(search)
            likes = "".join(f"email LIKE :pattern{number} ESCAPE '!' OR " for number in range(len(texts)))
            condition = f" AND ({likes}user_id = :search)"
            patterns = (f"%{_escape_pattern(text)}%" for text in texts)
            parameters |= {f"pattern{number}": pattern for number, pattern in enumerate(patterns)}
            parameters["search"] = search
        sql = (
            f"SELECT {_USER_COLUMNS} FROM users WHERE (created_at_ms, user_id) > (:created_at_ms, :user_id)"  # noqa: S608
            f"{condition} ORDER BY created_at_ms, user_id LIMIT :limit"
        )
        rows = await self._database.read(lambda connection: connection.execute(sql, parameters).fetchall())
        return [_user(row) for row in rows]

    def check_new_password(self, user: User, password: str) -> None:
        """Whether a user may choose this password.

        Raises:
            FieldErrors: not this one.
        """
        refusal = self._refuse_password(password, user.email)
        if refusal:
            raise FieldErrors({"password": refusal})

    async def set_password(
        self,
        user_id: str,
        password: str,
        *,
        version: int | None = None,
        within: Callable[[Connection], object] | None = None,
    ) -> None:
        """Give a user another password. Ending the sessions that the old one began is the caller's part.

        Args:
            version: the `password_version` of the user whose old password was checked; None: it was not.
            within: called in the transaction of the change, after it. `get_settled` waits meanwhile.

        Raises:
            FieldErrors: the password may not be chosen.
            UnknownUserError: there is no such user.
            WrongCredentialsError: the password is not that of `version` any more.
            TooBusyError: too many passwords are being hashed.
        """
        user = await self.get(user_id)
        if user is None:
            raise UnknownUserError
        self.check_new_password(user, password)
        parameters = {
            "user_id": user_id,
            "password_hash": await self._hash(password),
            "now_ms": self._now_ms(),
            "any_version": version is None,
            "version": version or 0,
        }

        def work(connection: Connection) -> bool:
            changed = connection.execute(
                f"UPDATE users SET {_NEW_PASSWORD}"  # noqa: S608
                " WHERE user_id = :user_id AND (:any_version OR password_version = :version)",
                parameters,
            ).rowcount
            if changed and within is not None:
                within(connection)
            return changed == 1

        if not await self._database.write(work):
            raise UnknownUserError if version is None else WrongCredentialsError

    async def delete(self, user_id: str) -> bool:
        """Remove an account; whether there was one. Ending its sessions is the caller's part."""
        if not is_storable(user_id):
            return False

        def work(connection: Connection) -> bool:
            whose = {"user_id": user_id}
            deleted = connection.execute("DELETE FROM users WHERE user_id = :user_id", whose).rowcount
            connection.execute("DELETE FROM one_time_tokens WHERE user_id = :user_id", whose)
            connection.execute("DELETE FROM user_roles WHERE user_id = :user_id", whose)
            return deleted == 1

        return await self._database.write(work)

    async def lock(self, user_id: str) -> bool:
        """Keep a user out; False if they were locked already. Ending their sessions, after this, is the
        caller's part.

        Signing in is answered as with a wrong password, a new password as for an unknown address: strangers
        are told nothing, and whoever has the password learns no more.

        Raises:
            UnknownUserError: there is no such user.
        """
        return await self._set_locked(user_id, self._now_ms(), "locked_at_ms IS NULL")

    async def unlock(self, user_id: str) -> bool:
        """Let a locked user in again, with the password they had; False if they were not locked.

        Raises:
            UnknownUserError: there is no such user.
        """
        return await self._set_locked(user_id, None, "locked_at_ms IS NOT NULL")

    async def _set_locked(self, user_id: str, locked_at_ms: int | None, condition: str) -> bool:
        if await self.get(user_id) is None:
            raise UnknownUserError
        changed = await self._execute(
            f"UPDATE users SET locked_at_ms = :locked_at_ms WHERE user_id = :user_id AND {condition}",  # noqa: S608
            locked_at_ms=locked_at_ms,
            user_id=user_id,
        )
        return changed == 1

    # -- mailed links -------------------------------------------------------------------------------

    async def create_password_reset(self, email: str) -> OneTimeToken | None:
        """A token with which whoever reads the mail may choose a new password.

        None: nobody has this address, or a user who is locked.

        An unknown address costs the same work, a token that nobody gets included. Store the mail in both
        cases (`decoy_password_reset`), so that nothing else tells the two apart either.

        Raises:
            FieldErrors: the address is invalid.
        """
        errors: dict[str, str] = {}
        _take_email(email, errors)
        if errors:
            raise FieldErrors(errors)
        stored = await self._by_email(email)
        return await self._create_token("reset_password", None if stored and stored.user.locked else stored)

    def decoy_password_reset(self, email: str) -> OneTimeToken:
        """Make a token that opens nothing, for a mail that is stored like others and never sent."""
        lifetime_s = self._token_lifetime_s["reset_password"]
        return OneTimeToken("reset_password", normalise_email(email), one_time_tokens.new_token(), lifetime_s)

    async def check_password_reset(self, token: str, new_password: str) -> User:
        """Whose password `reset_password` would change; nothing is spent.

        Raises:
            FieldErrors: the password may not be chosen.
            InvalidTokenError: the token opens nothing.
        """
        found = await self._database.read(
            lambda connection: self._look_up(connection, token, "reset_password")
        )
        refusal = self._refuse_password(new_password, found[1].user.email if found else "")
        if refusal:
            raise FieldErrors({"password": refusal})
        if found is None:
            raise InvalidTokenError
        return found[1].user

    async def reset_password(
        self, token: str, new_password: str, *, within: Callable[[Connection], object] | None = None
    ) -> User:
        """Spend a token of `create_password_reset`. Ending all sessions of the user is the caller's part.

        The address counts as verified from now on: the token was mailed there.

        Args:
            within: as for `set_password`.

        Raises:
            FieldErrors: the password may not be chosen; the token is still good.
            InvalidTokenError: the token opens nothing.
            TooBusyError: too many passwords are being hashed; the token is still good.
        """
        await self.check_password_reset(token, new_password)
        password_hash = await self._hash(new_password)
        user, _ = await self._spend(
            token,
            "reset_password",
            f"{_NEW_PASSWORD}, {_VERIFIED}",
            normal_password(new_password),
            within,
            password_hash=password_hash,
        )
        return replace(user, password_version=user.password_version + 1, email_verified=True)

    async def just_spent(self, token: str, purpose: Purpose, sent: str) -> User | None:
        """Return the user for whom this token was spent within the last minute, if its effect still holds.

        Args:
            sent: what the form must have in common with the one that spent the token: the new password, or
                the `sent_from` of `verify_email` and `change_email`. Only one text can be tried.
        """
        mark = one_time_tokens.mark_of(token, normal_password(sent) if purpose == "reset_password" else sent)

        def work(connection: Connection) -> tuple[User, StoredToken] | None:
            found = one_time_tokens.find_spent(connection, token, purpose, self._now_ms(), mark)
            stored = _read_credentials(connection, "user_id", found.user_id) if found else None
            return (stored.user, found) if stored and found else None

        known = await self._database.write(work)
        if known is None:
            return None
        user, spent = known
        holds = user.email == spent.new_email if purpose == "change_email" else user.email_verified
        return user if holds and not user.locked else None

    async def create_email_verification(self, user_id: str) -> OneTimeToken | None:
        """A token that proves that its holder reads the user's mail; None if the address is verified already.

        Raises:
            UnknownUserError: there is no such user.
        """
        stored = await self._credentials(user_id)
        if stored is None:
            raise UnknownUserError
        return None if stored.user.email_verified else await self._create_token("verify_email", stored)

    async def verify_email(self, token: str, *, sent_from: str = "") -> User:
        """Spend a token of `create_email_verification`; returns the user whose address is verified now.

        Args:
            sent_from: names the browser for `just_spent`.

        Raises:
            InvalidTokenError: the token opens nothing.
        """
        user, _ = await self._spend(token, "verify_email", _VERIFIED, sent_from)
        return replace(user, email_verified=True)

    async def create_email_change(self, user_id: str, new_email: str) -> OneTimeToken | None:
        """A token with which whoever reads the new address' mail makes it the user's. Earlier ones for other
        addresses are void.

        None: the address is somebody's already. That costs the same work, and only its owner may be told.

        Raises:
            FieldErrors: the address is invalid, or the user's own.
            UnknownUserError: there is no such user.
        """
        errors: dict[str, str] = {}
        address = _take_email(new_email, errors)
        stored = await self._credentials(user_id)
        if stored is None:
            raise UnknownUserError
        if address and address == _normal(stored.user.email):
            errors["email"] = EMAIL_UNCHANGED
        if errors:
            raise FieldErrors(errors)
        if await self._by_email(new_email) is not None:
            await self._create_token("change_email", None, address)
            return None
        return await self._create_token("change_email", stored, address)

    async def check_email_change(self, token: str) -> EmailChange:
        """What `change_email` would do; nothing is spent.

        Raises:
            InvalidTokenError: the token opens nothing.
        """
        found = await self._database.read(lambda connection: self._look_up(connection, token, "change_email"))
        if found is None:
            raise InvalidTokenError
        return EmailChange(found[1].user, found[0].new_email)

    async def change_email(self, token: str, *, sent_from: str = "") -> EmailChange:
        """Spend a token of `create_email_change`: the new address is the user's, and verified.

        Args:
            sent_from: names the browser for `just_spent`.

        Raises:
            InvalidTokenError: the token opens nothing, or the address has become somebody else's.
        """
        changes = f"email = :new_email, email_verified_at_ms = :now_ms, {_FIRST_VERIFIED}"
        try:
            user, spent = await self._spend(token, "change_email", changes, sent_from)
        except self._database.IntegrityError:
            raise InvalidTokenError from None
        return EmailChange(user, spent.new_email)

    async def is_email_verified(self, user_id: str, email: str) -> bool:
        """Whether this address, in any spelling, is the user's and verified."""
        user = await self.get_by_email(email)
        return user is not None and user.user_id == user_id and user.email_verified

    async def _create_token(
        self, purpose: Purpose, stored: _Credentials | None, new_email: str = ""
    ) -> OneTimeToken | None:
        token, lifetime_s = one_time_tokens.new_token(), self._token_lifetime_s[purpose]
        user_id = stored.user.user_id if stored else NOBODY
        bound = stored.bound_to(purpose) if stored else one_time_tokens.bound_to(secrets.token_hex())
        expires_at_ms = self._now_ms() + 1000 * lifetime_s

        def work(connection: Connection) -> None:
            if purpose == "change_email":
                one_time_tokens.delete_of_user(connection, user_id, purpose, keep_email=new_email)
            one_time_tokens.insert(connection, token, purpose, user_id, bound, expires_at_ms, new_email)

        await self._database.write(work)
        return OneTimeToken(purpose, new_email or stored.user.email, token, lifetime_s) if stored else None

    def _look_up(
        self, connection: Connection, token: str, purpose: Purpose
    ) -> tuple[StoredToken, _Credentials] | None:
        """A token that is good, and whose it is."""
        found = one_time_tokens.find(connection, token, purpose, self._now_ms())
        stored = _read_credentials(connection, "user_id", found.user_id) if found else None
        if found is None or stored is None or stored.user.locked:
            return None
        if stored.bound_to(purpose) != found.bound_to:
            return None
        return found, stored

    async def _spend(
        self,
        token: str,
        purpose: Purpose,
        changes: str,
        sent: str,
        within: Callable[[Connection], object] | None = None,
        **parameters: object,
    ) -> tuple[User, StoredToken]:
        """Spend a token and make `changes` in one transaction; returns the user as they were before.

        `sent` is for `just_spent`, `within` for the caller of the change.
        """
        mark = one_time_tokens.mark_of(token, sent)

        def work(connection: Connection) -> tuple[User, StoredToken]:
            found = self._look_up(connection, token, purpose)
            if found is None:
                raise InvalidTokenError
            spent, (user, old_hash) = found
            # The conditions hold in this very moment: on a database with several writers the account may
            # have changed since it was read.
            changed = connection.execute(
                f"UPDATE users SET {changes}"  # noqa: S608
                " WHERE user_id = :user_id AND email = :email AND COALESCE(password_hash, '') = :old_hash",
                {
                    **parameters,
                    "new_email": spent.new_email,
                    "now_ms": self._now_ms(),
                    "user_id": user.user_id,
                    "email": user.email,
                    "old_hash": old_hash or "",
                },
            )
            if changed.rowcount != 1:
                raise InvalidTokenError
            one_time_tokens.spend(connection, spent, self._now_ms(), mark)
            if purpose == "reset_password":  # whoever asked for another address is not who reads the mail
                one_time_tokens.delete_of_user(connection, user.user_id, "change_email")
            if within is not None:
                within(connection)
            return user, spent

        return await self._database.write(work)

    # -- roles --------------------------------------------------------------------------------------

    async def roles(self, user_id: str) -> Sequence[str]:
        """The names of a user's roles, in alphabetical order."""
        return (await self.roles_of([user_id])).get(user_id, [])

    async def roles_of(self, user_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The roles of several users, at most some hundreds; who has none is not in it."""
        names = {f"id{number}": user_id for number, user_id in enumerate(user_ids) if is_storable(user_id)}
        if not names:
            return {}
        places = ", ".join(f":{name}" for name in names)
        sql = f"SELECT user_id, role FROM user_roles WHERE user_id IN ({places}) ORDER BY user_id"  # noqa: S608
        rows = await self._database.read(lambda c: c.execute(sql, names).fetchall())
        return {
            user_id: sorted(role for _, role in group) for user_id, group in groupby(rows, key=itemgetter(0))
        }

    async def add_role(self, user_id: str, role: str) -> bool:
        """Give a user a role; False if they have it already.

        Raises:
            UnknownUserError: there is no such user.
            ValueError: a role's name is 1 to 64 visible characters.
        """
        if not role.isprintable() or not 1 <= len(role) <= MAX_ROLE_CHARACTERS:
            raise ValueError(f"a role's name must be 1 to {MAX_ROLE_CHARACTERS} visible characters")
        user = await self.get(user_id)
        if user is None:
            raise UnknownUserError
        # From the user's row, which may be gone by now.
        added = await self._execute(
            "INSERT INTO user_roles (user_id, role) SELECT user_id, :role FROM users WHERE user_id = :user_id"
            " ON CONFLICT (user_id, role) DO NOTHING",
            user_id=user.user_id,
            role=role,
        )
        return added == 1

    async def remove_role(self, user_id: str, role: str) -> bool:
        """Take a role from a user; False if they did not have it, or are not there."""
        if not (is_storable(user_id) and is_storable(role)):
            return False
        removed = await self._execute(
            "DELETE FROM user_roles WHERE user_id = :user_id AND role = :role", user_id=user_id, role=role
        )
        return removed == 1

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _refuse_password(self, password: str, email: str) -> str | None:
        return check_password(
            password,
            min_length=self._password_min_length,
            email=email,
            site_name=self._site_name,
            extra_common_passwords=self._extra_common_passwords,
        )

    async def _insert(self, user: User, password_hash: str, spellings: Sequence[str]) -> bool:
        def work(connection: Connection) -> bool:
            if _read_by_email(connection, spellings) is not None:
                return False
            inserted = connection.execute(
                "INSERT INTO users (user_id, email, password_hash, created_at_ms)"
                " VALUES (:user_id, :email, :password_hash, :created_at_ms)"
                " ON CONFLICT (email) DO NOTHING",
                {
                    "user_id": user.user_id,
                    "email": user.email,
                    "password_hash": password_hash,
                    "created_at_ms": user.created_at_ms,
                },
            )
            return inserted.rowcount == 1

        return await self._database.write(work)

    async def _hash(self, password: str) -> str:
        return await self._hasher.hash(normal_password(password))

    async def _verify(self, password_hash: str | None, password: str) -> Verdict:
        """Check every form in which the password may have been hashed; a refusal has checked them all."""
        for number, form in enumerate(password_forms(password)):
            verdict = await self._hasher.verify(password_hash, form)
            if verdict.matches:
                return Verdict(matches=True, needs_rehash=verdict.needs_rehash or number > 0)
        return Verdict(matches=False, needs_rehash=False)

    async def _rehash(self, checked: _Credentials, password: str) -> None:
        """Replace a hash of older parameters, unless someone was faster. Signing in does not depend on it."""
        try:
            await self._execute(
                "UPDATE users SET password_hash = :password_hash"
                " WHERE user_id = :user_id AND password_hash = :old_hash",
                user_id=checked.user.user_id,
                old_hash=checked.password_hash,
                password_hash=await self._hash(password),
            )
        except Exception as error:
            log.warning("user %s keeps a password hash of older parameters: %s", checked.user.user_id, error)

    async def _credentials(self, user_id: str) -> _Credentials | None:
        if not is_storable(user_id):
            return None
        return await self._database.read(lambda connection: _read_credentials(connection, "user_id", user_id))

    async def _by_email(self, email: str) -> _Credentials | None:
        """The account of an address in any spelling. Raises EmailError."""
        spellings = email_spellings(email)
        return await self._database.read(lambda connection: _read_by_email(connection, spellings))

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


def _normal(stored_email: str) -> str:
    """The normal form of an address as it is stored, which may be older than the rules of today."""
    try:
        return normalise_email(stored_email)
    except EmailError:
        return stored_email


def _search_texts(search: str) -> Sequence[str]:
    """The texts that addresses may contain for what an administrator typed."""
    composed = unicodedata.normalize("NFC", search.lower())
    texts = [composed, unicodedata.normalize("NFD", composed)]
    local, at, domain = composed.rpartition("@")
    with contextlib.suppress(EmailError):
        texts.append(f"{local}{at}{ascii_domain(domain)}")
    return list(dict.fromkeys(texts))


def _escape_pattern(text: str) -> str:
    """Text for LIKE in which `%` and `_` stand for themselves; `!` is the escape character."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _read_credentials(connection: Connection, column: str, value: str, lock: str = "") -> _Credentials | None:
    row = connection.execute(
        f"SELECT {_USER_COLUMNS}, password_hash FROM users WHERE {column} = :value{lock}",  # noqa: S608
        {"value": value},
    ).fetchone()
    return _Credentials(_user(row[:-1]), row[-1]) if row else None


def _read_by_email(connection: Connection, spellings: Sequence[str]) -> _Credentials | None:
    found = (_read_credentials(connection, "email", spelling) for spelling in spellings)
    return next(filter(None, found), None)


def _user(row: Sequence[Any]) -> User:
    user_id, email, created_at_ms, email_verified_at_ms, password_version, locked_at_ms, *moments = row
    return User(
        user_id,
        email,
        created_at_ms,
        email_verified=email_verified_at_ms is not None,
        password_version=password_version,
        locked=locked_at_ms is not None,
        first_verified_at_ms=moments[0],
        password_changed_at_ms=moments[1],
    )
