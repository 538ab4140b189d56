"""Copying directory trees between descriptors. Raises OSError."""

import os
import stat


def copy_tree(source: int, target: int) -> None:
    """Copy a directory's content between descriptors: no link followed, owners, modes and times kept."""
    for name in os.listdir(source):
        raw = os.fsencode(name)
        status = os.stat(raw, dir_fd=source, follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(raw, dir_fd=source), raw, dir_fd=target)
        elif stat.S_ISDIR(mode):
            os.mkdir(raw, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner, outer = os.open(raw, flags, dir_fd=source), os.open(raw, flags, dir_fd=target)
            copy_tree(inner, outer)
            os.close(inner)
            os.close(outer)
        elif stat.S_ISREG(mode):
            inner = os.open(raw, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            outer = os.open(raw, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
            while os.sendfile(outer, inner, None, 1 << 24):
                pass
            os.close(inner)
            os.close(outer)
        else:
            os.mknod(raw, mode, status.st_rdev, dir_fd=target)
        os.chown(raw, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(raw, mode & 0o7777, dir_fd=target)
        os.utime(raw, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)
