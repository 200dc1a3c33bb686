# SPDX-License-Identifier: MIT
"""The Tornado application: the settings, the engine, the accounts and the routes of one site."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tornado.httputil import HTTPServerRequest
from tornado.routing import Rule, URLSpec
from tornado.web import Application as TornadoApplication
from tornado.web import RequestHandler

from stormcellar import settings as configuration
from stormcellar.accounts import ARGON2ID, Argon2Parameters, Limits, Mailer, Outbox, PasswordHasher, Users
from stormcellar.accounts.kept_forms import KeptForms
from stormcellar.dev.key import developer_key
from stormcellar.dev.strip import Developer
from stormcellar.events.audit import AuditLog
from stormcellar.events.journal import Event, Journal, log_event
from stormcellar.events.publisher import Publisher
from stormcellar.extras import Extra, installed
from stormcellar.packages import install_command
from stormcellar.routes import plain_routes, route_table
from stormcellar.secret_files import server_secret
from stormcellar.server.deadlines import Step, run_steps
from stormcellar.sessions import (
    ClaimValidator,
    Clock,
    EmailVerificationClaim,
    RemoteConfig,
    RemoteSessions,
    Session,
    SessionClaim,
    SessionConfig,
    Sessions,
    SharedClock,
    StoreUnavailableError,
    SystemClock,
    UserRoleClaim,
)
from stormcellar.sessions.events import SessionEvent
from stormcellar.sessions.remote_keys import RemoteKeys
from stormcellar.settings import Settings, SettingsError
from stormcellar.store import Connection, Database
from stormcellar.store.opening import open_in_time
from stormcellar.store.presence import Presence
from stormcellar.store.sealed import SealedColumn, SealedCount
from stormcellar.store.secret_register import SecretRegister
from stormcellar.store.sqlite import SqliteDatabase
from stormcellar.web import documents
from stormcellar.web.access import access, check_access
from stormcellar.web.access_log import log_request
from stormcellar.web.account_claims import AccountClaims
from stormcellar.web.addresses import LANDING_PAGE, Addresses
from stormcellar.web.body_limit import admitted
from stormcellar.web.handler import BaseHandler
from stormcellar.web.headers import StandingHeaders, default_headers
from stormcellar.web.known_clients import KnownClients
from stormcellar.web.live import LiveConnections
from stormcellar.web.mails import Mails, make_mailer
from stormcellar.web.proxies import Proxies
from stormcellar.web.static import NotFoundHandler, SiteStaticHandler
from stormcellar.web.target import to_origin_form
from stormcellar.web.transfer import CookieJar

if TYPE_CHECKING:
    from stormcellar.events.metrics import Metrics

log = logging.getLogger("stormcellar")

PING_INTERVAL_S = 30  # a peer that has gone without a word is noticed within PING_TIMEOUT_S more
PING_TIMEOUT_S = 20
HOUSEKEEPING_INTERVAL_S = 600
LONGEST_STOP_S = 30.0


class Application(TornadoApplication):
    """The web application with what its handlers work with. Several may live in one process.

    Attributes:
        options: the Settings it was made from (Tornado's own dictionary is `settings`).
        sessions: the session engine; in verify-only mode RemoteSessions, which plays a part of it.
        journal: takes what happens, for the log, the counters and the audit log.
        developer: what the developer strip knows; None unless `debug` is on.

    In verify-only mode there are no more than these; otherwise there are also

        accounts: the users.
        account_claims: what sessions know of accounts.
        extras: the optional parts that are there.
        kept_forms: forms that arrived when their session was over.
        audit: what happened to accounts and sessions, kept in the database.
        mails: what writes and sends mails; `mailer` hands them over, None: as the settings say.
        presence: tells the other servers on the database of this one, if it is `announced`.
    """

    def __init__(
        self,
        options: Settings,
        pages: Sequence[URLSpec] = (),
        *,
        folder: Path,
        landing_page: str = LANDING_PAGE,
        clock: Clock | None = None,
        password_parameters: Argon2Parameters = ARGON2ID,
        mailer: Mailer | None = None,
        announced: bool = False,
        claims: Sequence[SessionClaim[Any]] = (),
        global_claim_validators: Sequence[ClaimValidator] = (),
        **engine_options: Any,
    ) -> None:
        self.options = options
        self.folder = folder
        if not options.verify_only:
            configuration.ensure_data_dir(options)
            self.database = open_database(options)
        self.clock = clock or self._clock()
        self.jar = CookieJar(options, self.clock)
        self.addresses = Addresses.of(options, landing_page)
        self.proxies = Proxies(options.trusted_proxies)
        self.standing_headers = StandingHeaders(default_headers(options))
        self.trusted_origins = frozenset({*options.trusted_origins, options.website_domain} - {""})
        self.extras: Sequence[Extra] = ()
        self.events = Publisher()
        self.journal = Journal(self.clock, self.events)
        self.announced = announced
        if options.verify_only:
            self._verify_only(global_claim_validators)
        else:
            self._keep_accounts(password_parameters, mailer, claims, global_claim_validators, engine_options)
        self.live = LiveConnections(self.sessions, most_per_user=options.max_sockets_per_user)
        self.developer = Developer(self.clock, developer_key(options)) if options.debug else None
        self.metrics = self._metrics()
        self._subscribe()
        self.draining = False
        self.request_numbers = itertools.count(secrets.randbits(47))  # servers rarely give one twice
        self.started = False
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Future[None]] = []
        table = route_table(options, pages, folder / "static")
        check_access(table)
        self._plain_routes = plain_routes(table)
        super().__init__(
            table,
            default_handler_class=NotFoundHandler,
            template_path=str(folder / "templates"),
            log_function=log_request,
            websocket_ping_interval=PING_INTERVAL_S,
            websocket_ping_timeout=PING_TIMEOUT_S,
            websocket_max_message_size=options.max_socket_message_bytes,
            compiled_template_cache=not options.debug,
            static_hash_cache=not options.debug,
        )
        # For static_url() in templates. As arguments they make Tornado put routes of its own before ours.
        self.settings.update(static_path=str(folder / "static"), static_handler_class=SiteStaticHandler)

    def _verify_only(self, global_claim_validators: Sequence[ClaimValidator]) -> None:
        options = self.options
        self.extras = [extra for part in installed() if (extra := part.for_verifying(self)) is not None]
        validators = [validator for extra in self.extras for validator in extra.validators]
        if options.email_verification == "required":
            validators.append(EmailVerificationClaim(lambda *_: None).is_verified())
        validators += global_claim_validators
        engine = RemoteSessions(
            RemoteConfig(
                options.jwks_url,
                options.issuer,
                options.anti_csrf_mode,
                audiences=tuple(filter(None, (options.api_domain, options.origin))),
            ),
            clock=self.clock,
            global_claim_validators=validators,
            keys=RemoteKeys(options.jwks_url, self.clock, fetch=documents.fetch),
        )
        self.sessions = cast(Sessions, engine)

    def _clock(self) -> Clock:
        """One clock for all servers on one database server; on one machine they have one already."""
        is_shared = not self.options.verify_only and self.options.uses_postgres
        return SharedClock(self.database.now) if is_shared else SystemClock()

    def _keep_accounts(
        self,
        password_parameters: Argon2Parameters,
        mailer: Mailer | None,
        claims: Sequence[SessionClaim[Any]],
        global_claim_validators: Sequence[ClaimValidator],
        engine_options: dict[str, Any],
    ) -> None:
        options, clock = self.options, self.clock
        secret = server_secret(options)
        self.secret_register = SecretRegister(self.database, clock, secret)
        self.presence = Presence(
            self.database,
            clock,
            issuer=options.issuer,
            is_public=bool(options.public_url),
            secret_fingerprints=secret.fingerprints,
        )
        self.hasher = PasswordHasher(
            options.password_hash_workers, options.password_hash_queue, password_parameters
        )
        self.accounts = Users(
            self.database,
            self.hasher,
            clock=clock,
            password_min_length=options.password_min_length,
            site_name=options.site_name,
            password_reset_lifetime_s=options.password_reset_lifetime_s,
        )
        self.audit = AuditLog(self.database, clock, retention_s=options.audit_retention_s)
        self.limits = Limits(
            self.database,
            clock=clock,
            key=secret.key("rate limits"),
            enabled=options.rate_limits,
            on_throttled=lambda error: self.journal.record("throttled", detail=error.limit),
        )
        self.kept_forms = KeptForms(self.database, clock, secret.keys("kept forms"))
        self.known_clients = KnownClients(
            secret.keys("rate limits"),
            clock,
            secure=options.cookie_secure,
            same_site=options.cookie_same_site,
            prefixed=options.prefixes_cookies,
        )
        self.account_claims = AccountClaims(self.accounts, options)
        self.extras = [part(self) for part in installed()]
        self.sessions = Sessions(
            self.database,
            session_config(options),
            clock=clock,
            claims=[
                *self.account_claims.in_new_sessions,
                *(claim for extra in self.extras for claim in extra.claims),
                *claims,
            ],
            global_claim_validators=[
                *(validator for extra in self.extras for validator in extra.validators),
                *self.account_claims.validators,
                *global_claim_validators,
            ],
            **{"on_event": self.events.publish, **engine_options},
        )
        self.mails = Mails(
            self.folder / "templates",
            Outbox(
                self.database,
                clock=clock,
                keys=secret.keys("outbox"),
            ),
            mailer or make_mailer(options),
            site_name=options.site_name,
            link_base=mail_link_base(options),
        )

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """The one place where a request learns whose it is; everything after it may rely on `remote_ip`.

        Most addresses are looked up then, where Tornado tries one route after the other.
        """
        to_origin_form(request)
        forwarded_for = request.headers.get("X-Forwarded-For")
        if forwarded_for is None:
            self.proxies.warn_of_other_headers(request.remote_ip or "", request.headers)
        elif not self.options.cookie_secure:
            self.proxies.warn_of_scheme(request.remote_ip or "", request.headers)
        request.remote_ip = self.proxies.caller(request.remote_ip or "", forwarded_for)
        route = self._plain_routes.get(request.path)
        if route is None:
            return super().find_handler(request, **more)
        return self.get_handler_delegate(request, route.handler_class, route.kwargs)

    def get_handler_delegate(
        self, request: HTTPServerRequest, target_class: type[RequestHandler], *more: Any, **named: Any
    ) -> Any:
        """Every request comes by here before its body is read; a body that is too large is refused."""
        target_class = admitted(request, target_class, self.options)
        return super().get_handler_delegate(request, target_class, *more, **named)

    def add_handlers(self, host_pattern: str, host_handlers: Any) -> None:
        """Add routes, as Tornado's method does. Their handlers are held to the rule for the route table.

        Raises:
            AccessUnsaid: a handler of the kit neither protects nor says why it is public.
        """
        for rule in host_handlers:
            handler = rule.target if isinstance(rule, Rule) else rule[1]
            if isinstance(handler, type) and issubclass(handler, BaseHandler):
                access(handler)
        self._plain_routes = {}  # what is added comes first, whatever its pattern
        super().add_handlers(host_pattern, host_handlers)

    def _subscribe(self) -> None:
        """Connect the parts that hear of events with those that publish them."""
        events = self.events
        if self.metrics is not None:
            events.subscribe(SessionEvent, self.metrics.count_session_event)
            events.subscribe(Event, self.metrics.count_event)
        events.subscribe(SessionEvent, self.journal.session_event)
        events.subscribe(SessionEvent, self.live.hear_session_event)
        events.subscribe(Event, log_event)
        if not self.options.verify_only:
            events.subscribe(Event, self.audit.add)
        if self.developer is not None:
            events.subscribe(Event, self.developer.hear)

    async def role_validators(self, roles: Sequence[str], session: Session) -> list[ClaimValidator]:
        """Rules that a session's user has each of these roles."""
        if self.options.verify_only:
            return [UserRoleClaim(lambda *_: None).includes(role) for role in roles]
        return await self.account_claims.role_validators(roles, session)

    def log_request(self, handler: RequestHandler) -> None:
        super().log_request(handler)
        if self.metrics is not None:
            self.metrics.request(handler)

    def _metrics(self) -> Metrics | None:
        """Counters, where Prometheus' client is installed."""
        try:
            from stormcellar.events.metrics import Metrics
        except ImportError:
            return None
        return Metrics(self)

    async def checks(self) -> dict[str, bool]:
        """What must hold for requests to be sent here."""
        accepting = self.started and not self.draining
        if self.options.verify_only:
            return {"accepting": accepting, "keys": not cast(RemoteSessions, self.sessions).keys.is_empty}
        database = False
        with contextlib.suppress(StoreUnavailableError):
            database = await self.database.read(_answers)
        return {
            "accepting": accepting,
            "database": database,
            "feed": self.sessions.feed.state == "live",
            "keys": self.sessions.keys.can_sign(),
            "passwords": await self.hasher.works(),
        }

    def begin_draining(self) -> None:
        """Not ready any more; clients are told not to use their connections again."""
        self.draining = True
        self.standing_headers.headers["Connection"] = "close"

    async def start(self) -> None:
        """Open the database and what lives in it. Handlers call this too, so tests need not."""
        async with self._starting:
            if not self.started:
                if self.options.verify_only:
                    await self.sessions.start()
                else:
                    # A request that starts the application does not wait, only a server does.
                    wait_s = self.options.database_wait_s if self.announced else 0
                    await open_in_time(self.database, wait_s)
                    if isinstance(self.clock, SharedClock):
                        await self.clock.set()
                        self._tasks.append(asyncio.ensure_future(self.clock.keep_set()))
                    await self.secret_register.open()
                    await self.secret_register.check()
                    await self.presence.open()
                    if self.announced:
                        await self.presence.join()
                        self.sessions.feed.settle_with(self.presence.settle)
                        self._tasks.append(asyncio.ensure_future(self.presence.keep()))
                    await self.sessions.start()
                    await self.secret_register.note()
                    await self.accounts.open()
                    await self.limits.open()
                    await self.kept_forms.open()
                    await self.audit.open()
                    await self.mails.open()
                    for extra in self.extras:
                        await extra.open()
                    self._tasks.append(asyncio.ensure_future(self._keep_house()))
                self.live.start()
                if self.metrics is not None:
                    self._tasks.append(asyncio.ensure_future(self.metrics.watch_loop()))
                self.started = True

    @property
    def sealed_columns(self) -> list[SealedColumn]:
        """What the database keeps sealed with a key of the server secret, for longer than minutes."""
        found = [self.sessions.keys.sealed_column, *self.mails.delivery.outbox.sealed_columns]
        return found + [column for extra in self.extras for column in extra.sealed_columns]

    async def seal_again(self) -> SealedCount:
        """Seal with the current secret what an earlier one has sealed, if the current one is the newest."""
        found = SealedCount()
        if await self.secret_register.is_current_newest():
            for column in self.sealed_columns:
                found += await column.seal_again(self.database)
        return found

    @property
    def keepers(self) -> Sequence[Users | Limits | AuditLog | Mails | KeptForms | Extra]:
        """All who keep something in the database, but for the engine, which looks after itself."""
        return (self.accounts, self.limits, self.audit, self.mails, self.kept_forms, *self.extras)

    async def _keep_house(self) -> None:
        """Have them delete what is over, now and then, and seal again what an earlier secret has sealed."""
        while True:
            try:
                if server_secret(self.options).others:
                    await self.seal_again()
            except Exception as error:  # whatever it is: the next turn tries again
                log.warning("sealing with the new secret is put off: %s", error)
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            for part in self.keepers:
                try:
                    await part.maintain()
                except Exception as error:  # whatever it is: without this task nothing would be deleted again
                    log.warning("maintaining %s is put off: %s", type(part).__name__, error)

    async def stop(self, end_s: float | None = None) -> None:
        """Finish what has begun and close every thread and file, also after a start that failed.

        Args:
            end_s: by when, on time.monotonic(). What takes longer is given up. None: in LONGEST_STOP_S.
        """
        end_s = time.monotonic() + LONGEST_STOP_S if end_s is None else end_s
        async with self._starting:
            self.started = False
            while self._tasks:
                self._tasks.pop().cancel()
            steps: list[Step] = [("live connections", self.live.stop), ("the sessions", self.sessions.stop)]
            if not self.options.verify_only:
                leaving: list[Step] = [("the list of servers", self.presence.leave)] if self.announced else []
                steps[1:1] = [("mails", self.mails.stop), *leaving]
                steps += [
                    ("the audit log", self.audit.close),
                    ("the database", self.database.close),
                    ("password hashes", partial(asyncio.to_thread, self.hasher.close)),
                ]
            await run_steps(steps, end_s)
            if self.metrics is not None:
                self.metrics.write_shared()


def _answers(connection: Connection) -> bool:
    return connection.execute("SELECT 1").fetchone() is not None


def open_database(options: Settings) -> Database:
    """The database that the settings name; it connects when the application starts."""
    if not options.uses_postgres:
        return SqliteDatabase(options.database_path)
    try:
        from stormcellar.store.postgres import PostgresDatabase
    except ImportError as error:
        raise SettingsError(
            f"database is a PostgreSQL address, but psycopg cannot be used ({error}). Install it with "
            f"{install_command('postgres')}, or leave database empty",
            "database",
        ) from error
    return PostgresDatabase(options.database)


def site_origin(options: Settings) -> str:
    """What addresses of this site begin with, whatever host a request names."""
    return options.origin or f"http://localhost:{options.port}"


def mail_link_base(options: Settings) -> str:
    """The kit's own pages behind mailed links are here, those of another UI on the website."""
    path = options.mail_link_base_path
    return ((path and options.website_domain) or site_origin(options)) + path


def session_config(options: Settings) -> SessionConfig:
    """What the engine needs of the settings."""
    secret = server_secret(options)
    return SessionConfig(
        secret=secret.current,
        other_secrets=secret.others,
        issuer=options.issuer,
        access_token_lifetime_s=options.access_token_lifetime_s,
        access_token_jitter=options.access_token_jitter_percent / 100,
        refresh_token_lifetime_s=options.refresh_token_lifetime_s,
        session_lifetime_s=options.session_lifetime_s,
        temporary_lifetime_s=options.temporary_session_lifetime_s,
        refresh_grace_s=options.refresh_grace_s,
        use_dynamic_signing_key=options.use_dynamic_signing_key,
        signing_key_rotation_s=options.signing_key_rotation_s,
        check_database=options.check_database,
        feed_lost=options.feed_lost,
        anti_csrf=options.anti_csrf_mode,
    )


@dataclass(frozen=True)
class Site:
    """A site: where its files are, and its pages.

    Attributes:
        folder: with `templates/` and `static/`.
        routes: returns the site's own routes for some settings.
        landing_page: the path that users come to after they have signed in, if they wanted no other page.
    """

    folder: Path
    routes: Callable[[Settings], Sequence[URLSpec]]
    landing_page: str = LANDING_PAGE

    def make_app(self, options: Settings, **more: Any) -> Application:
        """Return the Tornado application for these settings; `more` goes to Application."""
        more = {"landing_page": self.landing_page, **more}
        return Application(options, self.routes(options), folder=self.folder, **more)

    def route_table(self, options: Settings) -> list[URLSpec]:
        """Return all routes, the kit's among them."""
        return route_table(options, self.routes(options), self.folder / "static")
