"""The event loop of monitors and of the forkserver: epoll, timers, children. asyncio would double a monitor's size."""

import _signal  # type: ignore[import-not-found]  # signal itself loads enum
import os
import select
import time
from collections.abc import Callable

Handler = Callable[[int], None]
READ, WRITE, HANGUP, ERROR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP, select.EPOLLERR


class Loop:
    """Callbacks by descriptor. Everything runs in the one thread; a callback never blocks."""

    def __init__(self, child_ended: Callable[[int, int], None]) -> None:
        """child_ended(pid, wait status) is called for every child reaped."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: dict[object, tuple[float, Callable[[], None]]] = {}
        self._child_ended = child_ended
        reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = reading
        _signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        self.watch(reading, READ, self._woken)
        self.running = True

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call handler(events) whenever one of these events (READ, WRITE; HANGUP and ERROR always) holds for fd."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stop watching; before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, key: object, seconds: float, call: Callable[[], None]) -> None:
        """Call once in so many seconds; the same key replaces."""
        self._timers[key] = (time.monotonic() + seconds, call)

    def cancel(self, key: object) -> None:
        """Forget a timer, if it is there."""
        self._timers.pop(key, None)

    def _woken(self, _: int) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass
        self.reap()

    def reap(self) -> None:
        """Collect every child that has ended.

        Collected last: a monitor that is killed while it deals with the end leaves the status to the forkserver.
        """
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            self._child_ended(ended.si_pid, _wait_status(ended))
            try:
                os.waitpid(ended.si_pid, 0)
            except ChildProcessError:
                pass  # what dealt with it has collected children as well

    def step(self) -> None:
        """Wait for something, and handle it."""
        timeout = -1.0
        if self._timers:
            timeout = max(0.0, min(at for at, _ in self._timers.values()) - time.monotonic())
        for fd, events in self._epoll.poll(timeout):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
        if self._timers:
            now = time.monotonic()
            for key, (at, call) in list(self._timers.items()):
                if at <= now and self._timers.get(key, (0, None))[1] is call:
                    del self._timers[key]
                    call()

    def run(self) -> None:
        """Until `running` is made false."""
        while self.running:
            self.step()

    def close(self) -> None:
        """Release the descriptors: in a child that makes a loop of its own."""
        _signal.set_wakeup_fd(-1)
        self._epoll.close()
        os.close(self._wake)
        os.close(self._writing)


def _wait_status(ended: os.waitid_result) -> int:
    """As wait(2) would give it."""
    if ended.si_code == os.CLD_EXITED:
        return ended.si_status << 8
    return ended.si_status | (0x80 if ended.si_code == os.CLD_DUMPED else 0)
