"""Whether an unpacked layer still is what its archive makes: for `system check`.

The archive is extracted anew, by the same code, without files' contents: these are only hashed. Then the trees are
compared, so that replaced entries, links through directories and whiteouts need no second understanding.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tiffin.content.compression import Readable
from tiffin.snapshots import trees
from tiffin.snapshots.changes import is_opaque
from tiffin.snapshots.extract import Options, extract
from tiffin.snapshots.whiteouts import Whiteouts

_SECOND = 1_000_000_000


def outline(root: int, stream: Readable, whiteouts: Whiteouts) -> dict[int, bytes]:
    """Extract a layer into a directory (fd), files with their size and no data: the SHA-256 of each, by inode."""
    contents: dict[int, bytes] = {}
    extract(root, stream, whiteouts=whiteouts, options=replace(Options(), contents=contents))
    return contents


def difference(expected: Path, actual: Path, contents: Mapping[int, bytes]) -> str:
    """The first thing in which a tree is not as expected, in words; `` for none.

    Not looked at: the roots themselves, times of directories, links between files. A layer that was a container's has
    mount points and sockets that its archive leaves out, so empty files and directories may be more.
    """
    return _Comparison(expected, actual, contents).directory(b"")


class _Comparison:
    def __init__(self, expected: Path, actual: Path, contents: Mapping[int, bytes]) -> None:
        self._expected = os.fsencode(expected)
        self._actual = os.fsencode(actual)
        self._contents = contents
        self._hashed: dict[int, bytes] = {}

    def directory(self, path: bytes) -> str:
        expected, actual = _join(self._expected, path), _join(self._actual, path)
        here = set(os.listdir(actual))
        for name in sorted(os.listdir(expected)):
            if found := self._entry(_join(path, name), name in here):
                return found
        for name in sorted(here.difference(os.listdir(expected))):
            if not _negligible(_join(actual, name)):
                return f"{_shown(_join(path, name))} is not in the layer"
        return ""

    def _entry(self, path: bytes, here: bool) -> str:
        if not here:
            return f"{_shown(path)} is missing"
        expected, actual = _join(self._expected, path), _join(self._actual, path)
        wanted, found = os.lstat(expected), os.lstat(actual)
        if words := _attributes(wanted, found):
            return f"{_shown(path)} has {words}"
        if stat.S_ISDIR(wanted.st_mode):
            if is_opaque(os.fsdecode(expected)) != is_opaque(os.fsdecode(actual)):
                return f"{_shown(path)} hides what is below it, or should"
        elif stat.S_ISLNK(wanted.st_mode):
            if os.readlink(expected) != os.readlink(actual):
                return f"{_shown(path)} leads elsewhere"
        elif stat.S_ISREG(wanted.st_mode):
            digest = self._contents.get(wanted.st_ino) or self._digest(expected, wanted)
            if digest != self._digest(actual, found):
                return f"{_shown(path)} has another content"
        if _xattrs(expected) != _xattrs(actual):
            return f"{_shown(path)} has other extended attributes"
        return self.directory(path) if stat.S_ISDIR(wanted.st_mode) else ""

    def _digest(self, path: bytes, status: os.stat_result) -> bytes:
        known = self._hashed.get(status.st_ino)
        if known is None:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
                known = self._hashed[status.st_ino] = hashlib.file_digest(file, "sha256").digest()
        return known


def _attributes(wanted: os.stat_result, found: os.stat_result) -> str:
    """In which attribute two files differ, with both values."""
    for what, first, second in (
        ("kind", stat.S_IFMT(found.st_mode), stat.S_IFMT(wanted.st_mode)),
        ("mode", stat.S_IMODE(found.st_mode), stat.S_IMODE(wanted.st_mode)),
    ):
        if first != second:
            return f"{what} {first:o}, not {second:o}"
    if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
        return f"owner {found.st_uid}:{found.st_gid}, not {wanted.st_uid}:{wanted.st_gid}"
    if stat.S_ISREG(wanted.st_mode):
        if found.st_size != wanted.st_size:
            return f"{found.st_size} bytes, not {wanted.st_size}"
        if found.st_mtime_ns // _SECOND != wanted.st_mtime_ns // _SECOND:
            return f"time {found.st_mtime_ns // _SECOND}, not {wanted.st_mtime_ns // _SECOND}"
    if found.st_rdev != wanted.st_rdev:
        return f"device number {found.st_rdev}, not {wanted.st_rdev}"
    return ""


def _xattrs(path: bytes) -> dict[str, bytes]:
    listed = os.listxattr(path, follow_symlinks=False)
    names = [name for name in listed if not trees.is_overlay_attribute(os.fsencode(name))]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _negligible(path: bytes) -> bool:
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        return all(_negligible(_join(path, name)) for name in os.listdir(path))
    return stat.S_ISSOCK(status.st_mode) or (stat.S_ISREG(status.st_mode) and not status.st_size)


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path and name else path or name


def _shown(path: bytes) -> str:
    return "/" + path[:200].decode("utf-8", "backslashreplace")
