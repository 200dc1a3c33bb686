# SPDX-License-Identifier: MIT
"""server.py with the pages of an application built on it: forms, an API, links fetched ahead of time.

Run it as `python -m stormcellar.tests.browser.apps.more_pages`, with the arguments of server.py.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tornado.template import Template
from tornado.web import HTTPError

from stormcellar.application import Application, Site
from stormcellar.server.run import main
from stormcellar.sessions import TryRefreshTokenError
from stormcellar.settings import Settings
from stormcellar.tests.site import SITE
from stormcellar.web.auth_time import SIGN_IN_TIME
from stormcellar.web.handler import BaseHandler, ProtectedAPIHandler, ProtectedHandler

PAGE = """
{%% extends "base.html" %%}
{%% block title %%}%s{%% end %%}
{%% block content %%}<div class="page"><h1>%s</h1>%s</div>{%% end %%}
"""
BARE = "<!doctype html><html lang=en><title>%s</title><link rel=icon href=/static/favicon.svg>%s"


class WithPage(BaseHandler):
    """For handlers whose page is so short that it stands beside them."""

    def show(self, title: str, body: str, **values: Any) -> None:
        loader = self.create_template_loader(self.get_template_path() or "")
        template = Template(PAGE % (title, title, body), loader=loader)
        self.finish(template.generate(**self.get_template_namespace(), **values))


class FormsHandler(WithPage, ProtectedHandler):
    """GET /forms: two forms. POST /forms: what arrived, as JSON in a page."""

    def get(self) -> None:
        self.show(
            "Forms",
            """
            <form method="post" action="/forms?from=text" id="text-form">
              <label>Subject <input name="subject"></label>
              <label>Message <textarea name="message"></textarea></label>
              <label><input type="checkbox" name="colour" value="red"> red</label>
              <label><input type="checkbox" name="colour" value="blue"> blue</label>
              <button class="button">Send</button>
            </form>
            <form method="post" action="/forms?from=upload" enctype="multipart/form-data" id="upload-form">
              <label>Title <input name="title"></label>
              <label>File <input name="file" type="file"></label>
              <button class="button">Upload</button>
            </form>
            <form method="post" action="/forms?from=long&amp;pad={{ 'a' * 2500 }}" id="long-form">
              <label>Remark <input name="remark"></label>
              <button class="button">Remark</button>
            </form>
            """,
        )

    def post(self) -> None:
        fields = {name: self.get_body_arguments(name, strip=False) for name in self.request.body_arguments}
        files = [
            {"name": name, "filename": file.filename, "bytes": len(file.body), "sha256": sha256(file.body)}
            for name, of_name in self.request.files.items()
            for file in of_name
        ]
        received = {"query": self.request.query, "fields": fields, "files": files}
        self.show("Received", "<pre id=received>{{ received }}</pre>", received=json.dumps(received))


class EchoHandler(ProtectedAPIHandler):
    """GET, PUT, POST /api/echo: what arrived, for scripts."""

    def get(self) -> None:
        self.finish({"user": self.session.user_id, "body": self.request.body.decode()})

    put = post = get


class FailingHandler(WithPage):
    """GET /fails: an error of the application's own."""

    public = "for a look at the error page"

    def get(self) -> None:
        raise HTTPError(500)


class NeverContentHandler(WithPage, ProtectedHandler):
    """GET /never: goes on asking for a renewal, as if another clock or another key judged the new tokens."""

    async def prepare(self) -> None:
        await super().prepare()
        raise TryRefreshTokenError("never content")

    def get(self) -> None:
        raise AssertionError("it cannot come this far")


class PrivateHandler(ProtectedHandler):
    """GET /private: a page without any script, so that a copy of it stays what it is."""

    def get(self) -> None:
        self.finish(BARE % ("Private", f"<p id=user-id>{self.session.user_id}</p>"))


class AheadHandler(BaseHandler):
    """GET /prefetch-links, /prerender-links and more: a page whose link the browser follows ahead of time.

    It brings none of the kit's scripts, which would load it anew at a sign-out in another tab.
    """

    public = "has only a link"

    def initialize(self, action: str = "", target: str = "/private") -> None:
        super().initialize()
        self.action, self.target = action, target

    def may_renew(self) -> bool:
        return False

    def get(self) -> None:
        self.set_header("Speculation-Rules", f'"/rules/{self.action}.json?target={self.target}"')
        self.finish(BARE % ("Links", f'<a href="{self.target}">Private</a>'))


class RulesHandler(BaseHandler):
    """GET /rules/(prefetch|prerender).json: which links (Speculation Rules, WICG)."""

    public = "says only which links to follow"

    def get(self, action: str) -> None:
        target = self.get_query_argument("target")
        rule = {"source": "list", "urls": [target], "eagerness": "immediate"}
        self.set_header("Content-Type", "application/speculationrules+json")
        self.finish(json.dumps({action: [rule]}))


class LongAgoHandler(WithPage, ProtectedHandler):
    """GET /long-ago: from now on the visitor signed in long ago."""

    async def get(self) -> None:
        await self.session.merge_into_access_token_payload(SIGN_IN_TIME.set_now(0))
        self.show("Long ago", "")


class BareHandler(BaseHandler):
    """GET /bare: a page without any script, for those of a test."""

    public = "is empty"

    def may_renew(self) -> bool:
        return False

    def get(self) -> None:
        self.finish(BARE % ("Bare", "<p>Nothing here.</p>"))


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


ROUTES: list[Any] = [
    (r"/forms", FormsHandler),
    (r"/api/echo", EchoHandler),
    (r"/fails", FailingHandler),
    (r"/never", NeverContentHandler),
    (r"/prefetch-links", AheadHandler, {"action": "prefetch"}),
    (r"/prerender-links", AheadHandler, {"action": "prerender"}),
    (r"/prefetch-dashboard-links", AheadHandler, {"action": "prefetch", "target": "/dashboard"}),
    (r"/prerender-dashboard-links", AheadHandler, {"action": "prerender", "target": "/dashboard"}),
    (r"/long-ago", LongAgoHandler),
    (r"/rules/(prefetch|prerender)\.json", RulesHandler),
    (r"/private", PrivateHandler),
    (r"/bare", BareHandler),
]


class MorePages(Site):
    """The site with these routes added."""

    def make_app(self, options: Settings, **more: Any) -> Application:
        application = super().make_app(options, **more)
        application.add_handlers(r".*", ROUTES)
        return application


if __name__ == "__main__":
    main(MorePages(SITE.folder, SITE.routes))
