"""Notices that a peer is gone although nothing is being read from it.

After a half-close, or while a reader is paused, asyncio does not watch a socket for input, and so misses its end.
epoll reports EPOLLHUP unasked: an instance of its own, itself watched by the loop, costs a descriptor for them all.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

_PROBES = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 5),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 5),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3),
)


def probe(connection: socket.socket) -> None:
    """Have TCP ask now and then whether the peer is still there."""
    for option, value in _PROBES:
        connection.setsockopt(*option, value)


class Hangups:
    """Sockets to be watched for the peer's full close."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._report)

    def watch(self, descriptor: int, gone: Callable[[], None]) -> None:
        """Call `gone` once when the peer has closed both directions."""
        if descriptor not in self._watched:
            self._epoll.register(descriptor, 0)
            self._watched[descriptor] = gone

    def forget(self, descriptor: int) -> None:
        """Stop watching; to be called before the descriptor is closed, as its number will be used again."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._watched.clear()

    def _report(self) -> None:
        for descriptor, _ in self._epoll.poll(0, 64):
            gone = self._watched.get(descriptor)
            self.forget(descriptor)
            if gone is not None:
                gone()
