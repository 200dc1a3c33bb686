# SPDX-License-Identifier: MIT
# ruff: noqa: RUF009 - setting() returns dataclasses.field(), which is what the rule asks for

"""All that can be set from outside: one frozen dataclass, read once by server.py.

One field of Settings is one setting. Its default, unit, effect and danger stand beside it, and from there
come the option, the environment variable, `--help` and docs/settings.md (`make docs`). To add a setting, add
a field; a rule between several settings is one more function in RULES.
"""

import difflib
import ipaddress
import os
import re
import textwrap
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from stormcellar import environment, machine

ENVIRONMENT_PREFIX = "STORMCELLAR_"
SECRET_MIN_LENGTH = 32  # characters; 192 bits if they are base64url, 128 bits if hexadecimal
NEW_SECRET = "`python3 -c 'import secrets; print(secrets.token_urlsafe(48))'` prints a good one"
DAY_S = 24 * 60 * 60
COOKIE_MAX_AGE_S = 400 * DAY_S  # RFC 6265bis, section 5.5: browsers keep no cookie longer
LONGEST_S = 3650 * DAY_S  # beyond that a duration is a typing error
PASSWORD_HASH_BYTES = 19456 * 1024  # the memory of one hash, as stormcellar/accounts/passwords.py has it

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting, or several together, cannot be used; the message says what to change.

    Args:
        message: sentences for the operator. No value of a secret setting is ever in it.
        names: the settings that it is about, so that load() can add where they come from.
    """

    def __init__(self, message: str, *names: str) -> None:
        super().__init__(message)
        self.names = names


class Masked(str):
    """Text that a repr does not show, be it that of a dict or a traceback's local variables around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class About:
    """What is written beside a setting."""

    unit: str  # "-" for none
    effect: str  # what it does, and when to turn it
    danger: str  # what goes wrong if it is set badly
    minimum: int | None
    maximum: int | None
    check: Callable[[Any], Any] | None  # returns the value normalised, or raises ValueError("it must ...")
    secret: bool  # never shown
    heading: str  # begins a new group in --help and docs/settings.md


def setting(
    default: T,
    *,
    unit: str,
    effect: str,
    danger: str,
    minimum: int | None = None,
    maximum: int | None = None,
    check: Callable[[T], T] | None = None,
    secret: bool = False,
    heading: str = "",
) -> T:
    """Declare a field of Settings together with all that is known about it."""
    about = About(unit, effect, danger, minimum, maximum, check, secret, heading)
    return field(default=default, repr=not secret, metadata={"about": about})


# Checks of one value. A message goes on after "<name> is <value>, but ".

HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
ENDS_IN_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)", re.ASCII)
ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?/?", re.ASCII | re.IGNORECASE)
APP_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+)", re.ASCII)
NO_APP_SCHEMES = frozenset({"http", "https", "ws", "wss", "ftp", "file", "data", "blob", "javascript"})
URL = re.compile(r"(https?://[^/?#@]+)(/[!-\[\]-~]*)?", re.ASCII | re.IGNORECASE)
OWN_PATH = re.compile(r"/(?!/)[!-\[\]-~]*", re.ASCII)
BASE_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", re.ASCII)
IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
SMTP_SCHEMES = ("smtp", "smtp+starttls", "smtps")
POSTGRES_URL = re.compile(r"postgres(?:ql)?://[^/?#\s]*/[^/?#\s]+(?:\?(?!(?:.*&)?password=)[^?#\s]+)?")
UNIX_PREFIX = "unix:"  # of an address that is the path of a Unix socket
SAMPLE_WORDS = ("changeme", "changethis", "replaceme", "yoursecret", "insecure")


def normalised_host(host: str) -> str:
    """Lower-case host name, dotted IPv4 or bracketed IPv6, as browsers write it; ValueError if it is none.

    A name whose last label is a number must be a plain IPv4 address: browsers read 127.1 as 127.0.0.1.
    Source: WHATWG URL, section 3.5.
    """
    host = host.lower()
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    if ENDS_IN_NUMBER.fullmatch(host):
        return str(ipaddress.IPv4Address(host))
    if len(host) > 253 or not HOST_NAME.fullmatch(host):
        raise ValueError("not a host name")
    return host


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address (IPv6 with or without brackets) can only mean this machine.

    Source: RFC 6761, section 6.3, for localhost and the names below it.
    """
    host = host.lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def normalised_origin(url: str) -> str:
    """Scheme, host and port as a browser's Origin header has them (RFC 6454), else ValueError."""
    expected = ValueError(
        "it must be http:// or https://, a host and perhaps a port, without path, query, fragment or user "
        "name; write it like https://www.example.com (names in other scripts in their xn-- form)"
    )
    match = ORIGIN.fullmatch(url)
    if match is None:
        raise expected
    scheme, port = match[1].lower(), int(match[3]) if match[3] else None
    if port is not None and not 1 <= port <= 65535:
        raise expected
    try:
        host = normalised_host(match[2])
    except ValueError:
        raise expected from None
    default_port = 443 if scheme == "https" else 80
    return f"{scheme}://{host}" if port in (None, default_port) else f"{scheme}://{host}:{port}"


def is_app_origin(origin: str) -> bool:
    """Tell whether an origin is that of a browser extension or of an app in a WebView.

    Browsers write them like `chrome-extension://<32 letters>` and `capacitor://localhost`, in lower case.
    """
    match = APP_ORIGIN.fullmatch(origin)
    return match is not None and match[1] not in NO_APP_SCHEMES


def _host_of(origin: str) -> str:
    """The host of a normalised origin or address."""
    return re.sub(r":\d+$", "", origin.partition("://")[2].partition("/")[0])


def _check_address(text: str) -> str:
    return ", ".join(dict.fromkeys(_normalised_address(part.strip()) for part in text.split(",")))


def _normalised_address(address: str) -> str:
    if address.startswith(UNIX_PREFIX):
        path = address.removeprefix(UNIX_PREFIX)
        if not path.startswith("/") or path.endswith("/") or not 1 < len(os.fsencode(path)) <= 100:
            raise ValueError(
                "the path of a Unix socket must be absolute and have at most 100 bytes; "
                "write unix:/run/stormcellar/web.sock"
            )
        return address
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        return normalised_host(address)
    except ValueError:
        raise ValueError(
            "it must be an IP address, a host name of this machine or unix: and a path, or several of them "
            "with commas between them; write 127.0.0.1 for this machine only, 0.0.0.0 for all its IPv4 "
            "addresses, :: for all its addresses"
        ) from None


def _check_socket_mode(mode: str) -> str:
    if not re.fullmatch("0?[0-7]{3}", mode, re.ASCII) or not int(mode, 8) & 0o200:
        raise ValueError("it must be a file mode of three octal digits that lets the owner write, like 660")
    return mode


def _check_public_url(url: str) -> str:
    return normalised_origin(url) if url else ""


def _check_database(url: str) -> str:
    if url.startswith(("postgresql:", "postgres:")):
        if not POSTGRES_URL.fullmatch(url):
            raise ValueError(
                "a PostgreSQL address is written like postgresql://user:password@host:5432/name, with %XX "
                "for special characters and the password nowhere else; parameters of libpq may follow a ?"
            )
        return Masked(url)
    path = url.removeprefix("sqlite:///")
    if url and (path == url or not path or path.endswith("/") or set(path) & set("?#") or path == ":memory:"):
        raise ValueError(
            "it must be empty, a PostgreSQL address (postgresql://user:password@host:5432/name), or the "
            "address of an SQLite file without options; write sqlite:///folder/file.sqlite3, or "
            "sqlite:////folder/file.sqlite3 if the path is absolute"
        )
    return url


def _check_secret(secret: str) -> str:
    if secret and len(secret) < SECRET_MIN_LENGTH:
        raise ValueError(f"it must have at least {SECRET_MIN_LENGTH} characters; {NEW_SECRET}")
    return Masked(secret)


