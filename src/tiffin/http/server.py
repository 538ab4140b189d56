"""The server: listening sockets, the connections on them, and their end."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from typing import Any

from tiffin.http.connection import Connection
from tiffin.http.hangups import Hangups
from tiffin.http.router import MAXIMUM, Router, spelled
from tiffin.http.tls import Tls

log = logging.getLogger(__name__)

_BACKLOG = 1024
_RESERVED_DESCRIPTORS = 256


class Server:
    """Serves a router on any number of sockets. Lives in the event loop that `listen` is called in."""

    def __init__(self, router: Router, services: Any, version: str, *, experimental: bool = False) -> None:
        self.router = router
        self.services = services
        self.headers: list[tuple[bytes, bytes]] = [
            (b"Api-Version", spelled(MAXIMUM).encode()),
            (b"Docker-Experimental", b"true" if experimental else b"false"),
            (b"Ostype", b"linux"),
            (b"Server", f"Docker/{version} (linux)".encode()),
        ]
        self.loop = asyncio.get_running_loop()
        self.hangups = Hangups(self.loop)
        self.closing = False
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[asyncio.Server] = []
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # half of the descriptors stay for what the connections ask for
        self.limit = max((soft - _RESERVED_DESCRIPTORS) // 2, 16)

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket, which becomes the server's."""

        def accept() -> asyncio.Protocol:
            return Connection(self) if tls is None else Tls(tls, Connection(self))

        listener = await self.loop.create_server(accept, sock=sock, backlog=_BACKLOG)
        self._listeners.append(listener)

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, unless there are too many."""
        if self.closing or len(self.connections) >= self.limit:
            log.warning("refused a connection: %d are open", len(self.connections))
            return False
        self.connections.add(connection)
        return True

    def dismiss(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)

    def track(self, task: asyncio.Task[None]) -> None:
        """Own a handler's task until it is done."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self, patience: float = 10.0) -> None:
        """Accept no more, end idle connections and streams, let other requests finish for `patience` seconds."""
        self.closing = True
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self.connections):
            connection.close()
        if self.tasks:
            _, late = await asyncio.wait(tuple(self.tasks), timeout=patience)
            for task in late:
                task.cancel()
        for connection in tuple(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self.hangups.close()
