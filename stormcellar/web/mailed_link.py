# SPDX-License-Identifier: MIT
"""Pages behind mailed links. Only POST spends the token: mail scanners and previews follow links."""

from __future__ import annotations

from typing import Any

from stormcellar.web.form_page import FormHandler


class MailedLinkHandler(FormHandler):
    """A page whose address carries a one-time token, which must get into no other address."""

    async def prepare(self) -> None:
        if self.token():
            self.set_header("Referrer-Policy", "no-referrer")
        await super().prepare()

    def check_cross_site(self) -> None:
        """As elsewhere, but for browsers that send no Sec-Fetch-Site: because of no-referrer they send
        `Origin: null` from our own page. There the token has to do, which no other site knows."""
        headers = self.request.headers
        if headers.get("Origin") != "null" or "Sec-Fetch-Site" in headers or not self.token():
            super().check_cross_site()

    def may_renew(self) -> bool:
        """The way to a renewal and back would repeat the address, token and all."""
        return not self.token() and super().may_renew()

    def token(self) -> str:
        return self.get_argument("token", "")

    async def variables(self) -> dict[str, Any]:
        return {"token": self.token()}
