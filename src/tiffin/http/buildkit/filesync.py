"""Receiving a client's directory: fsutil's packets (STAT, REQ, DATA, FIN), written beneath a descriptor.

The client lists what we asked for, parents first; for each file that is not here yet as listed (type, size, time, mode)
we request the bytes. What is here and was not listed goes. No name in a packet leads out of the directory: every
parent is opened without following links, and what stands where something else should be is removed by its own name.

Source: tonistiigi/fsutil (send.go, receive.go, types/*.proto); Go's io/fs.FileMode.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import Any

from tiffin.build.dockerfile.ignore import Patterns
from tiffin.errors import Invalid
from tiffin.linux import paths
from tiffin.wire.buildkit import message

STAT, REQUEST, DATA, FINISHED, FAILED = range(5)

_DIRECTORY, _SYMLINK, _DEVICE, _FIFO, _SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
_SETUID, _SETGID, _CHARACTER, _STICKY = 1 << 23, 1 << 22, 1 << 21, 1 << 20
_SPECIAL = _DIRECTORY | _SYMLINK | _DEVICE | _FIFO | _SOCKET | _CHARACTER | 1 << 19

OPEN_FILES = 64
"""Files whose bytes may arrive interleaved; fsutil sends four at a time."""

ENTRIES = 4_000_000


@dataclass(slots=True)
class _Incoming:
    """A file that was requested. fd is -1 until its first bytes."""

    path: bytes
    entry: Any
    fd: int = -1


class Receiver:
    """One transfer into an open directory. Blocks; `take` is called with what has arrived, in a thread.

    `ignore` says what is not wanted of the list, for a client that does not leave it out itself.
    """

    def __init__(self, root: int, ignore: Patterns | None = None) -> None:
        self._root = root
        self._ignore = ignore
        self._matched: dict[bytes, tuple[bool, ...]] = {}
        self._put_off: dict[bytes, Any] = {}
        self._packet = message("fsutil.types.Packet")
        self._index = 0
        self._seen: set[bytes] = set()
        self._directories: list[tuple[bytes, Any]] = []
        self._requested: dict[int, _Incoming] = {}
        self._parent: tuple[bytes, int] | None = None
        self._open = 0
        self._listed = False
        self.received = 0
        """Bytes of files so far."""
        self.done = False
        """Whether everything is here."""

    def take(self, arrived: list[bytes]) -> list[bytes]:
        """Work packets off; what is to be answered. Raises Invalid for what makes no sense, OSError."""
        answers: list[bytes] = []
        for data in arrived:
            packet = self._packet.FromString(data)
            if packet.type == STAT:
                if packet.HasField("stat"):
                    answers += self._entry(packet.stat)
                else:
                    self._listed = True
            elif packet.type == DATA:
                self._data(packet.ID, packet.data)
            elif packet.type == FAILED:
                raise Invalid(f"error from sender: {packet.data.decode('utf-8', 'replace')}")
        if self._listed and not self._requested and not self.done:
            self._finish()
            self.done = True
            answers.append(self._packet(type=FINISHED).SerializeToString())
        return answers

    def close(self) -> None:
        """Let go of what is open, after a failure too."""
        for incoming in self._requested.values():
            if incoming.fd >= 0:
                os.close(incoming.fd)
        self._requested.clear()
        self._leave_parent()

    # What is listed

    def _entry(self, entry: Any) -> list[bytes]:
        index, self._index = self._index, self._index + 1
        path = _checked(entry.path)
        if self._listed or path in self._seen or index >= ENTRIES:
            raise Invalid(f"the client lists {entry.path!r} out of turn")
        if entry.mode & _SOCKET or self._is_ignored(path, entry):
            return []
        return self._place(index, path, entry)

    def _is_ignored(self, path: bytes, entry: Any) -> bool:
        if self._ignore is None:
            return False
        ignored, matched = self._ignore.step(entry.path, self._matched.get(os.path.dirname(path)))
        if entry.mode & _DIRECTORY:
            self._matched[path] = matched
            if ignored:
                # something in it may be taken back
                self._put_off[path] = entry
        return ignored

    def _place(self, index: int, path: bytes, entry: Any) -> list[bytes]:
        parent, name = os.path.split(path)
        if parent in self._put_off:
            self._place(-1, parent, self._put_off.pop(parent))
        directory = self._enter(parent)
        mode = entry.mode
        self._seen.add(path)
        there = _status(directory, name)
        if mode & _DIRECTORY:
            self._make_directory(directory, name, there)
            self._directories.append((path, entry))
        elif mode & _SYMLINK:
            self._make_link(directory, name, there, entry)
        elif mode & _SPECIAL:
            self._make_node(directory, name, there, entry)
        elif entry.linkname and not self._lacks(entry.linkname):
            self._make_hard_link(directory, name, there, entry)
        elif not _same_file(there, entry):
            if there is not None:
                _remove(directory, name, there)
            self._requested[index] = _Incoming(path, entry)
            return [self._packet(type=REQUEST, ID=index).SerializeToString()]
        return []

    def _lacks(self, first: str) -> bool:
        """Whether the first name of a file that has several was left out: the next one is then a file of its own."""
        return self._ignore is not None and os.fsencode(first) not in self._seen

    def _enter(self, parent: bytes) -> int:
        """The directory that holds what comes next. Entries come directory by directory, so one is kept open."""
        if parent and parent not in self._seen:
            raise Invalid(f"the client lists what is in {parent!r} before the directory itself")
        if self._parent is None or self._parent[0] != parent:
            self._leave_parent()
            self._parent = (parent, paths.open_beneath(self._root, parent, os.O_RDONLY | os.O_DIRECTORY))
        return self._parent[1]

    def _leave_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _make_directory(self, directory: int, name: bytes, there: os.stat_result | None) -> None:
        if there is not None and stat.S_ISDIR(there.st_mode):
            return
        if there is not None:
            _remove(directory, name, there)
        os.mkdir(name, 0o700, dir_fd=directory)

    def _make_link(self, directory: int, name: bytes, there: os.stat_result | None, entry: Any) -> None:
        target = os.fsencode(entry.linkname)
        if there is not None:
            if stat.S_ISLNK(there.st_mode) and os.readlink(name, dir_fd=directory) == target:
                _touch(directory, name, there, entry)
                return
            _remove(directory, name, there)
        os.symlink(target, name, dir_fd=directory)
        os.utime(name, ns=(entry.modTime, entry.modTime), dir_fd=directory, follow_symlinks=False)

    def _make_node(self, directory: int, name: bytes, there: os.stat_result | None, entry: Any) -> None:
        if there is not None:
            _remove(directory, name, there)
        mode = _permissions(entry.mode)
        if entry.mode & _FIFO:
            os.mknod(name, stat.S_IFIFO | mode, dir_fd=directory)
        elif entry.mode & _DEVICE:
            kind = stat.S_IFCHR if entry.mode & _CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | mode, os.makedev(entry.devmajor, entry.devminor), dir_fd=directory)
        else:
            raise Invalid(f"the client lists {entry.path!r} as what is no file: mode {entry.mode:#o}")
        os.chmod(name, mode, dir_fd=directory)
        os.utime(name, ns=(entry.modTime, entry.modTime), dir_fd=directory, follow_symlinks=False)

    def _make_hard_link(self, directory: int, name: bytes, there: os.stat_result | None, entry: Any) -> None:
        target = _checked(entry.linkname)
        if target not in self._seen:
            raise Invalid(f"the client lists {entry.path!r} as a link to {entry.linkname!r}, which it has not listed")
        parent, first = os.path.split(target)
        source = paths.open_beneath(self._root, parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.stat(first, dir_fd=source, follow_symlinks=False) if there is not None else None
            if there is not None and status is not None:
                if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                    return
                _remove(directory, name, there)
            incoming = next((one for one in self._requested.values() if one.path == target), None)
            if incoming is not None and incoming.fd < 0:
                self._begin(incoming)
            os.link(first, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(source)

    # Bytes

    def _begin(self, incoming: _Incoming) -> None:
        if self._open >= OPEN_FILES:
            raise Invalid(f"the client sends more than {OPEN_FILES} files at once")
        parent, name = os.path.split(incoming.path)
        directory = paths.open_beneath(self._root, parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            incoming.fd = os.open(name, flags, 0o600, dir_fd=directory)
            self._open += 1
        finally:
            os.close(directory)

    def _data(self, index: int, data: bytes) -> None:
        incoming = self._requested.get(index)
        if incoming is None:
            raise Invalid(f"invalid file request {index}")
        if incoming.fd < 0:
            self._begin(incoming)
        if data:
            self.received += len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(incoming.fd, rest) :]
            return
        del self._requested[index]
        self._open -= 1
        try:
            for name, value in incoming.entry.xattrs.items():
                if name.startswith("user.") or name == "security.capability":
                    with contextlib.suppress(OSError):
                        os.setxattr(incoming.fd, name, value)
            os.fchmod(incoming.fd, _permissions(incoming.entry.mode))
            # the time is what says that the file is whole: it comes last
            os.utime(incoming.fd, ns=(incoming.entry.modTime, incoming.entry.modTime))
        finally:
            os.close(incoming.fd)

    # The end

    def _finish(self) -> None:
        self._leave_parent()
        self._sweep(self._root, b"")
        for path, entry in reversed(self._directories):
            directory = paths.open_beneath(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                status, mode = os.fstat(directory), _permissions(entry.mode)
                if stat.S_IMODE(status.st_mode) != mode:
                    os.fchmod(directory, mode)
                if status.st_mtime_ns != entry.modTime:
                    os.utime(directory, ns=(entry.modTime, entry.modTime))
            finally:
                os.close(directory)

    def _sweep(self, directory: int, path: bytes) -> None:
        """Remove what a former transfer left and this one did not list."""
        with os.scandir(directory) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            inner = path + b"/" + name if path else name
            if inner not in self._seen:
                _remove(directory, name, os.stat(name, dir_fd=directory, follow_symlinks=False))
            elif is_directory:
                descriptor = paths.open_beneath(directory, name, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    self._sweep(descriptor, inner)
                finally:
                    os.close(descriptor)


def _checked(text: str) -> bytes:
    """A listed path: relative, clean, without `..`. Raises Invalid."""
    path = os.fsencode(text)
    if not path or b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise Invalid(f"the client lists {text!r}, which is no path beneath a directory")
    return path


def _permissions(mode: int) -> int:
    bits = mode & 0o777
    bits |= stat.S_ISUID if mode & _SETUID else 0
    bits |= stat.S_ISGID if mode & _SETGID else 0
    return bits | (stat.S_ISVTX if mode & _STICKY else 0)


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same_file(there: os.stat_result | None, entry: Any) -> bool:
    return (
        there is not None
        and stat.S_ISREG(there.st_mode)
        and there.st_size == entry.size
        and there.st_mtime_ns == entry.modTime
        and stat.S_IMODE(there.st_mode) == _permissions(entry.mode)
    )


def _touch(directory: int, name: bytes, there: os.stat_result, entry: Any) -> None:
    if there.st_mtime_ns != entry.modTime:
        os.utime(name, ns=(entry.modTime, entry.modTime), dir_fd=directory, follow_symlinks=False)


def _remove(directory: int, name: bytes, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=directory)
        return
    descriptor = paths.open_beneath(directory, name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for inner in os.listdir(descriptor):
            raw = os.fsencode(inner)
            _remove(descriptor, raw, os.stat(raw, dir_fd=descriptor, follow_symlinks=False))
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=directory)


def is_file(entry: Any) -> bool:
    """Whether a listed entry is a regular file with bytes of its own."""
    return not entry.mode & _SPECIAL and not entry.linkname
