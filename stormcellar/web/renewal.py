# SPDX-License-Identifier: MIT
"""Answers a request whose session must be renewed or is missing: a redirect, the refresh page, or 401.

stormcellar/web/renewal_table.py says who can use which answer. Handlers reach these functions through
`BaseHandler.answer_session_error`, `answer_document`, `answer_htmx` and `answer_part`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from stormcellar.sessions import SessionError, TryRefreshTokenError
from stormcellar.web.renewal_table import FRAMES, caller_of
from stormcellar.web.return_address import return_address

if TYPE_CHECKING:
    from stormcellar.web.handler import BaseHandler

# Common proxies refuse an answer whose head exceeds 4 kB: limits of an address in it, quoted and as it is.
LONGEST_IN_HEADER, LONGEST_LOCATION = 2048, 3000
MOST_TO_REPEAT = 256 * 1024  # bytes of a form
REFRESH_PAGE = "/refresh-session"


def may_renew(handler: BaseHandler) -> bool:
    """Tell whether a public handler has the session renewed before it serves the caller."""
    caller = caller_of(handler.request)
    if not handler.is_read or not handler.transfer.may_refresh() or caller.renewal == "401":
        return False
    return caller.guest not in ("401", "HX-Redirect") or can_take_detour(handler)


def answer(handler: BaseHandler, error: SessionError) -> None:
    """Answer as the caller's row of the table says."""
    caller = caller_of(handler.request)
    if handler.speaks_json:
        handler.answer_json(error)
    elif caller.renewal == "503":
        handler.answer_speculation()
    elif caller.guest == "sign-in":
        handler.answer_document(error)
    elif caller.guest == "HX-Redirect":
        handler.answer_htmx(error)
    else:
        handler.answer_part(error)


def answer_document(handler: BaseHandler, error: SessionError) -> None:
    """Send a person to where the session is renewed, or to where a session begins."""
    is_elsewhere = handler.app.options.verify_only
    if not is_worth_a_refresh(handler, error):
        turn_away(handler, error)
    elif caller_of(handler.request).renewal == "page" or (is_elsewhere and handler.is_read):
        _renew_page(handler)
    elif is_elsewhere or not _can_return(handler):
        # After a redirect by another server, the browser would send the form with `Origin: null`.
        handler.render_refresh_page(in_place=True)
    else:
        take_detour(handler)


def answer_part(handler: BaseHandler, error: SessionError) -> None:
    """Renew the session of a script, a frame or a part of a page by the detour, if that works for it."""
    if can_take_detour(handler):
        take_detour(handler)
    else:
        handler.answer_json(error)


def answer_htmx(handler: BaseHandler, error: SessionError) -> None:
    """Renew by the detour. If there is no session, have htmx leave the page: it would show the sign-in page
    inside a part of the page."""
    if can_take_detour(handler):
        take_detour(handler)
    else:
        turn_away(handler, error)


def turn_away(handler: BaseHandler, error: SessionError, back: str = "", *, is_over: bool = False) -> None:
    """Answer a caller that has no session and cannot renew one.

    Args:
        back: the address to visit after sign-in; "" if it is the address of this request, or htmx's page.
        is_over: whether the refresh was refused.
    """
    guest, addresses = caller_of(handler.request).guest, handler.app.addresses
    if guest == "sign-in" and handler.is_read and not _can_return(handler):
        handler.render_refresh_page(in_place=True)  # its script and its link lead to the sign-in page
    elif guest == "sign-in":
        handler.redirect(handler.with_return(addresses.sign_in, back or this_address(handler)), status=303)
    elif guest == "HX-Redirect":
        can_renew = not is_over and is_worth_a_refresh(handler, error)
        address = REFRESH_PAGE if can_renew else addresses.sign_in
        handler.set_header("HX-Redirect", handler.with_return(address, back or _htmx_page(handler)))
        handler.answer_json(error)
    else:
        handler.answer_json(error)


