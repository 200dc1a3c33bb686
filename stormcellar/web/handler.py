# SPDX-License-Identifier: MIT
"""The handlers to inherit from. A request meets, in this order:

    prepare()      is the host ours, and does an unsafe request come from our own pages?
                   whose session is it? `self.session`, or None
    get(), post()  the page's own code
    write_error()  the one place that turns an error into a page, a redirect or JSON
    flush()        tokens that changed on the way are written into the headers

Choose one:

    ProtectedHandler      pages for people who are signed in
    ProtectedAPIHandler   JSON for scripts and apps; 401 and 403 as SuperTokens' clients expect them
    BaseHandler           everybody; it must say why: `public = "..."`

A class narrows what it accepts by `required_claims`, `recent_sign_in_within_s` or `check_database = True`, or
by overriding `override_global_claim_validators`.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from tornado.httputil import HTTPServerRequest
from tornado.locale import Locale, get_supported_locales
from tornado.template import BaseLoader
from tornado.web import ErrorHandler, HTTPError, RequestHandler

from stormcellar.accounts import ThrottledError, TooBusyError, WrongCredentialsError
from stormcellar.events.logs import current_request
from stormcellar.sessions import (
    ClaimsOverride,
    ClaimValidator,
    InvalidClaimsError,
    Session,
    SessionError,
    StoreUnavailableError,
    TryRefreshTokenError,
    UnauthorisedError,
)
from stormcellar.sessions.feed import REPLACED
from stormcellar.settings import is_loopback
from stormcellar.web import advice, ended, renewal, staying
from stormcellar.web.access_log import log_failure, printable
from stormcellar.web.addresses import with_return
from stormcellar.web.auth_time import CONFIRM_PASSWORD, SIGN_IN_TIME
from stormcellar.web.caller import SAFE_METHODS, cors_headers, is_same_site
from stormcellar.web.device import SeenFrom
from stormcellar.web.file_sent import tell_refresh_page
from stormcellar.web.headers import is_redirect, shorten_head
from stormcellar.web.prepared import PrepareSkipped, guarded, is_guarded
from stormcellar.web.renewal_table import caller_of
from stormcellar.web.return_address import return_address
from stormcellar.web.target import hostname, http_origin, is_same_host
from stormcellar.web.templates import page_loader
from stormcellar.web.transfer import Method, Transfer

if TYPE_CHECKING:
    from stormcellar.application import Application

log = logging.getLogger("stormcellar.web")

MESSAGES = {
    400: "The server could not understand this request.",
    403: "This request is not allowed.",
    404: "There is no page at this address.",
    405: "This address does not take this kind of request.",
    413: "That is more than this address takes.",
    429: "There were too many requests. Please try again later.",
    503: "The server is too busy or being looked after. Please try again in a moment.",
}
OUR_FAULT = "Something went wrong on our side. It has been noted."


SMALL_BODY_BYTES = 64 * 1024
"""What the kit's own forms take, and every request that needs no body."""


def implemented_methods(handler: type[RequestHandler]) -> tuple[str, ...]:
    """The methods that a handler's class answers; HEAD where it has its own, or GET and our `head`."""

    def is_there(method: str) -> bool:
        name = method.lower()
        own = getattr(handler, name)
        if own is getattr(RequestHandler, name):
            return False
        return own is not BaseHandler.head or handler.get is not RequestHandler.get

    return tuple(filter(is_there, handler.SUPPORTED_METHODS))


