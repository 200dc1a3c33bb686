# SPDX-License-Identifier: MIT
"""A browser for tests, without the pictures: it keeps cookies and says where its requests come from."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import websocket_connect

from stormcellar.sessions import Clock
from stormcellar.testing.sockets import Socket

PASSWORD = "tall ships sail 27 seas"
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
}
FETCH = {
    "Accept": "*/*",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}
SDK = {**FETCH, "rid": "anti-csrf", "fdi-version": "3.1,4.0,4.1"}
MOST_REDIRECTS = 10
BOUNDARY = "----form-of-a-test"


@dataclass(frozen=True)
class Cookie:
    """A cookie as a browser keeps it. `expires_at` is in Unix seconds, None until the browser is closed."""

    name: str
    value: str
    path: str
    domain: str
    expires_at: float | None
    http_only: bool
    secure: bool
    same_site: str


class Client:
    """A browser with one window, which follows no redirect unless asked to.

    Args:
        http_client, base_url: the fixtures of pytest-tornado.
        clock: by this the cookies expire.
        public_url: what stands in the address bar, if a proxy is in between.
    """

    def __init__(
        self, http_client: AsyncHTTPClient, base_url: str, clock: Clock, public_url: str = ""
    ) -> None:
        self.base_url = base_url
        self.clock = clock
        self.origin = public_url or base_url
        self.jar: dict[tuple[str, str, str], Cookie] = {}
        self.visited: list[str] = []
        """The last request and the redirects it led to: "GET /dashboard 200", ..."""
        self._http = http_client

    # -- cookies ------------------------------------------------------------------------------------

    @property
    def cookies(self) -> dict[str, str]:
        """The living cookies' values by name, of whatever path, but for what outlives every session."""
        return {cookie.name: cookie.value for cookie in self._living() if not is_known_client(cookie)}

    def plant(self, name: str, value: str, path: str = "/", domain: str = "") -> None:
        """Have a cookie that the server did not set on this occasion."""
        self.jar[name, path, domain] = Cookie(name, value, path, domain, None, False, False, "Lax")

    def front_token(self) -> dict[str, Any]:
        """What scripts read of the session."""
        found: dict[str, Any] = json.loads(base64.b64decode(self.cookies["sFrontToken"], validate=True))
        return found

    @property
    def user_id(self) -> str:
        return str(self.front_token()["uid"])

    @property
    def session_handle(self) -> str:
        return str(self.front_token()["up"]["sessionHandle"])

    def _living(self) -> list[Cookie]:
        now = self.clock.now()
        return [
            cookie for cookie in self.jar.values() if cookie.expires_at is None or cookie.expires_at > now
        ]

    def _cookie_header(self, path: str) -> str:
        """The longest path first, as RFC 6265, section 5.4, has it."""
        fitting = [cookie for cookie in self._living() if _path_matches(path, cookie.path)]
        if self.origin.startswith("http://"):
            fitting = [cookie for cookie in fitting if not cookie.secure]
        fitting.sort(key=lambda cookie: -len(cookie.path))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in fitting)

    def _keep_cookies(self, response: HTTPResponse) -> None:
        for line in response.headers.get_list("Set-Cookie"):
            cookie = parse_set_cookie(line)
            self.jar[cookie.name, cookie.path, cookie.domain] = cookie

    def _keep_front_token(self, response: HTTPResponse) -> None:
        """SuperTokens' clients write the cookies that scripts read by themselves."""
        token = response.headers.get("front-token")
        if token == "remove":
            self.jar.pop(("sFrontToken", "/", ""), None)
        elif token is not None:
            self.plant("sFrontToken", token)
        if anti_csrf_token := response.headers.get("anti-csrf"):
            self.plant("sAntiCsrf", anti_csrf_token)
        if token is not None:
            self.plant("st-last-access-token-update", str(self.clock.now()))

    def replace_cookie(self, name: str, value: str) -> None:
        """Give another value to a cookie that is there, wherever it came from."""
        for key, cookie in list(self.jar.items()):
            if cookie.name == name:
                self.jar[key] = replace(cookie, value=value)

    # -- requests -----------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Path and query of the page that the last request ended at."""
        return self.visited[-1].split(" ")[1]

    async def page(self, path: str) -> str:
        """The page that a person sees who goes there, after renewals and redirects, sign-in page included."""
        response = await self.get(path, follow=True)
        if response.code == 401 or urlsplit(self.address).path == "/refresh-session":
            await self.refresh()  # as the script of that page does
            response = await self.get(path, follow=True)
        assert response.code == 200, f"{', '.join(self.visited)}: {response.body.decode()}"
        return response.body.decode()

    async def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, follow: bool = False
    ) -> HTTPResponse:
        """Go to a page, as by a click on a link."""
        return await self.request("GET", path, headers={**NAVIGATION, **(headers or {})}, follow=follow)

    async def post(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        files: Mapping[str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        follow: bool = False,
    ) -> HTTPResponse:
        """Send a form: as multipart if there are files, else urlencoded."""
        content_type, body = "application/x-www-form-urlencoded", urlencode(fields or {}).encode()
        if files is not None:
            content_type, body = f"multipart/form-data; boundary={BOUNDARY}", multipart(fields or {}, files)
        sent = {**NAVIGATION, "Content-Type": content_type, **(headers or {})}
        return await self.request("POST", path, headers=sent, body=body, follow=follow)

    async def call(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        auth_mode: str = "cookie",
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Call a JSON endpoint, as the SDK's fetch does; None sends no body."""
        sent = {**SDK, "st-auth-mode": auth_mode}
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = b"" if body is None else json.dumps(body).encode()
        return await self.request(method, path, headers={**sent, **(headers or {})}, body=data)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        follow: bool = False,
    ) -> HTTPResponse:
        """Send exactly these headers, besides cookies, Host and, where browsers send it, Origin."""
        self.visited = []
        headers = dict(headers or {})
        for _hop in range(MOST_REDIRECTS):
            response = await self._send(method, path, headers, body)
            location = response.headers.get("Location")
            if not follow or location is None:
                return response
            if response.code in (302, 303) and method != "HEAD":
                method, body = "GET", b""
                headers.pop("Content-Type", None)
            path = urljoin(path, location)
        raise AssertionError("a circle: " + ", ".join(self.visited))

    async def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HTTPResponse:
        sent = {"Host": urlsplit(self.origin).netloc, **headers}
        if method not in ("GET", "HEAD") and "Sec-Fetch-Site" in headers:
            sent.setdefault("Origin", self.origin)
        if cookies := self._cookie_header(urlsplit(path).path):
            sent.setdefault("Cookie", cookies)
        request = HTTPRequest(
            self.base_url + path,
            method=method,
            headers={name: value for name, value in sent.items() if value},
            body=body or (None if method in ("GET", "HEAD", "OPTIONS", "TRACE") else b""),
            follow_redirects=False,
            allow_nonstandard_methods=True,
            decompress_response=False,
        )
        response = await self._http.fetch(request, raise_error=False)
        self._keep_cookies(response)
        if headers.get("st-auth-mode") == "cookie":
            self._keep_front_token(response)
        self.visited.append(f"{method} {path} {response.code}")
        return response

    async def connect(self, path: str, *, headers: Mapping[str, str] | None = None) -> Socket:
        """Open a WebSocket, as a script of one of the site's pages does.

        Raises:
            HTTPClientError: the server refused; `code` is 401 or 403.
        """
        sent = {"Host": urlsplit(self.origin).netloc, "Origin": self.origin, **(headers or {})}
        if cookies := self._cookie_header(urlsplit(path).path):
            sent.setdefault("Cookie", cookies)
        address = self.base_url.replace("http", "ws", 1) + path
        return Socket(await websocket_connect(HTTPRequest(address, headers=sent)))

    # -- what people do -----------------------------------------------------------------------------

    async def sign_up(self, email: str = "ann@example.com", password: str = PASSWORD) -> HTTPResponse:
        """By the form; ends with the redirect to the dashboard."""
        response = await self.post("/signup", {"email": email, "password": password})
        assert response.code == 303, response.body
        return response

    async def sign_in(self, email: str = "ann@example.com", password: str = PASSWORD) -> HTTPResponse:
        response = await self.post("/login", {"email": email, "password": password})
        assert response.code == 303, response.body
        return response

    async def refresh(self, **headers: str) -> HTTPResponse:
        """What attemptRefreshingSession() sends."""
        return await self.call("/auth/session/refresh", headers={"rid": "session", **headers})


def json_of(response: HTTPResponse) -> Any:
    """The body of an answer that says it is JSON."""
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8", response.headers
    return json.loads(response.body)


def set_cookies(response: HTTPResponse) -> dict[str, Cookie]:
    """What an answer sets of a session, by name; no name may be set twice."""
    cookies = [parse_set_cookie(line) for line in response.headers.get_list("Set-Cookie")]
    cookies = [cookie for cookie in cookies if not is_known_client(cookie)]
    found = {cookie.name: cookie for cookie in cookies}
    assert len(found) == len(cookies), [cookie.name for cookie in cookies]
    return found


def is_known_client(cookie: Cookie) -> bool:
    """Whether it only says that somebody has signed in here before; tests/handlers/test_limits.py has it."""
    return cookie.name.endswith("sKnownClient")


def parse_set_cookie(line: str) -> Cookie:
    """One Set-Cookie line (RFC 6265, section 5.2), without Max-Age, which nothing here sends."""
    pair, *attributes = line.split(";")
    name, _, value = pair.partition("=")
    found = {key.strip().lower(): text for key, _, text in (item.partition("=") for item in attributes)}
    assert "max-age" not in found, line
    return Cookie(
        name=name.strip(),
        value=value.strip(),
        path=found.get("path", "/"),
        domain=found.get("domain", ""),
        expires_at=parsedate_to_datetime(found["expires"]).timestamp() if "expires" in found else None,
        http_only="httponly" in found,
        secure="secure" in found,
        same_site=found.get("samesite", ""),
    )


def multipart(fields: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    """A body as browsers send it for a form with files (RFC 7578)."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, content in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.bin"'
        kind = "Content-Type: application/octet-stream"
        parts.append(f"--{BOUNDARY}\r\n{head}\r\n{kind}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _path_matches(path: str, cookie_path: str) -> bool:
    """RFC 6265, section 5.1.4."""
    return path == cookie_path or (
        path.startswith(cookie_path) and (cookie_path.endswith("/") or path[len(cookie_path)] == "/")
    )
