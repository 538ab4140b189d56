"""HTTP/2 by h2 on an asyncio transport: settings, bytes in and out, the end of the connection.

What streams make of the events is `connection`'s.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

log = logging.getLogger(__name__)

# at debug level it writes every header twice, credentials included
logging.getLogger("hpack").setLevel(logging.WARNING)

STREAMS = 256
"""Calls that the other side may have open."""

WINDOW = 4 << 20
"""Bytes that a stream may have in flight to us; four times as many on the connection."""

FRAME = 256 << 10
GATHERED = 64 << 10
"""Bytes that wait for what else is sent in the same turn of the loop: frames are many and small."""

UNSENT = 4 << 20
"""Bytes that wait for a client that does not read; above them the connection is given up."""

PING_SECONDS = 20.0
PING_PATIENCE = 60.0


class Link(asyncio.Protocol):
    """One connection. A subclass takes events, and ends what it has when the connection does."""

    def __init__(self, *, is_client: bool) -> None:
        self.is_client = is_client
        self._h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._congested = False
        self._gathered = 0
        self._flushing: asyncio.Handle | None = None
        self._closed = asyncio.Event()
        self._pinger: asyncio.TimerHandle | None = None
        self._heard = 0.0

    def take(self, event: events.Event) -> None:
        """One event. Raises ProtocolError for what a peer must not do."""
        raise NotImplementedError

    def ended(self, why: str) -> None:
        """The connection is over; called once or more."""
        raise NotImplementedError

    async def open(self, sock: socket.socket, leftover: bytes = b"") -> None:
        """Begin on a connected socket, which becomes the connection's; `leftover` was read from it already."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        if leftover:
            self.data_received(leftover)

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End the connection, telling the other side."""
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._h2.close_connection()
                self.flush()
            except H2Error:
                pass
            self._transport.close()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        values: dict[SettingCodes, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_FRAME_SIZE: FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 20,
            SettingCodes.ENABLE_PUSH: 0,
        }
        # these go out with the preface; update_settings would send them before it
        self._h2.local_settings = Settings(client=self.is_client, initial_values=values)
        self._h2.max_inbound_frame_size = FRAME
        self._h2.decoder.max_header_list_size = values[SettingCodes.MAX_HEADER_LIST_SIZE]
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(4 * WINDOW - 65535)
        self.flush()
        self._heard = asyncio.get_running_loop().time()
        self._schedule_ping()

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            for event in self._h2.receive_data(data):
                self.take(event)
        except (ProtocolError, UnicodeDecodeError) as error:
            log.debug("the other side does not speak HTTP/2: %s", error)
            self.ended(f"protocol error: {error}")
            self.flush()
            if self._transport is not None:
                self._transport.close()
            return
        self.flush_soon()  # with what those answer who were just woken

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pinger is not None:
            self._pinger.cancel()
        self._closed.set()
        self.ended("the connection was closed")
        self.resume_writing()

    def flush_soon(self, size: int = 0) -> None:
        """Send what h2 has made with what else is sent in this turn of the loop; `size` bytes of it are new data."""
        self._gathered += size
        if self._gathered >= GATHERED:
            self.flush()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what h2 has made."""
        self._gathered = 0
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._transport is None or self._transport.is_closing():
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNSENT:
                self._transport.abort()

    async def drain(self) -> None:
        """Until the transport takes more."""
        while self._congested and not self.closed:
            if self._writable is None or self._writable.done():
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    def _schedule_ping(self) -> None:
        self._pinger = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)

    def _ping(self) -> None:
        """Notice a client that has stopped: its end would otherwise never come."""
        if self._transport is None or self._transport.is_closing():
            return
        silent = asyncio.get_running_loop().time() - self._heard
        if silent > PING_SECONDS + PING_PATIENCE:
            log.debug("the other side has not answered for %.0f seconds", silent)
            self._transport.abort()
            return
        self._h2.ping(b"tiffin..")
        self.flush()
        self._schedule_ping()
