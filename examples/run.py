# SPDX-License-Identifier: MIT
"""Run an example: `make example NAME=plain_page`, or `python examples/run.py plain_page [--port=8888 ...]`.

An example is a folder: its `main.js` (or .jsx), bundled together with SuperTokens' published package, and
the page that loads it. The server is the kit as it is, with a few routes more. Further arguments are the
kit's settings.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tornado.routing import URLSpec  # noqa: E402

import server  # noqa: E402
from examples.sign_in_with_others import run as sign_in_with_others  # noqa: E402
from examples.two_servers import run as two_servers  # noqa: E402
from stormcellar import server as processes  # noqa: E402
from stormcellar import settings as configuration  # noqa: E402
from stormcellar.sessions import BooleanClaim, ClaimValidator, Session  # noqa: E402
from stormcellar.settings import Settings, SettingsError  # noqa: E402
from stormcellar.web.handler import BaseHandler, ProtectedAPIHandler  # noqa: E402
from stormcellar.web.static import StaticHandler  # noqa: E402

PAGES = ("plain_page", "custom_ui", "prebuilt_ui")
OF_THEIR_OWN = {"two_servers": two_servers.main, "sign_in_with_others": sign_in_with_others.main}
EXAMPLES = (*PAGES, "header_mode", *OF_THEIR_OWN)
STORAGE = "@react-native-async-storage/async-storage"
BUILD = HERE / ".build"

INVITED = BooleanClaim("invited", lambda *_: None)
"""A claim that nobody has until somebody sets it."""


class MeHandler(ProtectedAPIHandler):
    """GET and POST /api/me: what a single-page application asks its server."""

    async def get(self) -> None:
        self.finish({"userId": self.session.user_id, "sessionHandle": self.session.handle})

    async def post(self) -> None:
        self.finish({"userId": self.session.user_id, "got": self.request.body.decode()})


class InvitedHandler(ProtectedAPIHandler):
    """GET /api/invited: only with a claim. POST /api/invitation sets it."""

    async def override_global_claim_validators(
        self, validators: list[ClaimValidator], session: Session
    ) -> list[ClaimValidator]:
        return [*validators, INVITED.is_true()]

    async def get(self) -> None:
        self.finish({"welcome": self.session.user_id})


class InvitationHandler(ProtectedAPIHandler):
    """POST /api/invitation: the session gets the claim; the answer carries the new token."""

    async def post(self) -> None:
        await self.session.set_claim_value(INVITED, True)
        self.finish({})


class ExamplePageHandler(BaseHandler):
    """The example's page; every path of it, for it routes by itself."""

    public = "an example's page, which signs people in by itself"

    def initialize(self, page: Path, allows_inline_style: bool) -> None:
        super().initialize()
        self.page, self.allows_inline_style = page, allows_inline_style

    async def get_session(self) -> None:
        return None

    async def get(self) -> None:
        if self.allows_inline_style:  # the pre-built UI brings its style along
            policy = self._headers["Content-Security-Policy"]
            wider = policy.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
            self.set_header("Content-Security-Policy", wider)
        self.finish(self.page.read_bytes())


def build(name: str) -> Path:
    """Bundle an example's script with the packages it uses; the file it makes."""
    source = next(HERE.joinpath(name).glob("main.*"))
    esbuild = HERE / "node_modules/.bin/esbuild"
    if not esbuild.exists():
        raise SettingsError("the npm packages are missing: run `npm ci` in examples/, or use `make example`")
    options = ["--bundle", "--format=esm", "--log-level=error"]
    if name == "header_mode":  # the phone is Node.js here, and lends its storage
        target = BUILD / f"{name}.mjs"
        options += ["--platform=node", f"--alias:{STORAGE}=./{name}/shims/async-storage.js"]
    else:
        target = BUILD / f"{name}.js"
        options += ["--minify", "--jsx=automatic", "--define:global=globalThis"]
        options += ['--define:process.env.NODE_ENV="production"']
    subprocess.run([esbuild, source, f"--outfile={target}", *options], check=True, cwd=HERE)
    return target


def make_app(options: Settings, name: str) -> server.Application:
    """The kit with an example's page at /example and below."""
    build(name)
    application = server.make_app(options)
    page = {"page": HERE / name / "index.html", "allows_inline_style": name == "prebuilt_ui"}
    pages = [
        URLSpec(r"/example/(.*\.js)", StaticHandler, {"path": str(BUILD)}),
        URLSpec(r"/example(?:/.*)?", ExamplePageHandler, page),
    ]
    application.add_handlers(
        r".*",
        [
            *(pages if name in PAGES else []),
            URLSpec(r"/api/me", MeHandler),
            URLSpec(r"/api/invited", InvitedHandler),
            URLSpec(r"/api/invitation", InvitationHandler),
        ],
    )
    return application


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in EXAMPLES:
        sys.exit(f"Say which example: {', '.join(EXAMPLES)}")
    name = sys.argv[1]
    try:
        if name in OF_THEIR_OWN:
            OF_THEIR_OWN[name](sys.argv[2:])
            return
        options = configuration.load(sys.argv[2:], os.environ)
        application = make_app(options, name)

        def announce(addresses: list[str]) -> None:
            where = f"http://localhost:{addresses[0].rpartition(':')[2]}"
            if name in PAGES:
                print(f"The example {name} is at {where}/example", flush=True)
            else:
                print(f"Now type: node examples/.build/{name}.mjs {where}", flush=True)
            print("Ctrl+C stops it.", flush=True)

        asyncio.run(processes.serve(application, announce))
    except SettingsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
