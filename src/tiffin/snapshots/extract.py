"""Puts the entries of an archive into a directory tree, by file descriptors: nothing in it leads outside its root.

Parents are opened inside the root (openat2, RESOLVE_IN_ROOT), the entry itself is made with O_EXCL and O_NOFOLLOW.
Where something is in the way it is removed first, a directory over a directory apart.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from tiffin.content.blobs import require_free_space
from tiffin.content.compression import Readable
from tiffin.errors import Conflict, Internal, Invalid, Unavailable
from tiffin.linux import paths
from tiffin.snapshots import trees
from tiffin.snapshots.parents import Parents
from tiffin.snapshots.tar import Entry, Kind, Limits, TarReader
from tiffin.snapshots.whiteouts import KeepNames, Whiteouts

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHECK_BYTES = 32 << 20
_CHECK_ENTRIES = 4096
_DEVICES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OURS = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS)  # the machine's fault, not the archive's


@dataclass(frozen=True, slots=True)
class Options:
    """How entries land.

    owner             maps (uid, gid) of an entry to what it gets on disk
    keep_directories  refuse to replace a directory by something else, and the other way round (`docker cp`)
    xattrs            False leaves extended attributes out
    floor             bytes of free space the machine keeps
    contents          is given the SHA-256 of each file by its inode; its data, but a sparse file's, is not written
    """

    owner: Callable[[int, int], tuple[int, int]] = lambda uid, gid: (uid, gid)
    keep_directories: bool = False
    xattrs: bool = True
    limits: Limits = field(default_factory=Limits)
    floor: int | None = None
    contents: dict[int, bytes] | None = None


def extract(
    root: int,
    stream: Readable,
    *,
    beneath: bytes = b"",
    whiteouts: Whiteouts | None = None,
    options: Options | None = None,
) -> int:
    """Extract a plain tar stream into `beneath`, resolved inside the root (an fd). The bytes of file data written.

    whiteouts: how OCI whiteouts are understood; None takes `.wh.` names as they are. Invalid for a damaged or hostile
    archive, Conflict under keep_directories, Unavailable when space runs out; what was extracted until then stays, so
    the caller extracts into a place that it can drop.
    """
    reader = TarReader(stream, options.limits if options else None)
    extraction = _Extraction(root, beneath, whiteouts or KeepNames(), options or Options(), reader)
    try:
        for entry in reader:
            extraction.place(entry)
        extraction.finish()
        reader.drain()
    except OSError as error:
        raise _translated(error, extraction.current) from error
    finally:
        extraction.parents.close()
    return extraction.size


def _translated(error: OSError, name: bytes) -> Exception:
    shown = name[:200].decode("utf-8", "backslashreplace")
    if error.errno in _FULL:
        return Unavailable(f"no space left on device: extracting {shown!r}; remove images or containers first")
    if error.errno in _OURS:
        return Internal(f"failed to extract {shown!r}: {error.strerror}")
    return Invalid(f"failed to extract {shown!r} from the archive: {error.strerror}")


def clean(name: bytes) -> tuple[bytes, ...]:
    """The components of an entry's name. Invalid where `..` leads out of the archive (docker's breakout error)."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise Invalid(f"{name[:200].decode('utf-8', 'backslashreplace')!r} is outside of the archive's root")
            parts.pop()
        else:
            parts.append(part)
    return tuple(parts)


