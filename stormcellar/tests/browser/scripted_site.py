# SPDX-License-Identifier: MIT
"""A site without a server: the kit's own modules and pages, and for the rest the answers that a test chooses.

It says what a real server cannot be made to say: an error at the right moment, a token that has expired
already, cookies that the browser does not keep.
"""

import base64
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Request, Route

from stormcellar.pages import STATIC
from stormcellar.tests.rendering import SESSION, render
from stormcellar.tests.serving import SITE_DIR
from stormcellar.web.headers import content_security_policy
from stormcellar.web.return_address import return_address

SITE = "http://localhost"
GONE = "Thu, 01 Jan 1970 00:00:00 GMT"

Answer = dict[str, Any]  # what Playwright's route.fulfill takes


def front_token(user_id: str = SESSION.user_id, *, issued_at: float | None = None, life_s: int = 3600) -> str:
    """The readable part of an access token; times are Unix seconds, `issued_at` is now if it is not given."""
    iat = int(time.time() if issued_at is None else issued_at)
    payload = {"sub": user_id, "iat": iat, "exp": iat + life_s}
    token = {"uid": user_id, "ate": payload["exp"] * 1000, "up": payload}
    return base64.b64encode(json.dumps(token).encode()).decode()


def static_file(path: str) -> Path:
    """The file of this address: the packaged site's, or the kit's."""
    name = path.removeprefix("/static/")
    own = SITE_DIR / "static" / name
    return own if own.exists() else STATIC / name


class ScriptedSite:
    """Answers every request of one browser.

    Attributes:
        answer_refresh: what POST /auth/session/refresh says; None is no answer at all.
        answer_page: what every other address says that is not one of the kit's own.
        refreshes: the requests for a refresh so far.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.refreshes: list[Request] = []
        self.answer_refresh: Callable[[], Answer | None] = self.renewed
        self.answer_page: Callable[[Request], Answer] = lambda _: page("empty")
        self._updates = 0
        context.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        back = return_address(query.get("redirectBack"))
        if url.path.startswith("/static/"):
            headers = {"Content-Type": media_type(url.path), "Date": formatdate(usegmt=True)}
            route.fulfill(path=static_file(url.path), headers=headers)
        elif url.path == "/auth/session/refresh":
            self.refreshes.append(route.request)
            answer = self.answer_refresh()
            if answer is not None:
                route.fulfill(**answer)
        elif url.path == "/refresh-session":
            route.fulfill(**page(render("refresh_session.html", redirect_back=back, in_place=False)))
        elif url.path == "/refresh-session/stopped":
            route.fulfill(**page(render("loop.html", reason=query["reason"], redirect_back=back)))
        else:
            route.fulfill(**self.answer_page(route.request))

    def renewed(self, token: str | None = None) -> Answer:
        """A refresh that works, with the cookies that the server writes."""
        token = token or front_token()
        cookies = [f"sFrontToken={token}; Path=/", self._update_line()]
        return {"json": {}, "headers": {"front-token": token, "Set-Cookie": "\n".join(cookies)}}

    def over(self) -> Answer:
        """A refresh, or a sign-out, after which nobody is signed in."""
        cookies = [f"sFrontToken=; Path=/; Expires={GONE}", self._update_line()]
        headers = {"front-token": "remove", "Set-Cookie": "\n".join(cookies)}
        return {"status": 401, "json": {"message": "unauthorised"}, "headers": headers}

    def _update_line(self) -> str:
        self._updates += 1
        return f"st-last-access-token-update={self._updates}; Path=/"


def page(html: str) -> Answer:
    """A page as the server sends it, with its CSP."""
    return {
        "body": html,
        "content_type": "text/html",
        "headers": {"Content-Security-Policy": content_security_policy()},
    }


def sends_to(address: str) -> Answer:
    """A page that sends one on at once, as a redirect does; Playwright does not see where redirects lead."""
    return {"body": f'<meta http-equiv="refresh" content="0;url={address}">', "content_type": "text/html"}


def media_type(path: str) -> str:
    return {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[path.rpartition(".")[2]]
