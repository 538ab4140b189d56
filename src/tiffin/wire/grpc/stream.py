"""One call: its metadata, the messages of both directions, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tiffin.wire.grpc.framing import Splitter, decode_text, prefixed
from tiffin.wire.grpc.status import Code, StatusError, decode_details

if TYPE_CHECKING:
    from tiffin.wire.grpc.connection import Connection

Metadata = list[tuple[str, str]]

QUEUED = 1 << 20
"""Bytes of messages that may wait for the reader before the sender is slowed down."""


class Stream:
    """Made by a Connection: for its handler in the server's role, by `call` in the client's."""

    def __init__(self, connection: Connection, number: int, metadata: Metadata) -> None:
        self.number = number
        self.metadata = metadata
        """The request's headers, pseudo-headers included."""
        self._connection = connection
        self._splitter = Splitter()
        self._messages: deque[bytes] = deque()
        self._queued = 0
        self._owed = 0
        self._ended = False
        self._error: StatusError | None = None
        self._arrived: asyncio.Future[None] | None = None
        self.sent_end = False
        self._sending = asyncio.Lock()
        self._status_seen = False

    @property
    def is_server(self) -> bool:
        """Whether the call is the other side's."""
        return not self._connection.is_client

    def value(self, name: str) -> str:
        """The first value of a header, "" where there is none."""
        return next((value for key, value in self.metadata if key == name), "")

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.metadata if key == name]

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        return self.value(":path")

    # Receiving

    async def receive(self) -> bytes | None:
        """The next message; None after the last. Raises StatusError as the other side reported, or if it is gone."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message = self._messages.popleft()
        self._queued -= len(message)
        self._acknowledge()
        return message

    async def receive_many(self, most: int) -> list[bytes]:
        """The messages that are here, one at least; none after the last. Raises as `receive`."""
        first = await self.receive()
        if first is None:
            return []
        several = [first]
        while self._messages and len(several) < most:
            several.append(self._messages.popleft())
            self._queued -= len(several[-1])
        self._acknowledge()
        return several

    async def receive_one(self) -> bytes:
        """The only message of a unary call; b"" where there is none."""
        message = await self.receive()
        return b"" if message is None else message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.receive()) is not None:
            yield message

    # Sending

    async def send(self, message: bytes) -> None:
        """Send a message when the other side has room for it. Raises StatusError when it wants no more."""
        data = prefixed(message)
        async with self._sending:
            # a message that waits for room in its middle is not interrupted by another task's
            await self._connection.send(self, data)

    async def end(self) -> None:
        """In the client's role: there are no more messages. What became of the call is told by `receive`."""
        if not self.sent_end:
            async with self._sending:
                with contextlib.suppress(StatusError):
                    await self._connection.send(self, b"", end=True)

    def cancel(self) -> None:
        """Give the call up."""
        self._connection.reset(self)

    # What the connection does

    def feed(self, data: bytes, flow: int) -> None:
        """Data arrived; `flow` is what it counts in flow control. Raises StatusError for what is no message."""
        self._owed += flow
        for message in self._splitter.feed(data):
            self._messages.append(message)
            self._queued += len(message)
        self._acknowledge()
        self._wake()

    def finish(self, headers: Metadata) -> None:
        """The other side sends no more; `headers` are the client's view of the trailers, empty in the server's."""
        values = dict(headers)
        if "grpc-status" in values:
            self._status_seen = True
            text = values["grpc-status"]
            code = Code.of(int(text)) if text.isascii() and text.isdecimal() else Code.UNKNOWN
            if code != Code.OK:
                details = decode_details(values.get("grpc-status-details-bin", ""))
                self._error = StatusError(code, decode_text(values.get("grpc-message", "")), details)

    def close(self) -> None:
        """The stream has ended for reading."""
        if not self._ended and self._splitter.pending:
            self._error = self._error or StatusError(Code.INTERNAL, "the stream ended in the middle of a message")
        self._ended = True
        self._wake()

    def require_status(self) -> None:
        """In the client's role: a stream without trailers did not end well."""
        if not self._status_seen and self._error is None:
            self._error = StatusError(Code.INTERNAL, "the call ended without a status")

    def fail(self, error: StatusError) -> None:
        """The other side has given the call up, or is gone."""
        self._error = self._error or error
        self._ended = True
        self._wake()

    @property
    def failure(self) -> StatusError | None:
        return self._error

    def _acknowledge(self) -> None:
        # what is part of a message that is not complete has to be let through, or the message never is
        if self._owed and self._queued < QUEUED:
            owed, self._owed = self._owed, 0
            self._connection.acknowledge(self.number, owed)

    def take_owed(self) -> int:
        """What was received and not yet acknowledged, when the stream is thrown away."""
        owed, self._owed = self._owed, 0
        return owed

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
