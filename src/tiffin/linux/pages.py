"""Pages of memory that a fork shares with its parent until it writes to them. Raises OSError.

Each first write is a fault and a copy, microseconds; `make_own` does many at once, ahead of the time when it matters.
"""

import os
import struct

from tiffin.linux.syscalls import INT, POINTER, SIZE, function

_PAGE = os.sysconf("SC_PAGE_SIZE")
_EXCLUSIVE, _FILE = 1 << 56, 1 << 61  # proc_pid_pagemap(5): mapped by us alone; a page of a file
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_RANGE = struct.Struct("QQ")

_madvise = function("madvise", POINTER, SIZE, INT)


class Own:
    """The pages that are the caller's alone because it wrote to them. It may have lost sight of /proc when it asks."""

    def __init__(self) -> None:
        self._places = _writable()
        self._pagemap = os.open(b"/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    def ranges(self) -> bytes:
        """Packed pairs of address and length; once."""
        found, begin, end = bytearray(), 0, 0
        try:
            for start, stop in self._places:
                entries = os.pread(self._pagemap, (stop - start) // _PAGE * 8, start // _PAGE * 8)
                for number, (entry,) in enumerate(struct.iter_unpack("Q", entries)):
                    if not entry & _EXCLUSIVE or entry & _FILE:
                        continue
                    address = start + number * _PAGE
                    if address != end:
                        found += _RANGE.pack(begin, end - begin) if end else b""
                        begin = address
                    end = address + _PAGE
        finally:
            os.close(self._pagemap)
        return bytes(found + _RANGE.pack(begin, end - begin)) if end else b""


def own() -> bytes:
    """All of that at once."""
    return Own().ranges()


def _writable() -> list[tuple[int, int]]:
    """The mappings that are written to, but for the stack."""
    found = []
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            where, access, *_ = line.split()
            if access == b"rw-p" and not line.endswith(b"[stack]\n"):
                start, _, stop = where.partition(b"-")
                found.append((int(start, 16), int(stop, 16)))
    return found


def make_own(ranges: bytes) -> None:
    """Copy what is still shared of these pages, as `own` gave them in another fork of the same parent."""
    for address, length in _RANGE.iter_unpack(ranges):
        try:
            _madvise(address, length, _MADV_POPULATE_WRITE)
        except OSError:
            pass  # not mapped here, or a kernel that can't: the first write will copy
