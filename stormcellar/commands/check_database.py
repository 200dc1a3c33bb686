# SPDX-License-Identifier: MIT
"""The parts of `check` that connect: to the database, to the API server, to the public address.

Nothing is changed there: tables are compared with those that the next start will make, not made.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from stormcellar.accounts import OUTBOX_TABLES, USER_TABLES
from stormcellar.accounts.kept_forms import KEPT_FORM_TABLES
from stormcellar.accounts.limits import LIMIT_TABLES
from stormcellar.application import Site, open_database
from stormcellar.commands.check_mail import check_outbox
from stormcellar.commands.check_settings import has_secret
from stormcellar.commands.command import key_ring
from stormcellar.commands.finding import Finding, error, note, warning
from stormcellar.events.audit import AUDIT_TABLES
from stormcellar.sessions import StoreUnavailableError
from stormcellar.sessions.session_store import TABLES, SessionStore
from stormcellar.settings import Settings, SettingsError, is_loopback
from stormcellar.store import Database
from stormcellar.store.migrations import needs
from stormcellar.store.presence import SERVER_TABLES
from stormcellar.store.secret_register import SECRET_TABLES

COMPONENTS: dict[str, int] = {
    "sessions": len(TABLES),
    "accounts": len(USER_TABLES),
    "audit": len(AUDIT_TABLES),
    "limits": len(LIMIT_TABLES),
    "kept_forms": len(KEPT_FORM_TABLES),
    "outbox": len(OUTBOX_TABLES),
    "servers": len(SERVER_TABLES),
    "server_secrets": len(SECRET_TABLES),
}
"""How many steps the tables of each component have come in this version."""
CLOCK_WARNING_S, CLOCK_ERROR_S = 2.0, 30.0
LISTEN_S = 4.0
CONNECTIONS_OF_A_PROCESS = 13
NETWORK_TIMEOUT_S = 5.0
CERTIFICATE_DAYS = 14
DAY_S = 86400


async def check_database(options: Settings) -> AsyncIterator[Finding]:
    """Reachable, writable, of this version, with this secret, with a clock that agrees."""
    if not options.uses_postgres and not options.database_path.exists():
        yield note(f"There is no database yet; the first start makes {options.database_path}.")
        return
    try:
        database = open_database(options)
        await database.open()
    except (StoreUnavailableError, SettingsError) as failure:
        yield error(f"The database cannot be reached: {failure}.", "Start it, or correct `database`.")
        return
    try:
        async for finding in _look_at(database, options):
            yield finding
    except StoreUnavailableError as failure:
        yield error(f"The database does not answer: {failure}.", "Look into its log.")
    finally:
        await database.close()


async def _look_at(database: Database, options: Settings) -> AsyncIterator[Finding]:
    versions = await _versions(database)
    for finding in compare_versions(versions):
        yield finding
    if versions:
        try:
            await database.write(lambda c: c.execute("UPDATE schema_version SET version = version"))
        except StoreUnavailableError as failure:
            yield error(f"The database cannot be written: {failure}.", "Give its user the right to.")
    if "sessions" in versions and not has_secret(options):
        yield error(
            f"The database holds a site, but its secret is not in {options.data_dir}: the first start would "
            "make another, which cannot read the signing keys.",
            "Copy the file `secret` from where the servers have it, or set `secret`.",
        )
    elif "sessions" in versions:
        try:
            await key_ring(SessionStore(database), options).load()
        except StoreUnavailableError as failure:
            yield error(
                f"The secret does not belong to this database: {failure}.",
                "Set the secret that the servers on this database have.",
            )
    if "outbox" in versions:
        async for finding in check_outbox(database):
            yield finding
    if options.uses_postgres:
        for finding in await _postgres(database, options):
            yield finding
        if "sessions" in versions:
            yield await _feed(database)


async def _versions(database: Database) -> dict[str, int]:
    sql = "SELECT component, version FROM schema_version"
    try:
        return dict(await database.read(lambda c: c.execute(sql).fetchall()))
    except StoreUnavailableError as failure:
        if "schema_version" in str(failure):  # there is no such table
            return {}
        raise


def compare_versions(versions: dict[str, int]) -> Iterator[Finding]:
    """The database's tables and those of this version."""
    if not versions:
        yield note("The database is empty; the first start makes the tables.")
        return
    for component, version in COMPONENTS.items():
        found, needed = versions.get(component, 0), versions.get(needs(component), 0)
        if found > version >= needed:
            yield note(f"The tables of {component} are newer ({found}, this one knows {version}), and fit.")
        elif found > version:
            yield error(
                f"The tables of {component} are of a newer version ({found}, this one knows {version}).",
                "Update the program; this one would not start.",
            )
        elif found < version:
            yield note(f"The next start brings the tables of {component} from {found} to {version}.")


