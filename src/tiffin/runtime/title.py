"""What ps shows of a process that was forked and not executed: the memory of its arguments is written over.

prctl(PR_SET_MM) would let them grow, but needs CAP_SYS_RESOURCE. An init shows its own words to its container, rather
than the paths of this daemon.
"""

import ctypes

from tiffin.linux import credentials

_ARG_START, _ARG_END = 47, 48  # proc(5), fields of stat from 0
_place = (0, 0)


def locate() -> None:
    """Find the arguments' memory; once, before forking. It stays where it is."""
    global _place
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # the two fields before the parenthesis are gone
    _place = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])


def show(name: bytes, *words: bytes) -> None:
    """Be `name` with these arguments to whoever looks; what doesn't fit is cut off."""
    start, end = _place
    room = end - start - 1
    if room > 0:
        text = b"\0".join((name, *words))[:room]
        ctypes.memset(start, 0, room + 1)
        ctypes.memmove(start, text, len(text))
    short = ctypes.create_string_buffer(name.rpartition(b"/")[2][:15])
    credentials.prctl(credentials.PR_SET_NAME, ctypes.addressof(short), 0, 0, 0)