def _check_old_secrets(old: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_check_secret, old))


def looks_like_a_sample(secret: str) -> bool:
    letters = re.sub(r"[\W_]", "", secret.lower())
    return len(set(secret)) < 12 or any(word in letters for word in SAMPLE_WORDS)


def _normalised_url(url: str) -> str:
    """An address with its origin normalised, without fragment; ValueError if it is none."""
    match = URL.fullmatch(url)
    if match is None or "#" in url:
        raise ValueError("not an address")
    return normalised_origin(match[1]) + (match[2] or "/")


def _check_jwks_url(url: str) -> str:
    try:
        url = _normalised_url(url) if url else ""
    except ValueError:
        raise ValueError(
            "it must be the address of a JWKS; write it like https://api.example.com/auth/jwt/jwks.json"
        ) from None
    if url.startswith("http://") and not is_loopback(_host_of(url)):
        raise ValueError("it must be https:// unless its host is loopback; write https://")
    return url


def _check_sign_in_url(url: str) -> str:
    try:
        return url if not url or OWN_PATH.fullmatch(url) else _normalised_url(url)
    except ValueError:
        raise ValueError(
            "it must be a path of this site or an address; write it like /login or "
            "https://www.example.com/auth"
        ) from None


def _check_trusted_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    normalised = tuple(
        dict.fromkeys(origin if is_app_origin(origin) else normalised_origin(origin) for origin in origins)
    )
    for origin in normalised:
        if origin.startswith("http://") and not is_loopback(_host_of(origin)):
            raise ValueError(f"each must be https:// unless its host is loopback; write https:// in {origin}")
    return normalised


def _check_metrics_from(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_normalised_network, networks)))


def _check_trusted_proxies(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_normalised_network, networks)))


def _normalised_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
        written = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(
            "each must be an IP address or a network; write them like 127.0.0.1, 10.0.0.0/8, fd00::/8"
        ) from None
    if written.ip != network.network_address:
        raise ValueError(f"{text} is an address in a network; write {network}, or {written.ip} for it alone")
    if not network.prefixlen:
        raise ValueError(f"{text} is every address there is; list only your own machines")
    if network.version == 6 and network.subnet_of(IPV4_MAPPED):
        raise ValueError(f"{text} stands for IPv4 addresses; write these themselves, like 10.0.0.0/8")
    return str(network)


def _check_cookie_domain(domain: str) -> str:
    domain = domain.lower().removeprefix(".")
    if domain and ("." not in domain or not HOST_NAME.fullmatch(domain) or ENDS_IN_NUMBER.fullmatch(domain)):
        raise ValueError(
            "it must be empty or a domain name with a dot, not an IP address; "
            "write example.com to share the cookies among its sub-domains"
        )
    return domain


def _check_older_cookie_domain(domain: str) -> str:
    return domain if domain == "auto" else _check_cookie_domain(domain)


def _check_api_base_path(path: str) -> str:
    path = "/" + path.strip("/") if path.strip("/") else ""
    if not BASE_PATH.fullmatch(path):
        raise ValueError(
            "it must be a path of letters, digits and . _ ~ - between slashes; "
            "write it like /auth or /api/auth"
        )
    return path


def _check_smtp_url(url: str) -> str:
    expected = ValueError(
        "it must be smtp://, smtp+starttls:// or smtps://, perhaps user:password@, a host and perhaps a "
        "port; write it like smtps://user:password@mail.example.com:465, with what is neither letter nor "
        "digit in user and password percent-encoded"
    )
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host = normalised_host(
            f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        )
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise expected from None
    if parts.scheme not in SMTP_SCHEMES or not port_is_good or parts.path not in ("", "/"):
        raise expected
    if parts.query or parts.fragment or (parts.password and not parts.username):
        raise expected
    if parts.scheme == "smtp" and parts.username and not is_loopback(host):
        raise ValueError(
            f"it would send the password to {host} without encryption; write smtp+starttls:// or smtps://"
        )
    return Masked(url)


def _check_ehlo_name(name: str) -> str:
    name = name.strip()
    if name and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Za-z:.]+\]", name):
        raise ValueError("it must be a host name like www.example.com, or an address like [192.0.2.1]")
    return name


def _check_mail_from(address: str) -> str:
    local, _, host = address.strip().rpartition("@")
    try:
        good = re.fullmatch(r'[^\s<>@,;:"()]+', local, re.ASCII) and "=?" not in local
        if address and not (good and local.isascii() and normalised_host(host)):
            raise ValueError
    except ValueError:
        raise ValueError(
            "it must be one e-mail address and nothing else; write it like no-reply@example.com"
        ) from None
    return address.strip()


def _check_cookie_suffix(suffix: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_]{0,7}", suffix, re.ASCII):
        raise ValueError("it must have at most 7 letters, digits or underscores; write it like _8889")
    return suffix


def _check_site_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 60:
        raise ValueError("it must have 1 to 60 characters; choose a name that fits a browser tab")
    return name


