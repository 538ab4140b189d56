"""How a call ends: a code, a message, and details that clients understand.

`grpc-status-details-bin` is a google.rpc.Status. It has three fields, so it is written and read here by hand: errors
must work where nobody has loaded protobuf yet.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

DETAILS_LIMIT = 1 << 20
"""Bytes of details that go along. Go's clients, who are the only ones that read them, take headers of 16 MiB."""


class Code(IntEnum):
    """google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def of(cls, number: int) -> Code:
        return cls(number) if number in cls._value2member_map_ else cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class Detail:
    """A google.protobuf.Any. BuildKit's own types travel as JSON, named `github.com/moby/buildkit/errdefs.X+json`."""

    type_url: str
    value: bytes


class StatusError(Exception):
    """A call that did not end well. str() is the message."""

    def __init__(self, code: Code, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)

    def __reduce__(self) -> tuple[type[StatusError], tuple[Code, str, tuple[Detail, ...]]]:
        return StatusError, (self.code, self.message, self.details)


def encode_details(error: StatusError) -> str:
    """The value of `grpc-status-details-bin`, "" where there are none or they are too large for a header."""
    if not error.details:
        return ""
    data = encode_status(error)
    return base64.b64encode(data).decode().rstrip("=") if len(data) <= DETAILS_LIMIT else ""


def encode_status(error: StatusError) -> bytes:
    """As google.rpc.Status."""
    pieces = [_number(1, error.code), _bytes(2, error.message.encode("utf-8", "replace"))]
    for detail in error.details:
        pieces.append(_bytes(3, _bytes(1, detail.type_url.encode()) + _bytes(2, detail.value)))
    return b"".join(pieces)


def decode_details(text: str) -> tuple[Detail, ...]:
    """What a header holds; nothing where it can't be read."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return ()
    return decode_status(data).details


def decode_status(data: bytes) -> StatusError:
    """From a google.rpc.Status, as far as it can be read."""
    code, message, details = Code.UNKNOWN, "", []
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            code = Code.of(value)
        elif field == 2 and isinstance(value, bytes):
            message = value.decode("utf-8", "replace")
        elif field == 3 and isinstance(value, bytes):
            parts = {inner: content for inner, content in _fields(value) if isinstance(content, bytes)}
            details.append(Detail(parts.get(1, b"").decode("utf-8", "replace"), parts.get(2, b"")))
    return StatusError(code, message, details)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Varints and length-delimited fields; stops at the first thing that is neither."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2 and at + value <= len(data):
            yield key >> 3, data[at : at + value]
            at += value
        else:
            return


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return 0, len(data)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, len(data)
