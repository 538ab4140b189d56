"""A request's body that a thread takes straight from the socket: what comes by the hundred MB need not pass the loop.

The connection lends it while its own reading is paused, with what it knows of where in the body it is, and is given
back what came behind the body.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

import h11

from tiffin.errors import Invalid
from tiffin.http.chunks import Chunks
from tiffin.http.pieces import Pieces

_RECEIVE = 256 << 10
_PIECE = 1 << 20
_EARLY = "the request's body ended early: unexpected EOF"

Back = Callable[[bytes | h11.RemoteProtocolError | None], None]


class Lent:
    """For one thread that reads, and the loop that may close it. back: told, in the loop, how it ended: with what came
    behind the body's last chunk, with what was wrong with it, or, None, before that.
    """

    def __init__(self, connection: socket.socket, chunks: Chunks, arrived: Iterable[bytes], back: Back) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection  # ours to close; not blocking
        self._chunks = chunks
        self._back = back
        self._pieces = Pieces(arrived)
        self._open = True
        self._error: str | None = None
        self._lock = threading.Lock()  # around what touches the socket
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for descriptor in (connection.fileno(), self._woken):
            self._poll.register(descriptor, select.POLLIN)

    def read(self, size: int = -1, /) -> bytes:
        """Blocks for the next bytes; b"" at the end. Raises Invalid where the client, or `close`, breaks it off."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        while not self._pieces:
            if not self._open:
                if self._error is not None:
                    raise Invalid(self._error)
                return b""
            if not self._receive():
                self._poll.poll()
        return self._pieces.take(size)

    def _receive(self) -> bool:
        """What has come. False where that is nothing yet."""
        with self._lock:
            if not self._open:
                return True
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            try:
                piece, rest = self._chunks.feed(data)
            except h11.RemoteProtocolError as error:
                self._end(error, _EARLY)
                return True
            if piece:
                self._pieces.append(piece)
            if rest is not None:
                self._end(rest, None)
            elif not data:
                self._end(None, _EARLY)
        return True

    def _end(self, how: bytes | h11.RemoteProtocolError | None, error: str | None) -> None:
        self._open = False
        self._error = error
        self._socket.close()
        with suppress(RuntimeError):  # the loop has gone
            self._loop.call_soon_threadsafe(self._back, how)

    def close(self) -> None:
        """From the loop: give it back; whoever still reads gets an error."""
        os.eventfd_write(self._woken, 1)
        with self._lock:
            if self._open:
                self._end(None, "the request was broken off before its body had ended")

    def __del__(self) -> None:
        os.close(self._woken)  # by then no thread polls it
