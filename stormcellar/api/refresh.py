# SPDX-License-Identifier: MIT
"""Renew a session: for clients by POST, for browsers without script by a redirect there and back."""

from __future__ import annotations

import hashlib
from typing import ClassVar
from urllib.parse import urlencode

from tornado.web import stream_request_body

from stormcellar.api.bodies import APIHandler
from stormcellar.sessions import Session, SessionError, StoreUnavailableError, UnauthorisedError
from stormcellar.web import ended, kept_form, renewal
from stormcellar.web.caller import is_digits
from stormcellar.web.device import SeenFrom
from stormcellar.web.handler import BaseHandler
from stormcellar.web.renewal_table import caller_of, is_speculative
from stormcellar.web.return_address import return_address
from stormcellar.web.sign_in_page import CHECK_COOKIES

ROUNDS_COOKIE = "sRefreshRounds"
ROUNDS_WINDOW_S = 20
MAX_ROUNDS = 6  # three renewals; more returns with a good token, for tabs that are opened again all at once
MAX_ROUNDS_OF_SCRIPTS = 20  # a page may send several requests for one address at once
RENEWAL, RETURN = 2, 1  # what each counts


class RefreshHandler(APIHandler):
    """POST {base}/session/refresh: new tokens for a refresh token, which comes to this path only."""

    public = "takes a refresh token instead of a session"

    async def post(self) -> None:
        if self.transfer.clear_duplicates(self.app.sessions, page=self.is_for_page):
            self.finish_again("Cookies that came twice were cleared; please ask again")
            return
        try:
            session = await self.refresh()
        except UnauthorisedError as error:
            if not ended.asks_again(self, error):
                raise
            self.finish_again("That session has ended in this browser; please ask again")
        else:
            await self.answer_renewed(session)

    async def answer_renewed(self, session: Session) -> None:
        """Answer a renewed session with `{}`. Override this for a body of your own; the tokens leave with it.

        Changes of the session's claims are in the tokens that leave.
        """
        self.finish({})

    def finish_again(self, message: str) -> None:
        """202: without new tokens clients take a 200 for a broken proxy, and this for "ask again"."""
        self.set_status(202)
        self.finish({"message": message})

    @property
    def is_for_page(self) -> bool:
        """Whether cookies count whatever the setting, as for all pages: their own script is no SDK."""
        return not (self.speaks_json and self.transfer.client_writes_cookies())

    async def refresh(self) -> Session:
        """Exchange the refresh token that came; the new tokens leave with the answer.

        Raises:
            UnauthorisedError: there is none, or its session is over; the client's tokens are cleared.
        """
        token, method = await self.transfer.refresh_token(self.app.sessions, page=self.is_for_page)
        try:
            if token is None:
                raise UnauthorisedError("no refresh token of ours")
            session = await self.app.sessions.refresh_session(
                token,
                anti_csrf_token=self.request.headers.get("anti-csrf"),
                anti_csrf_check=method == "cookie" and self._compare_anti_csrf(),
                refreshed_from=SeenFrom.of(self.request).to_text(),
            )
        except UnauthorisedError as error:
            await ended.refuse_refresh(self, error)
            raise
        self.session, self.arrived_by = session, method
        if self.app.developer is not None:
            self.app.developer.after_refresh(self, session)
        return session

    def _compare_anti_csrf(self) -> bool:
        if not self.speaks_json:  # the way round for forms, which cannot send headers
            return False
        if self.app.sessions.config.anti_csrf == "VIA_CUSTOM_HEADER" and "rid" not in self.request.headers:
            raise UnauthorisedError("the rid header is missing")
        return True


