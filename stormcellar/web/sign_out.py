# SPDX-License-Identifier: MIT
"""Sign out, also with an access token that has expired or whose key is gone."""

from __future__ import annotations

from stormcellar.sessions.feed import SIGNED_OUT
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler

MOST_REFRESH_TOKENS = 4  # cookies of older domains and paths may come too
CLEAR_SPECULATION = '"prefetchCache", "prerenderCache"'
"""What Clear-Site-Data drops: the pages that the browser fetched ahead of time."""


class SignOutHandler(BaseHandler):
    """POST /signout: end this session, and drop the pages that the browser fetched ahead of time.

    An expired access token is enough: whoever leaves need not renew first. One whose key is gone tells
    nothing any more; then the refresh token must, which the browser sends to its own path only.
    """

    public = "whoever's session is over already may leave too"
    max_body_bytes = SMALL_BODY_BYTES

    def may_renew(self) -> bool:
        return False

    async def post(self) -> None:
        token = self.transfer.cookie(self.app.jar.access)
        handle = await self.app.sessions.handle_of(token) if token else None
        if handle is None and self.transfer.may_refresh():
            self.redirect(self.with_return(self.app.addresses.end, self.redirect_back("/")), status=307)
        else:
            self.leave(clears=await self.end({handle} if handle else set()))

    async def end(self, handles: set[str]) -> bool:
        """End these sessions of this browser. Returns whether the answer must clear the browser's cookies."""
        sessions = self.app.sessions
        if not handles:
            return not self.transfer.holds_only_foreign(sessions.recognises)
        return any([await sessions.end_in_browser(handle, reason=SIGNED_OUT) for handle in handles])

    def leave(self, *, clears: bool) -> None:
        self.session = None
        if clears:
            self.transfer.clear()
        self.set_header("Clear-Site-Data", CLEAR_SPECULATION)
        self.see_other(self.redirect_back("/"))


class SignOutByRefreshTokenHandler(SignOutHandler):
    """POST {base}/session/refresh/signout: the same, under the path to which the refresh token comes."""

    public = "takes a refresh token instead of a session"
    max_body_bytes = SMALL_BODY_BYTES

    async def post(self) -> None:
        tokens = self.transfer.cookies(self.app.jar.refresh)[:MOST_REFRESH_TOKENS]
        sessions = self.app.sessions
        found = [await sessions.handle_of_refresh_token(token) for token in tokens]
        living = {handle for handle in found if handle}
        over = sessions.sessions_of(tokens) - living
        if over:
            await sessions.feed.hear_news()
        told = [sessions.settle(handle) for handle in over]
        clears = await self.end(living) if living or not over else False
        self.leave(clears=clears or any(told))
