# SPDX-License-Identifier: MIT
"""Accounts: users, their e-mail addresses and passwords, and mails. Knows neither sessions nor HTTP."""

from stormcellar.accounts.database import Database
from stormcellar.accounts.delivery import Delivery
from stormcellar.accounts.emails import normalise_email, shown_email
from stormcellar.accounts.errors import (
    AccountError,
    EmailError,
    FieldErrors,
    InvalidTokenError,
    ThrottledError,
    TooBusyError,
    UnknownUserError,
    WrongCredentialsError,
)
from stormcellar.accounts.limits import Limits
from stormcellar.accounts.mail import Mail, Mailbox, Mailer, MailError, NoMailer
from stormcellar.accounts.one_time_tokens import OneTimeToken
from stormcellar.accounts.outbox import OUTBOX_TABLES, Outbox
from stormcellar.accounts.password_rule import FIELD_MISSING, check_password
from stormcellar.accounts.passwords import ARGON2ID, Argon2Parameters, PasswordHasher, Verdict
from stormcellar.accounts.smtp import SmtpMailer
from stormcellar.accounts.users import EMAIL_TAKEN, USER_TABLES, EmailChange, User, Users

__all__ = [
    "ARGON2ID",
    "EMAIL_TAKEN",
    "FIELD_MISSING",
    "OUTBOX_TABLES",
    "USER_TABLES",
    "AccountError",
    "Argon2Parameters",
    "Database",
    "Delivery",
    "EmailChange",
    "EmailError",
    "FieldErrors",
    "InvalidTokenError",
    "Limits",
    "Mail",
    "MailError",
    "Mailbox",
    "Mailer",
    "NoMailer",
    "OneTimeToken",
    "Outbox",
    "PasswordHasher",
    "SmtpMailer",
    "ThrottledError",
    "TooBusyError",
    "UnknownUserError",
    "User",
    "Users",
    "Verdict",
    "WrongCredentialsError",
    "check_password",
    "normalise_email",
    "shown_email",
]