class RefreshReturnHandler(RefreshHandler):
    """{base}/session/refresh/return?redirectBack=: the same without script, then straight back.

    It lies under the refresh cookie's path, so the browser brings the refresh token. GET returns by 303,
    every other method by 307, which keeps method and body: a form that was sent a moment too late
    arrives complete (RFC 9110, sections 15.4.4 and 15.4.8).

    It never leads in a circle. A page that goes on asking is stopped after MAX_ROUNDS. A browser that does
    not keep cookies cannot be counted, but comes again with the old refresh token: then it has to go one
    step more, and show that it kept the new ones.
    """

    public = "takes a refresh token instead of a session"
    speaks_json = False
    max_body_bytes = None  # forms pass by here
    for_large_bodies: ClassVar[type[RefreshReturnHandler] | None] = None
    kept_form = ""  # the address at which the user gets the form back

    async def get(self) -> None:
        await self.go_round()

    async def post(self) -> None:
        await self.go_round()

    async def put(self) -> None:
        await self.go_round()

    async def patch(self) -> None:
        await self.go_round()

    async def delete(self) -> None:
        await self.go_round()

    async def go_round(self) -> None:
        back = self.redirect_back()
        if is_speculative(self.request):
            self.answer_speculation()
            return
        has_session = await self._has_session()
        if self.get_query_argument(CHECK_COOKIES, ""):
            if not has_session:
                self._stop("cookies", back)
                return
        elif self._count_round(back, RETURN if has_session else RENEWAL) > self._most_rounds():
            self._stop("loop", back)
            return
        elif not has_session:
            if self.transfer.clear_duplicates(self.app.sessions, page=self.is_for_page):
                back = self.request.uri or back  # once more, with what is left
            elif (await self._refresh_or_keep_form(back)).repeated:
                query = urlencode({"redirectBack": back, CHECK_COOKIES: 1}, safe="/")
                back = f"{self.request.path}?{query}"
        self.redirect(back, status=303 if self.request.method in ("GET", "HEAD") else 307)

    async def _refresh_or_keep_form(self, back: str) -> Session:
        try:
            return await self.refresh()
        except UnauthorisedError:
            if caller_of(self.request).guest in ("sign-in", "HX-Redirect"):
                self.kept_form = await kept_form.keep(self, back)
            raise

    def redirect_back(self, fallback: str = "") -> str:
        """The address in the detour's query; a field of the form that passes by may have the same name."""
        website = self.app.options.website_domain
        fallback = fallback or self.app.addresses.landing
        return return_address(self.get_query_argument("redirectBack", None), fallback, website)

    def _most_rounds(self) -> int:
        return MAX_ROUNDS if self.wants_page() else MAX_ROUNDS_OF_SCRIPTS

    def _stop(self, reason: str, back: str) -> None:
        address = "/refresh-session/stopped"
        guest = caller_of(self.request).guest
        if guest == "sign-in":
            self.see_other(address, reason=reason, redirectBack=back)
            return
        if guest == "HX-Redirect":
            self.set_header("HX-Redirect", f"{address}?{urlencode({'reason': reason, 'redirectBack': back})}")
        self.set_status(401)
        self.finish({"message": "unauthorised"})

    async def _has_session(self) -> bool:
        """Whether the visitor's access token is good by now: another tab was faster."""
        try:
            return await BaseHandler.get_session(self) is not None
        except StoreUnavailableError:
            raise
        except SessionError:
            return False

    def _count_round(self, back: str, weight: int) -> int:
        """How often within seconds this browser was sent here for the same page, this time included."""
        name = hashlib.sha256(back.encode()).hexdigest()[:8]
        rounds = dict(part.split(":") for part in self._rounds() if part.count(":") == 1)
        known = rounds.get(name, "0")
        count = (int(known) if is_digits(known) and len(known) < 4 else 0) + weight
        rounds = {**dict(list(rounds.items())[-7:]), name: str(count)}
        value = ".".join(f"{key}:{number}" for key, number in rounds.items())
        path = f"{self.app.options.api_base_path}/session/refresh"
        # In order, two renewals are at least a token's life apart, however short that is set.
        window_s = min(ROUNDS_WINDOW_S, int(self.app.options.access_token_lifetime_s * 0.75))
        self.set_cookie(
            ROUNDS_COOKIE,
            value,
            path=path,
            expires=self.app.sessions.clock.now() + window_s,
            httponly=True,
            samesite=self.app.options.cookie_same_site.capitalize(),
            secure=self.app.options.cookie_secure,
        )
        return count

    def _rounds(self) -> list[str]:
        return (self.transfer.cookie(ROUNDS_COOKIE) or "").strip('"').split(".")

    def answer_session_error(self, error: SessionError) -> None:
        """Answer the caller of a session that is over. Its tokens are cleared.

        GET returns: the page decides what a guest gets. Other methods end here, because what was sent belongs
        to the account that sent it. A form is kept for that account if possible.
        """
        if not isinstance(error, UnauthorisedError):
            super().answer_session_error(error)
        elif self.is_read:
            self.see_other(self.redirect_back())
        else:
            is_htmx = caller_of(self.request).guest == "HX-Redirect"
            back = self.kept_form or ("" if is_htmx else self.redirect_back())
            renewal.turn_away(self, error, back, is_over=True)


@stream_request_body
class LargeBodyReturnHandler(RefreshReturnHandler):
    """The same for a body that is too large to be kept: it is dropped, since the browser sends it again."""

    public = "takes a refresh token instead of a session"

    def data_received(self, chunk: bytes) -> None:
        pass


RefreshReturnHandler.for_large_bodies = LargeBodyReturnHandler
