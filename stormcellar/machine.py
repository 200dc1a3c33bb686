# SPDX-License-Identifier: MIT
"""What this process may use of the machine: cores and memory, also inside a container.

A container sees the cores and the memory of its host, but its control group (cgroup) may allow it less.
These functions return the smallest of all limits: the host's, the CPU affinity's, and those of each control
group from the process's own up to the root. Control groups of version 1 and of version 2 are read,
once in a process.

Source: the Linux kernel's cgroup-v1 and cgroup-v2 documentation; proc_pid_mountinfo(5).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@functools.cache
def cores(root: Path = ROOT) -> int:
    """Return how many cores this process may keep busy, at least 1. Half a core counts as one.

    Args:
        root: the folder that holds proc/ and sys/; tests pass recorded files.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    available = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([available, *(math.ceil(quota) for quota in _cpu_quotas(root))]))


@functools.cache
def memory_bytes(root: Path = ROOT) -> int:
    """Return how much memory this process and its neighbours in the control group may use together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits(root)])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Yield each limit on processor time, in cores."""
    for group in _groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")  # version 2: "50000 100000", "max 100000"
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """Yield each limit on memory, in bytes. Version 1 writes a number near 2^63 for "no limit"."""
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _read(group / name)
            if limit.isdigit():
                yield int(limit)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups that may limit a controller, the innermost first."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        is_version_2 = number == "0" and not controllers
        if is_version_2 or controller in controllers.split(","):
            for mounted, place in _mounts(root, "" if is_version_2 else controller):
                yield from _folders(place, mounted, path)


def _folders(place: Path, mounted: str, path: str) -> Iterator[Path]:
    """Yield the folder of a control group below its mount, then the folders above it."""
    group = PurePosixPath(path)
    # Inside a container the mount begins at the container's group, or the path is seen from the outside.
    inside = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    for part in (inside, *inside.parents):
        yield place / part


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """Yield (which group is mounted, where) for version 2 ("") or for a controller of version 1."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
        is_wanted = kind == "cgroup" and controller in options.split(",") if controller else kind == "cgroup2"
        if is_wanted:
            yield fields[3], root / fields[4].lstrip("/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
