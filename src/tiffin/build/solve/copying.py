"""COPY and ADD: files of one tree onto another, by descriptors, as BuildKit's copier places them.

A directory gives what it holds; at the top its mode and owner do not count, further down they do, also for those that
are there already. Hard links among what is copied stay hard links.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from tiffin.build.dockerfile.wildcards import clean
from tiffin.build.solve import placing, selection
from tiffin.build.solve.placing import Parts, Stamp
from tiffin.build.solve.selection import Entry, Found, Rules
from tiffin.build.steps import CopyAction
from tiffin.content.compression import Prefixed, decompressed, read_exactly
from tiffin.errors import Invalid
from tiffin.snapshots import trees
from tiffin.snapshots.extract import extract
from tiffin.snapshots.tar import TarReader

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def copy(source: int, target: int, action: CopyAction, stamp: Stamp) -> None:
    """source, target: fds of both roots. NotFound for a missing source, Invalid for what can't be put there."""
    destination = os.fsencode(action.destination)
    above, _, last = destination.rpartition(b"/")
    # the directory that is named, or the one above a file's name
    ensured = destination if last in (b"", b".") else above
    os.close(placing.directory(target, placing.resolved(target, ensured), stamp))
    parts = placing.resolved(target, os.fsencode(clean(action.destination)))
    for path in action.required:
        selection.check(source, path)
    for found in selection.sources(source, action.source, wildcards=action.wildcards):
        with selection.opened(source, found) as fd:
            if action.unpack and _unpacked(fd, target, parts, stamp):
                continue
            _Copy(target, action, stamp).place(fd, found, parts)


def _unpacked(fd: int, target: int, parts: Parts, stamp: Stamp) -> bool:
    """Extract an archive; False where it is none. Its entries keep their own owners."""
    if not stat.S_ISREG(os.fstat(fd).st_mode) or not _is_archive(fd):
        return False
    os.close(placing.directory(target, parts, stamp))
    with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
        _, plain = decompressed(file)
        extract(target, plain, beneath=b"/".join(parts))
    return True


def _is_archive(fd: int) -> bool:
    with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
        try:
            _, plain = decompressed(file)
            block = read_exactly(plain, 512)
            # two blocks of zeros are an empty archive; anything else begins with a header
            return len(block) == 512 and next(iter(TarReader(Prefixed(block, plain))), None) is not None
        except Invalid:
            return False