@dataclass(frozen=True)
class Settings:
    """All that can be set from outside, read once by server.py. Durations are in seconds.

    Values are checked and normalised when it is made: each alone, then the RULES between them.

    Raises:
        SettingsError: a value is wrong, or some do not go together; the message says what to change.
    """

    port: int = setting(
        8888,
        unit="-",
        minimum=0,
        maximum=65535,
        heading="Where it is",
        effect="The port to listen on. 0 takes any free one, which is meant for tests.",
        danger="Ports below 1024 need privileges that a web application should not have: use a proxy there.",
    )
    address: str = setting(
        "127.0.0.1",
        unit="-",
        check=_check_address,
        effect="The IP address or host name to listen on. 127.0.0.1 is this machine only, as behind a proxy "
        "on it; 0.0.0.0 is the whole network with IPv4, :: with IPv4 and IPv6. unix:/run/kit/web.sock is a "
        "Unix socket; its callers count as a trusted proxy. Several addresses have commas between them.",
        danger="Open to the network, the server speaks plain HTTP to every client, past the proxy.",
    )
    unix_socket_mode: str = setting(
        "660",
        unit="octal file mode",
        check=_check_socket_mode,
        effect="The file mode of a Unix socket that `address` names. The proxy's user needs write "
        "permission, so make it a member of the server's group.",
        danger="666 lets every user of the machine connect and claim any client address.",
    )
    processes: int = setting(
        1,
        unit="-",
        minimum=1,
        maximum=256,
        effect="How many worker processes serve, at most one per core. From 2 on a supervisor owns the "
        "listening socket: SIGHUP then replaces the workers without a failed request.",
        danger="Each takes its own memory. With debug on, one must do: only one can restart itself.",
    )
    event_loop: Literal["asyncio", "uvloop"] = setting(
        "asyncio",
        unit="-",
        effect="What waits for the network: Python's own event loop, or uvloop, which needs "
        "requirements/uvloop.txt. docs/performance.md says how to see what it brings.",
        danger="With uvloop the server does not start where that is not installed.",
    )
    drain_s: int = setting(
        20,
        unit="seconds",
        minimum=1,
        maximum=600,
        effect="How long a process that is told to end goes on with what it has begun.",
        danger="Too short cuts slow uploads; longer than the service manager's patience has no effect.",
    )
    lame_duck_s: int = setting(
        0,
        unit="seconds",
        minimum=0,
        maximum=600,
        effect="How long a server that gets SIGTERM serves on while `/readyz` says 503. Then it drains. "
        "Set it to the time that your load balancer needs to notice, where it asks `/readyz`.",
        danger="A stop takes that much longer. The service manager must wait for lame_duck_s and drain_s.",
    )
    watchdog_s: int = setting(
        30,
        unit="seconds",
        minimum=0,
        maximum=3600,
        effect="With `processes` of 2 or more, a worker whose event loop gives no sign of life for that time "
        "is killed and replaced. 0 turns that off.",
        danger="Short: a worker that is only busy is killed, with all its requests.",
    )
    public_url: str = setting(
        "",
        unit="-",
        check=_check_public_url,
        effect="What visitors type: scheme, host and port, like https://www.example.com. It alone decides "
        "the links, the accepted host name, the own origin and whether cookies are Secure. Empty: the "
        "address it listens on, and any loopback host name is accepted.",
        danger="If it is not what the browser shows, forms are refused as cross-site and sign-in does not "
        "last.",
    )
    hsts_max_age_s: int = setting(
        30 * DAY_S,
        unit="seconds",
        minimum=0,
        maximum=LONGEST_S,
        effect="With an https:// public_url browsers are told to keep to HTTPS for this long after each "
        "visit (Strict-Transport-Security). 0 takes back what they were told. Raise it to two years "
        "(63072000) once HTTPS is here to stay.",
        danger="Browsers do not reach the site over plain HTTP for that long, whatever you change here.",
    )
    hsts_include_subdomains: bool = setting(
        False,
        unit="-",
        effect="Tell browsers to keep to HTTPS for every sub-domain of the public host as well.",
        danger="On, visitors of this site can no longer reach sub-domains that speak plain HTTP only. Off, "
        "an attacker on the wire can pretend to be a sub-domain and plant cookies for this site from there.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        unit="-",
        check=_check_trusted_proxies,
        effect="The proxies in front of this server, as IP addresses or networks separated by commas, like "
        "127.0.0.1, 10.0.0.0/8, fd00::/8. Only from them X-Forwarded-For is believed, read from the right up "
        "to the first address that is not one of them. A proxy on the same machine is 127.0.0.1, ::1.",
        danger="Missing: all visitors share the proxy's address, and with it one rate limit. Too many: "
        "whoever can connect from there can pretend to be at any address.",
    )
    max_body_bytes: int = setting(
        10 * 1024 * 1024,
        unit="bytes",
        minimum=64 * 1024,
        maximum=1024**3,
        effect="The largest upload that a page of yours takes. The kit's own forms and JSON endpoints take "
        "64 KiB, and so does every request that needs no body.",
        danger="Each request in flight may take several times that much memory. A proxy in front has a limit "
        "of its own.",
    )
    max_form_bytes: int = setting(
        1024 * 1024,
        unit="bytes",
        minimum=64 * 1024,
        maximum=16 * 1024 * 1024,
        effect="The largest form without files (application/x-www-form-urlencoded) that a page of yours "
        "takes.",
        danger="No other request is served while a form is decoded: about a tenth of a second for each MiB.",
    )
    site_name: str = setting(
        "Stormcellar",
        unit="-",
        check=_check_site_name,
        effect="The name in titles and headings. It is also refused as a password.",
        danger="A name that people take for another site's helps whoever imitates that site.",
    )
    debug: bool = setting(
        False,
        unit="-",
        effect="Developer conveniences: the server restarts itself when a file changes, and errors are "
        "shown in detail in the terminal. Each page has the developer strip at its foot, which shows the "
        "session and breaks it on purpose. Start-up checks against insecure combinations are relaxed.",
        danger="Never for the public: it admits cookies over plain HTTP, keeps mails in a mailbox that pages "
        "show, and takes a sample secret on loopback. If other machines reach public_url, the developer "
        "tools are open only to a browser that has used the address which the terminal prints "
        "(docs/start.md).",
    )
    data_dir: Path = setting(
        Path("var"),
        unit="-",
        heading="What it keeps",
        effect="Where the database and the secret are. Relative to the folder the server is started in; "
        "made on the first run, for its owner only.",
        danger="Started elsewhere with a relative path, the server makes a new, empty one, and everyone is "
        "signed out and unknown. On a network file system SQLite's locks do not hold.",
    )
    database: str = setting(
        "",
        unit="-",
        check=_check_database,
        effect="Where users and sessions are stored: sqlite:///relative/path or sqlite:////absolute/path "
        "for one machine, or postgresql://user:password@host:5432/name for any number of them (install "
        "requirements/postgres.txt; all servers need the same `secret`). libpq's parameters may follow a ?, "
        "such as sslmode=verify-full, or stormcellar_feed=poll behind a transaction pooler. Empty: "
        "stormcellar.sqlite3 in data_dir.",
        danger="Two sites on one database share their users and sessions. Without sslmode=verify-full, who "
        "sits between server and database can read and change all that passes.",
    )
    database_wait_s: int = setting(
        30,
        unit="seconds",
        minimum=0,
        maximum=600,
        effect="How long a server that starts waits for a database that does not answer. Then it ends with "
        "an error. 0 does not wait.",
        danger="Short: a server that starts before its database must be started again. Long: a wrong address "
        "is noticed late.",
    )
    secret: str = setting(
        "",
        unit="-",
        check=_check_secret,
        secret=True,
        effect="What refresh tokens are derived from, together with the database; at least 32 characters. "
        "Empty: made on the first run and kept in the file `secret` in data_dir. Set it if machines share a "
        "database or the disk does not last.",
        danger="An attacker who knows it and reads the database can take over every session. To change it "
        "without signing users out, see old_secrets. On the command line other users of the machine can see "
        "it: use the environment or a file that only its owner can read.",
    )
    old_secrets: tuple[str, ...] = setting(
        (),
        unit="-",
        check=_check_old_secrets,
        secret=True,
        effect="Further secrets that still open what they made, separated by commas: earlier ones, and the "
        "next one before the servers change over to it. The file `old-secrets` in data_dir is read too, one "
        "secret a line, and a secret with a comma or a space can stand only there. `manage.py rotate-secret` "
        "leads through a change.",
        danger="A secret that has leaked is dangerous for as long as it stands here. Without an earlier "
        "secret that is still needed, its sessions end and what it sealed cannot be read.",
    )
    trusted_origins: tuple[str, ...] = setting(
        (),
        unit="-",
        check=_check_trusted_origins,
        heading="Who may call, and with which cookies",
        effect="Further sites whose pages may send forms and other unsafe requests here, like "
        "https://app.example.com, separated by commas. Plain http:// is for loopback hosts only. Apps in a "
        "WebView and browser extensions have origins of their own, like capacitor://localhost or "
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop.",
        danger="A page there can do all that its visitor can do here: list only sites that you run yourself.",
    )
    max_sockets_per_user: int = setting(
        32,
        unit="connections",
        minimum=1,
        maximum=100_000,
        effect="How many WebSockets and event streams one user may have open in one server process. A "
        "further one is closed with the code 4008.",
        danger="Each tab of a page with a socket has one. Each may make the server keep a message that is "
        "not complete yet, up to max_socket_message_bytes.",
    )
    max_socket_message_bytes: int = setting(
        1024 * 1024,
        unit="bytes",
        minimum=1024,
        maximum=64 * 1024 * 1024,
        effect="The longest message that a WebSocket takes. A longer one closes the connection with the code "
        "1009.",
        danger="The server keeps up to that much for each open socket until the message is complete.",
    )
    cookie_domain: str = setting(
        "",
        unit="-",
        check=_check_cookie_domain,
        effect="The parent domain whose sub-domains share the session, like example.com. Empty: this host "
        "only.",
        danger="Every sub-domain receives the tokens and can overwrite the cookies, so the weakest one "
        "decides. Browsers drop cookies for a public suffix such as co.uk.",
    )
    older_cookie_domain: str = setting(
        "auto",
        unit="-",
        check=_check_older_cookie_domain,
        effect="Where an earlier cookie_domain setting left cookies in people's browsers: a domain, or empty "
        "if they belonged to the host alone. Two cookies of one name that come together are then cleared "
        "there. auto: wherever they may be.",
        danger="A wrong domain clears nothing, and those people are sent to the refresh page for ever.",
    )
    token_transfer_method: Literal["any", "cookie", "header"] = setting(
        "any",
        unit="-",
        effect="How tokens of the JSON endpoints travel. any: as the client asks (st-auth-mode), cookie or "
        "header: only so. Pages always use cookies.",
        danger="In headers tokens are kept by scripts, so a script that slips into the client can take them.",
    )
    expose_access_token: bool = setting(
        False,
        unit="-",
        effect="Also give scripts the access token (header st-access-token) when it travels in a cookie.",
        danger="A script that slips into a page can then take the token away, not only use it there.",
    )
    anti_csrf: Literal["auto", "NONE", "VIA_CUSTOM_HEADER", "VIA_TOKEN"] = setting(
        "auto",
        unit="-",
        effect="The header check of SuperTokens' protocol for cookie sessions at JSON endpoints, beside the "
        "check of Origin and Fetch Metadata that always holds. auto: VIA_CUSTOM_HEADER if "
        "cookie_same_site is none, else NONE.",
        danger="VIA_TOKEN signs people out whose browser dropped the cookies that scripts can read.",
    )
    cookie_same_site: Literal["lax", "strict", "none"] = setting(
        "lax",
        unit="-",
        effect="The SameSite attribute. strict: someone who follows a link from elsewhere first looks "
        "signed out. none: cookies also travel with requests from other sites; needs an https:// "
        "public_url.",
        danger="With none, one of the defences against cross-site requests is gone, and browsers that block "
        "third-party cookies block these.",
    )
    cookie_prefix: Literal["auto", "true", "false"] = setting(
        "auto",
        unit="-",
        effect="Name the cookies `__Host-...` or, where their path forbids that, `__Secure-...`, so that no "
        "other host can plant them. Needs an https:// public_url and no cookie_domain. auto: true where that "
        "is so, and cookie_suffix, website_domain and jwks_url are empty.",
        danger="Turning it on or off signs everyone out, and backends that look for sAccessToken do not "
        "find it.",
    )
    cookie_suffix: str = setting(
        "",
        unit="-",
        check=_check_cookie_suffix,
        effect="Up to 7 letters, digits or underscores at the end of the cookies' names, such as _8889. For "
        "development: browsers keep cookies by host, not by port, so two sites on localhost overwrite each "
        "other's cookies unless one of them has a suffix.",
        danger="Changing it signs everyone out, and backends that look for sAccessToken do not find it.",
    )
    website_domain: str = setting(
        "",
        unit="-",
        check=_check_public_url,
        heading="Pages and API on different servers",
        effect="On the API server: the origin of the server that shows the pages, like "
        "https://www.example.com, if it is another one. It counts as a trusted origin, and people are sent "
        "back there after signing in here. Empty: the pages are here.",
        danger="A page there can do all that its visitor can do here. Unless cookie_same_site is none, both "
        "must be one site; only the last two labels of their names are compared, so below a public suffix "
        "such as co.uk a mistake is not noticed.",
    )
    api_domain: str = setting(
        "",
        unit="-",
        check=_check_public_url,
        effect="The origin of the API server, where sessions begin and are renewed, like "
        "https://api.example.com. With api_base_path it is the issuer of the access tokens. Empty: "
        "this server.",
        danger="Changing it makes every access token count as foreign, so all are renewed at once; servers "
        "that verify them must be told first.",
    )
    jwks_url: str = setting(
        "",
        unit="-",
        check=_check_jwks_url,
        effect="Makes this a verify-only server: it has no users, no database and no keys, and judges the "
        "access tokens of the API server at api_domain, be that this kit or any SuperTokens backend, by the "
        "public keys at this address, like https://api.example.com/auth/jwt/jwks.json.",
        danger="Whoever answers at that address can sign in as anyone. A session that is revoked at the API "
        "server lasts here until its access token expires, and a withdrawn key up to 4 hours.",
    )
    sign_in_url: str = setting(
        "",
        unit="-",
        check=_check_sign_in_url,
        effect="Where people sign in: a path of this site or another address. It gets the page to return to "
        "as redirectBack, with this site's origin if it is on another one. Empty: /login, in verify-only "
        "mode that of the API server.",
        danger="A page there that does not look at where redirectBack leads sends people to wherever a link "
        "says.",
    )
    api_base_path: str = setting(
        "/auth",
        unit="-",
        check=_check_api_base_path,
        heading="Renewing sessions",
        effect="The path that the JSON endpoints live under, and the refresh cookie is sent to. / is the "
        "root.",
        danger="Clients must be told the same path. Changing it strands the refresh cookies of the old one: "
        "everyone signs in again. At the root the endpoints may collide with pages.",
    )
    refresh_mode: Literal["page", "in_place", "detour"] = setting(
        "page",
        unit="-",
        effect="How a page is reached whose access token has expired. page: by a redirect to "
        "/refresh-session; in_place: the refresh page answers at the page's own address; detour: by "
        "redirects through the refresh cookie's path, without any script.",
        danger="page and in_place need a script or one more click; with detour caches and proxies in "
        "between must pass redirects and Set-Cookie on unchanged.",
    )
    access_token_lifetime_s: int = setting(
        3600,
        unit="seconds",
        minimum=1,
        maximum=LONGEST_S,
        effect="How long an access token opens pages without a refresh. Shorter means more refreshes.",
        danger="A stolen token, or one that another backend verifies by itself, is good for that long. "
        "Under a minute, clocks that differ a little make pages refresh again and again.",
    )
    access_token_jitter_percent: int = setting(
        5,
        unit="percent",
        minimum=0,
        maximum=25,
        effect="Each access token lives up to so much shorter, at random, so that people who signed in "
        "together do not refresh together.",
        danger="With 0 a crowd comes back in the same second, every lifetime again.",
    )
    refresh_token_lifetime_s: int = setting(
        30 * DAY_S,
        unit="seconds",
        minimum=1,
        maximum=COOKIE_MAX_AGE_S,
        effect="How long someone may stay away and still be signed in; it starts anew at each refresh.",
        danger="Long: a forgotten browser stays signed in. Short: people sign in more often and pick worse "
        "passwords.",
    )
    session_lifetime_s: int = setting(
        90 * DAY_S,
        unit="seconds",
        minimum=1,
        maximum=LONGEST_S,
        effect="How long after signing in a session ends in any case, however active it is.",
        danger="Long: whoever took a session over unseen keeps it that long.",
    )
    keep_signed_in: Literal["ask", "always", "never"] = setting(
        "ask",
        unit="-",
        effect="Whether a browser stays signed in after it was closed. ask: the sign-in page has a checkbox, "
        "which is checked at first; always: yes; never: every session is temporary. SuperTokens' clients and "
        "other ways to sign in do not ask: they stay signed in unless this is never.",
        danger="always: on a shared computer the next person finds the session open.",
    )
    temporary_session_lifetime_s: int = setting(
        12 * 60 * 60,
        unit="seconds",
        minimum=1,
        maximum=COOKIE_MAX_AGE_S,
        effect="How long a temporary session lasts without a refresh, if the browser is not closed before. "
        "refresh_token_lifetime_s and session_lifetime_s hold too.",
        danger="Browsers that restore their tabs keep temporary cookies after they were closed; with a long "
        "lifetime the session is then open to the next person.",
    )
    max_sessions_per_user: int = setting(
        100,
        unit="-",
        minimum=1,
        maximum=10_000,
        effect="How many sessions a user may have. If a user has more after signing in, the oldest of them "
        "end, at most 100 at each sign-in. Sessions that your own code begins with the engine end none.",
        danger="Low: people with many devices are signed out on the oldest one. High: a script that signs "
        "in again and again fills the database, and signing out everywhere takes longer.",
    )
    refresh_grace_s: int = setting(
        30,
        unit="seconds",
        minimum=0,
        maximum=300,
        effect="For how long the previous refresh token gets the same answer again, so that two tabs or a "
        "lost reply do no harm. Raise it for clients on very slow networks.",
        danger="0 takes a tab that refreshes just after another one for a thief and signs both out. Long "
        "gives a thief with an old token that much time.",
    )
    signing_key_rotation_s: int = setting(
        7 * DAY_S,
        unit="seconds",
        minimum=1,
        maximum=LONGEST_S,
        heading="Keys and checks",
        effect="How often a new key begins to sign access tokens. At least twice access_token_lifetime_s.",
        danger="Short: many keys at the JWKS address, and other backends fetch them often. Long: a leaked "
        "key signs valid tokens for that long.",
    )
    use_dynamic_signing_key: bool = setting(
        True,
        unit="-",
        effect="Sign with keys that rotate. Turn it off if something that verifies the tokens can hold one "
        "fixed key only.",
        danger="A fixed key never expires by itself: once leaked, it has to be replaced by hand.",
    )
    check_database: bool = setting(
        False,
        unit="-",
        effect="Ask the store at every request whether the session still exists, and not only the memory "
        "that the revocation feed keeps up to date.",
        danger="One more read per request, and no protected page works while the database does not.",
    )
    feed_lost: Literal["serve", "refuse"] = setting(
        "serve",
        unit="-",
        effect="What to do when the revocation feed is lost and the store does not answer either. serve: go "
        "on verifying tokens; refuse: answer 503 until it is back.",
        danger="serve: a session revoked elsewhere meanwhile lasts until its access token expires. refuse: "
        "a broken database takes the protected pages down.",
    )
    rate_limits: bool = setting(
        True,
        unit="-",
        effect="Limit how often signing in may fail, and how often accounts are made, addresses looked up "
        "and mails asked for, by account and by client address; docs/limits.md has the figures.",
        danger="Off: passwords can be guessed as fast as the machine hashes, and mails sent to strangers "
        "without end. Turn it off only for tests, or where something in front does the same.",
    )
    password_min_length: int = setting(
        8,
        unit="characters",
        minimum=8,
        maximum=64,
        heading="Passwords",
        effect="The shortest password accepted for new ones; those already there go on working. OWASP ASVS "
        "5.0 (6.2.1) strongly recommends 15.",
        danger="Very long demands end in written notes and patterns.",
    )
    password_hash_threads: int = setting(
        0,
        unit="threads",
        minimum=0,
        maximum=256,
        effect="How many passwords each process hashes at the same time. 0 is one per core. It is never more "
        "than one per core, and the hashes of all processes never take more than a quarter of the memory. "
        "In a container its own limits count, not those of the host.",
        danger="Each takes tens of megabytes and a whole core while it works: on a small machine, sign-ins "
        "then slow the pages down.",
    )
    password_hash_queue: int = setting(
        64,
        unit="passwords",
        minimum=1,
        maximum=10_000,
        effect="How many may wait to be hashed; whoever comes after them is told to try again later.",
        danger="Long: in a storm of sign-ins all wait until their browsers give up. Short: refusals at "
        "small peaks.",
    )
    password_reset_lifetime_s: int = setting(
        3600,
        unit="seconds",
        minimum=60,
        maximum=3600,
        effect="How long the mailed link for a new password works. OWASP ASVS 5.0 (6.5.5) has 600 at most "
        "for tokens that are sent out of band.",
        danger="Long: whoever reads the mail later can still take the account over. Short: mail that is "
        "delayed on its way comes too late.",
    )
    smtp_url: str = setting(
        "",
        unit="-",
        check=_check_smtp_url,
        secret=True,
        heading="Mail",
        effect="The server that mails are handed to: smtps://user:password@host:465, "
        "smtp+starttls://user:password@host:587, or smtp://host:25 without encryption. Empty: with debug on, "
        "mails stay here and are shown at /dev/mail; else none is sent.",
        danger="Without it nobody can get a new password or verify an address, and is not told so. With "
        "plain smtp:// to another machine, whoever is in between reads the links. On the command line other "
        "users of the machine can see the password: use the environment or a file that only its owner can "
        "read.",
    )
    mail_from: str = setting(
        "",
        unit="-",
        check=_check_mail_from,
        effect="The address that mails come from, like no-reply@example.com; site_name stands beside it. "
        "Needed with smtp_url.",
        danger="If its domain does not allow that server to send for it (SPF, DKIM), mails end as spam.",
    )
    smtp_ehlo_name: str = setting(
        "",
        unit="-",
        check=_check_ehlo_name,
        effect="The host name with which this server greets the mail server (EHLO), like www.example.com. "
        "Empty: the host of public_url, else the name of this machine.",
        danger="Many mail servers refuse a greeting with a name that does not exist in DNS.",
    )
    mail_link_base_path: str = setting(
        "",
        unit="-",
        check=_check_api_base_path,
        effect="The path before /reset-password and /verify-email in mailed links. Empty: the kit's own "
        "pages. /auth: where SuperTokens' pre-built UI has its pages by default, on website_domain if that "
        "is set.",
        danger="If no page is there, the links lead nowhere.",
    )
    registration: Literal["open", "closed"] = setting(
        "open",
        unit="-",
        effect="Who can make an account. open: every visitor, at /signup and by the JSON endpoint; closed: "
        "only an operator, with `manage.py create-user`. Existing users sign in as before.",
        danger="open: strangers have accounts, so do not take a signed-in user for a trusted one.",
    )
    email_verification: Literal["off", "optional", "required"] = setting(
        "off",
        unit="-",
        effect="Whether sessions know if the user's e-mail address is verified (claim st-ev). optional: they "
        "know, and a handler may ask for it; required: without it no protected page opens.",
        danger="off: anyone can sign up with anyone's address. required: if mails do not arrive, nobody "
        "gets in.",
    )
    log_format: Literal["text", "json"] = setting(
        "text",
        unit="-",
        heading="What it tells its operator",
        effect="How lines of the log look, which goes to stderr. text: for people; json: one object a line, "
        "for programs that collect logs. docs/operations.md shows both.",
        danger="A collector that expects one of them cannot read the other; with text it takes each line of "
        "a traceback for a message of its own.",
    )
    metrics_from: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1"),
        unit="-",
        check=_check_metrics_from,
        effect="Who may read `/metrics`, as IP addresses or networks separated by commas. Requests that a "
        "proxy passes on get 404 in any case.",
        danger="The counters tell how many people sign in and how busy the server is.",
    )
    audit_retention_s: int = setting(
        90 * DAY_S,
        unit="seconds",
        minimum=0,
        maximum=LONGEST_S,
        effect="How long the audit log keeps what happened to accounts and sessions. 0 writes nothing down; "
        "what was written before stays as it is.",
        danger="Short: nobody can tell any more what happened before a break-in was noticed. Long: who "
        "signed in when and from which address is personal data, and kept for nothing.",
    )
    roles_in_token: bool = setting(
        False,
        unit="-",
        heading="Roles",
        effect="Whether access tokens carry the names of the user's roles (claim st-role), so that a handler "
        "can ask for one without reading the database.",
        danger="Scripts on the page, and with it the user, can read them. Each takes room in the cookies.",
    )

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, _checked(entry, getattr(self, entry.name)))
        for rule in RULES:
            rule(self)

    @property
    def origin(self) -> str | None:
        """The site's own origin, `https://host[:port]`; None while any loopback host name will do."""
        return self.public_url or None

    @property
    def cookie_secure(self) -> bool:
        """Whether cookies carry Secure: exactly if the public URL is https://."""
        return self.public_url.startswith("https://")

    @property
    def prefixes_cookies(self) -> bool:
        """Whether cookies have `__Host-` or `__Secure-` names, with "auto" decided."""
        if self.cookie_prefix != "auto":
            return self.cookie_prefix == "true"
        others_need_them = self.cookie_domain or self.cookie_suffix or self.website_domain or self.jwks_url
        return self.cookie_secure and not others_need_them

    @property
    def is_public(self) -> bool:
        """Whether visitors on other machines can type the public URL."""
        return bool(self.public_url) and not is_loopback(_host_of(self.public_url))

    @property
    def admits_samples(self) -> bool:
        """Whether a sample will do as secret: only the developer's own machine reaches the site."""
        return self.debug and not self.is_public

    @property
    def anti_csrf_mode(self) -> Literal["NONE", "VIA_CUSTOM_HEADER", "VIA_TOKEN"]:
        """The anti-CSRF mode that holds, with "auto" decided."""
        if self.anti_csrf != "auto":
            return self.anti_csrf
        return "VIA_CUSTOM_HEADER" if self.cookie_same_site == "none" else "NONE"

    @property
    def verify_only(self) -> bool:
        """Whether the sessions are another server's."""
        return bool(self.jwks_url)

    @property
    def issuer(self) -> str:
        """`iss` of the access tokens that are accepted here."""
        return (self.api_domain or self.public_url or f"http://localhost:{self.port}") + self.api_base_path

    @property
    def is_loopback_only(self) -> bool:
        """Whether only this machine is meant to reach the site.

        False behind a proxy with a public name, although `address` is loopback there.
        """
        return self.listens_on_loopback_only and (
            not self.public_url or is_loopback(_host_of(self.public_url))
        )

    @property
    def addresses(self) -> list[str]:
        """The single addresses of `address`: IP addresses, host names, or unix: and a path."""
        return self.address.split(", ")

    @property
    def listens_on_loopback_only(self) -> bool:
        """Whether other machines can connect to none of the addresses."""
        return all(address.startswith(UNIX_PREFIX) or is_loopback(address) for address in self.addresses)

    @property
    def uses_postgres(self) -> bool:
        """Whether users and sessions are in PostgreSQL, at the address `database`."""
        return self.database.startswith("postgres")

    @property
    def database_path(self) -> Path:
        """The SQLite file, if there is one; relative to the folder the server was started in or absolute."""
        if not self.database:
            return self.data_dir / "stormcellar.sqlite3"
        return Path(self.database.removeprefix("sqlite:///"))

    @property
    def password_hash_workers(self) -> int:
        """Threads that hash passwords: password_hash_threads, within what cores and memory allow.

        All processes together use at most a quarter of the memory, and each has at least one thread.
        """
        cores = machine.cores()
        room = machine.memory_bytes() // 4 // self.processes // PASSWORD_HASH_BYTES
        return max(1, min(self.password_hash_threads or cores, cores, room))


