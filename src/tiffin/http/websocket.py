"""WebSocket (RFC 6455), as much as attach/ws needs: the handshake, and frames to and from a plain stream of bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping

from tiffin.errors import Invalid

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FRAME_LIMIT = 1 << 20


def handshake(headers: Mapping[str, str]) -> bytes:
    """The 101 for a handshake request. Raises Invalid when it is none, or when it comes from another origin."""
    key = headers.get("sec-websocket-key", "")
    try:
        proper = len(base64.b64decode(key, validate=True)) == 16
    except (ValueError, binascii.Error):
        proper = False
    if not proper or headers.get("upgrade", "").lower() != "websocket":
        raise Invalid("bad request: not a WebSocket handshake")
    if headers.get("sec-websocket-version") != "13":
        raise Invalid("bad request: Sec-WebSocket-Version must be 13")
    _refuse_other_origin(headers)
    accept = base64.b64encode(hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def _refuse_other_origin(headers: Mapping[str, str]) -> None:
    # browsers open WebSockets to any host without asking it first: only the origin tells a foreign page
    origin = headers.get("origin", "")
    _, _, host = origin.partition("://")
    if host and host.lower() != headers.get("host", "").lower():
        raise Invalid(f"bad request: WebSocket from another origin, {origin}")


class Frames:
    """A codec: unmasks and unframes what clients send, frames what goes to them."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._closed = False

    def decode(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Payload of the complete frames, pongs to send back, and whether the client closed or broke the protocol."""
        self._pending += data
        payload, answer = bytearray(), bytearray()
        while not self._closed and (frame := self._take()) is not None:
            opcode, content = frame
            if opcode in (_CONTINUATION, _TEXT, _BINARY):
                payload += content
            elif opcode == _PING:
                answer += _frame(_PONG, content)
            elif opcode != _PONG:
                self._closed = True
        return bytes(payload), bytes(answer), self._closed

    def encode(self, data: bytes) -> bytes:
        """One binary message."""
        return _frame(_BINARY, data)

    def farewell(self) -> bytes:
        """A normal close."""
        return _frame(_CLOSE, struct.pack(">H", 1000))

    def _take(self) -> tuple[int, bytes] | None:
        """The next whole frame; one that no client may send (too long, not masked) counts as a close."""
        pending = self._pending
        if len(pending) < 2:
            return None
        opcode, length, offset = pending[0] & 0x0F, pending[1] & 0x7F, 2
        if not pending[1] & 0x80:
            return _CLOSE, b""
        extended = {126: ">H", 127: ">Q"}.get(length)
        if extended is not None:
            if len(pending) < 2 + struct.calcsize(extended):
                return None
            (length,) = struct.unpack_from(extended, pending, 2)
            offset += struct.calcsize(extended)
        if length > _FRAME_LIMIT:
            return _CLOSE, b""
        if len(pending) < offset + 4 + length:
            return None
        mask = bytes(pending[offset : offset + 4])
        content = _unmask(bytes(pending[offset + 4 : offset + 4 + length]), mask)
        del pending[: offset + 4 + length]
        return opcode, content


def _unmask(content: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(content) // 4 + 1))[: len(content)]
    return (int.from_bytes(content, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(content), "big")


def _frame(opcode: int, content: bytes) -> bytes:
    length = len(content)
    if length < 126:
        header = struct.pack(">BB", 0x80 | opcode, length)
    elif length < 1 << 16:
        header = struct.pack(">BBH", 0x80 | opcode, 126, length)
    else:
        header = struct.pack(">BBQ", 0x80 | opcode, 127, length)
    return header + content
