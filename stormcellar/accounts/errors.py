# SPDX-License-Identifier: MIT
"""The errors of accounts: one subclass wherever a caller would act differently.

    AccountError
      FieldErrors              what was typed into a form cannot be taken; show it and ask again
      EmailError               the same for one e-mail address
      WrongCredentialsError    no such account, or not its password; nobody learns which
      InvalidTokenError        a one-time token that opens nothing (any more)
      UnknownUserError         the user of this id is gone
      TooBusyError             too many passwords are being hashed: come back later
      ThrottledError           too many attempts: come back later

No message contains an e-mail address or a password, so each may be logged.
"""

from __future__ import annotations

from collections.abc import Mapping


class AccountError(Exception):
    """Base of the errors of accounts; never raised itself."""


class FieldErrors(AccountError):
    """Some fields cannot be taken as they are.

    `errors` maps a field's name (`email`, `password`) to a sentence for the person who filled it in.
    """

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors.items()))
        self.errors = dict(errors)


class EmailError(AccountError):
    """Not an e-mail address that this kit takes."""

    def __init__(self) -> None:
        super().__init__("Email is invalid")


class WrongCredentialsError(AccountError):
    """Sign-in refused. Raised alike for an unknown address and for a wrong password.

    `user_id` is that of the account that was tried, None if there is none: for the log, never for the client.
    """

    def __init__(self, user_id: str | None = None) -> None:
        super().__init__("Incorrect email and password combination")
        self.user_id = user_id


class InvalidTokenError(AccountError):
    """A one-time token is unknown, spent, too old, for another purpose, or the account has changed since.

    Which of these it is, nobody is told.
    """

    def __init__(self) -> None:
        super().__init__("This link has been used already, or it is too old")


class UnknownUserError(AccountError):
    """There is no user of this id (any more)."""

    def __init__(self) -> None:
        super().__init__("no such user")


class TooBusyError(AccountError):
    """Every place for hashing a password is taken (HTTP: 503 with Retry-After).

    `retry_after_s` is a whole number of seconds, at least 1: about as long as those places need.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many passwords to hash; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ThrottledError(AccountError):
    """Too many attempts (HTTP: 429 with Retry-After). The message is for the person who tried.

    Args:
        limit: the name of the budget that is used up.
        refusal: what there was too much of, a sentence.
        retry_after_s: a whole number of seconds, at least 1.
    """

    def __init__(self, limit: str, refusal: str, retry_after_s: int) -> None:
        super().__init__(f"{refusal} Please try again in {_duration(retry_after_s)}.")
        self.limit = limit
        self.retry_after_s = retry_after_s


def _duration(seconds: int) -> str:
    """A length of time in the largest unit that it fills twice, rounded up: "5 minutes"."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{-(-seconds // length)} {unit}"
    return f"{seconds} second{'s' if seconds > 1 else ''}"
