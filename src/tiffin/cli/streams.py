"""An attached session: terminal on one side, hijacked socket on the other, signals in between, in one poll loop."""

from __future__ import annotations

import os
import select
import signal
import socket

from tiffin.cli import signals, terminal
from tiffin.client import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.client.engine import Hijacked

_READ = 65536


class Detached(Exception):
    """The user typed the detach keys."""


class Attachment:
    """Moves bytes until the container's end closes.

    `tty`: raw stream and raw terminal; otherwise output is in frames. `on_signal` gets each caught signal's number,
    `on_resize` is called for SIGWINCH. `until` is a descriptor that ends a session without output when readable.
    """

    def __init__(
        self,
        hijacked: Hijacked,
        *,
        tty: bool,
        stdin: bool,
        output: bool = True,
        keys: bytes = b"",
        on_signal: Callable[[int], None] | None = None,
        on_resize: Callable[[], None] | None = None,
        until: int = -1,
    ) -> None:
        self._socket = hijacked.socket
        self._first = hijacked.first
        self._tty, self._stdin, self._output, self._until = tty, stdin, output, until
        self._watch = terminal.DetachWatch(keys) if keys and tty and stdin else None
        self._on_signal, self._on_resize = on_signal, on_resize
        self._outgoing = b""
        self._splitter = frames.Splitter()
        self._plain = not hasattr(self._socket, "pending")

    def run(self, bell: signals.Caught) -> None:
        """Until the stream ends, with the signals that `bell` catches. Raises Detached, OSError."""
        with terminal.Raw(self._tty and self._stdin):
            self._socket.setblocking(False)
            if self._first:
                self._show(self._first)
            if not self._stdin:
                self._half_close()
            self._loop(bell)

    def _loop(self, bell: signals.Caught) -> None:
        poll = select.poll()
        poll.register(bell.descriptor, select.POLLIN)
        sock = self._socket.fileno()
        if self._until >= 0 and not self._output:
            poll.register(self._until, select.POLLIN)
        while True:
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
            if self._stdin and not self._outgoing:
                poll.register(terminal.STDIN, select.POLLIN)
            held = self._held()
            ready = dict(poll.poll(0 if held else None))
            if held:
                ready[sock] = ready.get(sock, 0) | select.POLLIN
            if self._stdin and not self._outgoing:
                poll.unregister(terminal.STDIN)
            if bell.descriptor in ready:
                self._signals(bell.take())
            if ready.get(sock, 0) & select.POLLOUT:
                self._flush()
            if terminal.STDIN in ready:
                self._typed()
            if ready.get(sock, 0) & ~select.POLLOUT and not self._receive():
                return
            if self._until in ready or (not self._output and not self._stdin and not self._outgoing):
                return

    def _held(self) -> bool:
        """Whether TLS has decrypted more than was taken: poll can't tell."""
        return not self._plain and bool(self._socket.pending())  # type: ignore[union-attr]

    def _signals(self, numbers: list[int]) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                if self._on_resize:
                    self._on_resize()
            elif self._on_signal:
                self._on_signal(number)

    def _typed(self) -> None:
        try:
            data = os.read(terminal.STDIN, _READ)
        except OSError:
            data = b""
        if not data:
            self._stdin = False
            if not self._outgoing:
                self._half_close()
            return
        if self._watch is not None:
            data = self._watch.feed(data)
        self._outgoing += data
        self._flush()
        if self._watch is not None and self._watch.detached:
            raise Detached

    def _flush(self) -> None:
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing)
                self._outgoing = self._outgoing[sent:]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            # the container takes no more input; its output may still come
            self._outgoing, self._stdin = b"", False
        if not self._stdin and not self._outgoing:
            self._half_close()

    def _half_close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _receive(self) -> bool:
        """False at the end of the stream."""
        while True:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._show(data)
            if self._plain:
                return True

    def _show(self, data: bytes) -> None:
        if self._tty:
            _write(terminal.STDOUT, data)
            return
        for stream, part in self._splitter.feed(data):
            _write(terminal.STDERR if stream in (frames.STDERR, frames.SYSTEM_ERROR) else terminal.STDOUT, part)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
