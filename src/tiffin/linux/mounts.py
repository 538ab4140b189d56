"""Mounts by file descriptor: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2), and the older calls.

Raises OSError with the path or file system type.
"""

import ctypes
import os
import struct

from tiffin.linux.syscalls import INT, POINTER, SIZE, TEXT, UINT, ULONG, failure, function, libc, syscall

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 0x20, 0x1000, 0x2000, 0x4000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0, 0x10, 0x20
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x100000, 0x200000

AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x8000, 0x100
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CREATE, _FSCONFIG_RECONFIGURE = 0, 1, 6, 7
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40

PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, CGROUP2_SUPER_MAGIC = 0x9FA0, 0x62656572, 0x01021994, 0x63677270

_fsopen = syscall("fsopen", TEXT, UINT)
_fsconfig = syscall("fsconfig", INT, UINT, TEXT, TEXT, INT)
_fsmount = syscall("fsmount", INT, UINT, UINT)
_fspick = syscall("fspick", INT, TEXT, UINT)
_open_tree = syscall("open_tree", INT, TEXT, UINT)
_move_mount = syscall("move_mount", INT, TEXT, INT, TEXT, UINT)
_mount_setattr = syscall("mount_setattr", INT, TEXT, UINT, TEXT, SIZE)
_mount = function("mount", TEXT, TEXT, TEXT, ULONG, TEXT)
_umount2 = function("umount2", TEXT, INT)
_pivot_root = function("pivot_root", TEXT, TEXT)
libc.fstatfs.argtypes = (INT, POINTER)


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    """mount(2). For propagation and where the newer calls do not reach."""
    _mount(source, target, kind, flags, data, path=target)


def umount(target: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    _umount2(target, flags, path=target)


def pivot_root(new: bytes, old: bytes) -> None:
    """pivot_root(2)."""
    _pivot_root(new, old, path=new)


def _configure(context: int, options: tuple[bytes, ...], kind: bytes) -> None:
    for option in options:
        key, equals, value = option.partition(b"=")
        if equals:
            _fsconfig(context, _FSCONFIG_SET_STRING, key, value, 0, path=kind)
        else:
            _fsconfig(context, _FSCONFIG_SET_FLAG, key, None, 0, path=kind)


def create(kind: bytes, options: tuple[bytes, ...] = (), attributes: int = 0) -> int:
    """A new detached mount of a file system: fd. options are b"key=value" or b"key", attributes MOUNT_ATTR_*."""
    return mounted(configured(kind, options), kind, attributes)


def configured(kind: bytes, options: tuple[bytes, ...] = ()) -> int:
    """A file system without a mount: fd for `mounted`."""
    context = _fsopen(kind, _FSOPEN_CLOEXEC, path=kind)
    try:
        _configure(context, options, kind)
        _fsconfig(context, _FSCONFIG_CREATE, None, None, 0, path=kind)
    except OSError:
        os.close(context)
        raise
    return context


def mounted(context: int, kind: bytes, attributes: int = 0) -> int:
    """The one detached mount of what is `configured`, which is closed: fd."""
    try:
        return _fsmount(context, _FSMOUNT_CLOEXEC, attributes, path=kind)
    finally:
        os.close(context)


def reconfigure(mount_fd: int, options: tuple[bytes, ...]) -> None:
    """Change the parameters of a mounted file system (the superblock's: all its mounts see them)."""
    context = _fspick(mount_fd, b"", 0x8 | 0x1)  # FSPICK_EMPTY_PATH | FSPICK_CLOEXEC
    try:
        _configure(context, options, b"")
        _fsconfig(context, _FSCONFIG_RECONFIGURE, None, None, 0)
    finally:
        os.close(context)


def clone(directory: int, path: bytes = b"", *, recursive: bool = False, follow: bool = True) -> int:
    """A detached copy of what is mounted at a path (of the directory fd itself where the path is empty): fd."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    flags |= (0 if path else AT_EMPTY_PATH) | (0 if follow else AT_SYMLINK_NOFOLLOW)
    return _open_tree(directory, path, flags, path=path)


def attach(mount_fd: int, target: int, path: bytes = b"") -> None:
    """Attach a detached mount on the inode that a file descriptor refers to; with an empty path no name is resolved."""
    _move_mount(
        mount_fd,
        b"",
        target,
        path,
        _MOVE_MOUNT_F_EMPTY_PATH | (0 if path else _MOVE_MOUNT_T_EMPTY_PATH),
        path=path or None,
    )


def set_attributes(
    mount_fd: int, set_: int, clear: int = 0, *, propagation: int = 0, user_namespace: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2). An access-time mode in set_ replaces what there is. user_namespace: for MOUNT_ATTR_IDMAP."""
    if set_ & MOUNT_ATTR__ATIME:
        clear |= MOUNT_ATTR__ATIME
    if clear & MOUNT_ATTR__ATIME:
        clear |= MOUNT_ATTR__ATIME
    attr = struct.pack("QQQQ", set_, clear, propagation, user_namespace)
    _mount_setattr(mount_fd, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), attr, len(attr))


def magic(fd: int) -> int:
    """The type of the file system a file descriptor is on, as in statfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    if libc.fstatfs(fd, buffer) < 0:
        raise failure()
    return int(struct.unpack_from("l", buffer)[0]) & 0xFFFFFFFF