# Rules between settings.


def _refuse_if(broken: object, message: str, *names: str) -> None:
    if broken:
        raise SettingsError(message, *names)


def _lifetimes_are_in_order(settings: Settings) -> None:
    order = ("access_token_lifetime_s", "refresh_token_lifetime_s", "session_lifetime_s")
    for shorter, longer in pairwise(order):
        low, high = getattr(settings, shorter), getattr(settings, longer)
        _refuse_if(
            low > high,
            f"{shorter} is {low} and {longer} is {high}, but the first must not be the longer one. "
            f"Lower {shorter} or raise {longer}.",
            shorter,
            longer,
        )


def _keys_outlive_tokens(settings: Settings) -> None:
    least = 2 * settings.access_token_lifetime_s
    _refuse_if(
        settings.signing_key_rotation_s < least,
        f"signing_key_rotation_s is {settings.signing_key_rotation_s}, but it must be at least twice "
        f"access_token_lifetime_s. Raise it to {least} or more, or lower access_token_lifetime_s.",
        "signing_key_rotation_s",
        "access_token_lifetime_s",
    )


def _an_older_cookie_domain_is_another(settings: Settings) -> None:
    same = settings.cookie_domain or "the host alone"
    _refuse_if(
        settings.older_cookie_domain == settings.cookie_domain,
        f"older_cookie_domain and cookie_domain are both {same}, so the cookies in use would be cleared as "
        "old ones. Leave older_cookie_domain at auto, or name the domain of before.",
        "older_cookie_domain",
        "cookie_domain",
    )


