"""Carries a hijacked connection that is not a plain socket: TLS or WebSocket on one side, a socketpair on the other."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from tiffin.http.upgrade import Codec


class Tunnel(asyncio.Protocol):
    """Both directions, each slowed down by its receiver. As a protocol it serves the socketpair's end."""

    def __init__(self, client: asyncio.Transport, codec: Codec | None) -> None:
        self._client = client
        self._codec = codec
        self._inner: asyncio.Transport | None = None

    async def open(self, sock: socket.socket, congested: bool) -> None:
        """Start on our end of the pair."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, sock=sock)
        if congested:
            self.client_congested(True)

    # The client's side

    def from_client(self, data: bytes) -> None:
        """Bytes from the client."""
        ended = False
        if self._codec is not None:
            data, answer, ended = self._codec.decode(data)
            if answer and not self._client.is_closing():
                self._client.write(answer)
        if self._inner is not None and data:
            self._inner.write(data)
        if ended:
            self.client_ended()

    def client_ended(self) -> None:
        """The client sends no more."""
        if self._inner is not None and not self._inner.is_closing() and self._inner.can_write_eof():
            self._inner.write_eof()

    def client_lost(self) -> None:
        """The client is gone."""
        if self._inner is not None:
            self._inner.abort()

    def client_congested(self, congested: bool) -> None:
        """The client takes nothing for now, or does again."""
        if self._inner is not None and not self._inner.is_closing():
            if congested:
                self._inner.pause_reading()
            else:
                self._inner.resume_reading()

    # The socketpair's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._inner = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes for the client."""
        if not self._client.is_closing():
            self._client.write(self._codec.encode(data) if self._codec else data)

    def eof_received(self) -> bool:
        """The stream has ended: so does the connection, as neither TLS nor WebSocket can close one direction."""
        if not self._client.is_closing():
            if self._codec is not None:
                self._client.write(self._codec.farewell())
            self._client.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end was closed."""
        self.eof_received()

    def pause_writing(self) -> None:
        """The container takes nothing for now."""
        if not self._client.is_closing():
            self._client.pause_reading()

    def resume_writing(self) -> None:
        """The container takes more."""
        if not self._client.is_closing():
            self._client.resume_reading()
