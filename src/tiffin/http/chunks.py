"""A chunked body taken apart in front of h11, which takes long for each chunk: docker's clients send 32 KiB in one.

Strict, as two readings of where a body ends are how requests are smuggled: see RFC 9112, section 7.1.
"""

from __future__ import annotations

import re

import h11

_LINE = 256  # bytes of a chunk's size with its extensions
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?[ \t]*")


class Chunks:
    """Fed with what comes behind the headers, until `feed` gives the end."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk that are still to come
        self._open = False  # a chunk's data has come, the CRLF behind it has not
        self._held = b""  # the beginning of a line

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The body's bytes in there; and what begins with the last chunk, which is h11's, once that has come.

        Raises h11.RemoteProtocolError.
        """
        data, self._held = self._held + data, b""
        view, parts, at = memoryview(data), [], 0
        while at < len(data):
            if self._left:
                parts.append(view[at : at + self._left])
                at += len(parts[-1])
                self._left -= len(parts[-1])
                continue
            start = at + 2 if self._open else at
            end = data.find(b"\r\n", start, start + _LINE)
            if self._open and data[at:start] != b"\r\n"[: len(data) - at]:
                raise h11.RemoteProtocolError("illegal chunk: no line end behind its data", error_status_hint=400)
            if end < 0:
                if len(data) - start >= _LINE:
                    raise h11.RemoteProtocolError("illegal chunk header: too long", error_status_hint=400)
                self._held = data[at:]
                break
            size = _SIZE.fullmatch(data, start, end)
            if size is None:
                raise h11.RemoteProtocolError("illegal chunk header", error_status_hint=400)
            self._left = int(size[1], 16)
            if not self._left:
                return b"".join(parts), data[start:]
            self._open, at = True, end + 2
        return b"".join(parts), None
