"""Disk space that the ledger owns before it needs it: stop and rm work with 0 bytes free.

Blocks are allocated behind the ends of the database and of its write-ahead log (fallocate(2) with KEEP_SIZE): what is
written there later needs no more. SQLite removes the log when the last connection closes; until the next start a file
of the same size keeps its place.
"""

import os
from pathlib import Path

from tiffin.linux.syscalls import INT, LONG, function

LOG = 8 << 20
"""Twice what SQLite lets the log grow to before it moves its pages into the database."""
GROWTH = 2 << 20
"""By how much the database may grow between two looks."""
_KEEP_SIZE = 1

_fallocate = function("fallocate", INT, INT, LONG, LONG)


class Reserve:
    def __init__(self, database: Path) -> None:
        self._database = database
        self._log = Path(f"{database}-wal")
        self._place = Path(f"{database}-reserve")
        self._held = -1

    def give_place(self) -> None:
        """Before the database is opened."""
        self._place.unlink(missing_ok=True)

    def take(self) -> None:
        """While the database is open: allocate what is not allocated yet. A full disk, or a file system that can't, is
        no error: then there is no reserve.
        """
        if self._held < 0:
            # held until the end: closing a descriptor drops the process's locks (fcntl) on the file, SQLite's too
            self._held = os.open(self._database, os.O_RDWR | os.O_CLOEXEC)
        _allocate(self._held, os.fstat(self._held).st_size + GROWTH)
        try:
            log = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        _allocate(log, LOG)
        os.close(log)

    def keep_place(self) -> None:
        """After the database was closed."""
        if self._held < 0:
            return
        os.close(self._held)
        self._held = -1
        place = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _allocate(place, LOG)
        os.close(place)


def _allocate(fd: int, size: int) -> None:
    try:
        _fallocate(fd, _KEEP_SIZE, 0, size)
    except OSError:
        pass
