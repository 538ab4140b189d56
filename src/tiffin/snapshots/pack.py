"""Writes trees as tar streams, by file descriptors: layers (`diff`), `docker export`, `docker cp`.

packer = Packer()
yield from packer.tree(root_fd)                       # all that is in a directory, without the directory itself
yield from packer.item(directory_fd, b"name", b"as")  # one entry and what is beneath it
yield END
"""

import errno
import os
import stat
from collections.abc import Callable, Collection, Generator, Iterator, Mapping

from tiffin.snapshots import trees
from tiffin.snapshots.tar import END, Entry, Kind, entry_header, padding

__all__ = ["END", "Packer", "export"]

CHUNK = 1 << 20
_SECOND = 1_000_000_000
# what an entry answers that went away or became something else after it was listed
CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER, stat.S_IFBLK: Kind.BLOCK, stat.S_IFIFO: Kind.FIFO,
}  # fmt: skip
_KEPT = (b"user.", b"trusted.", b"security.capability", b"system.posix_acl_")


class Packer:
    """One archive: hard links are told apart by inode across all that goes into it.

    owner      maps (uid, gid) on disk to what the archive says
    precise    False cuts times to whole seconds, as docker's export and cp do
    devices    st_dev of the file systems whose directories are gone into; others are empty. All of them without
    mounted    by its name in the archive: (directory, name) of what is to be told there, whatever lies beneath
    """

    def __init__(
        self,
        owner: Callable[[int, int], tuple[int, int]] = lambda uid, gid: (uid, gid),
        *,
        precise: bool = True,
        devices: Collection[int] = (),
        mounted: Mapping[bytes, tuple[int, bytes]] = {},
    ) -> None:
        self._owner = owner
        self._precise = precise
        self._devices = frozenset(devices)
        self._mounted = dict(mounted)
        self._names: dict[tuple[int, int], bytes] = {}

    def tree(self, directory: int, prefix: bytes = b"") -> Iterator[bytes]:
        """All entries of an open directory, sorted, depth first. What vanishes meanwhile is left out."""
        open_fds = [os.open(".", _DIRECTORY, dir_fd=directory)]
        pending = [(prefix, iter(_sorted(open_fds[0])))]
        try:
            while pending:
                path, names = pending[-1]
                name = next(names, None)
                if name is None:
                    pending.pop()
                    os.close(open_fds.pop())
                    continue
                place, found = self._mounted.pop(path + name, (open_fds[-1], name))
                try:
                    status = yield from self.entry(place, found, path + name)
                    if status is None or not stat.S_ISDIR(status.st_mode):
                        continue  # nothing comes beneath what was told as a link, whatever it is by now
                    fd = os.open(found, _DIRECTORY, dir_fd=place)
                except OSError as error:
                    if error.errno not in CHANGED:
                        raise
                    continue  # no directory, or none any more
                if self._devices and os.fstat(fd).st_dev not in self._devices:
                    os.close(fd)
                    continue
                open_fds.append(fd)
                pending.append((path + name + b"/", iter(_sorted(fd))))
        finally:
            for fd in open_fds:
                os.close(fd)

    def item(self, directory: int, name: bytes, archived: bytes) -> Iterator[bytes]:
        """One entry under another name and, of a directory, all beneath. FileNotFoundError where there is none."""
        status = yield from self.entry(directory, name, archived)
        if status is not None and stat.S_ISDIR(status.st_mode):
            with trees.opened(name, directory) as fd:
                yield from self.tree(fd, archived.rstrip(b"/") + b"/")
        while self._mounted:  # at places that the tree has not
            left = min(self._mounted)
            yield from self.item(*self._mounted.pop(left), left)

    def entry(self, directory: int, name: bytes, archived: bytes) -> Generator[bytes, None, os.stat_result | None]:
        """One entry alone, a file with its data; returns what it was told as.

        Sockets are left out (None): archives have no word for them.
        """
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        if kind is Kind.FILE:
            yield from self._file(directory, name, archived, status)
            return status
        entry = self._described(status, kind, archived)
        if kind is not Kind.DIRECTORY and self._linked(entry, status):
            yield entry_header(entry)
            return status
        if kind is Kind.DIRECTORY:
            entry.name = archived.rstrip(b"/") + b"/"
        elif kind is Kind.SYMLINK:
            entry.link = os.readlink(name, dir_fd=directory)
        elif kind in (Kind.CHARACTER, Kind.BLOCK):
            entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        entry.xattrs = _kept(trees.xattrs(trees.at(directory, name)))
        yield entry_header(entry)
        return status

    def whiteout(self, archived: bytes) -> bytes:
        directory, slash, name = archived.rpartition(b"/")
        return entry_header(Entry(directory + slash + b".wh." + name, Kind.FILE, 0))

    def _file(self, directory: int, name: bytes, archived: bytes, status: os.stat_result) -> Iterator[bytes]:
        entry = self._described(status, Kind.FILE, archived)
        if self._linked(entry, status):
            yield entry_header(entry)
            return
        fd = _regular(directory, name)
        try:
            entry.xattrs = _kept(trees.xattrs(fd))
            entry.size = status.st_size
            yield entry_header(entry)
            left = entry.size
            while left:
                data = os.read(fd, min(left, CHUNK))
                # it shrank under us: the header has promised its bytes
                data = data or bytes(min(left, CHUNK))
                left -= len(data)
                yield data
            yield padding(entry.size)
        finally:
            os.close(fd)

    def _linked(self, entry: Entry, status: os.stat_result) -> bool:
        if status.st_nlink < 2:
            return False
        first = self._names.setdefault((status.st_dev, status.st_ino), entry.name)
        if first == entry.name:
            return False
        entry.kind, entry.link, entry.size = Kind.LINK, first, 0
        return True

    def _described(self, status: os.stat_result, kind: Kind, archived: bytes) -> Entry:
        mtime = status.st_mtime_ns if self._precise else status.st_mtime_ns // _SECOND * _SECOND
        return Entry(
            archived, kind, stat.S_IMODE(status.st_mode), *self._owner(status.st_uid, status.st_gid), mtime=mtime
        )


def _regular(directory: int, name: bytes) -> int:
    """Open a file for reading; ENXIO for what has taken its place: opening a device may do things, a FIFO may wait."""
    found = os.open(name, _LOOK, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.ENXIO, "not a regular file any more", name)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def _sorted(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _kept(attributes: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in attributes.items() if name.startswith(_KEPT)} if attributes else attributes


def export(root: int) -> Iterator[bytes]:
    """`docker export`: all that is in a root (an fd), without the root itself; times in whole seconds."""
    yield from Packer(precise=False).tree(root)
    yield END
