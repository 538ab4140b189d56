"""What ps shows of a process that was forked and not executed: the memory of its arguments is written over.

prctl(PR_SET_MM) would let them grow, but needs CAP_SYS_RESOURCE. An init shows its own words to its container, rather
than the paths of this daemon.
"""

import ctypes

from tiffin.linux import credentials

_ARG_START, _ARG_END = 47, 48  # proc(5), fields of stat from 0
_place: ctypes.Array[ctypes.c_char] | None = None


def locate() -> None:
    """Find the arguments' memory; once, before forking. It stays where it is."""
    global _place
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # the two fields before the parenthesis are gone
    start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    _place = (ctypes.c_char * (end - start)).from_address(start) if end > start else None


def show(name: bytes, *words: bytes) -> None:
    """Be `name` with these arguments to whoever looks; what doesn't fit is cut off."""
    if _place is not None:
        size = len(_place)
        _place.raw = b"\0".join((name, *words))[: size - 1].ljust(size, b"\0")
    credentials.set_name(name.rpartition(b"/")[2][:15])
