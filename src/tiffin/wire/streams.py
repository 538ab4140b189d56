"""Stdio frames: how stdout and stderr share one stream (API v1.51, ContainerAttach, "Stream format").

Each frame is `[stream, 0, 0, 0, length (uint32, big endian)]` and as many bytes.
"""

import struct
from typing import Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
SYSTEM_ERROR: Final = 3

HEADER_SIZE: Final = 8
_HEADER = struct.Struct(">BxxxL")


def frame(stream: int, payload: bytes) -> bytes:
    """One frame around a payload of less than 4 GiB."""
    return _HEADER.pack(stream, len(payload)) + payload


def header(data: bytes) -> tuple[int, int]:
    """Stream and length from the first eight bytes of a frame. Raises ValueError when they are no frame's."""
    if len(data) < HEADER_SIZE or data[0] > SYSTEM_ERROR or data[1:4] != b"\0\0\0":
        raise ValueError("not a stdio frame")
    stream, length = _HEADER.unpack_from(data)
    return int(stream), int(length)
