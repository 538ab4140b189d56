"""What a small text file says, read again when the file changes."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from tiffin.errors import Invalid

T = TypeVar("T")
_LIMIT = 1 << 20  # characters


class Watched(Generic[T]):
    """A file with mistakes is refused at the start; later the last one without them holds. For any thread."""

    def __init__(self, path: Path, what: str, parse: Callable[[list[str]], T]) -> None:
        """what: for errors, `the passwords`. parse: of the file's lines; it raises Invalid. So does this."""
        self._path, self._what, self._parse = path, what, parse
        self._lock = threading.Lock()
        self._stamp, self._content = self._read()

    def content(self) -> T:
        """What the file says now."""
        try:
            status = os.stat(self._path)
        except OSError:
            return self._content
        if _stamp(status) != self._stamp:
            with self._lock:
                try:
                    self._stamp, self._content = self._read()
                except Invalid:
                    pass
        return self._content

    def _read(self) -> tuple[tuple[int, int, int], T]:
        try:
            with open(self._path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                lines = file.read(_LIMIT).splitlines()
        except (OSError, ValueError) as error:
            raise Invalid(f"cannot read {self._what} in {self._path}: {error}") from error
        return _stamp(status), self._parse(lines)


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
