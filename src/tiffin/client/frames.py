"""The 8-byte frames in which a daemon sends stdout and stderr over one stream.

`[stream, 0, 0, 0, length as 32 bits big-endian]`, stream 0 stdin, 1 stdout, 2 stderr, 3 an error of the daemon's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)


class Splitter:
    """Takes the stream in whatever pieces it arrives; a frame may come in several parts."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = self._left = 0

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """`(stream, payload)` for what `piece` completes. Raises ValueError when these are no frames."""
        while piece:
            if self._left:
                part, piece = piece[: self._left], piece[self._left :]
                self._left -= len(part)
                yield self._stream, part
                continue
            missing = 8 - len(self._head)
            self._head, piece = self._head + piece[:missing], piece[missing:]
            if len(self._head) == 8:
                self._stream, self._left = self._head[0], int.from_bytes(self._head[4:], "big")
                self._head = b""
                if self._stream > SYSTEM_ERROR:
                    raise ValueError(f"Unrecognized input header: {self._stream}")


def split(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """`(stream, payload)` for a whole stream."""
    splitter = Splitter()
    for piece in pieces:
        yield from splitter.feed(piece)
