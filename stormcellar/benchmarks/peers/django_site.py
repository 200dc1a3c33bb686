# SPDX-License-Identifier: MIT
"""Django with sessions in the database (SQLite) and its own users: login_required on the page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import django
from django.conf import settings
from parts import TEMPLATES, announce, listen, log_into_nothing, rows, serve_with_gunicorn

settings.configure(
    SECRET_KEY="benchmarks only, and of no use to anybody else",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF="__main__",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[  # as `django-admin startproject` has them, without messages and what serves the admin
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(tempfile.mkdtemp()) / "peer.sqlite3",
            "CONN_MAX_AGE": None,
        }
    },
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [TEMPLATES]}],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from parts import USER_ID  # noqa: E402


@login_required
def page(request: HttpRequest) -> HttpResponse:
    context = {"user_id": request.user.get_username(), "rows": rows()}
    return render(request, "page.html", context)


urlpatterns = [path("page", page)]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(get_user_model().objects.create_user(USER_ID))
    listening = listen()
    announce(listening, f"sessionid={client.cookies['sessionid'].value}")
    log_into_nothing()
    serve_with_gunicorn(WSGIHandler(), listening)
