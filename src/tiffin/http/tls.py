"""TLS between a TCP transport and a connection, with half-close.

asyncio's own TLS ends a connection when the client has sent its close_notify; docker's clients send one when their
stdin ends, and go on listening.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, cast

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
_PIECE = 256 << 10


class Tls(asyncio.Transport, asyncio.Protocol):
    """A protocol to the TCP transport below, a transport to the protocol above."""

    def __init__(self, context: ssl.SSLContext, above: asyncio.Protocol) -> None:
        super().__init__()
        self._above = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._below: asyncio.Transport = cast("asyncio.Transport", None)
        self._shaken = False
        self._paused = False
        self._ended = False
        self._closing = False
        self._deadline: asyncio.TimerHandle | None = None

    # A protocol to what is below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._below = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._below.abort)

    def data_received(self, data: bytes) -> None:
        """Records from the client."""
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        """The client's FIN: after a close_notify nothing new, without one as good as one."""
        if not self._shaken:
            return False
        self._end()
        return not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._closing = True
        self._stop_deadline()
        if self._shaken:
            self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """Passed on."""
        if self._shaken:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        if self._shaken:
            self._above.resume_writing()

    def _advance(self) -> None:
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
                self._stop_deadline()
                self._above.connection_made(self)
            self._read()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            log.debug("TLS: %s", error)
            self._flush()  # an alert that says why
            self._below.close()

    def _read(self) -> None:
        while not self._paused and not self._ended and not self._closing:
            data = self._tls.read(_PIECE)
            if not data:
                self._end()
                return
            self._above.data_received(data)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not self._above.eof_received():
                self.close()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # A transport to what is above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if data and not self._closing:
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        """Say goodbye and close when everything is sent."""
        if self._closing:
            return
        self._closing = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client's own goodbye is not waited for
        self._flush()
        self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is being closed."""
        return self._closing or self._below.is_closing()

    def can_write_eof(self) -> bool:
        """A TLS connection ends as a whole."""
        return False

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        if not self._paused:
            self._paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Take more; what was decrypted meanwhile comes first."""
        if self._paused:
            self._paused = False
            if not self._below.is_closing():
                self._below.resume_reading()
                asyncio.get_running_loop().call_soon(self._advance)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the transport below."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Of the transport below."""
        return self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, or what the transport below knows."""
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)
