"""Stdio frames."""

import pytest

from tiffin.wire.streams import STDERR, STDOUT, frame, header


def test_a_frame_is_eight_bytes_and_the_payload() -> None:
    assert frame(STDOUT, b"hi") == b"\x01\0\0\0\0\0\0\x02hi"
    assert frame(STDERR, b"x" * 300)[:8] == b"\x02\0\0\0\0\0\x01\x2c"


def test_a_header_is_read_back() -> None:
    assert header(frame(STDERR, b"x" * 70_000)) == (STDERR, 70_000)


@pytest.mark.parametrize("data", [b"", b"\x01\0\0\0", b"\x09\0\0\0\0\0\0\x01", b"\x01\x01\0\0\0\0\0\x01"])
def test_other_bytes_are_no_header(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a stdio frame"):
        header(data)
