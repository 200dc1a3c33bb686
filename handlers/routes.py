# SPDX-License-Identifier: MIT
"""The addresses of your pages. The kit adds its own: `python server.py --routes` shows all."""

from __future__ import annotations

from tornado.routing import URLSpec

from handlers import account, admin, devices, pages, recovery, sign_in
from stormcellar.settings import Settings


def routes(settings: Settings) -> list[URLSpec]:
    table = [
        URLSpec(r"/", pages.HomeHandler, name="home"),
        # For users who are signed in: yours go here
        URLSpec(r"/dashboard", pages.DashboardHandler, name="dashboard"),
    ]
    if not settings.verify_only:  # else accounts are another server's
        table += accounts()
    return table


def accounts() -> list[URLSpec]:
    """Return the addresses of the account pages."""
    return [
        URLSpec(r"/login", sign_in.LoginHandler, name="login"),
        URLSpec(r"/signup", sign_in.SignUpHandler, name="signup"),
        URLSpec(r"/forgot-password", recovery.ForgotPasswordHandler, name="forgot_password"),
        URLSpec(r"/reset-password", recovery.ResetPasswordHandler, name="reset_password"),
        URLSpec(r"/verify-email", recovery.VerifyEmailHandler, name="verify_email"),
        URLSpec(r"/verify-email/send", recovery.VerificationMailHandler),
        URLSpec(r"/account", account.AccountHandler, name="account"),
        URLSpec(r"/account/sessions", devices.SessionsHandler, name="account_sessions"),
        URLSpec(r"/account/password", account.NewPasswordHandler),
        URLSpec(r"/account/email", account.NewEmailHandler),
        URLSpec(r"/account/email/confirm", account.ConfirmNewEmailHandler),
        URLSpec(r"/account/delete", account.DeleteAccountHandler),
        URLSpec(r"/account/deleted", account.AccountDeletedHandler),
        URLSpec(r"/confirm-password", account.ConfirmPasswordHandler, name="confirm_password"),
        URLSpec(r"/admin/users", admin.UsersHandler, name="admin_users"),
        URLSpec(r"/admin/users/(?P<user_id>[\w-]{1,64})", admin.UserHandler),
    ]
