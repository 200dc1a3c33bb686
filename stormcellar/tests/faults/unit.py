# SPDX-License-Identifier: MIT
"""A real systemd that runs the shipped unit file as it is, with a site of the tests' own settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stormcellar.tests.faults.namespaces import Machine, sh
from stormcellar.tests.faults.test_deploy import wait_until
from stormcellar.tests.parts import require
from stormcellar.tests.serving import ROOT

UNIT = "stormcellar@.service"
USER = "stormcellar:x:61001:61001::/var/lib/stormcellar:/usr/sbin/nologin\n"
CURRENT, PYTHON = "/srv/stormcellar/current", "/srv/stormcellar/python"
OVER_ETC = "lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work"
TARGETS = ("sysinit", "basic", "shutdown", "multi-user", "network-online")
"""What other units are to this one: here they have nothing to do."""


def boot(folder: Path, port: int, settings: Mapping[str, object], changes: str = "") -> Machine:
    """Start systemd with one instance of the unit. The log of the server is folder/server.log.

    The settings, the user and the state are in file systems in memory, so nothing of this machine changes.

    Args:
        changes: lines that are added to the unit's section [Service].
    """
    systemd = require("systemd")
    units, etc = folder / "units", folder / "etc"
    for path in (units / "site.target.wants", units / f"{UNIT}.d", etc / "stormcellar"):
        path.mkdir(parents=True)
    (units / UNIT).write_text((ROOT / "deploy" / UNIT).read_text())
    log = f"append:{folder}/server.log"
    added = f"StandardOutput={log}\nStandardError={log}\nEnvironment=LD_LIBRARY_PATH={PYTHON}/lib\n{changes}"
    (units / f"{UNIT}.d" / "stormcellar.tests.conf").write_text(f"[Service]\n{added}")
    for name in TARGETS:
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    wanted = UNIT.replace("@", f"@{port}")
    (units / "site.target").write_text(f"[Unit]\nDefaultDependencies=no\nWants={wanted}\n")
    for name in ("passwd", "group"):
        user = USER if name == "passwd" else "stormcellar:x:61001:\n"
        (etc / name).write_text(Path(f"/etc/{name}").read_text() + user)
    conf = etc / "stormcellar" / "stormcellar.conf"
    conf.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    mounts = sh(
        ("mount", "-t", "tmpfs", "tmpfs", "/run"),
        ("mkdir", "-p", "/run/etc/work", "/run/etc/upper", "/run/systemd"),
        ("cp", "-r", f"{etc}/.", "/run/etc/upper"),
        ("chgrp", "-R", "61001", "/run/etc/upper/stormcellar"),
        ("mount", "-t", "overlay", "overlay", "-o", OVER_ETC, "/etc"),
        ("mount", "-t", "tmpfs", "tmpfs", "/var/lib"),
        ("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"),
        *release(folder),
    )
    variables = f"container=tests SYSTEMD_UNIT_PATH={units} SYSTEMD_GENERATOR_PATH={folder}"
    options = "--system --unit=site.target --log-target=console --log-level=warning --show-status=no"
    machine = Machine(folder, f"{mounts}exec env {variables} {systemd} {options}\n")
    machine.wait_until_it_runs("systemd")
    manager = ("test", "-S", "/run/systemd/private")
    wait_until(lambda: machine.run(*manager, check=False).returncode == 0, "systemd takes commands")
    return machine


def release(folder: Path) -> list[tuple[str | Path, ...]]:
    """Commands that show this clone and its Python below /srv, as `deploy/release` makes them.

    The interpreter itself may be in a home folder, which the unit hides.
    """
    venv = folder / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib").mkdir()
    (venv / "pyvenv.cfg").write_text(f"home = {PYTHON}/bin\n")
    (venv / "bin" / "python").symlink_to(f"{PYTHON}/bin/{Path(sys.executable).resolve().name}")
    return [
        ("mount", "-t", "tmpfs", "tmpfs", "/srv"),
        ("mkdir", "-p", CURRENT, PYTHON),
        ("mount", "--bind", ROOT, CURRENT),
        ("mount", "--bind", sys.base_prefix, PYTHON),
        ("mount", "--bind", Path(sys.prefix) / "lib", venv / "lib"),
        ("mount", "--rbind", venv, f"{CURRENT}/.venv"),
    ]
