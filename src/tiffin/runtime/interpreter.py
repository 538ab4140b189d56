"""A sealed copy of the Python interpreter, and starting the forkserver from it.

A container that gets hold of /proc/PID/exe of something the engine runs finds a memfd that nobody can write to, in
place of the machine's python (CVE-2019-5736).
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import tiffin

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


def start_forkserver(directory: Path) -> int:
    """Start a forkserver for an exec root, and wait until it listens: its pid. OSError when it does not come up."""
    package = str(Path(tiffin.__file__).parent.parent)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    copy = sealed_copy()
    code = (
        f"import sys; sys.path.insert(0, {package!r}); from tiffin.runtime.forkserver import main; "
        f"main({str(directory)!r}, {writing})"
    )
    try:
        process = subprocess.Popen(
            [executable(), "-I", "-S", "-c", code],
            executable=f"/proc/self/fd/{copy}",
            pass_fds=(copy, writing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(writing)
        writing = -1
        if os.read(reading, 1) != b"1":
            raise OSError(f"the forkserver did not start (status {process.wait()})")
        _children.append(process)
        return process.pid
    finally:
        for fd in (reading, writing, copy):
            if fd >= 0:
                os.close(fd)


_children: list[subprocess.Popen[bytes]] = []  # polled by subprocess, so that none stays a zombie
