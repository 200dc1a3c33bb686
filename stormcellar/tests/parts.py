# SPDX-License-Identifier: MIT
"""The parts of the system that some tests need: where they are, and which Debian packages bring them.

`require("chromium")` gives a test or fixture the part's path, or skips the test and says why. With CI set in
the environment a missing part fails the test instead, for there nothing may be left out unseen.

`python stormcellar/tests/parts.py` prints each missing part with its packages, one a line; tools/setup
installs those.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import playwright
import pytest

ROOT = Path(__file__).parents[2]
OLDEST_NODE = 18  # the first with fetch, which the published SDKs expect


def find_chromium() -> Path | None:
    """The browser that CHROMIUM names, else one on the PATH, else one that Playwright has downloaded."""
    # Not chromium-browser: on Ubuntu that is a stub which only advises to install the snap.
    names = ("chromium", "google-chrome", "google-chrome-stable")
    for name in (os.environ["CHROMIUM"],) if os.environ.get("CHROMIUM") else names:
        if found := shutil.which(name):
            return Path(found)
    downloads = Path.home() / ".cache" / "ms-playwright"
    return max(downloads.glob("chromium-*/chrome-linux*/chrome"), default=None)


def find_playwright() -> Path | None:
    """The Node.js that Playwright brings along, if it starts: it needs a library that small systems lack."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    starts = subprocess.run([node, "--version"], capture_output=True, check=False).returncode == 0
    return node if starts else None


def find_postgres() -> Path | None:
    """The folder of the newest installed server's programs: postgres, initdb and their like."""
    # Debian keeps them off the PATH, one folder for each major version.
    servers = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if servers:
        return max(servers, key=lambda server: int(server.parts[-3])).parent
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def find_npm() -> Path | None:
    """The npm program, if Node.js beside it is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", version)
    return Path(npm) if major and int(major[1]) >= OLDEST_NODE else None


def find_nginx() -> Path | None:
    """The nginx of the system, else the one that tools/setup has unpacked; Debian keeps it off the PATH."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    unpacked = ROOT / ".venv" / "nginx" / "usr" / "sbin" / "nginx"
    return Path(found) if found else unpacked if unpacked.exists() else None


def find_caddy() -> Path | None:
    """The Caddy of the system, else the one that stormcellar/tools/setup has unpacked."""
    found = shutil.which("caddy")
    unpacked = ROOT / ".venv" / "caddy" / "usr" / "bin" / "caddy"
    return Path(found) if found else unpacked if unpacked.exists() else None


def find_etcd() -> Path | None:
    """The etcd of the system, else the one that stormcellar/tools/setup has unpacked."""
    found = shutil.which("etcd")
    unpacked = ROOT / ".venv" / "etcd-server" / "usr" / "bin" / "etcd"
    return Path(found) if found else unpacked if unpacked.exists() else None


def find_pgbouncer() -> Path | None:
    """The PgBouncer of the system, else the one that stormcellar/tools/setup has unpacked."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    unpacked = ROOT / ".venv" / "pgbouncer" / "usr" / "sbin" / "pgbouncer"
    return Path(found) if found else unpacked if unpacked.exists() else None


def find_curl() -> Path | None:
    found = shutil.which("curl")
    return Path(found) if found else None


def find_python(version: str) -> Path | None:
    """An interpreter of this version, such as "3.10": one on the PATH, else one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    on_path = shutil.which(f"python{version}")
    for program in (*([on_path] if on_path else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        # pyenv has stubs that start nothing
        ask = [str(program), "-c", "import ensurepip, sys; print(sys.executable)"]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return Path(answer.stdout.strip())
    return None


def find_systemd() -> Path | None:
    """The service manager, whether or not it is process 1 here."""
    paths = (Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd"))
    return next((path for path in paths if path.exists()), None)


def find_unshare() -> Path | None:
    found = shutil.which("unshare")
    return Path(found) if found else None


@dataclass(frozen=True)
class Part:
    """Something that pip does not bring."""

    description: str
    find: Callable[[], Path | None]
    packages: str  # Debian's names, with spaces between them


PARTS = {
    # Without a font Chromium draws pages and screenshots that have no letters.
    "chromium": Part("Chromium or Google Chrome", find_chromium, "chromium fonts-liberation"),
    "playwright": Part("libatomic, which Playwright needs,", find_playwright, "libatomic1"),
    "postgres": Part("a PostgreSQL server", find_postgres, "postgresql"),
    "nginx": Part("nginx", find_nginx, "nginx"),
    "caddy": Part("Caddy", find_caddy, "caddy"),
    "pgbouncer": Part("PgBouncer", find_pgbouncer, "pgbouncer"),
    "etcd": Part("etcd", find_etcd, "etcd-server"),
    "curl": Part("curl", find_curl, "curl"),
    "systemd": Part("systemd", find_systemd, "systemd"),
    "unshare": Part("unshare", find_unshare, "util-linux"),
    "npm": Part(f"npm with Node.js {OLDEST_NODE} or newer", find_npm, "nodejs npm"),
}


def require(name: str) -> Path:
    """Where a part is: a program, or for "postgres" the folder of its programs.

    Skips the calling test if the part is missing; fails it where CI is set in the environment.
    """
    part = PARTS[name]
    return part.find() or do_without(f"{part.description} is missing; `make test` installs it where it may")


def may_unshare() -> list[str]:
    """The words before a command that needs root: none, or sudo. Skips where namespaces cannot be made.

    Containers without further rights refuse them, also in CI, so this is no missing part.
    """
    probe = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "probe", "/run"]
    for words in ([], ["sudo", "-n"]):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*words, *probe], capture_output=True, check=False).returncode == 0:
                return words
    pytest.skip("this machine does not let us make namespaces")


def require_npm_package(name: str, where: str = "stormcellar/tests/npm") -> Path:
    """The folder of a package that `where`/package.json lists; skips or fails like `require`."""
    require("npm")
    folder = ROOT / where / "node_modules" / name
    if not folder.is_dir():
        do_without(f"the npm package {name} is not in {where}/node_modules; `make test` installs it")
    return folder


def require_supertokens_python() -> Path:
    """The interpreter of the environment that stormcellar/tests/interop/requirements.txt is installed in."""
    python = ROOT / ".venv-interop" / "bin" / "python"
    if not (ROOT / ".venv-interop" / "requirements.txt").exists():
        do_without("supertokens-python is not in .venv-interop; `make test` installs it")
    return python


def require_patroni() -> Path:
    """The interpreter of the environment that stormcellar/tools/requirements-patroni.txt is installed in."""
    if not (ROOT / ".venv-patroni" / "requirements-patroni.txt").exists():
        do_without("Patroni is not in .venv-patroni; `make test` installs it")
    return ROOT / ".venv-patroni" / "bin" / "python"


def axe_source() -> str:
    """The text of axe-core, which finds what keeps people from using a page (WCAG rules)."""
    return (require_npm_package("axe-core") / "axe.min.js").read_text(encoding="utf-8")


def do_without(reason: str) -> NoReturn:
    """Skip the calling test; fail it where CI is set in the environment."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


if __name__ == "__main__":
    for name, part in PARTS.items():
        if part.find() is None:
            print(name, part.packages)
