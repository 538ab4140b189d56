"""Whether this kernel, here, mounts layers from files (since Linux 6.12) and lets an overlay stand on them.

Asked by doing it: the data root may itself lie on an overlay (file systems stand on each other two deep at most), the
daemon in a user namespace, the kernel without EROFS.
"""

import io
import os
import tempfile
from pathlib import Path

from tiffin.linux import mounts
from tiffin.snapshots.erofs import index, layers
from tiffin.snapshots.tar import END, Entry, entry_header, padding

_NAME = b"probe"
_CONTENT = b"as it should be"


def supported(root: Path) -> bool:
    """Mounts a tiny layer and an overlay on it, below `root` (the data root or a directory in it), and reads it."""
    root.mkdir(mode=0o710, parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=root, ignore_cleanup_errors=True) as name:
            return _reads(Path(name))
    except OSError:
        return False


def _reads(directory: Path) -> bool:
    tar, image, empty = (directory / name for name in ("tar", "index", "empty"))
    header = entry_header(Entry(_NAME, size=len(_CONTENT)))
    with tar.open("wb") as copy, image.open("w+b") as file:
        data = header + _CONTENT + padding(len(_CONTENT)) + END
        index.write(index.Copied(io.BytesIO(data), copy.fileno()), file.fileno(), "0" * 64)
    empty.mkdir()
    held = layers.Mounts(directory / "mounts")
    try:
        lower = [b"lowerdir+=" + os.fsencode(path) for path in (held.path("layer", image, tar), empty)]
        mount = mounts.create(b"overlay", (*lower, *(option.encode() for option in layers.Indexed.options)))
        try:
            fd = os.open(_NAME, os.O_RDONLY | os.O_CLOEXEC, dir_fd=mount)
            try:
                return os.read(fd, 64) == _CONTENT
            finally:
                os.close(fd)
        finally:
            os.close(mount)
    finally:
        held.close()
