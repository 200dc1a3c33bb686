# SPDX-License-Identifier: MIT
"""A form that was sent when its session was over: kept, shown after sign-in, and sent again by one click.

The detour keeps the form (api/credentials.py), and redirects to sign-in and then to this page. Only the
user who sent the form sees it again, in the same browser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from stormcellar.accounts.kept_forms import KEPT_S, KeptForm
from stormcellar.web.handler import ProtectedHandler

if TYPE_CHECKING:
    from stormcellar.api.refresh import RefreshReturnHandler

PATH = "/kept-form"
COOKIE = "sKeptForm"
LONGEST_IN_HEADER = 500  # of an address that is quoted twice: common proxies take heads of 4 kB
MAX_BYTES = 256 * 1024  # of a kept form that is sent again: percent-encoding makes it longer
SECRET_NAME = re.compile(
    r"pass(?:word|wd|wort|phrase|code)|kennwort|pwd|secret|token|otp|cvc|cvv|card.?n|iban|(?:^|[-_])(?:code|pin)$",
    re.IGNORECASE,
)
"""A form with a field of such a name is not kept."""


async def keep(handler: RefreshReturnHandler, address: str) -> str:
    """Keep the form of this request if that is possible.

    Returns:
        The address to visit after sign-in; "" if the form is not kept.
    """
    form = _form_of(handler, address)
    token = handler.transfer.cookie(handler.app.jar.access)
    user_id = await handler.app.sessions.user_of(token) if form and token else None
    if form is None or user_id is None:
        return ""
    browser = await handler.app.kept_forms.keep(user_id, form)
    if browser is None:
        return ""
    handler.set_cookie(
        COOKIE,
        browser,
        path=PATH,
        expires=handler.app.clock.now() + KEPT_S,
        httponly=True,
        samesite=handler.app.options.cookie_same_site.capitalize(),
        secure=handler.app.options.cookie_secure,
    )
    if len(address) > LONGEST_IN_HEADER:
        return PATH
    return f"{PATH}?{urlencode({'redirectBack': address}, safe='/')}"


def _form_of(handler: RefreshReturnHandler, address: str) -> KeptForm | None:
    request = handler.request
    names = request.body_arguments
    is_kept = handler.get_query_argument("keepForm", "") != "no" and address.startswith("/")
    if request.method != "POST" or not names or not is_kept or any(map(SECRET_NAME.search, names)):
        return None
    try:
        fields = [(name, value.decode()) for name, values in names.items() for value in values]
    except UnicodeDecodeError:
        return None
    return KeptForm(address, tuple(fields), had_files=bool(request.files))


class KeptFormHandler(ProtectedHandler):
    """GET /kept-form: what was typed. POST: send it to where it was meant for, and forget it."""

    max_body_bytes = MAX_BYTES
    keeps_forms = False  # it is kept already

    async def get(self) -> None:
        form = await self.app.kept_forms.get(self.session.user_id, self._browser())
        if form is None:
            self.see_other(self.redirect_back())
        else:
            self.render("account/kept_form.html", form=form)

    async def post(self) -> None:
        form = await self.app.kept_forms.take(self.session.user_id, self._browser())
        self.clear_cookie(COOKIE, path=PATH)
        if form is None:
            self.see_other(self.app.addresses.landing)
        else:
            self.redirect(form.address, status=307)  # the fields go along

    def _browser(self) -> str:
        return self.transfer.cookie(COOKIE) or ""
