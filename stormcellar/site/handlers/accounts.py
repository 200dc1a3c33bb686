# SPDX-License-Identifier: MIT
"""The addresses of the account pages."""

from __future__ import annotations

from tornado.routing import URLSpec

from handlers import account, admin, devices, recovery, sign_in


def routes() -> list[URLSpec]:
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
