# SPDX-License-Identifier: MIT
"""SQLite can write no more: its disk is full, or its files may not grow. Then there is room again.

The full disk is a real one, a few megabytes of memory that only this server's processes see (a mount
namespace); where even that is not permitted, only the second way is left, which needs no rights.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from stormcellar.tests.faults.browsers import PAUSE_S, Browser, Site
from stormcellar.tests.faults.world import World, run, world_of
from stormcellar.tests.figures import Figures
from stormcellar.tests.serving import ServerProcess

pytestmark = pytest.mark.faults

BROWSERS = 6
DISK_MIB = 4
MOUNT = f'mount -t tmpfs -o size={DISK_MIB}m tmpfs "$0" && exec "$@"'


def in_a_small_disk(folder: Path) -> list[str]:
    """What to put before a command so that `folder` is a disk of its own for it; empty if that may not be."""
    for options in (["-m"], ["-U", "-r", "-m"]):
        command = ["unshare", *options, "sh", "-c", MOUNT, str(folder)]
        with suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return []


def fill(server: ServerProcess, folder: Path) -> Callable[[], None]:
    """Leave not a byte on the server's disk; returns what gives it back."""
    ballast = Path(f"/proc/{server.pid}/root{folder}/ballast")
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return ballast.unlink


def forbid_growth(server: ServerProcess, folder: Path) -> Callable[[], None]:
    """No file of the server's may become longer than its write-ahead log is; returns what allows it."""
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    size = (folder / "stormcellar.sqlite3-wal").stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    return lambda: (resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits), None)[1]


@pytest.mark.parametrize("how", ["full disk", "file size limit"])
def test_without_room_writes_are_put_off_pages_go_on_and_nothing_is_restarted(
    tmp_path: Path, figures: Figures, how: str
) -> None:
    """503 with Retry-After, never 500 or 401; when there is room again, everybody goes on."""
    folder = tmp_path / "data"
    folder.mkdir()
    site = Site(folder, 1)
    (server,) = site.servers
    if how == "full disk":
        command = in_a_small_disk(folder)
        if not command:
            pytest.skip("this machine lets nobody mount anything; the file size limit is tried all the same")
        server.command[:2] = [*command, sys.executable, "server.py"]

    async def while_it_lasts(world: World, browsers: list[Browser]) -> None:
        while not all(browser.put_off_s for browser in browsers[1:]):
            assert await browsers[0].read()
            await asyncio.sleep(PAUSE_S)

    async def story() -> None:
        async with world_of(site) as world:
            reader, leaver, returner, *others = browsers = await world.newcomers(BROWSERS)
            await world.go_on(browsers)
            kept = leaver.copy()
            free = (fill if how == "full disk" else forbid_growth)(server, folder)
            try:
                writes = asyncio.gather(
                    leaver.sign_out(), returner.sign_in(), *(renew_for_ever(one) for one in others)
                )
                await while_it_lasts(world, browsers)
                assert not writes.done()
                assert reader.pages_put_off == 0
                before = os.stat(f"/proc/{server.pid}").st_ino
            finally:
                free()
            await writes
            assert os.stat(f"/proc/{server.pid}").st_ino == before, "the server was started anew"
            await world.go_on([reader, returner, *others])
            assert not await kept.refresh()
            violations = world.history.violations(heard_within_s=0)
            put_off = sum(len(browser.put_off_s) for browser in browsers)
            tried = f"{len(world.history.operations)} requests, {put_off} put off"
            figures.none(f"{how}: lost, refused or failed", "SQLite", violations, tried)

    async def renew_for_ever(browser: Browser) -> None:
        """Until it was put off once, and once more."""
        while not browser.put_off_s:
            await browser.refresh()
        await browser.refresh()

    run(story)
