# SPDX-License-Identifier: MIT
"""Templates rendered without a server, with the names that handlers give to every page."""

from types import SimpleNamespace
from typing import Any

from stormcellar.accounts import EmailChange, Mail, User
from stormcellar.accounts.kept_forms import KeptForm
from stormcellar.dev.strip import Refusal, Strip
from stormcellar.events.audit import AuditEvent
from stormcellar.settings import Settings
from stormcellar.tests.site import SITE
from stormcellar.web.addresses import Addresses, with_return
from stormcellar.web.device import Device, SeenFrom
from stormcellar.web.endings import SENTENCES, Ending
from stormcellar.web.templates import page_loader

LOADER = page_loader(SITE.folder / "templates")
ADDRESSES = Addresses.of(Settings())
NOW_S = 1_800_000_000
SESSION = SimpleNamespace(
    user_id="7f0a4c0e-3a5b-4f7e-9a53-0c6a8f2f1d11",
    handle="8c3e4a1e-6b67-4d36-9d86-0a6f3fe1f1c2",
    tenant_id="public",
    issued_at=NOW_S - 600,
    expires_at=NOW_S + 3000,
    access_token_payload={"sc-gen": 3},
)

BACK = "/reports/7?tab=2&x=%20#end"
FORM = {"email": "ann@example.com", "redirect_back": BACK}
FIELD_ERRORS = {"email": "This is not an e-mail address", "password": "This password is too common"}
MAIL = Mail(
    "ann@example.com", "Choose a new password", "Hello,\n\nhttp://localhost:8888/x?a=1&b=2\n", "<p>Hello"
)

USER = User("7f0a4c0e-3a5b-4f7e-9a53-0c6a8f2f1d11", "ann@example.com", 1000 * NOW_S)
LONG_USER = User("u" * 36, "a.very.long.address." * 3 + "of@somebody.example.com", 1000 * NOW_S, locked=True)
HERE = SeenFrom("203.0.113.7", "Firefox", "Linux")
THERE = SeenFrom("2001:db8:1234:5678:9abc:def0:1234:5678", "Chrome", "Android")
DEVICES = [
    Device("1", is_this=True, first=HERE, last=HERE, began_at=NOW_S - 600, seen_at=NOW_S),
    Device("2", is_this=False, first=THERE, last=SeenFrom(), began_at=NOW_S - 600, seen_at=NOW_S),
]
ENDINGS = [
    Ending(1_800_000_000.0, SENTENCES["theft"], True, 1_799_000_000.0, "203.0.113.7"),
    Ending(1_790_000_000.0, SENTENCES["administrator"], False, None, ""),
]
SESSIONS = {
    "session": SESSION,
    "path": "/account/sessions",
    "lifetime": "1 hour",
    "notice": "",
    "endings": [],
}
EVENTS = [
    AuditEvent("throttled", NOW_S, client_address="2001:db8::1", detail="x" * 200, occurrences=3),
    AuditEvent("signed up", NOW_S),
]
ADMIN = {"session": SESSION, "notice": "Done.", "roles": ["admin", "editor"]}

REFUSAL = Refusal(
    NOW_S,
    "POST",
    "/auth/session/refresh",
    "Unauthorised",
    "Session 4f1c09d2aa10 is over.",
    "There is no session here.",
    "8c3e",
)
STRIP = Strip(last=REFUSAL, loses_next=True, back=BACK, has_buttons=True)
WHY = {
    "refusals": [REFUSAL, Refusal(NOW_S, "GET", "/" + "long" * 40, "Throttled", "Sign-ins.", "Too many.")],
    "histories": [
        ("4f1c09d2aa10", [AuditEvent("session revoked", NOW_S, client_address="203.0.113.7", detail="ended")])
    ],
    "developer": Strip(last=REFUSAL, loses_next=False, back="/dev/why", has_buttons=False),
}

