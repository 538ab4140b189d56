"""HTTP/1.1 as far as the Engine API needs it: one connection, requests in turn, chunked bodies, hijacked sockets.

http.client costs 30 ms to import, half of what a whole `tiffin run` may take; this module needs `socket` only.
Source: RFC 9112; API documentation on hijacking (`POST /containers/{id}/attach`).
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiffin.client.tls import TlsSocket

_READ = 65536
_HEAD_LIMIT = 1 << 20


class ProtocolError(OSError):
    """The other side does not speak HTTP/1.1 as expected, or closed in the middle of a message."""


class Response:
    """Status, headers (names in lower case) and a body that is read as it comes."""

    def __init__(
        self, connection: Connection, status: int, reason: str, headers: dict[str, str], bodyless: bool
    ) -> None:
        self.connection = connection
        self.status = status
        self.reason = reason
        self.headers = headers
        self._chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        length = headers.get("content-length")
        self._left: int | None = int(length) if length is not None and not self._chunked else None
        self.done = bodyless or status in (204, 304) or status < 200 or self._left == 0
        self.reusable = headers.get("connection", "").lower() != "close"

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces as they arrive; ends with the body, raises ProtocolError when it is cut off."""
        while not self.done:
            piece = self._next_chunk() if self._chunked else self._next_plain()
            if piece:
                yield piece

    def _next_plain(self) -> bytes:
        connection = self.connection
        if self._left is None:
            data = connection.receive()
            if not data:
                self.done, self.reusable = True, False
            return data
        data = connection.receive(self._left)
        if not data:
            raise ProtocolError("the daemon closed the connection in the middle of an answer")
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def _next_chunk(self) -> bytes:
        connection = self.connection
        if not self._left:
            size = int(connection.line().split(b";", 1)[0] or b"0", 16)
            if size == 0:
                while connection.line():
                    pass
                self.done = True
                return b""
            self._left = size
        data = connection.receive(self._left)
        if not data:
            raise ProtocolError("the daemon closed the connection in the middle of an answer")
        self._left -= len(data)
        if self._left == 0:
            connection.line()
        return data

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """The body cut at line ends (for streams of JSON documents)."""
        rest = b""
        for piece in self.chunks():
            *complete, rest = (rest + piece).split(b"\n")
            yield from (line for line in complete if line.strip())
        if rest.strip():
            yield rest

    def close(self) -> None:
        """Give up the rest of the body, and with it the connection."""
        if not self.done:
            self.reusable = False
            self.connection.close()


class Connection:
    """One socket to the daemon. Not thread safe; a hijacked one belongs to whoever took it."""

    def __init__(self, sock: socket.socket | TlsSocket) -> None:
        self.socket = sock
        self._buffer = b""
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.socket.close()

    def receive(self, limit: int = _READ) -> bytes:
        """At most `limit` bytes, those already read first; empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer[:limit], self._buffer[limit:]
            return data
        return self.socket.recv(min(limit, _READ))

    def line(self) -> bytes:
        """One line without its CRLF."""
        while (end := self._buffer.find(b"\n")) < 0:
            data = self.socket.recv(_READ)
            if not data:
                raise ProtocolError("the daemon closed the connection before it answered")
            self._buffer += data
            if len(self._buffer) > _HEAD_LIMIT:
                raise ProtocolError("the daemon's answer has an endless header")
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r")

    def send(
        self, method: str, target: str, headers: dict[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> None:
        """Write a request; an iterable body is sent chunked, as its pieces come."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body is None:
            if method in ("POST", "PUT"):
                lines.append("Content-Length: 0")
            self.socket.sendall(_head(lines))
        elif isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
            self.socket.sendall(_head(lines) + body)
        else:
            lines.append("Transfer-Encoding: chunked")
            self.socket.sendall(_head(lines))
            self._send_chunks(body)

    def _send_chunks(self, body: Iterable[bytes]) -> None:
        try:
            for piece in body:
                if piece:
                    self.socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # the daemon has refused the rest; its answer says why
            pass

    def response(self, method: str) -> Response:
        """Read a response's head. Interim responses (1xx but 101) are skipped."""
        while True:
            version, _, rest = self.line().decode("latin-1").partition(" ")
            if not version.startswith("HTTP/1."):
                raise ProtocolError(f"the daemon does not speak HTTP: {version[:40]!r}")
            code, _, reason = rest.partition(" ")
            headers = {}
            while line := self.line():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            status = int(code)
            if status >= 200 or status == 101:
                return Response(self, status, reason, headers, method == "HEAD")

    def leftover(self) -> bytes:
        """What was read past the head of a hijacked answer: the first bytes of the stream."""
        data, self._buffer = self._buffer, b""
        return data


def _head(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
