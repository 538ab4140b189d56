"""What clients offer on `POST /session`: connections on which we are the gRPC client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence

from tiffin.errors import Conflict, Invalid, NotFound
from tiffin.wire.grpc.connection import Connection
from tiffin.wire.grpc.stream import Metadata, Stream

SESSION_SECONDS = 10.0
"""A build may be asked for before its session has come."""

SESSIONS = 256

_HEADER = "x-docker-expose-session-"


class Session:
    """One client's services. `shared_key` names the directory it builds from, across its builds.

    `filters` says that the client leaves out what is to be ignored; tiffin's own only leaves out what is easily told.
    """

    def __init__(self, id: str, shared_key: str, methods: Sequence[str], *, filters: bool = True) -> None:
        self.id, self.filters = id, filters
        self.shared_key = shared_key
        self.connection = Connection()
        self._methods = frozenset(method.lower() for method in methods)

    def serves(self, path: str) -> bool:
        """Whether the client announced `/package.Service/Method`."""
        return path.lower() in self._methods

    def call(self, path: str, metadata: Metadata | None = None) -> Stream:
        """Begin a call. Raises StatusError."""
        return self.connection.call(path, metadata)

    async def unary(self, path: str, message: bytes) -> bytes:
        """Raises StatusError."""
        return await self.connection.unary(path, message)


def described(headers: Mapping[str, str]) -> Session:
    """From the names, in lower case, that clients put into headers or metadata. Raises Invalid."""
    id = headers.get(f"{_HEADER}uuid", "")
    if not id:
        raise Invalid("X-Docker-Expose-Session-Uuid is missing")
    methods = [name.strip() for name in headers.get(f"{_HEADER}grpc-method", "").split(",")]
    filters = headers.get(f"{_HEADER}name", "") != "tiffin"
    return Session(id, headers.get(f"{_HEADER}sharedkey", ""), methods, filters=filters)


class Sessions:
    """The sessions that are open, by id."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._changed = asyncio.Condition()

    def check(self, id: str) -> None:
        """Raises Conflict for an id that is in use, or when there are too many."""
        if id in self._open:
            raise Conflict(f"session {id} already exists")
        if len(self._open) >= SESSIONS:
            raise Conflict(f"there are {SESSIONS} sessions already; end a build first")

    async def serve(self, headers: Mapping[str, str], sock: socket.socket, leftover: bytes = b"") -> None:
        """Keep a session open for as long as its client does; `headers` describe it. Raises Invalid, Conflict."""
        session = described(headers)
        self.check(session.id)
        try:
            await session.connection.open(sock, leftover)
            self.check(session.id)
            self._open[session.id] = session
            async with self._changed:
                self._changed.notify_all()
            await session.connection.wait_closed()
        finally:
            session.connection.close()
            if self._open.get(session.id) is session:
                del self._open[session.id]

    async def get(self, id: str) -> Session:
        """The session of that id, waited for if need be. Raises NotFound."""
        try:
            async with asyncio.timeout(SESSION_SECONDS), self._changed:
                await self._changed.wait_for(lambda: id in self._open)
                return self._open[id]
        except TimeoutError:
            raise NotFound(f"no active session for {id}: the client has not opened it, or is gone") from None
