"""Connections that the kernel can't translate: over IPv6 to a container that has IPv4 only, and from the host's ::1.

Everything else is the firewall's. TCP only.
"""

import asyncio
import contextlib
import select
import socket

_PIECE = 1 << 16
_AT_ONCE = 16
_OPEN = 512
"""Connections at once; more wait in the kernel's backlog."""


class Relay:
    """The relayed ports of one container. Made and closed on the event loop."""

    def __init__(self) -> None:
        self._targets: dict[int, tuple[socket.socket, str, int]] = {}
        self._ready: select.epoll | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False

    def serve(self, listener: socket.socket, address: str, port: int) -> None:
        """Relay what a listening socket accepts to the container. Its owner closes it after us."""
        self._targets[listener.fileno()] = (listener, address, port)
        if self._ready is None:
            # one for the loop to watch: there may be a thousand listeners that nobody ever connects to
            self._ready = select.epoll()
            self._listen(True)
        self._ready.register(listener, select.EPOLLIN)

    async def close(self) -> None:
        """Cut the connections off."""
        self._listen(False)
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        self._targets.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self, listening: bool) -> None:
        if listening == self._listening or self._ready is None:
            return
        self._listening = listening
        if listening:
            asyncio.get_running_loop().add_reader(self._ready, self._accept)
        else:
            asyncio.get_running_loop().remove_reader(self._ready)

    def _accept(self) -> None:
        for fd, _ in self._ready.poll(0, _AT_ONCE) if self._ready is not None else ():
            listener, address, port = self._targets[fd]
            self._take(listener, address, port)

    def _take(self, listener: socket.socket, address: str, port: int) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            # out of descriptors, most likely: what has been accepted must end first
            self._listen(False)
            asyncio.get_running_loop().call_later(0.1, self._listen, True)
            return
        task = asyncio.get_running_loop().create_task(self._relay(client, address, port))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._listen(len(self._tasks) < _OPEN)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._listen(len(self._tasks) < _OPEN)

    async def _relay(self, client: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.ExitStack() as close:
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
