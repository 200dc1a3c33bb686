# SPDX-License-Identifier: MIT
"""The part of `check` that looks at settings, files and this machine, and connects to nothing."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from stormcellar import machine
from stormcellar.application import Site
from stormcellar.commands.finding import Finding, error, note, warning
from stormcellar.packages import requirements
from stormcellar.settings import Settings, is_loopback
from stormcellar.web.access import AccessUnsaid, check_access

OLDEST_PYTHON = (3, 10)
LITTLE_DISK_BYTES, NO_DISK_BYTES = 2 * 1024**3, 200 * 1024**2
EVERYBODY = 8  # a network with a shorter prefix is more than anybody's own
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?((?:[<>=]=?[0-9.]+,?)*)")


def check_settings(options: Settings, words: Sequence[str], uid: int, site: Site) -> Iterator[Finding]:
    """What can be said of the settings.

    Args:
        words: the settings' part of the command line, where others on the machine can read secrets.
        uid: of the user who runs this, and so will run the server.
    """
    yield from _address(options)
    yield from _cookies(options)
    yield from _proxies(options)
    yield from _secrets(options, words)
    yield from _mail(options)
    yield from _load(options)
    if uid == 0:
        yield warning(
            "This runs as root, and a server that was taken over would be root too.",
            "Run the server, and this command, as a user of its own; docs/deploy.md makes one.",
        )
    try:
        check_access(site.route_table(options))
    except AccessUnsaid as unsaid:
        yield error(f"The server does not start: {unsaid}.", "Do what the sentence says.")


def _address(options: Settings) -> Iterator[Finding]:
    if options.debug:
        yield error(
            "debug is on: strangers see mails and tracebacks, and secrets may be samples.",
            "Set debug = false, or leave it out.",
        )
    if not options.public_url:
        yield error(
            "public_url is empty, so the server answers to loopback addresses only, without https.",
            "Set public_url = https://... as it stands in the address bar.",
        )
    elif not options.public_url.startswith("https://"):
        yield error(
            f"public_url is {options.public_url}: tokens and passwords cross the network as they are.",
            "Put a proxy with TLS in front (docs/deploy.md) and set public_url = https://...",
        )


def _cookies(options: Settings) -> Iterator[Finding]:
    if not options.public_url:
        return
    if not options.cookie_secure:
        yield error(
            "Cookies go out without Secure, so also over connections that anybody can read.",
            "They get it as soon as public_url begins with https://.",
        )
    elif not options.prefixes_cookies and not options.cookie_domain and not options.verify_only:
        yield note(
            "Cookies have plain names, which a neighbouring sub-domain can overwrite.",
            "Set cookie_prefix = auto, unless other backends look for sAccessToken; it signs all users out.",
        )


def _proxies(options: Settings) -> Iterator[Finding]:
    behind_proxy = options.public_url.startswith("https://")
    if behind_proxy and not options.trusted_proxies:
        yield warning(
            "public_url is https, which a proxy must speak, but trusted_proxies is empty: every visitor has "
            "the proxy's address, in the log and for the rate limits.",
            "Set trusted_proxies to the proxy's address, 127.0.0.1, ::1 if it runs on this machine.",
        )
    if behind_proxy and not options.listens_on_loopback_only:
        yield warning(
            f"The server listens on {options.address}, where it can be reached without the proxy.",
            "Set address = 127.0.0.1 if the proxy runs on this machine; else let a firewall admit only it.",
        )
    for network in map(ipaddress.ip_network, options.trusted_proxies):
        if network.prefixlen < EVERYBODY and not network.is_private:
            yield error(
                f"trusted_proxies holds {network}: everybody there may claim to be at any address.",
                "Name the proxies themselves.",
            )


def _secrets(options: Settings, words: Sequence[str]) -> Iterator[Finding]:
    for name in ("secret", "database", "smtp_url"):
        given = [w for w in words if w.lstrip("-").replace("-", "_").partition("=")[0] == name]
        if given and (name == "secret" or "@" in str(getattr(options, name))):
            yield warning(
                f"{name} stands on the command line, where every user of this machine can read it.",
                f"Set it in the environment (STORMCELLAR_{name.upper()}) or in the file of --config.",
            )
    if options.verify_only:
        return
    paths = [options.data_dir, options.data_dir / "secret"]
    if not options.uses_postgres:
        file = options.database_path
        paths += [file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))]
    for path in paths:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0
        if mode & _others(path):
            yield warning(
                f"{path} has mode {mode:04o}: other users of this machine can get at sessions.",
                f"Run `chmod go= {path}`.",
            )


def _others(path: Path) -> int:
    """Return the rights that no other user may have. A volume of a container is open to group root."""
    return 0o007 if path.is_dir() and path.stat().st_gid == 0 else 0o077


def _mail(options: Settings) -> Iterator[Finding]:
    if options.verify_only:
        return
    if options.smtp_url:
        scheme, host = urlsplit(options.smtp_url).scheme, urlsplit(options.smtp_url).hostname or ""
        if scheme == "smtp" and not is_loopback(host):
            yield warning(
                f"Mails go to {host} without encryption: whoever is in between reads the links in them.",
                "Use smtps:// or smtp+starttls:// in smtp_url.",
            )
    elif options.email_verification == "required":
        yield error(
            "email_verification is required, but no mail leaves this server, so nobody new gets in.",
            "Set smtp_url and mail_from.",
        )
    else:
        yield warning("smtp_url is empty: nobody can get a new password.", "Set smtp_url and mail_from.")


def _load(options: Settings) -> Iterator[Finding]:
    if not options.rate_limits and not options.verify_only:
        yield warning(
            "rate_limits is off: passwords can be guessed as fast as this machine hashes.",
            "Set rate_limits = true, unless something in front does the same.",
        )
    cores = machine.cores()
    if options.processes > cores:
        yield warning(
            f"processes is {options.processes}, but there are {cores} cores.", f"Set processes = {cores}."
        )
    elif options.processes == 1:
        yield note(
            f"One process serves; a new release then interrupts it, and {cores} cores are there.",
            "Set processes = 2 or more: SIGHUP then replaces them without a failed request.",
        )
    if not options.uses_postgres and not options.verify_only:
        yield note("Users and sessions are in SQLite: one machine, however many processes.")


def has_secret(options: Settings) -> bool:
    """Whether a start would find a secret, and not make one."""
    return bool(options.secret) or (options.data_dir / "secret").exists()


def check_machine(options: Settings) -> Iterator[Finding]:
    """Check versions and disk."""
    if sys.version_info < OLDEST_PYTHON:
        yield error(
            f"Python is {platform.python_version()}, but the kit needs 3.10.", "Install a newer Python."
        )
    for line in requirements(*(["postgres"] if options.uses_postgres else [])):
        yield from check_requirement(line)
    if not options.verify_only:
        yield from _disk(options.data_dir, shutil.disk_usage(_existing(options.data_dir)).free)


def _existing(path: Path) -> Path:
    path = path.resolve()
    return path if path.exists() else _existing(path.parent)


def _disk(folder: Path, free_bytes: int) -> Iterator[Finding]:
    what = f"{free_bytes / 1024**2:,.0f} MB are free on the disk of {folder}."
    if free_bytes < NO_DISK_BYTES:
        yield error(what, "Make room: a full disk stops every sign-in.")
    elif free_bytes < LITTLE_DISK_BYTES:
        yield warning(what, "Make room before it is full: that stops every sign-in.")


def check_requirement(line: str) -> Iterator[Finding]:
    """A line of a requirements file against what is installed."""
    match = REQUIREMENT.fullmatch(line.strip())
    if match is None:
        yield warning(f"The requirement {line!r} cannot be read.", "Write it like name>=1.2,<3.")
        return
    name, conditions = match.groups()
    advice = f"Run `.venv/bin/python -m pip install '{line.strip()}'`."
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        yield error(f"The package {name} is not installed.", advice)
        return
    if not all(_holds(installed, condition) for condition in conditions.split(",") if condition):
        yield error(f"The package {name} is {installed}, but {conditions} is required.", advice)


def _holds(installed: str, condition: str) -> bool:
    sign = re.match(r"[<>=]=?", condition)
    assert sign  # noqa: S101 - REQUIREMENT admits nothing else
    have, asked = numbers(installed), numbers(condition[sign.end() :])
    size = max(len(have), len(asked))
    have, asked = have + (0,) * (size - len(have)), asked + (0,) * (size - len(asked))
    return {
        ">=": have >= asked, "<=": have <= asked, ">": have > asked, "<": have < asked, "==": have == asked
    }.get(sign[0], False)  # fmt: skip


def numbers(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: (6, 5, 5) for "6.5.5rc1"."""
    return tuple(int(part) for part in re.findall(r"^\d+|(?<=\.)\d+", version.partition("+")[0]))
