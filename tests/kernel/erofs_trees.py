"""What a tree of files is, told in a way that two file systems can be compared by; and layers indexed and mounted."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tiffin.model.digest import digest_of, hex_of
from tiffin.snapshots.erofs import index, layers
from tiffin.snapshots.tar import END, Entry, entry_header, padding


@dataclass
class Seen:
    """One entry. links: all its names, sorted; size and content of files alone; times in nanoseconds."""

    mode: int
    owner: tuple[int, int]
    mtime: int
    device: int
    content: str
    xattrs: dict[str, bytes]
    links: tuple[bytes, ...] = field(default=())


def look(root: Path | str) -> dict[bytes, Seen]:
    """Everything beneath a directory, by path; the directory itself is b"."."""
    found: dict[bytes, Seen] = {}
    names: dict[int, list[bytes]] = {}
    numbers: dict[bytes, int] = {}
    top = os.fsencode(str(root))
    pending = [b"."]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path)
        status = os.lstat(full)
        found[path] = _seen(full, status)
        if stat.S_ISDIR(status.st_mode):
            pending += [os.path.join(path, name) for name in os.listdir(full)]
        else:
            names.setdefault(status.st_ino, []).append(path)
            numbers[path] = status.st_ino
            assert status.st_nlink >= 1
    for path, number in numbers.items():
        found[path].links = tuple(sorted(names[number]))
        is_whiteout = stat.S_ISCHR(found[path].mode) and not found[path].device
        if is_whiteout:
            found[path].links = ()  # they may share an inode, or not
        else:
            assert os.lstat(os.path.join(top, path)).st_nlink == len(names[number]), path
    return found


def _seen(path: bytes, status: os.stat_result) -> Seen:
    content = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = f"{status.st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    elif stat.S_ISLNK(status.st_mode):
        content = repr(os.readlink(path))
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    owner = (status.st_uid, status.st_gid)
    device = status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0
    return Seen(status.st_mode, owner, status.st_mtime_ns, device, content, xattrs)


def differing(one: dict[bytes, Seen], other: dict[bytes, Seen]) -> dict[bytes, tuple[Seen | None, Seen | None]]:
    """What is not the same in both."""
    return {
        path: (one.get(path), other.get(path)) for path in one.keys() | other.keys() if one.get(path) != other.get(path)
    }


def indexed(tar: Path, image: Path, *, streamed: bool = False) -> int:
    """Index a tar as it lies, or as it streams by (then its device is a copy, `image` with .copy)."""
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    source = os.open(tar, os.O_RDONLY)
    tag = hex_of(digest_of(os.fsencode(tar)))
    try:
        if not streamed:
            return index.write(index.Lying(source), fd, tag)
        copy = os.open(image.with_suffix(".copy"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            with open(tar, "rb") as stream:
                return index.write(index.Copied(stream, copy), fd, tag)
        finally:
            os.close(copy)
    finally:
        os.close(source)
        os.close(fd)


def kernel_mounts_files() -> bool:
    """Whether it mounts an EROFS that is a file, without a block device."""
    version = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return version >= (6, 12) and "erofs" in Path("/proc/filesystems").read_text()


@contextmanager
def mounted(image: Path, tar: Path) -> Iterator[Path]:
    """An index mounted on its tar, attached nowhere."""
    fd = layers.mount(image, tar)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@contextmanager
def layer(tar: Path | bytes, directory: Path) -> Iterator[Path]:
    """A tar, indexed and mounted."""
    if isinstance(tar, bytes):
        (directory / "layer.tar").write_bytes(tar)
        tar = directory / "layer.tar"
    indexed(tar, directory / "layer.erofs")
    with mounted(directory / "layer.erofs", tar) as root:
        yield root


def archive(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    """A tar of entries, with their data."""
    buffer = io.BytesIO()
    for item in entries:
        entry, data = item if isinstance(item, tuple) else (item, b"")
        entry.size = len(data)
        buffer.write(entry_header(entry) + data + padding(len(data)))
    return buffer.getvalue() + END
