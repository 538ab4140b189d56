"""What files take on a disk: blocks, not lengths; and when it gets there. Raises OSError."""

import ctypes
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from tiffin.linux.syscalls import INT, function

_sync_file_range = function("sync_file_range", INT, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_SYNC_FILE_RANGE_WRITE = 2

_BLOCK = 512  # of st_blocks, whatever the file system's is


class Usage:
    """Counts as du does: an inode once, however many names it has and however many trees are added."""

    def __init__(self) -> None:
        self.bytes = 0
        self._seen: set[tuple[int, int]] = set()

    def add(self, status: os.stat_result) -> None:
        """One file or directory."""
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            if key in self._seen:
                return
            self._seen.add(key)
        self.bytes += status.st_blocks * _BLOCK

    def tree(self, directory: str | os.PathLike[str]) -> None:
        """A directory and all below it. What vanishes meanwhile is left out."""
        # by descriptors: whoever swaps directories for links meanwhile leads us nowhere
        self.add(os.stat(directory))
        for _, directories, files, fd in os.fwalk(directory, follow_symlinks=False):
            for name in (*directories, *files):
                try:
                    self.add(os.stat(name, dir_fd=fd, follow_symlinks=False))
                except FileNotFoundError:
                    continue


def freed_by(status: os.stat_result) -> int:
    """The bytes that removing one name of a file frees: none while it has another."""
    return status.st_blocks * _BLOCK if status.st_nlink == 1 else 0


def write(fd: int, pieces: Sequence[bytes]) -> None:
    """All of them, in one system call where that can be; at most as many as writev(2) takes."""
    left = os.writev(fd, pieces)
    for piece in pieces:  # what it left over, as a disk that fills up makes it do
        view = memoryview(piece)[left:]
        left = max(left - len(piece), 0)
        while view:
            view = view[os.write(fd, view) :]


class Early:
    """Has the disk begin with a file while the rest of it is still being written, so that fsync finds little to do.

    Not waited for, and no promise: sync_file_range(2).
    """

    def __init__(self, step: int = 8 << 20) -> None:
        self._step = step
        self._begun = 0

    def written(self, fd: int, size: int) -> None:
        """size: how much of the file has been written, from its beginning."""
        if size - self._begun >= self._step:
            with suppress(OSError):  # a file system that can't: fsync will do it
                _sync_file_range(fd, self._begun, size - self._begun, _SYNC_FILE_RANGE_WRITE)
            self._begun = size