def _the_public_gets_https(settings: Settings) -> None:
    _refuse_if(
        settings.is_public and not settings.cookie_secure and not settings.debug,
        f"public_url is {settings.public_url}, but it must be https:// outside this machine, because over "
        "http:// cookies cannot be Secure and anyone on the way can take them. Put a proxy with TLS in front "
        "and write https:// in public_url; for trials on a closed network, turn debug on.",
        "public_url",
        "debug",
    )


def _an_open_address_has_a_public_url(settings: Settings) -> None:
    _refuse_if(
        not (settings.listens_on_loopback_only or settings.public_url or settings.debug),
        f"address is {settings.address}, which others can reach, and public_url is empty, but the server "
        "must then know what visitors type. Set public_url to that, or address to 127.0.0.1.",
        "address",
        "public_url",
    )


def _a_sample_secret_is_for_debug_only(settings: Settings) -> None:
    _refuse_if(
        settings.secret and not settings.admits_samples and looks_like_a_sample(settings.secret),
        "secret is set to what looks like a sample (a phrase such as change-me, or fewer than 12 different "
        "characters), but it must be random while debug is off or public_url names another host than this "
        "one. Leave it empty and one is made, or set one: "
        f"{NEW_SECRET}.",
        "secret",
        "debug",
    )


