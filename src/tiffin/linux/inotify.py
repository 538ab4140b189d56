"""Notices of changes in a directory. See inotify(7)."""

import os

from tiffin.linux.syscalls import INT, TEXT, UINT, function

_init1 = function("inotify_init1", INT)
_add_watch = function("inotify_add_watch", INT, TEXT, UINT)
_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100


class Watch:
    """Something in a directory was written to, created or renamed: readable until `drain`."""

    def __init__(self, directory: str) -> None:
        self._fd: int = _init1(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _add_watch(self._fd, os.fsencode(directory), _MODIFY | _MOVED_TO | _CREATE, path=os.fsencode(directory))
        except OSError:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> None:
        """Take what is there; which change it was does not matter to a reader that looks for itself."""
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self._fd)
