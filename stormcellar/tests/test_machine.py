# SPDX-License-Identifier: MIT
"""Cores and memory are those of the container, not those of its host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stormcellar import machine
from stormcellar.tests.serving import ROOT

MIB = 1024 * 1024
V2_MOUNT = "30 24 0:26 {mounted} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "33 31 0:28 {mounted} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "36 31 0:31 {mounted} /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
)
V1_GROUPS = "5:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:{path}\n"
CPU = "sys/fs/cgroup/cpu,cpuacct"


@pytest.fixture
def large_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * 1024 * MIB // 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


def recorded(root: Path, groups: str, mounts: str, files: Mapping[str, str]) -> Path:
    """Write the files that the kernel would show."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


LIMITS = {
    "version 2, in a container": (
        "0::/\n",
        V2_MOUNT.format(mounted="/"),
        {"sys/fs/cgroup/cpu.max": "50000 100000\n", "sys/fs/cgroup/memory.max": f"{256 * MIB}\n"},
        (1, 256 * MIB),
    ),
    "version 2, a part of a mount": (
        "0::/kubepods/pod1/c1\n",
        V2_MOUNT.format(mounted="/kubepods/pod1/c1"),
        {"sys/fs/cgroup/cpu.max": "250000 100000\n", "sys/fs/cgroup/memory.max": "max\n"},
        (3, 64 * 1024 * MIB),
    ),
    "version 2, the group above is stricter": (
        "0::/system.slice/site.service\n",
        V2_MOUNT.format(mounted="/"),
        {
            "sys/fs/cgroup/system.slice/site.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/site.service/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/site.service/memory.high": f"{900 * MIB}\n",
            "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/system.slice/memory.max": f"{1024 * MIB}\n",
        },
        (2, 900 * MIB),
    ),
    "version 1, the path is the host's": (
        V1_GROUPS.format(path="/docker/0123"),
        V1_MOUNTS.format(mounted="/docker/0123"),
        {
            f"{CPU}/cpu.cfs_quota_us": "150000\n",
            f"{CPU}/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n",
        },
        (2, 512 * MIB),
    ),
    "version 1, without limits": (
        V1_GROUPS.format(path="/"),
        V1_MOUNTS.format(mounted="/"),
        {
            f"{CPU}/cpu.cfs_quota_us": "-1\n",
            f"{CPU}/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        (64, 64 * 1024 * MIB),
    ),
    "no control groups": ("", "", {}, (64, 64 * 1024 * MIB)),
}


@pytest.mark.usefixtures("large_host")
@pytest.mark.parametrize("name", LIMITS)
def test_the_strictest_limit_counts(tmp_path: Path, name: str) -> None:
    groups, mounts, files, (cores, memory_bytes) = LIMITS[name]
    root = recorded(tmp_path, groups, mounts, files)
    assert (machine.cores(root), machine.memory_bytes(root)) == (cores, memory_bytes)


def test_the_cpu_affinity_limits_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert machine.cores(tmp_path) == 1


def test_a_real_control_group_is_seen(tmp_path: Path) -> None:
    """A child process moves itself into a group with 100 MiB; needs root and a memory controller."""
    name, limit = f"kit-test-{os.getpid()}", 100 * MIB
    for folder, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = folder / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(limit))
            enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
            command = [
                sys.executable,
                "-c",
                f"{enter}; from stormcellar import machine; print(machine.memory_bytes())",
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        except OSError:  # this hierarchy has no such controller
            continue
        finally:
            group.rmdir()
        assert int(done.stdout) == limit
        return
    pytest.skip("no control group with a memory limit can be made here")