def is_worth_a_refresh(handler: BaseHandler, error: SessionError) -> bool:
    """Tell whether the browser may hold a refresh token. Guests and crawlers never meet the refresh page.

    Other servers set no marker cookie. So if another server has the API, each browser is sent to the refresh
    page, unless its cookies say that there is no session.
    """
    if handler.transfer.was_refused():
        return False
    if isinstance(error, TryRefreshTokenError) or handler.transfer.may_refresh():
        return True
    return handler.app.options.verify_only and not handler.transfer.knows_no_session()


def can_take_detour(handler: BaseHandler) -> bool:
    """Tell whether the detour can renew the session of a caller that is no navigation.

    In verify-only mode another server has the detour: only frames may be redirected there.
    """
    if caller_of(handler.request).renewal != "detour" or not return_address(handler.request.uri, fallback=""):
        return False
    if handler.app.options.verify_only:
        is_frame = handler.request.headers.get("Sec-Fetch-Dest") in FRAMES
        return is_frame and handler.is_read and not handler.transfer.knows_no_session()
    return handler.transfer.may_refresh() and handler.arrived_by == "cookie"


def take_detour(handler: BaseHandler) -> None:
    """Redirect to the renewal and back: 307 keeps method and body (RFC 9110, section 15.4.8)."""
    handler.redirect(_detour(handler), status=303 if handler.is_read else 307)


def this_address(handler: BaseHandler) -> str:
    return return_address(handler.request.uri, handler.app.addresses.landing)


def form_action(handler: BaseHandler) -> str:
    """Return the address of this request for a form; in full if a browser would take its path for a host."""
    address = handler.request.uri or "/"
    return handler.own_origin + address if address.startswith("//") else address


def form_detour(handler: BaseHandler) -> str:
    """Return the detour for the form of this request; "" if the detour is elsewhere or cannot return."""
    address = return_address(handler.request.uri, fallback="")
    is_ours = not handler.app.options.verify_only and 0 < len(address) <= LONGEST_LOCATION
    return _detour(handler) if is_ours else ""


def form_to_repeat(handler: BaseHandler) -> list[tuple[str, str]] | None:
    """Return the fields of the form that was sent here; None if a page of ours could not send the same."""
    request = handler.request
    names = request.body_arguments
    is_plain = bool(names) or not request.body
    if request.method != "POST" or not is_plain or request.files:
        return None
    if len(request.body) > MOST_TO_REPEAT or not all(map(str.isascii, names)):
        return None
    try:
        return [(name, value.decode()) for name, values in names.items() for value in values]
    except UnicodeDecodeError:
        return None


def _detour(handler: BaseHandler) -> str:
    address = handler.with_return(handler.app.addresses.renew, this_address(handler))
    keeps_form = handler.is_read or (handler.keeps_forms and handler.recent_sign_in_within_s is None)
    return address if keeps_form else address + "&keepForm=no"


def _renew_page(handler: BaseHandler) -> None:
    mode = handler.app.options.refresh_mode
    if (mode == "in_place" and handler.session_required) or not _can_return(handler):
        handler.render_refresh_page(in_place=True)
    elif mode == "detour" or not handler.session_required:
        take_detour(handler)
    else:
        handler.redirect(handler.with_return(REFRESH_PAGE, this_address(handler)), status=302)


def _can_return(handler: BaseHandler) -> bool:
    """Tell whether the address of this request can be the return address of a redirect."""
    address = return_address(handler.request.uri, fallback="")
    return bool(address) and len(quote(address, safe="/")) <= LONGEST_IN_HEADER


def _htmx_page(handler: BaseHandler) -> str:
    """Return the address of the page in which htmx runs."""
    current = handler.request.headers.get("HX-Current-URL", "")
    _host, slash, rest = current.partition("://")[2].partition("/")
    return return_address(slash + rest, handler.app.addresses.landing)