def _cookies_fit_the_public_url(settings: Settings) -> None:
    """Other cookies are dropped by browsers without a word: RFC 6265bis, sections 4.1.2.7, 4.1.3, 5.1.3."""
    _refuse_if(
        settings.cookie_same_site == "none" and not settings.cookie_secure,
        "cookie_same_site is none, but browsers take such cookies over https only. "
        "Set public_url to an https:// address, or cookie_same_site to lax.",
        "cookie_same_site",
        "public_url",
    )
    _refuse_if(
        settings.cookie_prefix == "true" and not settings.cookie_secure,
        "cookie_prefix is on, but browsers take __Host- and __Secure- cookies over https only. "
        "Set public_url to an https:// address, or turn cookie_prefix off.",
        "cookie_prefix",
        "public_url",
    )
    _refuse_if(
        settings.cookie_prefix == "true" and settings.cookie_domain,
        f"cookie_prefix is on and cookie_domain is {settings.cookie_domain}, but a __Host- cookie must "
        "belong to one host only. Turn cookie_prefix off, or leave cookie_domain empty.",
        "cookie_prefix",
        "cookie_domain",
    )
    _refuse_if(
        settings.cookie_prefix == "true" and settings.cookie_suffix,
        f"cookie_prefix is on and cookie_suffix is {settings.cookie_suffix}, but with a prefix no other site "
        "on this host can use the same names by accident. Leave cookie_suffix empty.",
        "cookie_prefix",
        "cookie_suffix",
    )
    host, domain = _host_of(settings.public_url), settings.cookie_domain
    _refuse_if(
        domain and not f".{host}".endswith(f".{domain}"),
        f"cookie_domain is {domain} and public_url is {settings.public_url or 'empty'}, but the public host "
        "must be that domain or below it. Set public_url to an address there, or leave cookie_domain empty.",
        "cookie_domain",
        "public_url",
    )


def _mail_has_a_sender(settings: Settings) -> None:
    _refuse_if(
        settings.smtp_url and not settings.mail_from,
        "smtp_url is set and mail_from is empty, but a mail must come from someone. Set mail_from to an "
        "address like no-reply@example.com, or leave smtp_url empty.",
        "smtp_url",
        "mail_from",
    )