async def _postgres(database: Database, options: Settings) -> list[Finding]:
    began = time.time()
    ahead_s = await database.now() - (began + time.time()) / 2
    sql = "SELECT current_setting('max_connections')::int"
    (most,) = await database.read(lambda c: c.execute(sql).fetchone())
    return [*compare_clocks(ahead_s), *_connections(options, most), *_encryption(options)]


def compare_clocks(ahead_s: float) -> Iterator[Finding]:
    """`ahead_s`: by how many seconds the database's clock is ahead of this machine's."""
    what = f"The database's clock and this machine's are {abs(ahead_s):.1f} s apart."
    advice = "Let both follow the same time servers (systemd-timesyncd, chrony)."
    if abs(ahead_s) > CLOCK_ERROR_S:
        yield error(what, advice)
    elif abs(ahead_s) > CLOCK_WARNING_S:
        yield warning(what, advice)


def _connections(options: Settings, most: int) -> Iterator[Finding]:
    needed = 2 * options.processes * CONNECTIONS_OF_A_PROCESS
    if needed > most:
        yield warning(
            f"{options.processes} processes need up to {needed} connections while they are replaced, and "
            f"the database takes {most} of everybody.",
            "Raise max_connections, or put a pooler in between.",
        )


def _encryption(options: Settings) -> Iterator[Finding]:
    address = urlsplit(options.database)
    host = address.hostname or ""
    if host and not is_loopback(host) and "sslmode=verify-full" not in address.query:
        yield warning(
            f"The connection to the database on {host} is not sure to be encrypted, nor that it is that one.",
            "Add ?sslmode=verify-full&sslrootcert=system to `database`.",
        )


async def _feed(database: Database) -> Finding:
    """Whether notifications arrive, which is found out by notifying oneself."""
    database.watch(lambda: None, lambda: None)
    deadline = time.monotonic() + LISTEN_S
    while database.feed_mode != "listen" and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # it is another thread that finds out
    if database.feed_mode == "listen":
        return note("Revocations are heard by notifications, at once.")
    return note(
        "Notifications of the database do not arrive here (a transaction pooler?), so every process asks "
        "four times a second.",
        "Connect without the pooler, or add ?stormcellar_feed=poll to `database` to know it beforehand.",
    )


async def check_api_server(options: Settings, site: Site) -> AsyncIterator[Finding]:
    """In verify-only mode: are its keys to be had?"""
    application = site.make_app(options)
    try:
        await application.start()
        checks = await application.checks()
    finally:
        await application.stop()
    if not checks["keys"]:
        yield error(
            f"The keys at {options.jwks_url} cannot be read, so no session can be verified.",
            "Correct jwks_url, or start that server.",
        )


# -- the public address -----------------------------------------------------------------------------


def check_tls(options: Settings) -> Iterator[Finding]:
    """Whether the site answers at its public address, with a certificate that browsers take."""
    address = urlsplit(options.public_url)
    if address.scheme != "https" or not address.hostname:
        yield error("public_url is not https, so there is no TLS to try.", "Set public_url = https://...")
        return
    context = ssl.create_default_context()
    connection = http.client.HTTPSConnection(
        address.hostname, address.port or 443, timeout=NETWORK_TIMEOUT_S, context=context
    )
    try:
        connection.connect()
        certificate = connection.sock.getpeercert() or {}
        yield from check_certificate(str(certificate.get("notAfter", "")), time.time())
        connection.request("GET", "/")
        status = connection.getresponse().status
        if status >= http.client.INTERNAL_SERVER_ERROR:
            yield error(
                f"{options.public_url} answers {status}.",
                "Look into the proxy's log: it reaches no server, or another one.",
            )
    except ssl.SSLError as failure:
        yield error(
            f"Browsers refuse the certificate of {options.public_url}: {failure.reason or failure}.",
            "Give the proxy a certificate for this name.",
        )
    except (OSError, http.client.HTTPException) as failure:
        yield error(
            f"{options.public_url} cannot be reached from here: {failure or type(failure).__name__}.",
            "Start the proxy; see that the name leads to it.",
        )
    finally:
        with contextlib.suppress(socket.error):
            connection.close()


def check_certificate(not_after: str, now: float) -> Iterator[Finding]:
    """`not_after` as getpeercert() has it: "Jun  9 12:00:00 2027 GMT"."""
    days = (ssl.cert_time_to_seconds(not_after) - now) / DAY_S
    if days < CERTIFICATE_DAYS:
        yield warning(
            f"The certificate ends in {days:.0f} days.", "See why it has not been renewed by itself."
        )
