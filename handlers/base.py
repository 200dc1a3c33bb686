# SPDX-License-Identifier: MIT
"""The handlers that your pages inherit from. What you add here, every page has.

ProtectedHandler      pages for users who are signed in
ProtectedAPIHandler   JSON for scripts and apps; 401 and 403 as SuperTokens' clients expect them
BaseHandler           pages for everyone; a page must say why: `public = "..."`
"""

from __future__ import annotations

import stormcellar


class BaseHandler(stormcellar.BaseHandler):
    """A page for everyone. `self.session` is the visitor's session, or None."""

    async def prepare(self) -> None:
        """Find out whose request this is, before get() or post() runs.

        The kit's method checks where the request comes from, then calls `self.get_session()` and keeps
        what that returns in `self.session`.
        """
        await super().prepare()


class ProtectedHandler(stormcellar.ProtectedHandler, BaseHandler):
    """A page for users who are signed in: `self.session` is always there.

    A guest goes to sign-in, an expired session is renewed, and then the browser comes back here.
    """


class ProtectedAPIHandler(stormcellar.ProtectedAPIHandler, ProtectedHandler):
    """JSON for callers who are signed in. SuperTokens' clients act on its 401 and 403 by themselves."""