def _a_verify_only_server_knows_its_api_server(settings: Settings) -> None:
    _refuse_if(
        settings.verify_only and not settings.api_domain,
        "jwks_url is set and api_domain is empty, but sessions are renewed at the API server, so it must be "
        "known. Set api_domain to its origin, like https://api.example.com, or leave jwks_url empty.",
        "jwks_url",
        "api_domain",
    )
    _refuse_if(
        settings.verify_only and settings.check_database,
        "jwks_url is set and check_database is on, but a verify-only server has no database to ask. "
        "Turn check_database off, or leave jwks_url empty.",
        "jwks_url",
        "check_database",
    )


def _other_servers_have_https(settings: Settings) -> None:
    for name in ("api_domain", "website_domain", "sign_in_url"):
        address = getattr(settings, name)
        insecure = address.startswith("http://") and not is_loopback(_host_of(address))
        _refuse_if(
            insecure and not settings.debug,
            f"{name} is {address}, but it must be https:// outside this machine, because over http:// anyone "
            "on the way can take the session. Write https://; for trials on a closed network, turn debug on.",
            name,
            "debug",
        )


def _both_servers_get_the_cookies(settings: Settings) -> None:
    """Cookies belong to one host, or to a domain and those below it, and to one site unless SameSite is none.

    What a site is says the public suffix list, which is not here: names whose last two labels agree pass
    for one site, so below a suffix such as co.uk a bad combination is not noticed.
    """
    own = settings.public_url or "http://localhost"
    api, website = settings.api_domain or own, settings.website_domain or own
    hosts = {name: _host_of(url) for name, url in (("api_domain", api), ("website_domain", website))}
    any_loopback_name = not settings.public_url and all(map(is_loopback, hosts.values()))
    if any_loopback_name or hosts["api_domain"] == hosts["website_domain"]:
        return
    domain = settings.cookie_domain
    for name, host in hosts.items():
        _refuse_if(
            domain and not f".{host}".endswith(f".{domain}"),
            f"cookie_domain is {domain}, but {host} is not below it, so API and pages would not share "
            f"their cookies. Set cookie_domain to a parent of {' and '.join(hosts.values())}.",
            "cookie_domain",
            name,
            "public_url",
        )
    _refuse_if(
        settings.verify_only and not domain,
        f"jwks_url is set and cookie_domain is empty, but the pages on {hosts['website_domain']} do not see "
        f"the cookies of {hosts['api_domain']} then. Set cookie_domain on both servers to a parent of both "
        "hosts, or give both the same host.",
        "jwks_url",
        "cookie_domain",
        "api_domain",
        "public_url",
    )
    same = settings.cookie_same_site
    _refuse_if(
        same != "none" and settings.token_transfer_method != "header" and not _is_same_site(api, website),
        f"the API is at {api} and the pages at {website}, which are different sites, but cookie_same_site is "
        f"{same}, and such cookies do not travel between sites. Give both a common parent domain and the "
        "same scheme, or set cookie_same_site to none, which many browsers block all the same.",
        "cookie_same_site",
        "api_domain",
        "website_domain",
        "public_url",
    )


def _is_same_site(origin: str, other: str) -> bool:
    hosts = [_host_of(origin), _host_of(other)]
    if origin.partition(":")[0] != other.partition(":")[0]:
        return False
    if any(ENDS_IN_NUMBER.fullmatch(host) or host.startswith("[") for host in hosts):
        return hosts[0] == hosts[1]
    return hosts[0].split(".")[-2:] == hosts[1].split(".")[-2:]


NAMES = tuple(entry.name for entry in fields(Settings))
NAMES_AND_CONFIG = (*NAMES, "config")  # --config names the file, so it cannot stand in it


def _debug_is_one_process(settings: Settings) -> None:
    _refuse_if(
        settings.debug and settings.processes > 1,
        f"debug is on and processes is {settings.processes}, but only one process can restart itself when a "
        "file changes. Set processes to 1, or turn debug off.",
        "debug",
        "processes",
    )


RULES: tuple[Callable[[Settings], None], ...] = (
    _lifetimes_are_in_order,
    _keys_outlive_tokens,
    _an_older_cookie_domain_is_another,
    _the_public_gets_https,
    _an_open_address_has_a_public_url,
    _a_sample_secret_is_for_debug_only,
    _cookies_fit_the_public_url,
    _a_verify_only_server_knows_its_api_server,
    _other_servers_have_https,
    _both_servers_get_the_cookies,
    _mail_has_a_sender,
    _debug_is_one_process,
)


# From values and text to settings.


def _about(entry: Field[Any]) -> About:
    about: About = entry.metadata["about"]
    return about


def _is_switch(entry: Field[Any]) -> bool:
    """Tell whether a setting can be turned on and off, perhaps besides other values."""
    return entry.type is bool or {"true", "false"} <= set(get_args(entry.type))


def _checked(entry: Field[Any], value: Any) -> Any:
    """The value of one setting, normalised; SettingsError if it is wrong."""
    about = _about(entry)
    if entry.type is Path and isinstance(value, str | os.PathLike) and os.fspath(value):
        value = Path(value)
    if _is_switch(entry) and isinstance(value, bool):
        value = value if entry.type is bool else str(value).lower()
    if get_origin(entry.type) is Literal and isinstance(value, str):
        spellings = {choice.lower(): choice for choice in get_args(entry.type)}
        value = spellings.get(value.strip().lower(), value)
    if not _fits(entry, value):
        raise SettingsError(
            f"{_subject(entry, value)}, but it must be {_expected(entry)}. "
            f"Change it, or leave it out for the default, {_default(entry) or 'empty'}.",
            entry.name,
        )
    try:
        return about.check(value) if about.check else value
    except ValueError as error:
        raise SettingsError(f"{_subject(entry, value)}, but {error}.", entry.name) from None


def _fits(entry: Field[Any], value: Any) -> bool:
    about, kind = _about(entry), entry.type
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        low, high = about.minimum, about.maximum
        return type(value) is int and (low is None or value >= low) and (high is None or value <= high)
    if kind is Path:
        return isinstance(value, Path) and str(value).isprintable()
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return isinstance(value, str) and value.isprintable()


def _expected(entry: Field[Any]) -> str:
    about, kind = _about(entry), entry.type
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number from {about.minimum} to {about.maximum}"
    if kind is Path:
        return "a path"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list, separated by commas"
    return "text on one line"


def _subject(entry: Field[Any], value: object) -> str:
    """`port is 99999`; a secret is not shown, nor a user name and password inside a URL."""
    if _about(entry).secret:
        return f"{entry.name} is set"
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    text = re.sub(r"//.*@", "//...@", repr(shown) if isinstance(shown, str) else str(shown))
    text = re.sub(r"(postgres(?:ql)?:).*", r"\1...", text)  # a password may stand anywhere in a wrong address
    return f"{entry.name} is {text if len(text) <= 100 else text[:100] + '...'}"


def _from_text(entry: Field[Any], text: str) -> Any:
    """The value that the text stands for; if none, the text itself, which _checked then refuses."""
    kind = entry.type
    if _is_switch(entry):
        meaning = {
            **dict.fromkeys(("true", "yes", "on", "1"), True),
            **dict.fromkeys(("false", "no", "off", "0"), False),
        }
        return meaning.get(text.lower(), text)
    if kind is int:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text
    if kind is Path:
        return Path(os.path.expanduser(text)) if text else text
    if get_origin(kind) is tuple:
        return tuple(item for item in re.split(r"[,\s]+", text) if item)
    return text


