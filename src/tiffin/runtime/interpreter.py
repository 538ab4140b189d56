"""Starting the forkserver from a sealed copy of the interpreter."""

import os
import subprocess
from pathlib import Path

import tiffin
from tiffin.runtime.sealed import executable, sealed_copy


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
