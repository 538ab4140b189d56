"""What gRPC puts into HTTP/2's frames and headers: prefixed messages, timeouts, texts."""

from __future__ import annotations

import struct
from urllib.parse import unquote_to_bytes

from tiffin.wire.grpc.status import Code, StatusError

MESSAGE_LIMIT = 16 << 20
"""Bytes of one message, in both directions; BuildKit's own limit."""

_PREFIX = struct.Struct(">BL")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SAFE = frozenset(range(0x20, 0x7F)) - {0x25}


def prefixed(message: bytes) -> bytes:
    """A message as it travels. Raises StatusError for one that the other side would refuse."""
    if len(message) > MESSAGE_LIMIT:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"message of {len(message)} bytes is larger than {MESSAGE_LIMIT}")
    return _PREFIX.pack(0, len(message)) + message


class Splitter:
    """Cuts what arrives into messages."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._data = bytearray()
        self._wanted = _PREFIX.size

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now. Raises StatusError for a compressed or too large one."""
        self._data += data
        if len(self._data) < self._wanted:
            return []
        messages, at, size = [], 0, len(self._data)
        while size - at >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(self._data, at)
            if compressed:
                raise StatusError(Code.UNIMPLEMENTED, "compressed messages are not supported")
            if length > self._limit:
                raise StatusError(Code.RESOURCE_EXHAUSTED, f"message of {length} bytes is larger than {self._limit}")
            self._wanted = _PREFIX.size + length
            if size - at < self._wanted:
                break
            messages.append(bytes(memoryview(self._data)[at + _PREFIX.size : at + self._wanted]))
            at += self._wanted
            self._wanted = _PREFIX.size
        del self._data[:at]
        return messages


def parse_timeout(text: str) -> float | None:
    """Seconds of a `grpc-timeout`; None for what is none."""
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not 1 <= len(digits) <= 8 or not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits) * _UNITS[unit]


def encode_text(text: str) -> str:
    """As `grpc-message` has it: what is not printable ASCII is percent-encoded."""
    data = text.encode("utf-8", "replace")
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in data)


def decode_text(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")
