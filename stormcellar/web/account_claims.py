# SPDX-License-Identifier: MIT
"""Claims that come from accounts: is the user's e-mail address verified, and which roles has the user?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stormcellar.accounts import Users
from stormcellar.sessions import (
    ClaimValidator,
    EmailVerificationClaim,
    Session,
    SessionClaim,
    Sessions,
    UserRoleClaim,
    ValidationResult,
)
from stormcellar.settings import Settings


class AccountClaims:
    """The two claims of one application, and what its settings make of them.

    Attributes:
        email_verified: `st-ev`; None where the account is gone.
        roles: `st-role`.
        in_new_sessions: the claims that each new session's access token carries.
        validators: what holds for every protected handler.
    """

    def __init__(self, accounts: Users, options: Settings) -> None:
        self._accounts = accounts
        self._roles_in_token = options.roles_in_token
        self.email_verified = EmailVerificationClaim(self._fetch_email_verified)
        self.roles = UserRoleClaim(self._fetch_roles)
        self.in_new_sessions: list[SessionClaim[Any]] = []
        self.validators: list[ClaimValidator] = []
        if options.email_verification != "off":
            self.in_new_sessions.append(self.email_verified)
        if options.email_verification == "required":
            self.validators.append(self.email_verified.is_verified())
        if options.roles_in_token:
            self.in_new_sessions.append(self.roles)

    async def change_roles(
        self, sessions: Sessions, user_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Give and take roles. Every live session of the user has them before this returns.

        If roles travel in the token, present access tokens are answered with "try refresh token" from then
        on, on every server. Open connections judge the roles again at once in either case.

        Raises:
            UnknownUserError: there is no such user to give a role to.
            ValueError: a role's name is not 1 to 64 visible characters, or a token has no room for all.
        """
        for role in remove:
            await self._accounts.remove_role(user_id, role)
        for role in add:
            await self._accounts.add_role(user_id, role)
        written = None
        # Until nothing changed meanwhile: of two changes at once the later one must not be overwritten.
        while self._roles_in_token and (roles := await self._fetch_roles(user_id)) != written:
            for handle in await sessions.get_all_session_handles_for_user(user_id):
                await sessions.set_claim_value(handle, self.roles, roles, owner=user_id)
            written = roles
        if not self._roles_in_token:  # else the change of the claims is news for the connections
            await sessions.publish(f"claims {user_id}", "")

    async def role_validators(self, roles: Iterable[str], session: Session) -> list[ClaimValidator]:
        """Rules that a user has each of these roles: judged by the token if roles travel there, else by what
        the accounts say now, for one read."""
        rules = [self.roles.includes(role) for role in roles]
        if self._roles_in_token:
            return rules
        held = await self._fetch_roles(session.user_id)

        def by_accounts(rule: ClaimValidator) -> ClaimValidator:
            def validate(_: Any, now_ms: int) -> ValidationResult:
                return rule.validate(self.roles.add_to_payload({}, held, now_ms), now_ms)

            return ClaimValidator(rule.id, validate)

        return [by_accounts(rule) for rule in rules]

    async def catch_up(self, session: Session) -> None:
        """For a session just made: a role that was taken away meanwhile would stay in it to its end."""
        if self._roles_in_token:
            roles = await self._fetch_roles(session.user_id)
            if roles != session.get_claim_value(self.roles):
                await session.set_claim_value(self.roles, roles)

    async def _fetch_email_verified(self, user_id: str, *_: Any) -> bool | None:
        user = await self._accounts.get(user_id)
        return user.email_verified if user else None

    async def _fetch_roles(self, user_id: str, *_: Any) -> list[str]:
        return list(await self._accounts.roles(user_id))
