"""Connections that the kernel can't translate: over IPv6 to a container that has IPv4 only, and from the host's ::1.

Everything else is the firewall's. TCP only.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any

_PIECE = 1 << 16
_OPEN = 512
"""Connections at once; more wait in the kernel's backlog."""


class Relay:
    """The relayed ports of one container. Made and closed on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_OPEN)

    def serve(self, listener: socket.socket, address: str, port: int) -> None:
        """Relay what a listening socket accepts to the container. The socket stays its owner's to close."""
        # a descriptor of its own: the owner may close its one while we accept
        self._start(self._accept(listener.dup(), address, port))

    async def close(self) -> None:
        """Cut the connections off."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            listener.setblocking(False)
            while True:
                await self._slots.acquire()
                try:
                    client, _ = await loop.sock_accept(listener)
                except OSError:
                    # out of descriptors, most likely: what has been accepted must end first
                    self._slots.release()
                    await asyncio.sleep(0.1)
                    continue
                self._start(self._relay(client, address, port))

    async def _relay(self, client: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.ExitStack() as close:
            close.callback(self._slots.release)
            close.enter_context(client)
            client.setblocking(False)
            server = close.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            try:
                await loop.sock_connect(server, (address, port))
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(client, server))
                    both.create_task(_pump(server, client))
            except* OSError:
                pass  # either side may go at any time; then both go


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while piece := await loop.sock_recv(source, _PIECE):
        await loop.sock_sendall(sink, piece)
    # half-closed: the other direction goes on
    sink.shutdown(socket.SHUT_WR)