class _Extraction:
    def __init__(self, root: int, beneath: bytes, whiteouts: Whiteouts, options: Options, reader: TarReader) -> None:
        self._options = options
        self._whiteouts = whiteouts
        self._reader = reader
        self._root = root
        self._base = clean(beneath)
        self.parents = Parents(root)
        self._directory_times: dict[tuple[bytes, ...], int] = {}
        self._entries = 0
        self._unchecked = _CHECK_BYTES
        self.current = b""
        self.size = 0

    def place(self, entry: Entry) -> None:
        self.current = entry.name
        self._check_space(entry.size)
        parts = self._base + clean(entry.name)
        if len(parts) == len(self._base):
            if entry.kind is Kind.DIRECTORY:
                self._describe_root(entry, parts)
            return
        directory = self.parents.open(parts[:-1])
        try:
            self._place_in(directory, entry, parts)
        finally:
            os.close(directory)

    def _place_in(self, directory: int, entry: Entry, parts: tuple[bytes, ...]) -> None:
        if self._whiteouts.take(directory, parts, self.parents.forget):
            return
        replaced = self._make_way(entry, directory, parts[-1])
        self._create(entry, directory, parts[-1])
        self._whiteouts.placed(parts)
        if entry.kind is Kind.LINK:
            return  # the attributes are the target's
        self._describe(entry, directory, parts[-1])
        if entry.kind is Kind.DIRECTORY:
            self._directory_times[parts] = entry.mtime
            if replaced:
                self._whiteouts.directory_over_whiteout(directory, parts[-1])

    def finish(self) -> None:
        """Directories get their times last: making what is in them has changed them."""
        for parts, mtime in self._directory_times.items():
            try:
                fd = paths.open_in(self._root, b"/".join(parts), os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry replaced it
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)

    def _check_space(self, size: int) -> None:
        self._entries += 1
        self._unchecked += size
        if self._unchecked >= _CHECK_BYTES or self._entries % _CHECK_ENTRIES == 0:
            self._unchecked = 0
            floor = {} if self._options.floor is None else {"floor": self._options.floor}
            require_free_space(self._root, **floor)

    def _describe_root(self, entry: Entry, parts: tuple[bytes, ...]) -> None:
        fd = paths.open_in(self._root, b"/".join(parts), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(fd, *self._options.owner(entry.uid, entry.gid))
            os.fchmod(fd, entry.mode)
            self._set_xattrs(entry, fd)
        finally:
            os.close(fd)
        self._directory_times[parts] = entry.mtime

    def _make_way(self, entry: Entry, directory: int, name: bytes) -> bool:
        """Remove what stands where the entry goes. True where it was a whiteout of this same layer."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        was_directory, is_directory = stat.S_ISDIR(status.st_mode), entry.kind is Kind.DIRECTORY
        if was_directory and is_directory:
            return False
        if self._options.keep_directories and was_directory != is_directory:
            shown = entry.name.decode("utf-8", "backslashreplace")
            what = ("directory", "non-directory") if was_directory else ("non-directory", "directory")
            raise Conflict(f"cannot overwrite {what[0]} {shown!r} with {what[1]} of the archive")
        if entry.kind is Kind.LINK and not was_directory and self._same_file(entry, status):
            return False
        self.parents.forget()
        trees.remove(directory, name)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def _same_file(self, entry: Entry, status: os.stat_result) -> bool:
        target = self._base + clean(entry.link)
        if len(target) == len(self._base):
            return False  # the root, which `_link` refuses
        source = self.parents.open(target[:-1])
        try:
            there = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
        finally:
            os.close(source)
        return (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino)

    def _create(self, entry: Entry, directory: int, name: bytes) -> None:
        match entry.kind:
            case Kind.FILE:
                self._write(entry, directory, name)
            case Kind.DIRECTORY:
                try:
                    os.mkdir(name, 0o700, dir_fd=directory)
                except FileExistsError:
                    pass  # a directory, or _make_way would have removed it
            case Kind.SYMLINK:
                os.symlink(entry.link, name, dir_fd=directory)
            case Kind.LINK:
                self._link(entry, directory, name)
            case kind:
                device = os.makedev(entry.major, entry.minor) if kind is not Kind.FIFO else 0
                os.mknod(name, _DEVICES[kind] | 0o600, device, dir_fd=directory)

    def _link(self, entry: Entry, directory: int, name: bytes) -> None:
        target = self._base + clean(entry.link)
        if len(target) == len(self._base):
            raise Invalid(f"{entry.name[:200]!r}: a hard link to the root of the archive")
        source = self.parents.open(target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            pass  # _make_way found it to be that very file
        finally:
            os.close(source)

    def _write(self, entry: Entry, directory: int, name: bytes) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
        try:
            if entry.sparse is None and self._options.contents is not None:
                self._options.contents[os.fstat(fd).st_ino] = self._hashed()
                os.ftruncate(fd, entry.size)
            elif entry.sparse is None:
                while data := self._reader.read():
                    _write_all(fd, data)
            else:
                os.ftruncate(fd, entry.size)
                for offset, length in entry.sparse:
                    os.lseek(fd, offset, os.SEEK_SET)
                    while length and (data := self._reader.read(min(length, 1 << 20))):
                        _write_all(fd, data)
                        length -= len(data)
            self.size += entry.size
            # chown first: it clears set-id bits and capabilities
            os.fchown(fd, *self._options.owner(entry.uid, entry.gid))
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(entry, fd)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _hashed(self) -> bytes:
        digest = hashlib.sha256()
        while data := self._reader.read():
            digest.update(data)
        return digest.digest()

    def _describe(self, entry: Entry, directory: int, name: bytes) -> None:
        if entry.kind is Kind.FILE:
            return  # _write did, on the file's own fd
        os.chown(name, *self._options.owner(entry.uid, entry.gid), dir_fd=directory, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            trees.set_mode(directory, name, entry.mode)
        if entry.xattrs:
            self._set_xattrs(entry, trees.at(directory, name))
        if entry.kind is not Kind.DIRECTORY:
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _set_xattrs(self, entry: Entry, where: int | str) -> None:
        if not self._options.xattrs:
            return
        for name, value in entry.xattrs.items():
            if trees.is_overlay_attribute(name):
                continue  # a layer must not steer the overlay mount it becomes part of
            try:
                os.setxattr(where, name, value, follow_symlinks=isinstance(where, int))
            except OSError as error:
                # file systems without them, and names this daemon may not set: as docker, carry on without
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
