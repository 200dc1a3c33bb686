# SPDX-License-Identifier: MIT
"""Whether the address of an account was confirmed before something was added to the account.

A person may sign up with an address that is not theirs, and add a passkey or an authenticator app. When the
owner of the mailbox gets a new password by mail, what was added before the address was confirmed is removed.
So each row notes at once whether an address of its user had been confirmed, in a column `address_proved`: 1,
0, or NULL in rows of older versions, for which the times decide.
"""

from __future__ import annotations

from stormcellar.accounts import User

UNPROVED = (
    "(:unproved = 1 OR address_proved = 0"
    " OR (address_proved IS NULL AND created_at_ms < :first_verified_at_ms))"
)
"""SQL for a condition on rows that may belong to another person. It takes the parameters of `unproved`."""


def address_proved(user: User) -> int:
    """Return the value of the column for something that this user adds now."""
    return int(user.first_verified_at_ms is not None)


def unproved(user_id: str, first_verified_at_ms: int | None) -> dict[str, object]:
    """Return the parameters for UNPROVED. None: no address has been confirmed, so all rows are unproved."""
    return {
        "user_id": user_id,
        "unproved": int(first_verified_at_ms is None),
        "first_verified_at_ms": first_verified_at_ms or 0,
    }
