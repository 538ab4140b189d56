"""A sealed copy of the Python interpreter.

A container that gets hold of /proc/PID/exe of something the engine runs finds a memfd that nobody can write to, in
place of the machine's python (CVE-2019-5736). Imports next to nothing: every tiffin-runtime begins with it.
"""

import fcntl
import os
import sys

_GET_SEALS = 1034  # F_GET_SEALS; fcntl names it only where the C library did when Python was built
_SEALS = 0xF  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE


def executable() -> str:
    """The interpreter's own path, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def sealed_copy() -> int:
    """A memfd with the interpreter, sealed."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("python", flags | 0x10)  # MFD_EXEC: from 6.3 on, whatever vm.memfd_noexec says
    except OSError:
        fd = os.memfd_create("python", flags)
    with open(executable(), "rb") as source:
        size = os.fstat(source.fileno()).st_size
        while size > 0:
            size -= os.sendfile(fd, source.fileno(), None, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def is_sealed() -> bool:
    """Whether this process runs from such a copy."""
    try:
        fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fcntl.fcntl(fd, _GET_SEALS) & _SEALS == _SEALS
        finally:
            os.close(fd)
    except OSError:
        return False  # an ordinary file has no seals
