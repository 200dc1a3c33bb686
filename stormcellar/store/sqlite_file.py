# SPDX-License-Identifier: MIT
"""The life of an SQLite file: missing, removed, replaced, restored, owned by another user.

SQLite itself notices little of it. A server whose file was removed goes on writing to a file without a name,
and all of that is lost at its end. A write-ahead log that is left from a crash is applied to any file that is
put in place of the earlier one.

Source: https://www.sqlite.org/howtocorrupt.html, https://www.sqlite.org/fileformat2.html (section 1.3).
"""

from __future__ import annotations

import logging
import os
import pwd
from pathlib import Path

from stormcellar.errors import StoreUnavailableError, UnusableDatabaseError

log = logging.getLogger("stormcellar.store")

VERSIONS_AT = 18  # of the file's head: two bytes, 1 for a rollback journal and 2 for a write-ahead log
ROLLBACK = b"\x01\x01"


class SqliteFile:
    """A database file and the files that SQLite keeps beside it.

    Attributes:
        path: the database.
        log_path: its write-ahead log. It holds the newest changes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log_path = path.with_name(path.name + "-wal")
        self.index_path = path.with_name(path.name + "-shm")
        self._identity: tuple[int, int] | None = None
        self._is_lost = False

    def prepare(self) -> None:
        """Check the file before it is opened, and make it if it does not exist.

        Raises:
            UnusableDatabaseError: it cannot be used; the message says what to do.
        """
        folder = self.path.parent
        if not folder.is_dir():
            raise UnusableDatabaseError(
                f"the folder {folder} of the database does not exist. Create it, or correct `database`"
            )
        for path in (self.path, self.log_path, self.index_path):
            if path.exists() and not os.access(path, os.R_OK | os.W_OK):
                raise UnusableDatabaseError(
                    f"{path} belongs to the user {_owner(path)}, and this user may not read and write it. "
                    f"Give it to the user who runs the server (`chown USER {path}`)"
                )
        if self.path.is_dir():
            raise UnusableDatabaseError(f"{self.path} is a folder. Write the name of a file into `database`")
        if self._is_a_copy() and self.log_path.exists() and self.log_path.stat().st_size > 0:
            raise UnusableDatabaseError(
                f"{self.path} is a backup, and {self.log_path} holds changes of the database that was there "
                "before; together they would be neither. Restore backups with `python manage.py restore "
                f"FILE`, or delete {self.log_path} and {self.index_path}"
            )
        self.path.touch(mode=0o600, exist_ok=True)

    def remember(self) -> None:
        """Keep which file this is; called when it is open."""
        self._identity = _identity(self.path)

    def check(self) -> None:
        """Raise StoreUnavailableError if the name leads to another file than the open one, or to none."""
        found = _identity(self.path)
        if found == self._identity:
            if self._is_lost:
                self._is_lost = False
                log.warning("%s is back", self.path)
            return
        what = "was removed" if found is None else "was replaced by another file"
        if not self._is_lost:
            self._is_lost = True
            log.error("%s %s while the server runs. Restart the server", self.path, what)
        raise StoreUnavailableError(f"SQLite: {self.path} {what}; restart the server")

    def log_size(self) -> int:
        try:
            return self.log_path.stat().st_size
        except OSError:
            return 0

    def _is_a_copy(self) -> bool:
        """Whether SQLite wrote this file as a copy: a file that a server has opened has a log."""
        try:
            with self.path.open("rb") as file:
                return file.read(VERSIONS_AT + 2)[VERSIONS_AT:] == ROLLBACK
        except FileNotFoundError:
            return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _owner(path: Path) -> str:
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
