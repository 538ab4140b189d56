"""Parent directories of an archive's entries, opened inside the root and kept: archives go through a tree in order."""

import os

from tiffin.linux import paths

_KEPT = 64


class Parents:
    """A small cache of directory fds by path. `forget` after anything was removed: links may lead elsewhere."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: dict[tuple[bytes, ...], int] = {}

    def open(self, parts: tuple[bytes, ...]) -> int:
        """The directory, made (0755) where it is missing. The fd is the caller's to close."""
        fd = self._open.pop(parts, None)
        if fd is None:
            if len(self._open) >= _KEPT:
                os.close(self._open.pop(next(iter(self._open))))
            fd, _ = paths.ensure_directories(self._root, parts)
        self._open[parts] = fd  # last in the order: the one used longest ago goes first
        return os.dup(fd)

    def forget(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def close(self) -> None:
        self.forget()
