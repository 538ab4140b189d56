"""Clients that went away before their container was started: noticed without reading what they typed."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class Hangups:
    """epoll reports a hang-up unasked, input only when asked; one instance serves every client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._gone: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._report)

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        """Call `gone` once, when the peer has closed."""
        self._gone[fd] = gone
        self._epoll.register(fd, 0)

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed or given away: epoll would go on watching what another process holds."""
        if self._gone.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _report(self) -> None:
        for fd, _ in self._epoll.poll(0, 64):
            gone = self._gone.get(fd)
            self.forget(fd)
            if gone is not None:
                gone()
