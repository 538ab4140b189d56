"""Pages that a fork shares with its parent, and those that it wrote to."""

import ctypes
import mmap
import os
import struct
from collections.abc import Callable

from tiffin.linux import pages

_PAGE = mmap.PAGESIZE


def in_fork(tell: Callable[[], bytes]) -> bytes:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, tell())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return told


def among(address: int, ranges: bytes) -> bool:
    return any(start <= address < start + length for start, length in struct.iter_unpack("QQ", ranges))


def test_what_a_fork_writes_to_becomes_its_own() -> None:
    memory = mmap.mmap(-1, 8 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for number in range(8):
        memory[number * _PAGE] = 1

    def write_to_some() -> bytes:
        memory[3 * _PAGE] = 2
        memory[4 * _PAGE] = 2
        return pages.own()

    told = in_fork(write_to_some)
    assert [among(address + number * _PAGE, told) for number in range(8)] == [number in (3, 4) for number in range(8)]


def test_pages_are_made_ones_own_without_a_change() -> None:
    memory = mmap.mmap(-1, 4 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[:] = b"x" * 4 * _PAGE

    def make_own() -> bytes:
        pages.make_own(struct.pack("4Q", _PAGE, _PAGE, address + _PAGE, 2 * _PAGE))  # nothing is mapped at the first
        assert memory[:] == b"x" * 4 * _PAGE
        return pages.own()

    told = in_fork(make_own)
    assert [among(address + number * _PAGE, told) for number in range(4)] == [False, True, True, False]
