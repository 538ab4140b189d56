"""The journal of a container's output: what was taken out of its pipes, and how much of that is in the log.

Bytes move from a pipe into a memfd by splice(2), so that its size is the exact record of what was consumed, even if
SIGKILL comes right after. A header, mapped shared, says how much of it has been processed and how long the log file
was then; it has two slots and one byte that says which holds, so that a commit is one store. The forkserver holds both
descriptors as well. A monitor that takes over cuts the log back to the recorded length and processes the rest again: no
line is lost or doubled.

    header   byte 0: the slot that holds; slots at 4096 and 45056:
             log length u64, dropped lines u64, then for stdout and stderr: processed u64, carry length u32
             carries, 16 KiB each, behind: the beginning of a line whose end has not come yet
"""

import errno
import mmap
import os
import struct

from tiffin.linux import fds

CARRY = 16 * 1024
_SLOT = struct.Struct("<QQQIQI")
_SLOTS = (4096, 45056)
_SIZE = 86016
_CHUNK = 256 * 1024


class Journal:
    """Shared record of the output of one container."""

    def __init__(self, header: int, data: tuple[int, int]) -> None:
        """Descriptors as `create` makes them; the state is read from them."""
        self.header, self.data = header, data
        self._map = mmap.mmap(header, _SIZE)
        self._slot = self._map[0] & 1
        base = _SLOTS[self._slot]
        values = _SLOT.unpack_from(self._map, base)
        self.log_size, self.dropped = values[0], values[1]
        self.processed = [values[2], values[4]]
        start = base + _SLOT.size
        self.carry = [bytes(self._map[start : start + values[3]])]
        self.carry.append(bytes(self._map[start + CARRY : start + CARRY + values[5]]))
        for stream in (0, 1):
            size = os.fstat(data[stream]).st_size
            if self.processed[stream] > size:
                self.processed[stream] = 0  # killed between emptying the journal and saying so
            os.lseek(data[stream], size, os.SEEK_SET)

    @staticmethod
    def create() -> tuple[int, int, int]:
        """Descriptors of a new journal: header, stdout, stderr."""
        header = os.memfd_create("header", os.MFD_CLOEXEC)
        os.ftruncate(header, _SIZE)
        return header, os.memfd_create("stdout", os.MFD_CLOEXEC), os.memfd_create("stderr", os.MFD_CLOEXEC)

    def take(self, source: int, stream: int) -> int:
        """Move what a pipe holds into the journal: bytes moved, 0 at its end. BlockingIOError when it is empty."""
        return fds.splice(source, self.data[stream], _CHUNK)

    def pending(self, stream: int) -> bytes:
        """What was taken and is not processed."""
        start = self.processed[stream]
        return os.pread(self.data[stream], os.fstat(self.data[stream]).st_size - start, start)

    def commit(self) -> None:
        """Make the current numbers the ones that hold."""
        slot = 1 - self._slot
        base = _SLOTS[slot]
        first, second = self.carry
        _SLOT.pack_into(
            *(self._map, base, self.log_size, self.dropped),
            *(self.processed[0], len(first), self.processed[1], len(second)),
        )
        start = base + _SLOT.size
        self._map[start : start + len(first)] = first
        self._map[start + CARRY : start + CARRY + len(second)] = second
        self._map[0] = self._slot = slot

    def drop(self, stream: int) -> None:
        """Empty the journal of a stream when all of it is processed."""
        os.ftruncate(self.data[stream], 0)
        os.lseek(self.data[stream], 0, os.SEEK_SET)
        self.processed[stream] = 0
        self.commit()


def drain_terminal(master: int, pipe: int) -> int:
    """Move what a pty's master holds into a pipe: bytes; 0 when its slaves are closed. BlockingIOError when empty."""
    try:
        return fds.splice(master, pipe, 65536)
    except OSError as error:
        if error.errno == errno.EIO:
            return 0
        raise
