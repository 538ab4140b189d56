"""A TLS connection that can be closed in one direction: input ends, output still comes.

`ssl.SSLSocket.unwrap` sends close_notify and then reads, which loses data that is on its way. Here TLS works on
buffers of our own, so that close_notify is sent and nothing is read. Source: Python's ssl module, "Memory BIO Support".
"""

from __future__ import annotations

import select
import socket
import ssl

_READ = 65536


class TlsSocket:
    """What the client and the attached session use of a socket. `pending` tells of bytes that poll can't see."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        """Shakes hands; raises ssl.SSLError."""
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._ended = False
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        self._socket.setblocking(flag)

    def pending(self) -> int:
        return self._tls.pending() + self._incoming.pending

    def _fill(self) -> None:
        data = self._socket.recv(_READ)
        if data:
            self._incoming.write(data)
        else:
            self._ended = True
            self._incoming.write_eof()

    def _flush(self) -> None:
        data = self._outgoing.read()
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                # the daemon may wait for us to read before it takes more
                readable, _, _ = select.select([self._socket], [self._socket], [])
                if readable and not self._ended:
                    self._fill()

    def recv(self, limit: int) -> bytes:
        """Empty at the end; BlockingIOError when nothing is there and the socket does not block."""
        while True:
            try:
                return self._tls.read(limit)
            except ssl.SSLWantReadError:
                if self._ended:
                    return b""
                self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, data: bytes) -> int:
        count = self._tls.write(data)
        self._flush()
        return count

    def sendall(self, data: bytes) -> None:
        while data:
            data = data[self.send(data) :]

    def shutdown(self, _how: int) -> None:
        """End our direction: close_notify."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # it waits for the other side's, which comes with the end of the output
            pass
        self._flush()

    def close(self) -> None:
        self._socket.close()
