# SPDX-License-Identifier: MIT
"""server.py with pages that use Turbo, htmx and Unpoly from npm, and a page that is made of protected parts.

Run it as `python -m stormcellar.tests.browser.apps.parts_of_pages`, with the arguments of server.py.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tornado.web import StaticFileHandler

from stormcellar.application import Application, Site
from stormcellar.server.run import main
from stormcellar.settings import Settings
from stormcellar.tests.parts import ROOT
from stormcellar.tests.site import SITE
from stormcellar.web.handler import BaseHandler, ProtectedHandler
from stormcellar.web.live import ProtectedEventStreamHandler

NPM = ROOT / "stormcellar" / "tests" / "npm" / "node_modules"
SCRIPTS = {
    "turbo": "/npm/@hotwired/turbo/dist/turbo.es2017-umd.js",
    "htmx": "/npm/htmx.org/dist/htmx.js",
    "unpoly": "/npm/unpoly/unpoly.js",
}
# The libraries write styles of their own into the page.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; object-src 'self'"
HEAD = "<!doctype html><html lang=en><title>%s</title><link rel=icon href=/static/favicon.svg>"
PAGES = {
    "turbo": """
      <a id=link href=/with/turbo/next>Next</a>
      <form method=post action="/with/turbo/note?from=form">
        <input name=text aria-label=Text><input type=hidden name=redirectBack value=/with/turbo/trap>
        <button>Send</button></form>
      <turbo-frame id=part><a href=/with/turbo/part>Show</a></turbo-frame>""",
    "htmx": """
      <a id=link href=/with/htmx/next hx-get=/with/htmx/next hx-target=#main hx-push-url=true>Next</a>
      <form hx-post="/with/htmx/note?from=form" hx-target=#main>
        <input name=text aria-label=Text><input type=hidden name=redirectBack value=/with/htmx/trap>
        <button>Send</button></form>
      <div id=part><button hx-get=/with/htmx/part hx-target=#part>Show</button></div>""",
    "unpoly": """
      <a id=link href=/with/unpoly/next up-target=#main>Next</a>
      <form method=post action="/with/unpoly/note?from=form" up-submit up-target=#main>
        <input name=text aria-label=Text><input type=hidden name=redirectBack value=/with/unpoly/trap>
        <button>Send</button></form>
      <div id=part><a href=/with/unpoly/part up-target=#part>Show</a></div>""",
}
PARTS = {
    "turbo": "<turbo-frame id=part><b>part of %s</b></turbo-frame>",
    "htmx": "<b>part of %s</b>",
    "unpoly": "<div id=part><b>part of %s</b></div>",
}
SENT: dict[str, str] = {}


class LibraryHandler(ProtectedHandler):
    """GET /with/NAME/PLACE: a page with that library. POST /with/NAME/note takes its form."""

    async def get(self, library: str, place: str) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        if place == "part":
            body = PARTS[library] % self.session.user_id
        elif place == "sent":
            body = f"<p id=sent>{SENT[self.session.user_id]}</p>"
        else:
            body = f"<h1>{place}</h1>{PAGES[library] if place == 'home' else ''}"
        script = f'<script src="{SCRIPTS[library]}"></script>'
        is_part = library == "htmx" and "HX-Request" in self.request.headers
        page = f"{HEAD % place}{script}<main id=main><div>{body}</div></main>"
        self.finish(body if is_part else page)

    async def post(self, library: str, place: str) -> None:
        fields = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        told = json.dumps({"place": place, "query": self.request.query, **fields}, sort_keys=True)
        SENT[self.session.user_id] = told.replace("<", "")
        self.see_other(f"/with/{library}/sent")


FILES: dict[str, tuple[str, str]] = {
    "picture.svg": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'),
    "script.js": ("text/javascript", "window.scriptRan = true"),
    "module.js": ("text/javascript", "window.moduleRan = true"),
    "style.css": ("text/css", "h1 { text-indent: 7px }"),
    "worker.js": ("text/javascript", "postMessage('working')"),
    "captions.vtt": ("text/vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"),
    "page.html": ("text/html", "<!doctype html><title>inner</title><p id=inner>in a frame</p>"),
    "film.webm": ("video/webm", "no film"),
    "letters.woff2": ("font/woff2", "no font"),
    "report.csv": ("text/csv", "a,b\n1,2\n"),
}


class FileHandler(ProtectedHandler):
    """GET /files/NAME: a file for people who are signed in. `?as=attachment` makes browsers download it."""

    async def get(self, name: str) -> None:
        media_type, text = FILES[name]
        self.set_header("Content-Type", media_type)
        self.set_header("Content-Security-Policy", POLICY)
        if self.get_query_argument("as", "") == "attachment":
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        elif self.get_query_argument("as", "") == "nothing":
            self.set_status(204)
            return
        self.finish(text)

    async def post(self, name: str) -> None:
        self.finish()


class TicksHandler(ProtectedEventStreamHandler):
    """GET /ticks: numbers, until the access token expires."""

    async def stream(self) -> None:
        for number in range(10_000):
            await self.send(str(number))
            await asyncio.sleep(0.2)


class PartsHandler(ProtectedHandler):
    """GET /parts: an empty page, to which a test adds parts, and links to files."""

    async def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.finish(
            HEAD % "Parts" + "<h1>Parts</h1>"
            '<a id=attachment href="/files/report.csv?as=attachment">Report</a>'
            '<a id=nothing href="/files/report.csv?as=nothing">Nothing</a>'
            '<a id=tab target=_blank href="/files/report.csv?as=attachment">Report in a tab</a>'
            "<a id=download download href=/files/report.csv>Download</a>"
        )


class WorkerPageHandler(BaseHandler):
    """GET /with-worker: a page that installs the service worker /worker-NAME.js."""

    public = "installs a service worker"

    def may_renew(self) -> bool:
        return False

    async def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.finish(HEAD % "Worker" + "<p>Nothing yet.</p>")


WORKERS = {
    "passes-on": "event.respondWith(fetch(event.request))",
    "asks-again": """event.respondWith((async () => {
        const { url, method, headers } = event.request;
        const body = method === "GET" ? undefined : await event.request.blob();
        const answer = await fetch(url, { method, headers, body });
        return new Response(await answer.blob(), { headers: answer.headers, status: answer.status });
    })())""",
}


class WorkerHandler(BaseHandler):
    """GET /worker-NAME.js: a service worker that answers navigations."""

    public = "is a script"

    async def get(self, name: str) -> None:
        self.set_header("Content-Type", "text/javascript")
        self.finish(
            "addEventListener('install', () => skipWaiting());"
            "addEventListener('activate', (event) => event.waitUntil(clients.claim()));"
            "addEventListener('fetch', (event) => { if (event.request.mode === 'navigate') {"
            f"{WORKERS[name]} }} }});"
        )


ROUTES: list[Any] = [
    (r"/npm/(.*)", StaticFileHandler, {"path": str(NPM)}),
    (r"/with/(turbo|htmx|unpoly)/([a-z]+)", LibraryHandler),
    (r"/files/(.*)", FileHandler),
    (r"/ticks", TicksHandler),
    (r"/parts", PartsHandler),
    (r"/with-worker", WorkerPageHandler),
    (r"/worker-([a-z-]+)\.js", WorkerHandler),
]


class MorePages(Site):
    """The site with these routes added."""

    def make_app(self, options: Settings, **more: Any) -> Application:
        application = super().make_app(options, **more)
        application.add_handlers(r".*", ROUTES)
        return application


if __name__ == "__main__":
    main(MorePages(SITE.folder, SITE.routes))
