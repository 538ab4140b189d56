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
        self._place = Path(f"{database}-reserve")
        self._held: dict[Path, int] = {}

    def give_place(self) -> None:
        """Before the database is opened."""
        self._place.unlink(missing_ok=True)

    def take(self) -> None:
        """While the database is open: allocate what is not allocated yet. A full disk, or a file system that can't, is
        no error: then there is no reserve.
        """
        # The index is mapped: a hole in it (blocks smaller than a page) on a full disk would be a SIGBUS.
        self._take("-shm", 0)
        self._take("-wal", LOG)
        self._take("", GROWTH, behind=True)

    def _take(self, suffix: str, size: int, *, behind: bool = False) -> None:
        path = Path(f"{self._database}{suffix}")
        if path not in self._held:
            # held until the end: closing a descriptor drops the process's locks (fcntl) on the file, SQLite's too
            try:
                self._held[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        fd = self._held[path]
        present = os.fstat(fd).st_size
        _allocate(fd, present + size if behind else max(present, size))

    def keep_place(self) -> None:
        """After the database was closed."""
        if not self._held:
            return
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()
        place = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _allocate(place, LOG + (1 << 20))  # the index comes back as well
        os.close(place)


def _allocate(fd: int, size: int) -> None:
    try:
        _fallocate(fd, _KEEP_SIZE, 0, size)
    except OSError:
        pass