class Given(NamedTuple):
    """A setting's text, and where it was found: "environment variable STORMCELLAR_PORT"."""

    text: str
    source: str


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings: from the command line, then the environment, then the file that --config names.

    Args:
        argv: the command line without the program's name. `--help` prints help_text() and ends the program.
        environ: the environment; only names that begin with STORMCELLAR_ are looked at.

    Raises:
        SettingsError: an unknown name, a wrong value or a bad combination, with where each value comes from.
        SystemExit: --help was asked for.
    """
    if {"-h", "--help"} & set(argv):
        print(help_text(), end="")
        raise SystemExit(0)
    given = {**_from_environment(environ), **_from_arguments(argv)}
    config = given.pop("config", None)
    if config and config.text:
        given = {**_from_file(Path(os.path.expanduser(config.text)), config.source), **given}
    values = {
        entry.name: _from_text(entry, given[entry.name].text)
        for entry in fields(Settings)
        if entry.name in given
    }
    try:
        return Settings(**values)
    except SettingsError as error:
        sources = (f"{name}: {given[name].source if name in given else 'default'}" for name in error.names)
        raise SettingsError(f"{error} ({'; '.join(sources)})", *error.names) from None


def _unknown(source: str, written: str, name: str, spelled: Callable[[str], str]) -> SettingsError:
    nearest = [near for near in difflib.get_close_matches(name, NAMES_AND_CONFIG, n=1) if near != name]
    advice = (
        f"Did you mean {spelled(nearest[0])}?" if nearest else "`python server.py --help` lists them all."
    )
    return SettingsError(f"{source} names {written}, but there is no such setting. {advice}")


def _from_arguments(argv: Sequence[str]) -> dict[str, Given]:
    switches = {entry.name for entry in fields(Settings) if _is_switch(entry)}
    found: dict[str, Given] = {}
    words = deque(argv)
    while words:
        option, equals, text = words.popleft().partition("=")
        name = option[2:].replace("-", "_")
        if not option.startswith("--"):
            # It may be half of a secret, so it is counted and not shown.
            raise SettingsError(
                f"Argument {len(argv) - len(words)} of the command line belongs to no setting, but each must "
                "be --name=value or --name value, and --name or --no-name to switch. Change or remove it."
            )
        if not equals and name in switches:
            text = "true"
        elif not equals and name.startswith("no_") and name[3:] in switches:
            name, text = name[3:], "false"
        elif name not in NAMES_AND_CONFIG:
            raise _unknown("The command line", option, name, _option)
        elif not equals:
            if not words or words[0].startswith("--"):
                raise SettingsError(f"{option} has no value, but it needs one. Write {option}=value.", name)
            text = words.popleft()
        found[name] = Given(text.strip(), f"command line, {option}")
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    names = frozenset(map(str.upper, NAMES_AND_CONFIG))
    try:
        for variable in environment.variables(environ, ENVIRONMENT_PREFIX, names):
            name = variable.name.lower()
            if variable.name not in names:
                raise _unknown("The environment", ENVIRONMENT_PREFIX + variable.name, name, _variable)
            found[name] = Given(variable.text, variable.source)
    except environment.UnreadableFileError as error:
        raise SettingsError(str(error)) from None
    return found


def _from_file(path: Path, named_by: str) -> dict[str, Given]:
    """Lines of `name = value`, the value in double quotes or not; empty lines and # lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(
            f"The file {path} cannot be read: {reason}. "
            f"Name a readable file of `name = value` lines, or none. (config: {named_by})"
        ) from None
    found: dict[str, Given] = {}
    for number, line in enumerate(lines, 1):
        where = f"{number} of {path}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        written, equals, text = (part.strip() for part in line.partition("="))
        name = written.replace("-", "_")
        if not equals:
            raise SettingsError(f"Line {where} is no setting. Write name = value, or # before a comment.")
        if name not in NAMES:
            raise _unknown(f"Line {where}", written, name, str)
        if name in found:
            raise SettingsError(
                f"Line {where} sets {name} again, but once is enough. Remove one of them.", name
            )
        found[name] = Given(_unquoted(text, name, where), f"line {where}")
    return found


def _unquoted(text: str, name: str, where: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if re.search(r"\s#", text):
        raise SettingsError(
            f"Line {where} has a # in the value of {name}, but comments need a line of their own. "
            "Move the comment, or put the value into double quotes if the # belongs to it.",
            name,
        )
    return text


# The folder of the database and the secret.


def ensure_data_dir(settings: Settings) -> Path:
    """Make the data folder for its owner only (0700) unless it is there; SettingsError if that fails."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"data_dir is {settings.data_dir}, but that folder cannot be made: {error.strerror}. "
            "Make it by hand for the user who runs the server, or name another place.",
            "data_dir",
        ) from error
    return settings.data_dir


# What is said about the settings: --help and docs/settings.md.

FILE_EXAMPLE = """\
# a line of its own for each comment
public_url = https://www.example.com
access_token_lifetime_s = 900
trusted_origins = https://app.example.com, https://admin.example.com
debug = false
"""


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _default(entry: Field[Any]) -> str:
    if isinstance(entry.default, bool):
        return str(entry.default).lower()
    return ", ".join(entry.default) if isinstance(entry.default, tuple) else str(entry.default)


def help_text() -> str:
    """What `python server.py --help` prints: name, default and values left, meaning right, 100 columns."""
    head = [f"  {_option(entry.name)}={_default(entry)}" for entry in fields(Settings)]
    left = max(map(len, head)) + 2
    lines = [
        "Usage: python server.py [--config=FILE] [--name=value ...]",
        "",
        "A setting is taken from the first place that has it:",
        "  1. the command line      --access-token-lifetime-s=900   --debug   --no-debug",
        "  2. the environment       STORMCELLAR_ACCESS_TOKEN_LIFETIME_S=900",
        "                           STORMCELLAR_SECRET_FILE=/run/secrets/site   (holds the value)",
        "  3. the file of --config  access_token_lifetime_s = 900   (# begins a line of comment)",
    ]
    for entry, name in zip(fields(Settings), head, strict=True):
        about = _about(entry)
        if about.heading:
            lines += ["", about.heading]
        names = [name, *_wrapped(f"{_expected(entry)} {about.unit.strip('-')}", left - 8, "      ")]
        text = [*_wrapped(about.effect, 100 - left), *_wrapped(f"Danger: {about.danger}", 100 - left)]
        rows = zip_longest(names, text, fillvalue="")
        lines += ["", *(f"{cell:<{left}}{meaning}".rstrip() for cell, meaning in rows)]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return [indent + line for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def markdown() -> str:
    """The page docs/settings.md."""
    return "\n".join(_markdown_lines()) + "\n"


def _markdown_lines() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "<!-- Made by `make docs` from stormcellar/settings.py: change it there, not here. -->"
    yield ""
    yield "Each setting is taken from the first place that has it: the command line (`--name=value` or"
    yield "`--name value`; `--debug` and `--no-debug` for what is true or false), then the environment"
    yield "(`STORMCELLAR_NAME`), then the file that `--config` or `STORMCELLAR_CONFIG` names. Unknown names"
    yield "and wrong values stop the start and say what to change. `STORMCELLAR_NAME_FILE` names a file that"
    yield "holds the value alone, as containers pass secrets: `STORMCELLAR_SECRET_FILE=/run/secrets/site`."
    yield "The file of `--config` has lines like these:"
    yield ""
    yield "```"
    yield from FILE_EXAMPLE.splitlines()
    yield "```"
    for entry in fields(Settings):
        about = _about(entry)
        if about.heading:
            yield ""
            yield f"## {about.heading}"
        yield ""
        yield f"### `{entry.name}`"
        yield ""
        default = f"`{_default(entry)}`" if _default(entry) else "empty"
        yield f"`{_option(entry.name)}` or `{_variable(entry.name)}`. Default: {default}. Unit: {about.unit}."
        yield f"Value: {_expected(entry)}."
        yield ""
        yield from _wrapped(about.effect, 110)
        yield ""
        yield from _wrapped(f"**Danger:** {about.danger}", 110)


if __name__ == "__main__":
    print(markdown(), end="")
