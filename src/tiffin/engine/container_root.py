"""A container's root file system as a file descriptor, whether it runs or not. The daemon enters no namespace for it.

Stopped: a detached mount of its layers (fsopen, fsmount), gone when the descriptor is closed. Running: /proc/PID/root,
which leads to what its processes see, volumes included. Names are resolved by openat2 IN_ROOT | NO_MAGICLINKS only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tiffin.linux import mounts, namespaces, paths
from tiffin.model.mount import Mount
from tiffin.runtime.detached import layered

_BIGGEST = 4 << 20
"""Bytes of a passwd or group file that are read: a directory service's export fits, a hostile sparse file does not."""


def mount_detached(layers: Sequence[Mount]) -> int:
    """The mount that a snapshot describes, attached nowhere. Raises OSError."""
    mount = layers[-1]
    options = tuple(os.fsencode(option) for option in mount.options)
    if mount.type == "bind":
        return mounts.clone(-100, os.fsencode(mount.source), recursive=b"rbind" in options)
    return mounts.create(mount.type.encode(), layered(tuple(o for o in options if o not in (b"ro", b"rw"))))


def attach(root: int, destination: str, directory: int, name: bytes, *, writable: bool) -> None:
    """Mount a file or directory of the host in a detached mount, which Linux does from 6.15 on. Raises OSError."""
    with ExitStack() as undo:
        place = paths.open_in(root, os.fsencode(destination))
        undo.callback(os.close, place)
        tree = mounts.clone(directory, name, recursive=False)
        undo.callback(os.close, tree)
        if not writable:
            mounts.set_attributes(tree, mounts.MOUNT_ATTR_RDONLY)
        mounts.attach(tree, place)


def mount_for_reading(layers: Sequence[Mount]) -> int:
    """The same, read-only and without an upper directory, so that a running container may have it mounted too."""
    mount = layers[-1]
    upper = mount.option("upperdir")
    if mount.type != "overlay" or upper is None:
        return mount_detached(layers)
    keep = [one for one in mount.options if one.partition("=")[0] not in ("upperdir", "workdir", "lowerdir", "rw")]
    lower = f"lowerdir={upper}:{mount.option('lowerdir')}"
    return mount_detached((Mount("overlay", mount.source, (*keep, lower)),))


@contextmanager
def opened(layers: Sequence[Mount], pid: int = 0, pidfd: int = -1) -> Iterator[int]:
    """The root of a running process, else of the layers. ProcessLookupError, FileNotFoundError when it has ended."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if pid else mount_detached(layers)
    try:
        if pid and pidfd >= 0:
            # asked afterwards: were the number somebody else's by now, that root could be the host's
            namespaces.pidfd_send_signal(pidfd, 0)
        yield root
    finally:
        os.close(root)


def read_small(root: int, path: str) -> bytes:
    """A regular file's content up to 4 MiB; b"" for anything else (a FIFO, a device: CVE-2024-9676)."""
    try:
        found = paths.open_in(root, os.fsencode(path))
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return b""
        file = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            content = bytearray()
            while len(content) < _BIGGEST and (piece := os.read(file, min(1 << 16, _BIGGEST - len(content)))):
                content += piece
            return bytes(content)
        finally:
            os.close(file)
    except OSError:
        return b""
    finally:
        os.close(found)
