# SPDX-License-Identifier: MIT
"""Where links and scripts lead in what concerns the session: to this site, or to its API server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from stormcellar.settings import Settings
from stormcellar.web.return_address import return_address

LANDING_PAGE = "/dashboard"


@dataclass(frozen=True)
class Addresses:
    """Paths of this site; addresses with an origin if the API server is another one.

    Attributes:
        session_api: what the JSON endpoints' paths begin with.
        renew: renews the session without script, and goes to `redirectBack`.
        sign_in, sign_out: pages; they too take `redirectBack`.
        sign_up: "" if visitors cannot sign up, or if it is not known where.
        end: ends a session by its refresh token; here only.
        account: the page of one's own account; "" if it is not known where that is.
        session_alive: tells whether the session has ended elsewhere; "" if nothing on this site knows that.
        api_origin: the API server's origin if it is another one, else "".
        other_pages: the origins to which a form that is sent here may lead.
        landing: the page after signing in, if no other was wanted; here.
        scripts_keep_cookies: whether scripts must keep the readable cookies up to date, because the API
            server may be one that leaves that to them, as SuperTokens' backends do.
    """

    session_api: str
    renew: str
    sign_in: str
    sign_out: str
    sign_up: str
    end: str = ""
    account: str = ""
    session_alive: str = ""
    api_origin: str = ""
    other_pages: tuple[str, ...] = ()
    scripts_keep_cookies: bool = False
    landing: str = LANDING_PAGE

    @classmethod
    def of(cls, options: Settings, landing_page: str = LANDING_PAGE) -> Addresses:
        """Return the addresses for some settings.

        Raises:
            ValueError: landing_page is no path of this site.
        """
        if return_address(landing_page, "") != landing_page or not landing_page:
            raise ValueError(f"landing_page is {landing_page!r}, but it must be a path of this site")
        base = options.api_base_path
        renew = f"{base}/session/refresh/return"
        website = (options.website_domain,) if options.website_domain else ()
        if not options.verify_only:
            sign_in = options.sign_in_url or "/login"
            return cls(
                base,
                renew,
                sign_in,
                "/signout",
                "/signup" if options.registration == "open" else "",
                account="/account",
                session_alive="/session-alive",
                end=f"{base}/session/refresh/signout",
                other_pages=website,
                landing=landing_page,
            )
        elsewhere = options.api_domain if options.api_domain != options.public_url else ""
        return cls(
            session_api=elsewhere + base,
            renew=elsewhere + renew,
            sign_in=options.sign_in_url or f"{options.api_domain}/login",
            sign_out=f"{options.api_domain}/signout",
            sign_up="" if options.sign_in_url else f"{options.api_domain}/signup",
            api_origin=elsewhere,
            other_pages=(elsewhere,) if elsewhere else (),
            scripts_keep_cookies=True,
            landing=landing_page,
        )


def with_return(address: str, back: str, own_origin: str, *, safe: str = "/") -> str:
    """The address with the page to come back to, in full if the address is on another server.

    Args:
        safe: what need not be percent-encoded.
    """
    if not address.startswith("/") and not address.startswith(own_origin + "/"):
        back = own_origin + back if back.startswith("/") else back
    return f"{address}{'&' if '?' in address else '?'}redirectBack={quote(back, safe=safe)}"
