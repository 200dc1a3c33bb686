# SPDX-License-Identifier: MIT
"""Flask with Flask-Login: the signed session cookie, and a user that is made without asking any database."""

from __future__ import annotations

from flask import Flask, render_template
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from parts import (
    TEMPLATES,
    USER_AGENT,
    USER_ID,
    announce,
    listen,
    log_into_nothing,
    rows,
    serve_with_gunicorn,
)

site = Flask(__name__, template_folder=str(TEMPLATES))
site.secret_key = "benchmarks only"
manager = LoginManager(site)


class User(UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id


@manager.user_loader
def load_user(user_id: str) -> User:
    return User(user_id)


@site.post("/sign-in")
def sign_in() -> str:
    login_user(User(USER_ID))
    return ""


@site.get("/page")
@login_required
def page() -> str:
    return render_template("page.html", user_id=current_user.get_id(), rows=rows())


if __name__ == "__main__":
    # The cookie belongs to a browser's name: with another one every answer would write it anew.
    signed_in = site.test_client().post("/sign-in", headers={"User-Agent": USER_AGENT})
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    listening = listen()
    announce(listening, cookie)
    log_into_nothing()
    serve_with_gunicorn(site, listening)
