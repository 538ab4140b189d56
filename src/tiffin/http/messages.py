"""The messages of one connection: h11, and before it a short way for what nearly every request is.

A request that comes in one piece, in the letters that clients use, is read by one expression, and its answer is
written as it stands: h11 costs ten times as much, which is a good part of what a small request takes. Whatever else
comes, anything doubtful above all, is h11's to judge.
"""

from __future__ import annotations

import re
from collections import deque

import h11

from tiffin.http.upgrade import reason

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]
Headers = list[tuple[bytes, bytes]]

_LONGEST = 64 << 10  # bytes
# possessive: what fits in one way only is never tried in another
_REQUEST = re.compile(rb"([A-Z]++) (/[!-~]*+) HTTP/1\.1\r\n((?:[A-Za-z0-9-]++:[ -~]*+\r\n)++)\r\n")
_NOT_HERE = {b"transfer-encoding", b"expect", b"trailer", b"te"}
_CONNECTION = {b"upgrade", b"keep-alive"}


class Head(h11.Request):
    """A request line and its headers, in lower case: h11's, without its second look at them."""

    def __init__(self, method: bytes, target: bytes, headers: Headers) -> None:
        for name, value in (("method", method), ("target", target), ("headers", headers), ("http_version", b"1.1")):
            object.__setattr__(self, name, value)


class Messages:
    """In place of a h11.Connection of the server's side, as far as it goes; answers are sent in parts."""

    def __init__(self, limit: int) -> None:
        """limit: bytes of a request line and its headers."""
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limit)
        self._head: Head | None = None  # of the request that went the short way, until its answer has gone
        self._events: deque[h11.Event] = deque()
        self._behind = b""
        self._ended = self._answered = self._chunked = False
        self._left = 0  # bytes of the answer's body that are still to come

    # What comes

    def take(self, data: bytes) -> bool:
        """Whether this, with nothing before it, is one request that can go the short way. It is received then."""
        if len(data) > _LONGEST or self._h11.our_state is not h11.IDLE or self._h11.trailing_data[0]:
            return False
        found = _REQUEST.match(data)
        if found is None:
            return False
        method, target, lines = found.groups()
        pairs = (line.partition(b":") for line in lines[:-2].split(b"\r\n"))
        headers = {name.lower(): value.strip(b" ") for name, _, value in pairs}
        length, body = headers.get(b"content-length", b"0"), data[found.end() :]
        if (
            len(headers) != lines.count(b"\r\n")
            or b"host" not in headers
            or not _NOT_HERE.isdisjoint(headers)
            or headers.get(b"connection", b"upgrade").lower() not in _CONNECTION
            or not length.isdigit()
            or len(length) > 9
            or int(length) != len(body)
        ):
            return False
        self._head = Head(method, target, list(headers.items()))
        self._events += (self._head, h11.Data(data=body), _END) if body else (self._head, _END)
        self._answered = False
        return True

    def receive_data(self, data: bytes) -> None:
        """Bytes from the client; b"" at their end."""
        if self._head is None:
            self._h11.receive_data(data)
        else:
            self._behind += data
            self._ended |= not data

    def next_event(self) -> Event:
        """What they come to. Raises h11.RemoteProtocolError."""
        if self._events:
            return self._events.popleft()
        if self._head is None:
            return self._h11.next_event()
        return h11.PAUSED if self._behind else h11.NEED_DATA

    @property
    def behind(self) -> bytes:
        """What has come after the request."""
        return self._behind if self._head is not None else bytes(self._h11.trailing_data[0])

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        return self._head is None and self._h11.they_are_waiting_for_100_continue

    # What goes

    def inform(self, status: int) -> bytes:
        """A 1xx before the answer."""
        return self._h11.send(h11.InformationalResponse(status_code=status, headers=[], reason=reason(status))) or b""

    def head(self, status: int, headers: Headers) -> bytes:
        """The answer's. Raises h11.LocalProtocolError, as the others do, for what would be no message."""
        if self._head is None:
            return self._h11.send(h11.Response(status_code=status, headers=headers, reason=reason(status))) or b""
        length = next((int(value) for name, value in headers if name == b"Content-Length"), None)
        bodiless = status in (204, 304) or self._head.method == b"HEAD"
        self._chunked, self._left = length is None and not bodiless, 0 if bodiless else length or 0
        lines = [b"HTTP/1.1 %d %b" % (status, reason(status)), *(b"%b: %b" % header for header in headers)]
        if length is None and status not in (204, 304):
            lines.append(b"Transfer-Encoding: chunked")
        text = b"\r\n".join((*lines, b"", b""))
        if not text.count(b"\r") == text.count(b"\n") == len(lines) + 1:
            raise h11.LocalProtocolError("a header of more than one line")
        return text

    def data(self, piece: bytes) -> bytes:
        """A part of its body."""
        if self._head is None:
            return self._h11.send(h11.Data(data=piece)) or b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        self._count(len(piece))
        return piece

    def passed(self, count: int, part: object) -> None:
        """So many bytes of its body go another way."""
        if self._head is None:
            self._h11.send_with_data_passthrough(h11.Data(data=part))  # type: ignore[arg-type]  # it takes its length
        else:
            self._count(count)

    def _count(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise h11.LocalProtocolError("too much data for the declared Content-Length")

    def end(self) -> bytes:
        """The answer is whole."""
        if self._head is None:
            return self._h11.send(_END) or b""
        if self._left:
            raise h11.LocalProtocolError("too little data for the declared Content-Length")
        self._answered = True
        return b"0\r\n\r\n" if self._chunked else b""

    def next_cycle(self) -> bool:
        """Begin with the next request; False where the connection is good for none."""
        if self._head is None:
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return False
            self._h11.start_next_cycle()
            return True
        if self._ended or not self._answered or self._events:
            return False
        behind, self._behind, self._head = self._behind, b"", None
        if behind:
            self._h11.receive_data(behind)
        return True


_END = h11.EndOfMessage()