class BaseHandler(RequestHandler):
    """A handler for everybody. `self.session` is the visitor's session, or None."""

    public: ClassVar[str] = ""
    """Why this handler is open to everybody. The application does not start while it is empty."""

    check_database: ClassVar[bool | None] = None
    """Ask the store on each request whether the session is there; None: as the settings say."""

    required_claims: ClassVar[Sequence[str | ClaimValidator]] = ()
    """What a visitor must have besides a session: roles, by name, and claim validators."""

    recent_sign_in_within_s: ClassVar[int | None] = None
    """How long ago the visitor may have signed in, at most. Who did so longer ago confirms the password, and
    comes back; a form that was sent too late must be sent again, so ask this of the form's page too."""

    form_page: ClassVar[str] = ""
    """Where the form is that is sent here, if not at the same address."""

    keeps_forms: ClassVar[bool] = True
    """Whether a form sent here is kept until its user has signed in again, if the session is over."""
    accepts_cross_site: ClassVar[str] = ""
    """Why other sites' pages and other servers may send unsafe requests here. Such a request has no session,
    unless its token came in the header Authorization."""

    max_body_bytes: ClassVar[int | None] = None
    """The largest body that is taken; None: as the settings say."""

    session_required: ClassVar[bool] = False

    speaks_json: ClassVar[bool] = False
    """Whether callers read JSON, errors included, whatever they say they accept."""

    application: Application
    session: Session | None

    is_prepared = False
    """Whether `prepare` of this class has run to its end. Without that nothing but an error is answered."""

    # -- before -------------------------------------------------------------------------------------

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if cls.prepare is not BaseHandler.prepare and not is_guarded(cls.prepare):
            cls.prepare = guarded(cls.prepare)  # type: ignore[assignment]

    def __new__(cls, application: Any, request: HTTPServerRequest, **_named: Any) -> Any:
        """Answer 500 where the application has no sessions. The log says what is missing."""
        if hasattr(application, "sessions"):
            return super().__new__(cls)
        served_by = f"{type(application).__module__}.{type(application).__qualname__}"
        log.error(
            "%s is served by %s, which has no sessions: build the application with stormcellar.Application",
            cls.__name__,
            served_by,
        )
        return ErrorHandler(application, request, status_code=500)

    def initialize(self) -> None:
        self.session = None
        options = self.app.options
        self.transfer = Transfer(
            self.app.jar, self.request, options.token_transfer_method, options.expose_access_token
        )
        self.arrived_by: Method = "cookie"
        self.request_id = f"{next(self.app.request_numbers):012x}"

    @property
    def app(self) -> Application:
        return self.application

    @property
    def own_origin(self) -> str:
        """What the address bar shows of this site; `check_host` has let no other name pass."""
        return self.app.options.origin or http_origin(self.request.host)

    async def prepare(self) -> None:
        if not self.app.started:
            await self.app.start()
        current_request.set(self)
        self.check_host()
        has_cookies_of_others = False
        if self.request.method not in SAFE_METHODS:
            if self.accepts_cross_site:
                has_cookies_of_others = not self.is_same_site()
            else:
                self.check_cross_site()
        if self.request.method != "OPTIONS" and not has_cookies_of_others:
            self.session = await self.get_session()
            if self.app.metrics is not None:
                self.app.metrics.get_session("session" if self.session else "none")
        self.is_prepared = True

    def check_host(self) -> None:
        """Refuse requests for other names (DNS rebinding); nothing is ever derived from the name sent."""
        host, origin = self.request.host, self.app.options.origin
        if not (origin and is_same_host(host, origin)) and not is_loopback(hostname(host)):
            raise advice.Refused(400, advice.on_host(host, origin))

    def check_cross_site(self) -> None:
        """Refuse unsafe requests that other sites' pages send (OWASP ASVS 5.0, 3.5)."""
        if not self.is_same_site():
            origin, path = self.request.headers.get("Origin"), printable(self.request.path)
            self.app.journal.record(
                "cross-site request refused", detail=f"{self.request.method} {path} from {origin!r}"
            )
            raise advice.Refused(403, advice.on_origin(self.request, self.own_origin))

    def is_same_site(self) -> bool:
        """Tell whether a request that may change something comes from our own pages or a trusted site.

        A request whose access token is in the header Authorization needs no other proof: browsers never add
        one by themselves.
        """
        token = self.transfer.bearer_token()
        if token and self.transfer.allowed != "cookie" and self.app.sessions.recognises(token):
            return True
        return is_same_site(self.request, self.own_origin, self.app.trusted_origins)

    async def get_session(self) -> Session | None:
        """This request's session. Raises the engine's errors; `write_error` answers them."""
        try:
            token, self.arrived_by = self.transfer.access_token(
                self.app.sessions.recognises, page=not self.speaks_json
            )
            if token and self.app.developer is not None:
                self.app.developer.look_for_other_site(self, token)
            if self.transfer.is_legacy() and not (token and self.app.sessions.recognises(token)):
                raise TryRefreshTokenError("the session comes from an old backend")
            check = token is not None and self._check_anti_csrf(token)
            return await self.app.sessions.get_session(
                token,
                anti_csrf_token=self.request.headers.get("anti-csrf") if check else None,
                anti_csrf_check=check,
                session_required=self.session_required,
                check_database=self.check_database,
                override_global_claim_validators=self._claims_override,
            )
        except (TryRefreshTokenError, UnauthorisedError) as error:
            if self.session_required or self.may_renew():
                if self.speaks_json and isinstance(error, UnauthorisedError):
                    await ended.hear_news(self, error)
                raise
            return None

    def may_renew(self) -> bool:
        """Tell whether a public handler has an expired token renewed first, or serves a guest."""
        return (self.speaks_json and not self.transfer.was_refused()) or renewal.may_renew(self)

    def wants_page(self) -> bool:
        return not self.speaks_json and caller_of(self.request).reads_pages

    @property
    def is_read(self) -> bool:
        return self.request.method in ("GET", "HEAD")

    async def override_global_claim_validators(
        self, validators: Sequence[ClaimValidator], session: Session
    ) -> Sequence[ClaimValidator]:
        """Which claim validators hold here; `validators` are those that hold everywhere.

        Pages for everybody hold nobody to any: whoever may not do much may still look, sign out or in.
        """
        return validators if self.session_required else []

    @property
    def _claims_override(self) -> ClaimsOverride | None:
        """None where the method above would leave everything as it is."""
        overridden = type(self).override_global_claim_validators
        narrowed = self.required_claims or self.recent_sign_in_within_s is not None
        if (
            self.session_required
            and not narrowed
            and overridden is BaseHandler.override_global_claim_validators
        ):
            return None
        return self.claim_validators

    async def claim_validators(
        self, validators: Sequence[ClaimValidator], session: Session
    ) -> Sequence[ClaimValidator]:
        """All claim validators that hold here: those of the method above, and what the class asks for."""
        chosen = [*await self.override_global_claim_validators(validators, session)]
        roles = [claim for claim in self.required_claims if isinstance(claim, str)]
        if roles:
            chosen += await self.app.role_validators(roles, session)
        chosen += [claim for claim in self.required_claims if not isinstance(claim, str)]
        if self.recent_sign_in_within_s is not None:
            chosen.append(SIGN_IN_TIME.within(self.recent_sign_in_within_s))
        return chosen

    def _check_anti_csrf(self, access_token: str) -> bool:
        """Whether the engine must compare anti-CSRF tokens.

        SuperTokens' clients send these headers with every call to a JSON endpoint. Forms cannot; pages
        are protected by `check_cross_site` alone, like everything else here. What is no token of ours is
        as if absent, so nothing is asked about it.
        """
        if self.request.method == "GET" or self.arrived_by == "header" or not self.speaks_json:
            return False
        mode, recognises = self.app.sessions.config.anti_csrf, self.app.sessions.recognises
        if mode == "VIA_CUSTOM_HEADER" and "rid" not in self.request.headers and recognises(access_token):
            raise TryRefreshTokenError("the rid header is missing")
        return True

    async def begin_session(
        self,
        user_id: str,
        *,
        method: Method,
        password_version: int | None = None,
        access_token_payload: Mapping[str, Any] | None = None,
        session_data_in_database: Mapping[str, Any] | None = None,
        has_account_here: bool = True,
    ) -> Session:
        """Sign a user in. The session that this browser had before ends, whoever it belonged to.

        Args:
            password_version: of the user whose password was checked; None if it was no password.
            access_token_payload: claims for the access token.
            session_data_in_database: what the store keeps with the session, as JSON.
            has_account_here: False for users of another program, whose IDs are not in the table of users.

        Raises:
            WrongCredentialsError: the user was locked or the password changed meanwhile, so this session may
                have begun after all others of the user were ended for that.
            ValueError: a claim has a name of the engine's own, or there are too many for a cookie.
        """
        sessions = self.app.sessions
        session = await sessions.create_new_session(
            user_id,
            access_token_payload={
                **(access_token_payload or {}),
                **SIGN_IN_TIME.set_now(sessions.clock.now()),
            },
            session_data_in_database=session_data_in_database,
            disable_anti_csrf=method == "header",
            created_from=SeenFrom.of(self.request).to_text(),
            temporary=await staying.is_temporary(self, user_id),
        )
        user = await self.app.accounts.get_settled(user_id)
        is_refused = user is None or user.locked or password_version not in (None, user.password_version)
        if is_refused and has_account_here:
            await sessions.revoke_session(session.handle, owner=user_id, reason="locked or new password")
            raise WrongCredentialsError(user_id)
        for token in (*self.transfer.cookies(self.app.jar.access), self.transfer.bearer_token()):
            handle = await sessions.handle_of(token) if token else None
            if handle is not None:
                await sessions.end_in_browser(handle, reason=REPLACED)
        await sessions.end_oldest_sessions(
            user_id,
            most=self.app.options.max_sessions_per_user,
            keep=session.handle,
            reason="more sessions than a user may have",
        )
        await self.app.account_claims.catch_up(session)
        for extra in self.app.extras:
            await extra.catch_up(session)
        self.session, self.arrived_by = session, method
        return session

    async def options(self, *_args: Any, **_kwargs: Any) -> None:
        """What may be asked here; nobody needs a session for that (Fetch, CORS-preflight)."""
        methods = self._methods()
        self.set_header("Allow", methods)
        if self.request.headers.get("Origin") in self.app.trusted_origins:
            self.set_header("Access-Control-Allow-Methods", methods)
            asked = self.request.headers.get("Access-Control-Request-Headers", "")
            self.set_header("Access-Control-Allow-Headers", ", ".join(cors_headers(asked)))
            self.set_header("Access-Control-Max-Age", "600")
        self.set_status(204)

    def _methods(self) -> str:
        return ", ".join(implemented_methods(type(self)))

    async def head(self, *args: Any, **kwargs: Any) -> None:
        """As GET; Tornado leaves the body out."""
        answer = self.get(*args, **kwargs)
        if answer is not None:
            await answer

    # -- pages --------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Begin the answer. As Tornado's, with our headers, which are not put together for each anew."""
        self._headers = self.app.standing_headers.fresh()
        self._write_buffer = []
        self._status_code, self._reason = 200, "OK"
        self.set_default_headers()

    def set_default_headers(self) -> None:
        if not self.app.trusted_origins:
            return
        origin = self.request.headers.get("Origin")
        if origin in self.app.trusted_origins:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Credentials", "true")

    def create_template_loader(self, template_path: str) -> BaseLoader:
        return page_loader(template_path)

    def get_template_namespace(self) -> dict[str, Any]:
        options = self.app.options
        return {
            **super().get_template_namespace(),
            "session": self.session,
            "extras": self.app.extras,
            "site_name": options.site_name,
            "addresses": self.app.addresses,
            "link_back": self.link_back,
            "link": self.link,
            "debug": options.debug,
            "developer": self.app.developer and self.app.developer.strip(self),
            "now_s": self.app.sessions.clock.now(),
        }

    def compute_etag(self) -> None:
        """None: what must not be stored needs no validator (RFC 9111, section 5.2.2.5)."""

    def check_etag_header(self) -> bool:
        return "Etag" in self._headers and super().check_etag_header()

    def get_browser_locale(self, default: str = "en_US") -> Locale:
        """There is nothing to choose from until translations are loaded."""
        first, *others = get_supported_locales()
        return super().get_browser_locale(default) if others else Locale.get(first)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Text of the URL or a form; 400 if it is not UTF-8, without repeating what may be a password."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise HTTPError(400, "%r is not UTF-8", name or "the address") from None

    def password_field(self, name: str = "password") -> str:
        """The form's password as it was typed; `get_body_argument` puts spaces for control characters."""
        return self.decode_argument(self.request.body_arguments.get(name, [b""])[-1], name)

    def redirect_back(self, fallback: str = "") -> str:
        """Where the visitor wanted to go, if that is a path of this site or its pages' server."""
        website = self.app.options.website_domain
        wanted = self.get_query_argument("redirectBack", None)
        if self.request.method not in SAFE_METHODS:
            wanted = self.get_body_argument("redirectBack", wanted)
        return return_address(wanted, fallback or self.app.addresses.landing, website)

    def with_return(self, address: str, back: str) -> str:
        """An address of `self.app.addresses` that is to lead back to a page of this site."""
        return with_return(address, back, self.own_origin)

    def link_back(self, address: str, back: str) -> str:
        """The same for templates."""
        return with_return(address, back, self.own_origin, safe="")

    def link(self, address: str, back: str) -> str:
        """The same, where an address on this site would lead back by itself."""
        return address if address.startswith("/") else self.link_back(address, back)

    def see_other(self, path: str, **query: str) -> None:
        """303: go there with GET."""
        self.redirect(path + ("?" + urlencode(query, safe="/") if query else ""), status=303)

    # -- after --------------------------------------------------------------------------------------

    def flush(self, include_footers: bool = False) -> Any:
        if not self._headers_written:
            if not self.is_prepared and self._status_code < 300:
                raise PrepareSkipped(type(self))
            tell_refresh_page(self, self._headers)
            self._write_token_changes()
        return super().flush(include_footers)

    def _write_token_changes(self) -> None:
        if self.session is not None:
            if self.session.revoked:
                if self.session.clears_tokens:
                    self.transfer.clear(self.arrived_by)
            elif self.session.new_tokens is not None and not self._has_ended_meanwhile():
                self.transfer.attach(self.session.new_tokens, self.arrived_by)
        if self.transfer.attached is not None:
            shorten_head(self._headers, self._status_code)
        self.transfer.write(self._headers, redirects=is_redirect(self._status_code))

    def _has_ended_meanwhile(self) -> bool:
        """Whether the session ended during this request. The browser may hold another session's tokens."""
        return self.session is not None and self.session.handle in self.app.sessions.feed.revoked

    # -- errors -------------------------------------------------------------------------------------

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, SessionError):
            if self.app.metrics is not None:
                self.app.metrics.get_session(type(error).__name__)
            if self.app.developer is not None:
                self.app.developer.refused(self, error)
            self.set_status(error.status_hint)
            self.answer_session_error(error)
        elif isinstance(error, TooBusyError):
            self.answer_later(error.retry_after_s)
        elif isinstance(error, ThrottledError):
            self.answer_throttled(error)
        elif status_code == 401:  # clients would take it for an expired token, and refresh for ever
            log.error("%s answered 401; that is the session's alone, so it became 403", self.request.path)
            self.write_failure(403)
        elif isinstance(error, advice.Refused) and self.app.options.debug:
            message = f"{MESSAGES[status_code]} For developers: {error.advice}."
            self.write_failure(status_code, message)
        else:
            self.write_failure(status_code)

    def answer_session_error(self, error: SessionError) -> None:
        """Turn an error of the engine into an answer."""
        if isinstance(error, StoreUnavailableError):
            self.answer_later(error.retry_after_s)
        elif isinstance(error, InvalidClaimsError):
            self.answer_invalid_claims(error)
        else:
            renewal.answer(self, error)

    def answer_document(self, error: SessionError) -> None:
        """Answer a caller that shows pages: renewal or sign-in, then the address of this request."""
        renewal.answer_document(self, error)

    def answer_part(self, error: SessionError) -> None:
        """Answer a script, a frame, or what asks for a part of a page."""
        renewal.answer_part(self, error)

    def answer_htmx(self, error: SessionError) -> None:
        renewal.answer_htmx(self, error)

    def answer_json(self, error: SessionError) -> None:
        """401 as SuperTokens' clients expect it: they refresh, then repeat the request."""
        if self.speaks_json and isinstance(error, UnauthorisedError):
            ended.clear_tokens(self, error)
        self.finish({"message": error.message})

    def answer_speculation(self) -> None:
        """Nothing that was fetched ahead of time renews, ends or begins a session: the click will."""
        self.set_status(503)
        self.finish()

    def render_refresh_page(self, *, in_place: bool) -> None:
        """Show the page that renews the session: at the wanted address (`in_place`), or at its own."""
        back = renewal.this_address(self) if in_place else self.redirect_back()
        self.session = None  # the page is the same for everybody
        form = renewal.form_to_repeat(self) if in_place else None
        self.render(
            "refresh_session.html",
            redirect_back=back,
            in_place=in_place,
            form=form,
            form_action=renewal.form_action(self),
            form_detour=form and renewal.form_detour(self),
        )

    def answer_invalid_claims(self, error: InvalidClaimsError) -> None:
        """403: signed in, but not allowed to be here. A page may say more, or lead somewhere else."""
        claims = [item["id"] for item in error.payload]
        if self.wants_page() and any(extra.answer_invalid_claims(self, error) for extra in self.app.extras):
            return
        if not self.wants_page():
            self.finish({"message": error.message, "claimValidationErrors": error.payload})
        elif not self.app.options.verify_only and self.app.account_claims.email_verified.key in claims:
            self.render(
                "account/verify_email_needed.html", sent=False, continue_at=renewal.this_address(self)
            )
        elif not self.app.options.verify_only and claims == [SIGN_IN_TIME.key]:
            self.ask_for_password()
        else:
            self.render("forbidden.html", claims=claims)

    def ask_for_password(self) -> None:
        """Have the visitor confirm the password, and come back here, or to the form that was sent here."""
        if self.request.method in SAFE_METHODS:
            self.see_other(CONFIRM_PASSWORD, redirectBack=renewal.this_address(self))
        else:
            form = return_address(self.form_page or self.request.path, self.app.addresses.landing)
            self.see_other(CONFIRM_PASSWORD, redirectBack=form, unsent="yes")

    def answer_later(self, retry_after_s: int) -> None:
        self.set_header("Retry-After", str(retry_after_s))
        self.write_failure(503)

    def answer_throttled(self, error: ThrottledError) -> None:
        """429 (RFC 6585, section 4). SuperTokens' clients show a general message for any such status."""
        self.set_header("Retry-After", str(error.retry_after_s))
        self.write_failure(429, str(error))

    def write_failure(self, status: int, message: str = "") -> None:
        """The page, or the JSON, of an error that has nothing to do with the session."""
        self.set_status(status)
        message = message or MESSAGES.get(status, OUR_FAULT)
        self.set_header("X-Request-Id", self.request_id)
        if status == 405:
            self.set_header("Allow", self._methods())  # RFC 9110, section 15.5.6
        if status >= 500:
            log.error("request %s failed with %d", self.request_id, status)
        if self.wants_page():
            title = http.client.responses.get(status, "Error")
            self.render("error.html", status=status, title=title, message=message, request_id=self.request_id)
        else:
            self.finish({"message": message, "requestId": self.request_id})

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        current_request.set(self)  # it may have failed before prepare()
        if isinstance(value, StoreUnavailableError | TooBusyError | ThrottledError):
            log.warning("%s %s: %s", self.request.method, printable(self.request.path), value)
        elif isinstance(value, SessionError):
            path = printable(self.request.path)
            log.info("%s %s: %s (%s)", self.request.method, path, value.message, value)
        else:
            log_failure(self, value)


class ProtectedHandler(BaseHandler):
    """A page for people who are signed in: `self.session` is always there.

    Whoever is not signed in is sent to where the session is renewed, or to sign in, and then back here.
    A form that was sent with an expired token makes the same detour and arrives complete.
    """

    session_required = True
    session: Session


class ProtectedAPIHandler(ProtectedHandler):
    """JSON for callers who are signed in. SuperTokens' clients act on its 401 and 403 by themselves."""

    speaks_json = True
