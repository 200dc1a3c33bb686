# SPDX-License-Identifier: MIT
"""check: is this configuration fit for production? Every finding says what to do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from stormcellar import sessions
from stormcellar.commands.changelog import VERSION, entries_for_clones, recorded_version
from stormcellar.commands.check_database import check_api_server, check_database, check_tls
from stormcellar.commands.check_head import check_head
from stormcellar.commands.check_mail import check_mail_server
from stormcellar.commands.check_proxy import check_proxy
from stormcellar.commands.check_settings import check_machine, check_settings, has_secret
from stormcellar.commands.check_templates import check_templates
from stormcellar.commands.command import JSON, Argument, Call, Command
from stormcellar.commands.finding import LEVELS, Finding, error, note, warning
from stormcellar.commands.output import CommandError
from stormcellar.secret_files import server_secret
from stormcellar.settings import Settings, SettingsError


async def check(call: Call) -> int:
    as_json = call.arguments.json
    since = call.arguments.since
    if since is not None and not VERSION.fullmatch(since):
        raise CommandError(f"--since is {since}, but it must be a version like {sessions.__version__}")
    counts: Counter[str] = Counter()
    async for finding in findings(call):
        counts[finding.level] += 1
        finding.print(as_json=as_json)
    if not as_json:
        print(", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS) + ".")
    return 1 if counts["error"] else 0


async def findings(call: Call) -> AsyncIterator[Finding]:
    for finding in check_version(call.site.folder, call.arguments.since):
        yield finding
    try:
        options = call.settings()
    except SettingsError as refusal:
        yield error(str(refusal), "The server does not start before this is changed.")
        return
    for finding in check_settings(options, call.settings_words, os.geteuid(), call.site):
        yield finding
    for finding in check_machine(options):
        yield finding
    for finding in check_templates(call.site.folder / "templates"):
        yield finding
    if options.verify_only:
        async for finding in check_api_server(options, call.site):
            yield finding
    else:
        for finding in check_secret(options):
            yield finding
            if finding.level == "error":  # nothing in the database can be judged without it
                return
        async for finding in check_database(options):
            yield finding
        async for finding in check_head(options, call.site):
            yield finding
        async for finding in check_mail_server(options):
            yield finding
    if call.arguments.tls:
        for finding in check_tls(options):
            yield finding
        if not options.verify_only:
            for finding in check_proxy(options):
                yield finding


def check_secret(options: Settings) -> Iterator[Finding]:
    """Its strength and who may read it are stormcellar/settings.py's rules; here they are only asked."""
    if not has_secret(options):
        yield note(f"There is no secret yet; the first start makes one in {options.data_dir}.")
        return
    try:
        secret = server_secret(options)
    except SettingsError as refusal:
        yield error(str(refusal), "The server does not start before this is changed.")
        return
    first, *others = secret.fingerprints
    yield note(f"The secret's fingerprint is {first}; all servers of a site must have the same one.")
    if others:
        yield warning(
            f"Other secrets are accepted too ({', '.join(others)}).",
            "`python manage.py rotate-secret --status` says what still needs them. Remove them as soon as "
            "nothing does.",
        )


def check_version(root: Path, since: str | None) -> Iterator[Finding]:
    """The engine's version, and what came after `since`, or after what the clone has recorded."""
    yield note(f"The engine's version is {sessions.__version__}.")
    since = since or recorded_version(root)
    changelog = root / "CHANGELOG.md"
    if since is None:
        yield note(
            "It is not known which changes of the kit this clone has followed.",
            f"Write the version into .kit-version (`echo {sessions.__version__} > .kit-version`).",
        )
    elif changelog.exists():
        for version, entry in entries_for_clones(changelog.read_text(encoding="utf-8"), since):
            yield warning(
                f"Since {since} ({version}): {entry}",
                "Do what it says; when all is done, write the engine's version into .kit-version.",
            )


COMMANDS = (
    Command(
        "check",
        check,
        "Say whether this site is fit for production: settings, secrets, cookies, proxies, mail, templates, "
        "versions, disk, database, clocks and the feed. Every finding has a level and what to do about it. "
        "Nothing is changed. It ends with 1 if there is an error. It also shows the version of the engine "
        "and what a clone has to change by hand for it (docs/updating.md).",
        "check --config=/etc/stormcellar/stormcellar.conf --tls",
        (
            Argument(
                "--tls",
                "Also connect to public_url, while the server runs: is its certificate good, and does the "
                "proxy in front pass on host, address, bodies, heads, parts of answers and WebSockets?",
                {"action": "store_true"},
            ),
            Argument(
                "--since",
                "Show what clones have to change by hand since this version; unless given, since the one in "
                ".kit-version.",
                {"metavar": "VERSION"},
            ),
            JSON,
        ),
    ),
)
