"""The daemon's directories: made with their modes, and held, so that no second daemon uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TextIO

from tiffin.errors import Unavailable


class Roots:
    """Data root and exec root, locked while this object is open."""

    def __init__(self, data: Path, state: Path) -> None:
        self.data = data
        self.state = state
        # containers' users may pass through the data root to a bind-mounted volume, but list nothing
        _directory(data, 0o710)
        # anyone in the socket's group has to reach the socket in the exec root; what else is there is 0700
        _directory(state, 0o711)
        self._locks = [_lock(data / "lock", "data root"), _lock(state / "lock", "exec root")]
        for directory, mode in ((data / "containers", 0o710), (data / "volumes", 0o711), (state / "containers", 0o700)):
            _directory(directory, mode)
        _directory(data / "tmp", 0o700)

    def close(self) -> None:
        """Let another daemon have them."""
        for lock in self._locks:
            lock.close()


class PidFile:
    """The file that names the daemon's process, locked: whose number it is by now does not matter."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open(path, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            other = self._file.read().strip()
            self._file.close()
            raise Unavailable(
                f"process with PID {other} is still running; stop it, or choose another file than {path} with --pidfile"
            ) from error
        _name_us(self._file, "")

    def close(self) -> None:
        """Remove it."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._file.close()


def _directory(path: Path, mode: int) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o7777 != mode:
        path.chmod(mode)


def _lock(path: Path, what: str) -> TextIO:
    file = _open(path, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Unavailable(
            f"the {what} {path.parent} is in use by another daemon (process {holder}); stop it, or choose others "
            "with --data-root and --exec-root"
        ) from error
    _name_us(file, "\n")
    return file


def _open(path: Path, mode: int) -> TextIO:
    return open(path, "a+", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode))


def _name_us(file: TextIO, end: str) -> None:
    file.truncate(0)
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same
        os.write(file.fileno(), f"{os.getpid()}{end}".encode())
