"""Bytes as they came, to be taken in other sizes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Pieces:
    """A queue of them; none is copied but what is taken."""

    def __init__(self, arrived: Iterable[bytes] = ()) -> None:
        self._pieces = deque(arrived)
        self._offset = 0  # into the first piece

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def append(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def take(self, size: int) -> bytes:
        """At most so many bytes of the first piece; there must be one."""
        first = self._pieces[0]
        data = first[self._offset : self._offset + size]
        self._offset += len(data)
        if self._offset >= len(first):
            self._pieces.popleft()
            self._offset = 0
        return data
