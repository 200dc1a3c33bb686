# SPDX-License-Identifier: MIT
"""SuperTokens-compatible sessions, accounts and their pages for Tornado.

These are the public names; docs/package.md says what each is for. They keep their meaning until the first
number of the version changes. Names below modules may change with any version. A name is imported when it is
first used, so `import stormcellar` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stormcellar.accounts import EmailChange as EmailChange
    from stormcellar.accounts import EmailError as EmailError
    from stormcellar.accounts import FieldErrors as FieldErrors
    from stormcellar.accounts import InvalidTokenError as InvalidTokenError
    from stormcellar.accounts import Mail as Mail
    from stormcellar.accounts import Mailer as Mailer
    from stormcellar.accounts import MailError as MailError
    from stormcellar.accounts import ThrottledError as ThrottledError
    from stormcellar.accounts import TooBusyError as TooBusyError
    from stormcellar.accounts import UnknownUserError as UnknownUserError
    from stormcellar.accounts import User as User
    from stormcellar.accounts import Users as Users
    from stormcellar.accounts import WrongCredentialsError as WrongCredentialsError
    from stormcellar.api.refresh import RefreshHandler as RefreshHandler
    from stormcellar.application import Application as Application
    from stormcellar.application import Site as Site
    from stormcellar.extras import Extra as Extra
    from stormcellar.sessions import BooleanClaim as BooleanClaim
    from stormcellar.sessions import ClaimValidator as ClaimValidator
    from stormcellar.sessions import EmailVerificationClaim as EmailVerificationClaim
    from stormcellar.sessions import InvalidClaimsError as InvalidClaimsError
    from stormcellar.sessions import PermissionClaim as PermissionClaim
    from stormcellar.sessions import PrimitiveArrayClaim as PrimitiveArrayClaim
    from stormcellar.sessions import PrimitiveClaim as PrimitiveClaim
    from stormcellar.sessions import Session as Session
    from stormcellar.sessions import SessionClaim as SessionClaim
    from stormcellar.sessions import SessionError as SessionError
    from stormcellar.sessions import SessionInformation as SessionInformation
    from stormcellar.sessions import Sessions as Sessions
    from stormcellar.sessions import StoreUnavailableError as StoreUnavailableError
    from stormcellar.sessions import TokenTheftError as TokenTheftError
    from stormcellar.sessions import TryRefreshTokenError as TryRefreshTokenError
    from stormcellar.sessions import UnauthorisedError as UnauthorisedError
    from stormcellar.sessions import UserRoleClaim as UserRoleClaim
    from stormcellar.settings import Settings as Settings
    from stormcellar.settings import SettingsError as SettingsError
    from stormcellar.web.auth_time import SENSITIVE_WITHIN_S as SENSITIVE_WITHIN_S
    from stormcellar.web.caller import get_all_cors_headers as get_all_cors_headers
    from stormcellar.web.device import Device as Device
    from stormcellar.web.endings import recent_endings as recent_endings
    from stormcellar.web.form_page import FormHandler as FormHandler
    from stormcellar.web.handler import SMALL_BODY_BYTES as SMALL_BODY_BYTES
    from stormcellar.web.handler import BaseHandler as BaseHandler
    from stormcellar.web.handler import ProtectedAPIHandler as ProtectedAPIHandler
    from stormcellar.web.handler import ProtectedHandler as ProtectedHandler
    from stormcellar.web.live import ProtectedEventStreamHandler as ProtectedEventStreamHandler
    from stormcellar.web.live import ProtectedWebSocketHandler as ProtectedWebSocketHandler
    from stormcellar.web.mailed_link import MailedLinkHandler as MailedLinkHandler
    from stormcellar.web.mails import in_words as in_words
    from stormcellar.web.new_password import mail_reset_link as mail_reset_link
    from stormcellar.web.own_account import DeleteAccountHandler as DeleteAccountHandler
    from stormcellar.web.own_account import NewPasswordHandler as NewPasswordHandler
    from stormcellar.web.own_account import OwnAccountHandler as OwnAccountHandler
    from stormcellar.web.own_account import mail_verification_link as mail_verification_link
    from stormcellar.web.sent_twice import change_email_once as change_email_once
    from stormcellar.web.sent_twice import reset_password_once as reset_password_once
    from stormcellar.web.sent_twice import tell_session_of_email as tell_session_of_email
    from stormcellar.web.sent_twice import verify_email_once as verify_email_once
    from stormcellar.web.sign_in_page import SignInHandler as SignInHandler
    from stormcellar.web.sign_in_page import SignUpHandler as SignUpHandler

__version__ = "0.1.0"

_MODULES = {
    "accounts": (
        "EmailChange EmailError FieldErrors InvalidTokenError Mail MailError Mailer ThrottledError "
        "TooBusyError UnknownUserError User Users WrongCredentialsError"
    ),
    "api.refresh": "RefreshHandler",
    "application": "Application Site",
    "extras": "Extra",
    "sessions": (
        "BooleanClaim ClaimValidator EmailVerificationClaim InvalidClaimsError PermissionClaim "
        "PrimitiveArrayClaim PrimitiveClaim Session SessionClaim SessionError SessionInformation "
        "Sessions StoreUnavailableError TokenTheftError TryRefreshTokenError UnauthorisedError "
        "UserRoleClaim"
    ),
    "settings": "Settings SettingsError",
    "web.auth_time": "SENSITIVE_WITHIN_S",
    "web.caller": "get_all_cors_headers",
    "web.device": "Device",
    "web.endings": "recent_endings",
    "web.form_page": "FormHandler",
    "web.handler": "BaseHandler ProtectedAPIHandler ProtectedHandler SMALL_BODY_BYTES",
    "web.live": "ProtectedEventStreamHandler ProtectedWebSocketHandler",
    "web.mailed_link": "MailedLinkHandler",
    "web.mails": "in_words",
    "web.new_password": "mail_reset_link",
    "web.own_account": "DeleteAccountHandler NewPasswordHandler OwnAccountHandler mail_verification_link",
    "web.sent_twice": "change_email_once reset_password_once tell_session_of_email verify_email_once",
    "web.sign_in_page": "SignInHandler SignUpHandler",
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _WHERE:
        raise AttributeError(f"stormcellar has no public name {name}")
    found = globals()[name] = getattr(import_module(f"stormcellar.{_WHERE[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
