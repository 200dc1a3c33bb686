# SPDX-License-Identifier: MIT
"""The folder in which workers share their counters, in the format of prometheus_client's multiprocess mode.

Each worker writes files that have its process id in their names, and each scrape adds all of them up. When a
worker ends, its live gauges are removed, and its counters are added to the files of the process id 0, which
no process has. So counters of the service never go back, and the number of files stays the same.

A scrape that reads while files are being added up would count some of them twice: both take a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

log = logging.getLogger("stormcellar.processes")

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus_client, which reads it when it is imported
ADDED_UP = ("counter", "histogram", "gauge_sum")


class MetricFiles:
    """The folder of one supervisor. It does nothing where prometheus_client is not installed."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def open(self, data_dir: Path) -> None:
        """Make the folder, below the system's folder for temporary files or else in `data_dir`."""
        if find_spec("prometheus_client") is None:
            return
        for place in (None, data_dir):
            with contextlib.suppress(OSError):
                self.folder = Path(tempfile.mkdtemp(prefix="stormcellar-metrics-", dir=place))
                return
        log.warning("no temporary folder can be made, so each worker counts for itself; see TMPDIR")

    @property
    def environment(self) -> dict[str, str]:
        """What a worker needs in its environment."""
        return {FOLDER_VARIABLE: str(self.folder)} if self.folder else {}

    def fold(self, pid: int) -> None:
        """Add the counters of a process that has ended to those of process id 0, and remove its files."""
        if self.folder is None:
            return
        from prometheus_client.multiprocess import mark_process_dead

        try:
            with lock(self.folder, fcntl.LOCK_EX):
                mark_process_dead(pid, str(self.folder))  # type: ignore[no-untyped-call]
                for kind in ADDED_UP:
                    _add_up(self.folder, kind, [*self.folder.glob(f"{kind}_{pid}[.-]*")])
        except (OSError, RuntimeError, ValueError) as error:  # a full disk, a file that was cut off
            log.error("the metrics of worker %d are not added up: %s", pid, error)

    def close(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def lock(folder: Path, how: int) -> Iterator[None]:
    """Hold the lock of the folder: LOCK_SH to read the files, LOCK_EX to add them up."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _add_up(folder: Path, kind: str, files: list[Path]) -> None:
    from prometheus_client.mmap_dict import MmapedDict, mmap_key
    from prometheus_client.multiprocess import MultiProcessCollector

    total = folder / f"{kind}_0.db"
    draft = folder / f"{kind}.draft"  # a scrape reads names that end in .db
    draft.unlink(missing_ok=True)
    known = [str(path) for path in (total, *files) if path.exists()]
    written: Any = MmapedDict(str(draft))  # type: ignore[no-untyped-call]
    merged: Any = MultiProcessCollector.merge(known, accumulate=False)  # type: ignore[no-untyped-call]
    for metric in merged:
        for sample in metric.samples:
            names, values = [*sample.labels.keys()], [*sample.labels.values()]
            key = mmap_key(metric.name, sample.name, names, values, metric.documentation)
            written.write_value(key, sample.value, time.time())
    written.close()
    os.replace(draft, total)
    for path in files:
        path.unlink()
