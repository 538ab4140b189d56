"""Ends what a thread waits for, from another thread."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tiffin.registry.failures import Cancelled


class Cancellation:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._endings: set[Callable[[], None]] = set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def cancel(self) -> None:
        """Break off: sockets in use are shut down, waits end. Again is harmless."""
        with self._lock:
            self._event.set()
            endings, self._endings = self._endings, set()
        for end in endings:
            end()

    def check(self) -> None:
        if self._event.is_set():
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises Cancelled at once when it comes to that."""
        if self._event.wait(seconds):
            raise Cancelled

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Within, `end` is called from the cancelling thread."""
        with self._lock:
            if self._event.is_set():
                raise Cancelled
            self._endings.add(end)
        try:
            yield
        finally:
            with self._lock:
                self._endings.discard(end)


def shutting_down(sock: socket.socket) -> Callable[[], None]:
    """Wakes whoever reads from or writes to the socket."""

    def end() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    return end
