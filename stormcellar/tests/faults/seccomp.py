# SPDX-License-Identifier: MIT
"""Runs a command under the system call filter of the shipped unit; needs neither root nor a running systemd.

    python -m stormcellar.tests.faults.seccomp COMMAND...

The names in systemd's groups come from systemd-analyze, so they are those that systemd itself would use.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

UNIT = Path(__file__).parents[3] / "deploy" / "stormcellar@.service"
PR_SET_NO_NEW_PRIVS = 38
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO = 0x7FFF0000, 0x00050000
UNKNOWN = -1


@cache
def members(group: str) -> frozenset[str]:
    """Return the system calls of a group such as @system-service; a single call is a group of itself."""
    if not group.startswith("@"):
        return frozenset([group])
    command = ["systemd-analyze", "syscall-filter", group]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [line.strip() for line in shown if line.startswith("    ") and not line.strip().startswith("#")]
    return frozenset[str]().union(*map(members, names))


def lines_of(option: str) -> Iterator[str]:
    for line in UNIT.read_text().splitlines():
        name, _, value = line.partition("=")
        if name == option:
            yield value


def allowed() -> set[str]:
    """Return the calls that the unit allows (systemd.exec(5): a list after ~ takes calls away)."""
    found: set[str] = set()
    for value in lines_of("SystemCallFilter"):
        calls = frozenset[str]().union(*map(members, value.removeprefix("~").split()))
        found = found - calls if value.startswith("~") else found | calls
    return found


def apply() -> None:
    """Put this process, and what it starts, under the filter."""
    (refusal,) = lines_of("SystemCallErrorNumber")
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(SCMP_ACT_ERRNO | getattr(errno, refusal)))
    for name in sorted(allowed()):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != UNKNOWN and library.seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0) not in (
            0,
            -errno.EDOM,  # there is no such call on this kind of processor
        ):
            raise OSError(f"the rule for {name} was refused")
    if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or library.seccomp_load(context):
        raise OSError("the filter was refused")


if __name__ == "__main__":
    apply()
    os.execv(sys.argv[1], sys.argv[1:])
