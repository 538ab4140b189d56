"""Whole trees by file descriptor: remove, copy, measure. Never by path: no symbolic link inside leads outside."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiffin.linux import paths

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 64
_CHUNK = 1 << 30


@contextmanager
def opened(name: bytes, directory: int, flags: int = _DIRECTORY) -> Iterator[int]:
    fd = os.open(name, flags, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def remove(directory: int, name: bytes) -> None:
    """Remove an entry and all beneath it. Depth is no limit: what is too deep is moved up before it is removed."""
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass  # a directory: EISDIR on most file systems, EPERM by POSIX
    moved: list[bytes] = []

    def empty(fd: int, depth: int) -> None:
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_directory in found:
            if not is_directory:
                os.unlink(child, dir_fd=fd)
            elif depth >= _DEEPEST:
                aside = b".deep-" + secrets.token_hex(8).encode()
                os.rename(child, aside, src_dir_fd=fd, dst_dir_fd=directory)
                moved.append(aside)
            else:
                with opened(child, fd) as deeper:
                    empty(deeper, depth + 1)
                os.rmdir(child, dir_fd=fd)

    with opened(name, directory) as fd:
        empty(fd, 0)
    os.rmdir(name, dir_fd=directory)
    while moved:
        aside = moved.pop()
        with opened(aside, directory) as fd:
            empty(fd, 0)
        os.rmdir(aside, dir_fd=directory)


def xattrs(path: str | int, *, follow: bool = False) -> dict[bytes, bytes]:
    """Every extended attribute, those of overlayfs itself left out (they would steer the mount they end up in)."""
    found: dict[bytes, bytes] = {}
    # by fd where there is one; a path is /proc/self/fd/N/name, as there is no lgetxattrat before Linux 6.13
    follow = follow or isinstance(path, int)
    try:
        names = os.listxattr(path, follow_symlinks=follow)
    except OSError:  # the file system has none
        return found
    for name in names:
        if is_overlay_attribute(os.fsencode(name)):
            continue
        try:
            found[os.fsencode(name)] = os.getxattr(path, name, follow_symlinks=follow)
        except OSError:  # gone, or not ours to read
            continue
    return found


def is_overlay_attribute(name: bytes) -> bool:
    return name.startswith((b"trusted.overlay.", b"user.overlay."))


def at(directory: int, name: bytes) -> str:
    """A path to an entry of an open directory, for system calls that know no directory fd."""
    return f"/proc/self/fd/{directory}/{os.fsdecode(name)}"


def copy_times_and_owner(source: os.stat_result, directory: int, name: bytes) -> None:
    os.chown(name, source.st_uid, source.st_gid, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(source.st_mode):
        set_mode(directory, name, stat.S_IMODE(source.st_mode))  # after chown, which clears set-id bits
    os.utime(name, ns=(source.st_atime_ns, source.st_mtime_ns), dir_fd=directory, follow_symlinks=False)


def set_mode(directory: int, name: bytes, mode: int) -> None:
    """chmod(2) of an entry itself: a link that a container put in its place meanwhile is ENOTSUP, never followed."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _link(root: int, path: bytes, directory: int, name: bytes) -> None:
    """Hard link a file at a path below a directory that others may write to: no link on the way is followed."""
    fd = paths.open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory)
    finally:
        os.close(fd)


def copy(source: int, target: int) -> None:
    """Copy what is in one directory into another, empty one: owners, modes, xattrs, times, hard links, holes."""
    links: dict[tuple[int, int], bytes] = {}
    _copy_directory(source, target, target, b"", links)


def _copy_directory(source: int, target: int, root: int, path: bytes, links: dict[tuple[int, int], bytes]) -> None:
    for name in sorted(os.fsencode(item) for item in os.listdir(source)):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        here = path + b"/" + name if path else name
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if key in links:
                _link(root, links[key], target, name)
                continue
            links[key] = here
        _copy_entry(source, target, name, status, root, here, links)
        for attribute, value in xattrs(at(source, name)).items():
            os.setxattr(at(target, name), attribute, value, follow_symlinks=False)
        copy_times_and_owner(status, target, name)
        if not stat.S_ISLNK(status.st_mode):
            _again_capabilities(source, target, name)
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _again_capabilities(source: int, target: int, name: bytes) -> None:
    # chown drops security.capability, so it is set once more after it
    try:
        value = os.getxattr(at(source, name), "security.capability", follow_symlinks=False)
    except OSError:
        return
    os.setxattr(at(target, name), "security.capability", value, follow_symlinks=False)


def _copy_entry(
    source: int,
    target: int,
    name: bytes,
    status: os.stat_result,
    root: int,
    path: bytes,
    links: dict[tuple[int, int], bytes],
) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(name, 0o700, dir_fd=target)
        with opened(name, source) as from_fd, opened(name, target) as to_fd:
            _copy_directory(from_fd, to_fd, root, path, links)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISREG(mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened(name, source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as from_fd:
            to_fd = os.open(name, flags, 0o600, dir_fd=target)
            try:
                copy_data(from_fd, to_fd, status.st_size)
            finally:
                os.close(to_fd)
    elif not stat.S_ISSOCK(mode):
        os.mknod(name, stat.S_IFMT(mode) | 0o600, status.st_rdev, dir_fd=target)
    else:
        os.mknod(name, stat.S_IFSOCK | 0o600, dir_fd=target)


def copy_data(source: int, target: int, size: int) -> None:
    """Data between its holes, copied in the kernel (shared extents where the file system can)."""
    os.ftruncate(target, size)
    for start, end in data_ranges(source, size):
        while start < end:
            try:
                count = os.copy_file_range(source, target, min(end - start, _CHUNK), start, start)
            except OSError:
                count = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
            if not count:
                return  # it shrank meanwhile
            start += count


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end
        position = end


def usage(directory: int, count: Callable[[os.stat_result], int] = lambda status: status.st_size) -> tuple[int, int]:
    """Bytes and inodes beneath a directory; a hard-linked file counts once. What vanishes meanwhile is left out."""
    seen: set[tuple[int, int]] = set()
    size = inodes = 0
    pending = [os.dup(directory)]
    while pending:
        fd = pending.pop()
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                            if (status.st_dev, status.st_ino) in seen:
                                continue
                            seen.add((status.st_dev, status.st_ino))
                        inodes += 1
                        if stat.S_ISREG(status.st_mode):
                            size += count(status)
                        elif stat.S_ISDIR(status.st_mode):
                            pending.append(os.open(entry.name, _DIRECTORY, dir_fd=fd))
                    except FileNotFoundError:
                        continue
        finally:
            os.close(fd)
    return size, inodes