@dataclass(slots=True)
class _Copy:
    target: int
    action: CopyAction
    stamp: Stamp
    rules: Rules = field(init=False)
    links: dict[tuple[int, int], Parts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = Rules.of(self.action.include, self.action.exclude)

    def place(self, fd: int, found: Found, parts: Parts) -> None:
        status = os.fstat(fd)
        is_directory = stat.S_ISDIR(status.st_mode)
        there = placing.status(self.target, parts)
        into = there is not None and stat.S_ISDIR(there.st_mode)
        here = parts
        if ((is_directory and not self.action.contents) or (not is_directory and into)) and found.name:
            here = (*parts, found.name)  # a tree's root has no name: it is what it holds
        if is_directory:
            self._top(fd, here)
            return
        parent = placing.directory(self.target, here[:-1], self.stamp)
        try:
            self._file(f"/proc/self/fd/{fd}", status, parent, here, follow=True)
        finally:
            os.close(parent)

    def _top(self, fd: int, here: Parts) -> None:
        # made with its parents where it is missing: the source's own mode and owner count only further down
        to = placing.directory(self.target, here, self.stamp)
        try:
            with selection.below(fd, b".") as source:
                self._beneath(source, to, here, None, [])
        finally:
            os.close(to)

    def _beneath(self, source: int, to: int, here: Parts, above: Entry | None, late: "list[_Late]") -> None:
        """late: directories above that are made when something in them is taken; `to` is -1 below one of them."""
        for entry in selection.entries(source, self.rules, above):
            path = (*here, entry.name)
            if entry.is_directory:
                with selection.below(source, entry.name) as deeper:
                    self._directory(deeper, to, path, entry, late)
                continue
            parent, made = self._parent(to, late)
            try:
                self._file(trees.at(source, entry.name), entry.status, parent, path)
            finally:
                if made:
                    os.close(parent)

    def _parent(self, to: int, late: "list[_Late]") -> tuple[int, bool]:
        if not late:
            return to, False
        for one in late:
            if not one.made:
                self._make(one)
        return placing.directory(self.target, late[-1].path, self.stamp), True

    def _make(self, one: "_Late") -> None:
        fd = placing.directory(self.target, one.path, self.stamp)
        try:
            self._describe(fd, one.source, one.status)
        finally:
            os.close(fd)
        one.made = True

    def _directory(self, source: int, to: int, path: Parts, entry: Entry, late: "list[_Late]") -> None:
        proc = f"/proc/self/fd/{source}"
        if not entry.taken:
            later = [*late, _Late(path, proc, entry.status)]
            self._beneath(source, -1, path, entry, later)
            if later[-1].made:
                self._finish(path, entry.status)
            return
        parent, made = self._parent(to, late)
        try:
            deeper = self._made(parent, path)
        finally:
            if made:
                os.close(parent)
        try:
            self._describe(deeper, proc, entry.status)
            self._beneath(source, deeper, path, entry, [])
            self._time(deeper, entry.status)
        finally:
            os.close(deeper)

    def _made(self, parent: int, path: Parts) -> int:
        try:
            os.mkdir(path[-1], 0o700, dir_fd=parent)
        except FileExistsError:
            pass
        try:
            return os.open(path[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError as error:
            if placing.status(self.target, path) is None:
                raise
            raise Invalid(f"cannot copy to non-directory: /{os.fsdecode(b'/'.join(path))}") from error

    def _finish(self, path: Parts, status: os.stat_result) -> None:
        fd = placing.directory(self.target, path, self.stamp)
        try:
            self._time(fd, status)
        finally:
            os.close(fd)

    def _file(self, source: str, status: os.stat_result, parent: int, path: Parts, *, follow: bool = False) -> None:
        """Anything but a directory. source: a path through /proc/self/fd; follow where it is a descriptor itself."""
        name, mode = path[-1], status.st_mode
        if stat.S_ISSOCK(mode):
            return
        placing.remove_file(parent, name, b"/".join(path))
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            if key in self.links:
                self._link(self.links[key], parent, name)
                return
            self.links[key] = path
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), name, dir_fd=parent)
        elif stat.S_ISREG(mode):
            _data(source, parent, name, follow=follow)
        else:
            os.mknod(name, stat.S_IFMT(mode) | 0o600, status.st_rdev, dir_fd=parent)
        os.chown(name, *self._owner(status), dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            trees.set_mode(parent, name, placing.changed_mode(mode, self.action.mode, is_directory=False))
        _attributes(source, trees.at(parent, name), follow=follow)
        time = self.stamp.time
        times = (time, time) if time is not None else (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _link(self, first: Parts, parent: int, name: bytes) -> None:
        directory = placing.directory(self.target, first[:-1], self.stamp)
        try:
            os.link(first[-1], name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(directory)

    def _owner(self, status: os.stat_result) -> tuple[int, int]:
        return self.stamp.owner or (status.st_uid, status.st_gid)

    def _describe(self, fd: int, source: str, status: os.stat_result) -> None:
        os.fchown(fd, *self._owner(status))
        os.fchmod(fd, placing.changed_mode(status.st_mode, self.action.mode, is_directory=True))
        _attributes(source, f"/proc/self/fd/{fd}", follow=True)

    def _time(self, fd: int, status: os.stat_result) -> None:
        time = self.stamp.time
        os.utime(fd, ns=(time, time) if time is not None else (status.st_atime_ns, status.st_mtime_ns))


@dataclass(slots=True)
class _Late:
    """A directory that is made when something in it is taken (--parents)."""

    path: Parts
    source: str
    status: os.stat_result
    made: bool = False


def _data(source: str, parent: int, name: bytes, *, follow: bool) -> None:
    reading = os.open(source, _READ | (0 if follow else os.O_NOFOLLOW))
    try:
        writing = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            trees.copy_data(reading, writing, os.fstat(reading).st_size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _attributes(source: str, target: str, *, follow: bool) -> None:
    for name, value in trees.xattrs(source, follow=follow).items():
        try:
            os.setxattr(target, name, value, follow_symlinks=follow)
        except OSError:
            continue  # the file system has none, or not of this name: BuildKit goes on as well


OwnerOf = Callable[[int, str], tuple[int, int]]
"""(root, `user[:group]`) to numbers, by the passwd and group files of the root. Raises Invalid."""
