# SPDX-License-Identifier: MIT
"""What tests of the authenticator app say: what the phone shows, and the way to have it on."""

from __future__ import annotations

import base64
import re

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from tornado.httpclient import HTTPResponse

from stormcellar.testing.client import Client


def totp(secret: bytes, now_s: float) -> str:
    """The code of that secret at that time (RFC 6238)."""
    return TOTP(secret, 6, SHA1(), 30).generate(int(now_s)).decode()


class Phone:
    """An authenticator app that was told the key on the page."""

    def __init__(self, page: HTTPResponse | str) -> None:
        html = page if isinstance(page, str) else page.body.decode()
        found = re.search(r'id="secret">([A-Z2-7 ]+)<', html)
        assert found, html
        self.secret = base64.b32decode(found[1].replace(" ", ""))

    def code(self, now_s: float) -> str:
        return totp(self.secret, now_s)

    def wrong_code(self, now_s: float) -> str:
        """Six digits that are right neither now nor a step aside."""
        right = {self.code(now_s + aside) for aside in (-30, 0, 30)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in right)


async def switch_on(client: Client) -> tuple[Phone, list[str]]:
    """Set the app up by the pages; the phone and the recovery codes. The next code is a new one."""
    await client.post("/account/authenticator")
    phone = Phone(await client.get("/account/authenticator"))
    page = await client.post("/account/authenticator/confirmation", {"code": phone.code(client.clock.now())})
    assert page.code == 200, page.body
    client.clock.advance(30)
    return phone, re.findall(r'<li class="code">([a-z2-9-]+)</li>', page.body.decode())


async def sign_up_with_app(client: Client) -> tuple[Phone, list[str]]:
    await client.sign_up()
    return await switch_on(client)