# Each page of the kit in each of its states: a template, and what render() is given for it.
PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "home": ("home.html", {}),
    "home, signed in": ("home.html", {"session": SESSION}),
    "home in development": ("home.html", {"debug": True}),
    "dashboard": ("dashboard.html", {"session": SESSION, "user_id": SESSION.user_id, "path": "/dashboard"}),
    "sign in": ("account/login.html", {**FORM, "errors": {}, "path": "/login"}),
    "sign in, asked to stay": (
        "account/login.html",
        {**FORM, "errors": {}, "asks_to_stay": True, "stays": True},
    ),
    "sign in, signed out elsewhere": (
        "account/login.html",
        {**FORM, "errors": {}, "notice": "You were signed out on another device."},
    ),
    "sign in, refused": ("account/login.html", {**FORM, "errors": {"": "Wrong e-mail address or password"}}),
    "sign in, field errors": ("account/login.html", {**FORM, "errors": FIELD_ERRORS}),
    "sign up": ("account/signup.html", {**FORM, "errors": {}, "path": "/signup"}),
    "sign up, field errors": ("account/signup.html", {**FORM, "errors": FIELD_ERRORS}),
    "sign in after a new password": ("account/login_after_reset.html", {**FORM, "errors": {}}),
    "forgotten password": ("account/forgot_password.html", {"errors": {}, "email": ""}),
    "forgotten password, refused": ("account/forgot_password.html", {"errors": FIELD_ERRORS, "email": "ann"}),
    "forgotten password, sent": ("account/forgot_password_sent.html", {"email": "ann@example.com"}),
    "new password": ("account/reset_password.html", {"errors": {}, "token": "x"}),
    "new password, refused": ("account/reset_password.html", {"errors": FIELD_ERRORS, "token": "x"}),
    "new password, link spent": ("account/reset_password.html", {"errors": {"": "Too old."}, "token": "x"}),
    "confirm address": ("account/verify_email.html", {"errors": {}, "token": "x"}),
    "confirm address, link spent": ("account/verify_email.html", {"errors": {"": "Too old."}, "token": "x"}),
    "address confirmed": ("account/verify_email_done.html", {"session": SESSION}),
    "address to confirm": ("account/verify_email_needed.html", {"sent": False, "continue_at": BACK}),
    "address to confirm, mail sent": (
        "account/verify_email_needed.html",
        {"session": SESSION, "sent": True, "continue_at": BACK, "debug": True},
    ),
    "account": (
        "account/account.html",
        {"session": SESSION, "user": USER, "other_sessions": 0, "notice": "", "path": "/account"},
    ),
    "account, with a notice": (
        "account/account.html",
        {"session": SESSION, "user": LONG_USER, "other_sessions": 2, "notice": "Your password is saved."},
    ),
    "confirm password": (
        "account/confirm_password.html",
        {"session": SESSION, "errors": {}, "unsent": False, "redirect_back": BACK},
    ),
    "confirm password, wrong": (
        "account/confirm_password.html",
        {"session": SESSION, "errors": FIELD_ERRORS, "unsent": True, "redirect_back": BACK},
    ),
    "change password": ("account/new_password.html", {"session": SESSION, "errors": {}}),
    "change password, wrong": (
        "account/new_password.html",
        {"session": SESSION, "errors": {**FIELD_ERRORS, "current-password": "This is not your password"}},
    ),
    "change address": (
        "account/new_email.html",
        {"session": SESSION, "errors": {}, "email": "", "user": LONG_USER},
    ),
    "change address, refused": (
        "account/new_email.html",
        {"session": SESSION, "errors": FIELD_ERRORS, "email": "x", "user": USER},
    ),
    "change address, sent": ("account/new_email_sent.html", {"session": SESSION, "email": "new@example.com"}),
    "change address, confirm": (
        "account/new_email_confirm.html",
        {"errors": {}, "token": "x", "change": EmailChange(USER, "new@example.com")},
    ),
    "change address, link spent": (
        "account/new_email_confirm.html",
        {"errors": {"": "Too old."}, "token": "", "change": None},
    ),
    "address changed": ("account/new_email_done.html", {"email": "new@example.com"}),
    "delete account": ("account/delete.html", {"session": SESSION, "errors": {}, "email": "", "user": USER}),
    "delete account, refused": (
        "account/delete.html",
        {"session": SESSION, "errors": FIELD_ERRORS, "email": "x", "user": LONG_USER},
    ),
    "account deleted": ("account/deleted.html", {}),
    "sessions": ("account/sessions.html", {**SESSIONS, "devices": DEVICES, "may_end": True}),
    "sessions, one stolen": (
        "account/sessions.html",
        {**SESSIONS, "devices": DEVICES[:1], "may_end": True, "endings": ENDINGS},
    ),
    "sessions, to look at": ("account/sessions.html", {**SESSIONS, "devices": DEVICES, "may_end": False}),
    "sessions, this one": ("account/sessions.html", {**SESSIONS, "devices": DEVICES[:1], "may_end": True}),
    "users": (
        "admin/users.html",
        {"session": SESSION, "users": [USER, LONG_USER], "search": "a", "is_first": False, "following": "7f"},
    ),
    "users, nobody": (
        "admin/users.html",
        {"session": SESSION, "users": [], "search": "x", "is_first": True, "following": ""},
    ),
    "user": ("admin/user.html", {**ADMIN, "user": USER, "devices": DEVICES, "is_self": True, "events": []}),
    "user, locked": (
        "admin/user.html",
        {**ADMIN, "user": LONG_USER, "devices": [], "is_self": False, "events": EVENTS},
    ),
    "mailbox": ("dev/mailbox.html", {"mails": [(2, MAIL), (1, MAIL)], "debug": True}),
    "mailbox, empty": ("dev/mailbox.html", {"mails": [], "debug": True}),
    "mail": ("dev/mail.html", {"mail": MAIL, "number": 2, "debug": True}),
    "home in development, signed in": ("home.html", {"session": SESSION, "debug": True, "developer": STRIP}),
    "why signed out": ("dev/why.html", {"debug": True, **WHY}),
    "why signed out, nothing": ("dev/why.html", {"debug": True, "refusals": [], "histories": [("4f1c", [])]}),
    "refresh page": ("refresh_session.html", {"redirect_back": BACK, "in_place": False}),
    "refresh page in place": ("refresh_session.html", {"redirect_back": BACK, "in_place": True}),
    "refresh page with a form": (
        "refresh_session.html",
        {
            "redirect_back": BACK,
            "in_place": True,
            "form_action": BACK,
            "form_detour": "",
            "form": [("note", "a"), ("note", "b")],
        },
    ),
    "kept form": (
        "account/kept_form.html",
        {"session": SESSION, "form": KeptForm("/note", (("text", "two\nlines"), ("<b>", "&")))},
    ),
    "kept form with files": (
        "account/kept_form.html",
        {"session": SESSION, "form": KeptForm("/note", (("text", "a"),), had_files=True)},
    ),
    "stopped: cookies": ("loop.html", {"reason": "cookies", "redirect_back": BACK}),
    "stopped: clock": ("loop.html", {"reason": "clock", "redirect_back": BACK}),
    "stopped: loop": ("loop.html", {"reason": "loop", "redirect_back": BACK}),
    "error": (
        "error.html",
        {"status": 404, "title": "Not Found", "message": "There is no page here.", "request_id": "4f1c09d2"},
    ),
    "forbidden": ("forbidden.html", {"session": SESSION, "claims": ["st-ev", "st-role"]}),
}


def render(template: str, *, path: str = "/", **variables: Any) -> str:
    """A page as the server would send it for the address `path`; `session=SESSION` signs somebody in."""
    every_page = {
        "session": None,
        "extras": (),
        "site_name": "Stormcellar",
        "addresses": ADDRESSES,
        "link_back": lambda address, back: with_return(address, back, "http://localhost", safe=""),
        "link": lambda address, back: address,
        "asks_to_stay": False,
        "notice": "",
        "form": None,  # what a page that renews in place may have to send once more
        "debug": False,
        "developer": None,
        "now_s": NOW_S,
        "request": SimpleNamespace(path=path),
        "static_url": lambda name, include_version=True: f"/static/{name}{'?v=1' if include_version else ''}",
    }
    page = LOADER.load(template)
    return page.generate(**{**every_page, **variables}).decode()
