"""Compressed streams: told apart by their first bytes, errors where they are damaged, memory bounded."""

import bz2
import gzip
import io
import lzma
import resource
from collections.abc import Callable

import pytest
import zstandard

from tiffin.content.compression import decompressed
from tiffin.errors import Invalid

DATA = bytes(range(256)) * 5000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "": bytes,
}


def read_all(data: bytes, size: int = 70_001) -> tuple[str, bytes]:
    name, stream = decompressed(io.BytesIO(data))
    parts = []
    while part := stream.read(size):
        parts.append(part)
    return name, b"".join(parts)


@pytest.mark.parametrize("name", COMPRESS)
def test_every_compression_is_recognized_and_undone(name: str) -> None:
    assert read_all(COMPRESS[name](DATA)) == (name, DATA)


@pytest.mark.parametrize("name", COMPRESS)
def test_members_one_after_another_are_one_stream(name: str) -> None:
    assert read_all(COMPRESS[name](DATA) + COMPRESS[name](b"more")) == (name, DATA + b"more")


def test_padding_after_the_last_member_is_allowed() -> None:
    assert read_all(gzip.compress(DATA) + bytes(10_000)) == ("gzip", DATA)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_stream_that_is_cut_off_is_an_error(name: str) -> None:
    with pytest.raises(Invalid, match="unexpected EOF"):
        read_all(COMPRESS[name](DATA)[:-9])


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_a_damaged_stream_is_an_error_that_names_it(name: str) -> None:
    whole = bytearray(COMPRESS[name](DATA))
    whole[len(whole) // 2 :] = b"\x55" * (len(whole) - len(whole) // 2)
    with pytest.raises(Invalid, match=name):
        read_all(bytes(whole))


def test_a_bomb_is_read_in_pieces() -> None:
    bomb = gzip.compress(bytes(300 << 20), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, stream = decompressed(io.BytesIO(bomb))
    total = 0
    while part := stream.read(1 << 20):
        assert len(part) <= 1 << 20
        total += len(part)
    assert total == 300 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_an_empty_stream_is_empty() -> None:
    assert read_all(b"") == ("", b"")
