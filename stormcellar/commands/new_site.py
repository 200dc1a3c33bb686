# SPDX-License-Identifier: MIT
"""Write a new site, or copy the account pages into an existing application. No file is replaced."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

SITE = Path(__file__).resolve().parents[1] / "site"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")

ACCOUNT_PAGES = (
    "handlers/accounts.py",
    "handlers/account.py",
    "handlers/admin.py",
    "handlers/devices.py",
    "handlers/recovery.py",
    "handlers/sign_in.py",
    "templates/account",
    "templates/admin",
)
BASES = ("handlers/__init__.py", "handlers/base.py")
"""What the account pages need, and an application may have already."""


class Refused(Exception):
    """The command changed nothing; the message says why."""


def main(words: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    arguments = make_parser().parse_args(words)
    try:
        arguments.run(Path(arguments.folder))
    except (Refused, OSError) as error:
        print(f"{arguments.name}: {error}", file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m stormcellar",
        description="Begin a site, or take the account pages into an application.",
        epilog="All other commands belong to a site: `python manage.py --help`.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="name")
    for name, run, about in (
        ("new", new, "Write a new site, which uses the installed package."),
        ("pages", pages, "Copy the account pages, handlers and templates, into an existing application."),
    ):
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        command.add_argument("folder", help="the folder of the site or of the application")
        command.set_defaults(run=run)
    return parser


def new(folder: Path) -> None:
    """Write the starter site into a folder that is empty or not there.

    Raises:
        Refused: there are files in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is not empty. Choose another folder.")
    shutil.copytree(SITE, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
    (folder / "requirements.txt").write_text(requirement() + "\n", encoding="utf-8")
    print(f"{folder} is a site. Start it:\n  cd {folder}\n  make run")
    if not is_installed():
        print(
            "This kit is a clone. Build the package there with `make wheel`, and name it in requirements.txt."
        )


def pages(folder: Path) -> None:
    """Copy the account pages. The handlers' base classes are copied unless the application has its own.

    Raises:
        Refused: the folder, or a place in it, is not free.
    """
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder.")
    taken = [name for name in ACCOUNT_PAGES if (folder / name).exists()]
    if taken:
        raise Refused(f"{', '.join(taken)} is there already. Nothing was changed.")
    missing = [name for name in BASES if not (folder / name).exists()]
    for name in (*missing, *ACCOUNT_PAGES):
        source, target = SITE / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT_OUT)
        else:
            shutil.copyfile(source, target)
        print(f"  {name}")
    print("Add their addresses to your routes:\n  from handlers import accounts\n  ... + accounts.routes()")
    if BASES[1] not in missing:
        print(f"{BASES[1]} is yours: in it, BaseHandler and ProtectedHandler must inherit from the kit's.")


def is_installed() -> bool:
    try:
        metadata.distribution("stormcellar")
    except metadata.PackageNotFoundError:
        return False
    return True


def requirement() -> str:
    """Return the line of requirements.txt: the package as it was installed, or its version."""
    line = (SITE / "requirements.txt").read_text(encoding="utf-8").strip()
    origin = metadata.distribution("stormcellar").read_text("direct_url.json") if is_installed() else None
    if not origin:
        return line
    source = json.loads(origin)
    url = source["url"]
    if vcs := source.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"{line.partition('>')[0]} @ {url}"
