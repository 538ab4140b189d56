"""Content digests: names, modes, owners and bytes of what a step takes, never times.

Files of a directory that is kept across builds are read once: `Hashes` remembers them and their extended attributes by
inode, size and times of change, the last of which only the kernel sets.
"""

import hashlib
import marshal
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tiffin.build.keys import ContentInput
from tiffin.build.solve import selection
from tiffin.build.solve.selection import Entry, Rules
from tiffin.model.digest import Digest
from tiffin.snapshots import trees

_CHUNK = 1 << 20
_VERSION = 2
_TICK = 100_000_000  # ns: within a tick of the kernel's clock a file may change twice and show one time

_Known = tuple[int, int, int, bytes, bytes]


class Hashes:
    """Digests and attributes of files by what the kernel says of them, kept in a file if there is a path.

    One thread at a time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[tuple[int, int], _Known] = {}
        self._used: dict[tuple[int, int], _Known] = {}
        if path is not None:
            try:
                version, known = marshal.loads(path.read_bytes())
                self._known = known if version == _VERSION else {}
            except (OSError, ValueError, EOFError, TypeError):
                pass  # none yet, or cut short: everything is hashed once more
        self._changed = False

    def of(self, status: os.stat_result, opened: Callable[[], int], said: Callable[[], bytes]) -> tuple[bytes, bytes]:
        """A file's digest and what is said of its attributes. opened gives a descriptor of it; each if it must be."""
        key = (status.st_dev, status.st_ino)
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        found = self._known.get(key)
        if found is None or found[:3] != state:
            found = (*state, _hashed(opened()), said())
            self._changed = True
        if status.st_ctime_ns < time.time_ns() - _TICK:
            self._used[key] = found
        return found[3], found[4]

    def save(self) -> None:
        """Keep what was asked for since it was opened; what was not asked for is forgotten."""
        if self._path is None or not (self._changed or len(self._used) != len(self._known)):
            return
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(marshal.dumps((_VERSION, self._used)))
        partial.rename(self._path)


def _hashed(fd: int) -> bytes:
    with open(fd, "rb", buffering=0) as file:
        digest = hashlib.sha256()
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.digest()


def digest(root: int, wanted: ContentInput, hashes: Hashes, listing: list[tuple[bytes, bytes]] | None = None) -> Digest:
    """Of what a step takes from a tree (an fd). NotFound for a path that must be there.

    listing: gets the path and a description of everything that counts.
    """
    source, *required = wanted.paths
    for path in required:
        selection.check(root, path)
    rules = Rules.of(wanted.include, wanted.exclude)
    whole = hashlib.sha256()
    for found in selection.sources(root, source, wildcards=wanted.wildcards):
        whole.update(found.name + b"\0" if wanted.wildcards else b"")
        top = os.fsencode(found.path.strip("/"))
        for relative, line in _source(root, found, rules, hashes):
            whole.update(line)
            if listing is not None:
                listing.append((top + b"/" + relative if top and relative else top or relative, line))
    return Digest("sha256:" + whole.hexdigest())


_Line = tuple[bytes, bytes]
"""A path below the source, and what is hashed of it."""


def _source(root: int, found: selection.Found, rules: Rules, hashes: Hashes) -> Iterator[_Line]:
    with selection.opened(root, found) as fd:
        status = os.fstat(fd)
        proc = f"/proc/self/fd/{fd}"
        if stat.S_ISDIR(status.st_mode):
            yield b"", _line(b"", status, b"", _attributes(proc, follow=True))
            with selection.below(fd, b".") as top:
                yield from _beneath(top, rules, None, hashes)
        elif stat.S_ISREG(status.st_mode):
            read = hashes.of(status, lambda: _reading(proc), lambda: _attributes(proc, follow=True))
            yield b"", _line(b"", status, *read)
        else:
            yield b"", _line(b"", status, _device(status), _attributes(proc, follow=True))


def _reading(path: str | bytes, directory: int | None = None) -> int:
    follow = 0 if directory is None else os.O_NOFOLLOW
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | follow, dir_fd=directory)


def _beneath(directory: int, rules: Rules, above: Entry | None, hashes: Hashes) -> Iterator[_Line]:
    for entry in selection.entries(directory, rules, above):
        if entry.taken:
            yield entry.relative, _entry_line(directory, entry, hashes)
        if entry.is_directory:
            with selection.below(directory, entry.name) as deeper:
                yield from _beneath(deeper, rules, entry, hashes)


def _entry_line(directory: int, entry: Entry, hashes: Hashes) -> bytes:
    name, status = entry.name, entry.status
    if stat.S_ISREG(status.st_mode):
        read = hashes.of(status, lambda: _reading(name, directory), lambda: _attributes(trees.at(directory, name)))
        return _line(entry.relative, status, *read)
    link = stat.S_ISLNK(status.st_mode)
    content = os.readlink(name, dir_fd=directory) if link else _device(status)
    return _line(entry.relative, status, content, _attributes(trees.at(directory, name)))


def _device(status: os.stat_result) -> bytes:
    return b"%d" % status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else b""


def _attributes(path: str, *, follow: bool = False) -> bytes:
    found = sorted(trees.xattrs(path, follow=follow).items())
    return b"".join(b"%d:%s%d:%s" % (len(key), key, len(value), value) for key, value in found)


def _line(relative: bytes, status: os.stat_result, content: bytes, attributes: bytes) -> bytes:
    """Lengths in front, so that no two different entries read the same."""
    head = b"%d:%s %o %d %d %d:" % (
        len(relative), relative, status.st_mode, status.st_uid, status.st_gid, len(content),
    )  # fmt: skip
    return head + content + attributes + b"\n"
